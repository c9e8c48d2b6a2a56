//! Writing packs.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use crate::block::MAX_BLOCK_BYTES;
use crate::error::PackError;
use crate::index::{Header, Kernel, WireBlock, WireIndex, WireKernel};
use crate::pack::{MAGIC, VERSION};

/// Kernels that lie together are compressed together up to this size. A reader decompresses half of
/// it on average.
const BLOCK_BYTES: usize = 1536 << 10;

/// zstd's strongest: a pack is written once.
const LEVEL: i32 = 22;

/// The bytes of a pack of these kernels with their code. The same kernels in any order give the
/// same bytes.
///
/// # Errors
/// [`PackError::Unwritable`] if a kernel is empty, too large or there twice.
pub fn encode(header: &Header, kernels: &[(Kernel, Vec<u8>)]) -> Result<Vec<u8>, PackError> {
    let name = format!("{}.{}", header.target, crate::EXTENSION);
    encode_index(header, kernels).map_err(|reason| PackError::Unwritable { name, reason })
}

fn encode_index(header: &Header, kernels: &[(Kernel, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let names = |kernel: &Kernel| -> (String, Vec<String>) {
        let names = kernel.defines.iter().map(|(name, _)| name.clone()).collect();
        (kernel.source.clone(), names)
    };
    let families: BTreeSet<_> = kernels.iter().map(|(kernel, _)| names(kernel)).collect();
    let families: Vec<_> = families.into_iter().collect();
    let mut sorted: Vec<&(Kernel, Vec<u8>)> = kernels.iter().collect();
    sorted.sort_by_cached_key(|(kernel, _)| similarity(kernel));
    let key = |kernel: &Kernel| (kernel.source.clone(), kernel.defines.clone(), kernel.hopper);
    if let Some(pair) = sorted.windows(2).find(|pair| key(&pair[0].0) == key(&pair[1].0)) {
        return Err(format!("{} {:?} is there twice", pair[0].0.source, pair[0].0.defines));
    }

    let (mut blocks, mut frames, mut wire, mut raw) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (at, (kernel, code)) in sorted.iter().enumerate() {
        if code.is_empty() || code.len() > MAX_BLOCK_BYTES as usize {
            return Err(format!("{} has {} bytes of code", kernel.source, code.len()));
        }
        let family = families.binary_search(&names(kernel)).expect("every kernel has a family");
        wire.push(WireKernel {
            family: family as u32,
            values: kernel.defines.iter().map(|(_, value)| *value).collect(),
            hopper: kernel.hopper,
            source_hash: kernel.source_hash,
            kernel_hash: kernel.kernel_hash,
            block: blocks.len() as u32,
            offset: raw.len() as u32,
            len: code.len() as u32,
        });
        raw.extend_from_slice(code);
        let next = sorted.get(at + 1);
        if next.is_none_or(|(_, code)| raw.len() + code.len() > BLOCK_BYTES) {
            let frame = zstd::bulk::compress(&raw, LEVEL).map_err(|error| error.to_string())?;
            blocks
                .push(WireBlock { raw_bytes: raw.len() as u32, packed_bytes: frame.len() as u32 });
            frames.extend(frame);
            raw.clear();
        }
    }
    let index = WireIndex {
        target: header.target.clone(),
        capability: header.capability,
        cuda_version: header.cuda_version,
        minimum_driver: header.minimum_driver,
        compiler: header.compiler,
        decisions: header.decisions,
        pruned: header.pruned,
        families,
        blocks,
        kernels: wire,
    };
    let index = rmp_serde::to_vec(&index).map_err(|error| error.to_string())?;
    Ok(seal(VERSION, &index, &frames))
}

/// Puts a file together.
pub(crate) fn seal(version: u32, index: &[u8], frames: &[u8]) -> Vec<u8> {
    let len = (index.len() as u32).to_le_bytes();
    let checked = [&version.to_le_bytes(), &len, index, frames].concat();
    let checksum = xxh3_64(&checked).to_le_bytes();
    [&MAGIC[..], &checksum, &checked].concat()
}

/// The order in which like code lies side by side: storage types of one tile differ least, then
/// directions, so they are compared last. The order decides the size of a pack and nothing else.
fn similarity(kernel: &Kernel) -> (String, bool, [Vec<(String, u32)>; 2]) {
    const ALIKE: [&str; 2] = ["DGRAD", "VOXTUNE_DTYPE"];
    let (mut alike, mut apart): (Vec<_>, Vec<_>) =
        kernel.defines.iter().cloned().partition(|(name, _)| ALIKE.contains(&name.as_str()));
    alike.sort();
    apart.sort();
    (kernel.source.clone(), kernel.hopper, [apart, alike])
}
