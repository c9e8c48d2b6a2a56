//! What a pack says about itself and its kernels.

use serde::{Deserialize, Serialize};

/// The longest name of a source or a define that a reader accepts.
const MAX_NAME_BYTES: usize = 64;

/// What a pack was made of, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The architecture, such as `sm_90`, or [`PTX`](crate::PTX).
    pub target: String,
    /// Compute capability that the code is for; of PTX, the least that takes it.
    pub capability: (u8, u8),
    /// The compiler's version of CUDA, as 1000 · major + 10 · minor.
    pub cuda_version: u32,
    /// The version of CUDA that the driver must support, likewise.
    pub minimum_driver: u32,
    /// Hash of the compiler's version and of the arguments that all compilations share.
    pub compiler: u64,
    /// Hash of the decision file whose winners are here; `None` where nothing was measured.
    pub decisions: Option<u64>,
    /// How many kernels were left out because their loss costs little.
    pub pruned: u32,
}

impl Header {
    /// Whether the code is PTX, which the driver compiles, rather than machine code.
    #[must_use]
    pub fn is_ptx(&self) -> bool {
        self.target == crate::PTX
    }
}

/// One compiled kernel source with its defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// File of the family, such as `mask_gemm.cu`.
    pub source: String,
    /// Names and values of the defines, in the family's order.
    pub defines: Vec<(String, u32)>,
    /// Whether it uses instructions of Hopper alone.
    pub hopper: bool,
    /// Hash of the sources and arguments that it was compiled from.
    pub source_hash: u64,
    /// Hash of its machine code, or of its PTX.
    pub kernel_hash: u64,
}

/// Where a kernel's code lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeRange {
    pub(crate) block: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// The index as the file has it: arrays, each family's names once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireIndex {
    pub(crate) target: String,
    pub(crate) capability: (u8, u8),
    pub(crate) cuda_version: u32,
    pub(crate) minimum_driver: u32,
    pub(crate) compiler: u64,
    pub(crate) decisions: Option<u64>,
    pub(crate) pruned: u32,
    pub(crate) families: Vec<(String, Vec<String>)>,
    pub(crate) blocks: Vec<WireBlock>,
    pub(crate) kernels: Vec<WireKernel>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct WireBlock {
    pub(crate) raw_bytes: u32,
    pub(crate) packed_bytes: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireKernel {
    pub(crate) family: u32,
    pub(crate) values: Vec<u32>,
    pub(crate) hopper: bool,
    pub(crate) source_hash: u64,
    pub(crate) kernel_hash: u64,
    pub(crate) block: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl WireIndex {
    pub(crate) fn header(&self) -> Header {
        Header {
            target: self.target.clone(),
            capability: self.capability,
            cuda_version: self.cuda_version,
            minimum_driver: self.minimum_driver,
            compiler: self.compiler,
            decisions: self.decisions,
            pruned: self.pruned,
        }
    }

    /// The kernels with their places, or what contradicts itself.
    pub(crate) fn kernels(&self) -> Result<Vec<(Kernel, CodeRange)>, &'static str> {
        // Each kernel gets names of its own, so a long one would grow with their number.
        let is_long = |name: &String| name.len() > MAX_NAME_BYTES;
        if self.families.iter().any(|(source, names)| names.iter().chain([source]).any(is_long)) {
            return Err("a name is longer than any may be");
        }
        let mut kernels = Vec::new();
        let mut expected = (0, 0);
        for wire in &self.kernels {
            let family = self.families.get(wire.family as usize);
            let (source, names) = family.ok_or("a kernel is of no family")?;
            if names.len() != wire.values.len() {
                return Err("a kernel has not its family's number of defines");
            }
            // Kernels lie in the order of the index, one behind the other.
            if (wire.block, wire.offset) != expected || wire.len == 0 {
                return Err("a kernel is not where the one before it ends");
            }
            let block = self.blocks.get(wire.block as usize).ok_or("a kernel is in no block")?;
            let end = wire.offset.checked_add(wire.len).ok_or("a kernel ends nowhere")?;
            expected = match end.cmp(&block.raw_bytes) {
                std::cmp::Ordering::Less => (wire.block, end),
                std::cmp::Ordering::Equal => (wire.block + 1, 0),
                std::cmp::Ordering::Greater => return Err("a kernel ends behind its block"),
            };
            let kernel = Kernel {
                source: source.clone(),
                defines: names.iter().cloned().zip(wire.values.iter().copied()).collect(),
                hopper: wire.hopper,
                source_hash: wire.source_hash,
                kernel_hash: wire.kernel_hash,
            };
            kernels.push((
                kernel,
                CodeRange { block: wire.block, offset: wire.offset, len: wire.len },
            ));
        }
        if expected != (u32::try_from(self.blocks.len()).unwrap_or(u32::MAX), 0) {
            return Err("a block has room that no kernel fills");
        }
        Ok(kernels)
    }
}
