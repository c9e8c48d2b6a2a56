//! Making a pack: compiling its kernels and putting them together.

use std::collections::BTreeMap;
use std::path::Path;

use voxtune_cuda::{Code, Compiled, CudaError, Instance, source_hash};
use voxtune_nvcc::{Progress, Toolchain};
use voxtune_pack::{Header, Kernel, Pack, PackError, encode};
use voxtune_types::ComputeCapability;

use super::contents::Contents;
use super::target::Target;

/// A pack, not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// How many kernels are in it.
    pub kernels: usize,
    /// How many of them had been compiled before.
    pub cached: usize,
    /// Their size without compression.
    pub raw_bytes: usize,
}

/// A pack that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// Some kernels do not compile: the first one's error.
    #[error("{failed} of {total} kernels do not compile, the first because of: {first}")]
    Compile {
        /// How many do not.
        failed: usize,
        /// Of how many.
        total: usize,
        /// The first one's error.
        first: CudaError,
    },
    /// Some kernels must not ship.
    #[error("{} of {total} kernels are refused:\n{}", refused.len(), lines(refused))]
    Refused {
        /// The error of each.
        refused: Vec<CudaError>,
        /// Of how many.
        total: usize,
    },
    /// The kernels make no pack.
    #[error(transparent)]
    Pack(#[from] PackError),
}

fn lines(errors: &[CudaError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Compiles the kernels of a pack, `jobs` at a time, those that `folder` lacks into it, inspects
/// and encodes them. What an `earlier` pack holds of today's sources, made by this compiler, it was
/// inspected for, and stays as it is. `decisions` is the hash of the decision file that named them,
/// `pruned` how many of its winners are left out.
///
/// # Errors
/// If a kernel does not compile, or its code is refused; if the earlier pack is damaged.
#[expect(clippy::too_many_arguments, reason = "what, out of what, and how")]
pub fn make(
    target: Target,
    contents: &Contents,
    decisions: Option<u64>,
    pruned: usize,
    earlier: Option<&Pack>,
    toolchain: &Toolchain,
    (folder, jobs): (&Path, usize),
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Made, MakeError> {
    let (code, capability) = (target.code(), target.capability());
    let earlier = earlier.filter(|pack| pack.header().compiler == toolchain.compiler_hash());
    let mut kernels: BTreeMap<&Instance, (Kernel, Vec<u8>)> = BTreeMap::new();
    let mut instances: Vec<Instance> = Vec::new();
    for instance in contents.instances.keys() {
        match earlier.map(|pack| kept(pack, code, instance, capability)).transpose()?.flatten() {
            Some(kernel) => _ = kernels.insert(instance, kernel),
            None => instances.push(instance.clone()),
        }
    }
    let results = toolchain.compile_to(code, &instances, capability, folder, jobs, progress);
    let total = results.len();
    let (mut compiled, mut errors) = (Vec::with_capacity(total), Vec::new());
    for result in results {
        match result {
            Ok(one) => compiled.push(one),
            Err(error) => errors.push(error),
        }
    }
    let failed = errors.len();
    if let Some(first) = errors.into_iter().next() {
        return Err(MakeError::Compile { failed, total, first });
    }
    let inspected = toolchain.inspect(&compiled.iter().collect::<Vec<_>>(), jobs);
    let refused: Vec<_> = inspected.into_iter().filter_map(Result::err).collect();
    if !refused.is_empty() {
        return Err(MakeError::Refused { refused, total });
    }
    let of_earlier = earlier.map_or(0, |pack| pack.header().cuda_version as i32);
    let cuda_version = compiled.first().map_or(of_earlier, |one| one.cuda_version);
    let header = Header {
        target: target.to_string(),
        capability: (capability.major, capability.minor),
        cuda_version: cuda_version as u32,
        minimum_driver: code.minimum_driver(cuda_version) as u32,
        compiler: toolchain.compiler_hash(),
        decisions,
        pruned: pruned as u32,
    };
    let cached = kernels.len() + compiled.iter().filter(|one| one.cached).count();
    for (instance, one) in instances.iter().zip(compiled) {
        kernels.insert(instance, packed(code, one));
    }
    let kernels: Vec<(Kernel, Vec<u8>)> = kernels.into_values().collect();
    let raw_bytes = kernels.iter().map(|(_, code)| code.len()).sum();
    let bytes = encode(&header, &kernels)?;
    Ok(Made { bytes, kernels: kernels.len(), cached, raw_bytes })
}

/// The kernel of an instance in a pack, if it was made of today's sources.
fn kept(
    pack: &Pack,
    code: Code,
    instance: &Instance,
    capability: ComputeCapability,
) -> Result<Option<(Kernel, Vec<u8>)>, PackError> {
    let place = pack.find(instance.source, &instance.defines, instance.hopper);
    let Some(place) = place else { return Ok(None) };
    let kernel = pack.kernels().nth(place).expect("a place that was found");
    if kernel.source_hash != source_hash(code, instance, capability) {
        return Ok(None);
    }
    Ok(Some((kernel.clone(), pack.read(place)?)))
}

fn packed(code: Code, compiled: Compiled) -> (Kernel, Vec<u8>) {
    let Compiled { instance, arch, kernel_hash, bytes, .. } = compiled;
    let defines = instance.defines.iter();
    let kernel = Kernel {
        source: instance.source.to_owned(),
        defines: defines.map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        hopper: instance.hopper,
        source_hash: source_hash(code, &instance, arch),
        kernel_hash,
    };
    (kernel, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_of_todays_sources_are_kept() {
        let target: Target = "sm_90".parse().unwrap();
        let (code, capability) = (target.code(), target.capability());
        let (kernel, stale) = (Instance::probe(), Instance::kernel_map());
        let of = |instance: &Instance, source_hash| Kernel {
            source: instance.source.to_owned(),
            defines: Vec::new(),
            hopper: instance.hopper,
            source_hash,
            kernel_hash: 7,
        };
        let header = Header {
            target: target.to_string(),
            capability: (capability.major, capability.minor),
            cuda_version: 13_000,
            minimum_driver: 13_000,
            compiler: 0,
            decisions: None,
            pruned: 0,
        };
        let today = source_hash(code, &kernel, capability);
        let kernels = [(of(&kernel, today), vec![1, 2]), (of(&stale, 1), vec![3])];
        let pack = Pack::decode(encode(&header, &kernels).unwrap(), "a pack").unwrap();
        let found = |instance: &Instance| kept(&pack, code, instance, capability).unwrap();
        assert_eq!(found(&kernel), Some((of(&kernel, today), vec![1, 2])));
        assert_eq!((found(&stale), found(&Instance::strided_map())), (None, None));
    }
}
