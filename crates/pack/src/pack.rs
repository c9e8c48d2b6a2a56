//! Reading packs.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::block::{MAX_BLOCK_BYTES, decompress};
use crate::error::PackError;
use crate::index::{CodeRange, Header, Kernel, WireBlock, WireIndex};

pub(crate) const MAGIC: &[u8; 16] = b"voxtune kernels\n";
pub(crate) const VERSION: u32 = 1;
/// Where the bytes begin that the checksum covers.
pub(crate) const CHECKED_FROM: usize = MAGIC.len() + size_of::<u64>();
/// Where the index begins.
pub(crate) const INDEX_FROM: usize = CHECKED_FROM + 2 * size_of::<u32>();

/// The kernels of a file, decompressed when asked for.
#[derive(Clone, Debug)]
pub struct Pack {
    name: String,
    bytes: Cow<'static, [u8]>,
    header: Header,
    kernels: Vec<(Kernel, CodeRange)>,
    /// Each block with the place of its frame in the file.
    blocks: Vec<(WireBlock, usize)>,
}

impl Pack {
    /// Checks a pack and reads its index. `name` is for messages.
    ///
    /// # Errors
    /// If the bytes are no pack, damaged, or of a later version.
    pub fn decode(bytes: impl Into<Cow<'static, [u8]>>, name: &str) -> Result<Self, PackError> {
        let bytes = bytes.into();
        let corrupt =
            |reason: &str| PackError::Corrupt { name: name.to_owned(), reason: reason.to_owned() };
        let (index, blocks_from) = open(&bytes, name)?;
        let kernels = index.kernels().map_err(corrupt)?;
        let mut blocks = Vec::with_capacity(index.blocks.len());
        let mut at = blocks_from;
        for block in &index.blocks {
            if block.raw_bytes > MAX_BLOCK_BYTES {
                return Err(corrupt("a block is larger than any may be"));
            }
            blocks.push((*block, at));
            at = at
                .checked_add(block.packed_bytes as usize)
                .filter(|&end| end <= bytes.len())
                .ok_or_else(|| corrupt("a block ends behind the file"))?;
        }
        if at != bytes.len() {
            return Err(corrupt("something follows the last block"));
        }
        Ok(Self { name: name.to_owned(), header: index.header(), bytes, kernels, blocks })
    }

    /// What the pack was made of, and for what.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Every kernel, in the order of the file.
    pub fn kernels(&self) -> impl ExactSizeIterator<Item = &Kernel> {
        self.kernels.iter().map(|(kernel, _)| kernel)
    }

    /// The place of the kernel of this source with these defines.
    #[must_use]
    pub fn find(&self, source: &str, defines: &[(&str, u32)], hopper: bool) -> Option<usize> {
        self.kernels.iter().position(|(kernel, _)| {
            let same = |((a, x), (b, y)): (&(String, u32), &(&str, u32))| a == b && x == y;
            kernel.source == source
                && kernel.hopper == hopper
                && kernel.defines.len() == defines.len()
                && kernel.defines.iter().zip(defines).all(same)
        })
    }

    /// The code of the kernel at a place. The caller, which knows the code's form, checks that it
    /// is the code which the kernel's hash names.
    ///
    /// # Errors
    /// If its block is damaged.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn read(&self, place: usize) -> Result<Vec<u8>, PackError> {
        let (_, CodeRange { block, offset, len }) = self.kernels[place];
        let (block, from) = self.blocks[block as usize];
        let frame = &self.bytes[from..from + block.packed_bytes as usize];
        let end = offset as usize + len as usize;
        let mut code = decompress(frame, block.raw_bytes, end).map_err(|reason| {
            PackError::Corrupt { name: self.name.clone(), reason: reason.into() }
        })?;
        code.drain(..offset as usize);
        Ok(code)
    }
}

/// Checks everything up to the index and decodes it; the second value is where it ends.
fn open(bytes: &[u8], name: &str) -> Result<(WireIndex, usize), PackError> {
    let name = || name.to_owned();
    let corrupt = |reason: String| PackError::Corrupt { name: name(), reason };
    if !bytes.starts_with(&MAGIC[..MAGIC.len().min(bytes.len())]) {
        return Err(PackError::NotAPack { name: name() });
    }
    let Some((head, rest)) = bytes.split_first_chunk::<INDEX_FROM>() else {
        return Err(corrupt(format!("truncated to {} bytes", bytes.len())));
    };
    let number = |at: usize| {
        u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes of the head"))
    };
    let checksum = head[MAGIC.len()..CHECKED_FROM].try_into().expect("eight bytes of the head");
    if u64::from_le_bytes(checksum) != xxh3_64(&bytes[CHECKED_FROM..]) {
        return Err(corrupt("its checksum is wrong: damaged or truncated".to_owned()));
    }
    match number(CHECKED_FROM) {
        0 => return Err(corrupt("versions begin at 1, and this is 0".to_owned())),
        1..=VERSION => {}
        found => return Err(PackError::Newer { name: name(), found, supported: VERSION }),
    }
    let len = number(CHECKED_FROM + 4) as usize;
    let index = rest.get(..len).ok_or_else(|| corrupt("its index is cut off".to_owned()))?;
    let decoded: WireIndex =
        rmp_serde::from_slice(index).map_err(|error| corrupt(error.to_string()))?;
    let again = rmp_serde::to_vec(&decoded).map_err(|error| corrupt(error.to_string()))?;
    if again != index {
        return Err(corrupt("its index is not in canonical form".to_owned()));
    }
    Ok((decoded, INDEX_FROM + len))
}
