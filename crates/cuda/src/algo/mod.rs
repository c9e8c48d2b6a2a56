//! The algorithms: what each computes, which instance it needs, how it is launched.
//!
//! | family | directions | dtypes | |
//! |---|---|---|---|
//! | `mask_gemm` | forward, dgrad | 16-bit | output-stationary on tensor cores |
//! | `wgmma_gemm` | forward, dgrad | 16-bit | the same by Hopper's warpgroup instructions |
//! | `resident_gemm` | forward, dgrad | 16-bit | few channels, all weights in shared memory |
//! | `packed_gemm` | forward, dgrad | 16-bit | at most eight gathered channels, offsets packed along the inner dimension |
//! | `pair_gemm` | wgrad | 16-bit | pair lists on tensor cores, split along the pairs |
//! | `wgmma_wgrad` | wgrad | 16-bit | the same by Hopper's warpgroup instructions |
//! | `implicit_gemm` | all | all | plain float32 units; any channels |
//! | `explicit_gemm` | all | all | gather, cuBLAS, scatter-add; never the default |
//!
//! Of few rows, `mask_gemm` and `wgmma_gemm` may cut each tile's offsets into parts: `splits`.

mod countable;
mod epilogue;
mod explicit_gemm;
mod implicit_gemm;
mod mask_gemm;
mod operands;
mod packed_gemm;
mod pair_gemm;
mod pair_units;
mod prepared;
mod resident_gemm;
mod splits;
mod tensor_map;
mod wgmma_gemm;
mod wgmma_wgrad;

use std::fmt;
use std::sync::LazyLock;

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation};

pub use epilogue::Epilogue;
pub use explicit_gemm::Cublas;
pub(crate) use mask_gemm::channels;
pub use operands::Operands;
pub use prepared::Prepared;
pub(crate) use prepared::row_map;

use crate::error::Result;
use crate::instance::Instance;
use crate::map::{DeviceKernelMap, MapCounts, RowOrder};
use crate::model::{self, Constants, MapSize, Rates, Work};
use countable::is_countable;
use explicit_gemm::ExplicitGemm;
use implicit_gemm::ImplicitGemm;
use mask_gemm::MaskGemm;
use packed_gemm::PackedGemm;
use pair_gemm::PairGemm;
use resident_gemm::ResidentGemm;
use wgmma_gemm::WgmmaGemm;
use wgmma_wgrad::WgmmaWgrad;

/// A kernel family with its parameters, under its permanent id.
#[derive(Debug)]
pub struct Algorithm {
    id: AlgoId,
    family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Mask(MaskGemm),
    Wgmma(WgmmaGemm),
    Resident(ResidentGemm),
    Packed(PackedGemm),
    Pair(PairGemm),
    WgmmaPair(WgmmaWgrad),
    Implicit(ImplicitGemm),
    Explicit(ExplicitGemm),
}

impl Algorithm {
    /// The permanent id.
    #[must_use]
    pub const fn id(&self) -> &AlgoId {
        &self.id
    }

    /// Whether the algorithm computes this operation at all.
    #[must_use]
    pub fn applies(&self, op: &Operation) -> bool {
        // Kernels read row maps and pair lists, whatever layer these are of.
        op.groups == 1
            && is_countable(op)
            && match self.family {
                Family::Mask(mask) => mask.applies(op),
                Family::Wgmma(wgmma) => wgmma.applies(op),
                Family::Resident(resident) => resident.applies(op),
                Family::Packed(packed) => packed.applies(op),
                Family::Pair(pair) => pair.applies(op),
                Family::WgmmaPair(wgrad) => wgrad.applies(op),
                Family::Implicit(_) | Family::Explicit(_) => true,
            }
    }

    /// Whether it has a chance on this operation at this size, by its share of wasted products and
    /// of idle multiprocessors.
    #[must_use]
    pub fn in_auto_pool(&self, op: &Operation, n_out: usize) -> bool {
        self.applies(op)
            && match self.family {
                Family::Mask(mask) => mask.in_auto_pool(op, n_out),
                Family::Wgmma(wgmma) => wgmma.in_auto_pool(op, n_out),
                Family::Resident(resident) => resident.in_auto_pool(op, n_out),
                Family::Packed(_) => true,
                Family::Pair(pair) => pair.in_auto_pool(op),
                Family::WgmmaPair(wgrad) => wgrad.in_auto_pool(op),
                Family::Implicit(implicit) => implicit.in_auto_pool(op),
                Family::Explicit(_) => true,
            }
    }

    /// Whether it may be chosen where nothing was measured, and so nothing verified. cuBLAS was seen to
    /// give wrong results for some sizes, and fewer chunks of pairs than the default's make longer
    /// sums, which lose accuracy on large maps.
    #[must_use]
    pub fn is_safe_unverified(&self, op: &Operation) -> bool {
        match self.family {
            Family::Explicit(_) => false,
            Family::Pair(pair) => pair.split >= PairGemm::default_for(op).split,
            _ => true,
        }
    }

    /// Whether it needs cuBLAS, which a machine with only a driver lacks.
    #[must_use]
    pub const fn requires_cublas(&self) -> bool {
        matches!(self.family, Family::Explicit(_))
    }

    /// Whether this architecture has its instructions, and shared memory for a block and, where an instance is cut
    /// for all that there is, not for more.
    #[must_use]
    pub fn fits(&self, op: &Operation, capability: ComputeCapability) -> bool {
        let suits = match self.family {
            Family::Wgmma(_) | Family::WgmmaPair(_) => WgmmaGemm::runs_on(capability),
            Family::Resident(resident) => resident.is_cut_for(shared_bytes_a_block(capability)),
            _ => true,
        };
        capability.is_supported()
            && suits
            && is_countable(op)
            && self.shared_bytes(op) <= shared_bytes_a_block(capability)
    }

    /// Dynamic shared memory of a block.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn shared_bytes(&self, op: &Operation) -> usize {
        match self.family {
            Family::Mask(mask) => mask.shared_bytes(op),
            Family::Wgmma(wgmma) => wgmma.shared_bytes(),
            Family::Resident(resident) => resident.shared_bytes(op),
            Family::Packed(packed) => packed.shared_bytes(op),
            Family::Pair(pair) => pair.shared_bytes(),
            Family::WgmmaPair(wgrad) => wgrad.shared_bytes(),
            Family::Implicit(_) | Family::Explicit(_) => 0,
        }
    }

    /// The row order that a launch of forward or dgrad reads.
    #[must_use]
    pub const fn row_order(&self) -> RowOrder {
        match self.family {
            Family::Mask(mask) => mask.order,
            Family::Wgmma(wgmma) => wgmma.order,
            Family::Resident(resident) => resident.order,
            _ => RowOrder::Natural,
        }
    }

    /// Scratch memory that a launch over this map needs. Waits for the map's counts only if they
    /// matter.
    ///
    /// # Units
    /// Bytes.
    ///
    /// # Errors
    /// As [`DeviceKernelMap::counts`].
    pub fn workspace_bytes_for(&self, op: &Operation, map: &DeviceKernelMap) -> Result<usize> {
        if op.direction == Direction::Wgrad || self.requires_cublas() {
            return Ok(self.workspace_bytes(op, map.counts()?));
        }
        let rows = MapCounts { n_in: map.n_in(), n_out: map.n_out(), pairs: Vec::new() };
        Ok(self.workspace_bytes(op, &rows))
    }

    /// Scratch memory that a launch needs. Forward and dgrad without cuBLAS depend on rows alone.
    /// [`usize::MAX`] of channels that no algorithm computes.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        if !is_countable(op) {
            return usize::MAX;
        }
        match self.family {
            Family::Resident(_) | Family::Packed(_) => 0,
            Family::Mask(mask) => splits::workspace_bytes(op, counts, mask.splits),
            Family::Wgmma(wgmma) => splits::workspace_bytes(op, counts, wgmma.splits),
            Family::Pair(pair) => pair.workspace_bytes(op, counts),
            Family::WgmmaPair(wgrad) => wgrad.workspace_bytes(op, counts),
            Family::Implicit(implicit) => implicit.workspace_bytes(op, counts),
            Family::Explicit(explicit) => explicit.workspace_bytes(op, counts),
        }
    }

    /// What a launch asks of a device; `None` for a family whose geometry is not described, and of
    /// channels that no algorithm computes.
    #[must_use]
    pub fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        if !is_countable(op) {
            return None;
        }
        match self.family {
            Family::Mask(mask) => Some(mask.tile(op, rates).work(op, size, rates)),
            Family::Wgmma(wgmma) => Some(wgmma.tile().work(op, size, rates)),
            Family::Pair(pair) => Some(pair.tile(op, rates).work(op, size, rates)),
            Family::Implicit(implicit) if op.direction == Direction::Wgrad => {
                Some(implicit.pair_tile(op).work(op, size, rates))
            }
            Family::Implicit(implicit) => Some(implicit.row_tile(op).work(op, size, rates)),
            Family::Explicit(explicit) => Some(explicit.work(op, size)),
            Family::Resident(resident) => Some(resident.tile(op).work(op, size, rates)),
            Family::Packed(packed) => Some(packed.work(op, size, rates)),
            Family::WgmmaPair(wgrad) => Some(wgrad.tile(op).work(op, size, rates)),
        }
    }

    /// What the family's [`Work`] is timed by; `None` for a family that nothing was fitted for.
    #[must_use]
    pub const fn cost_constants(&self, op: &Operation) -> Option<Constants> {
        let wgrad = matches!(op.direction, Direction::Wgrad);
        match self.family {
            Family::Mask(_) => Some(model::MASK),
            Family::Wgmma(_) => Some(model::WGMMA),
            Family::Pair(_) => Some(model::PAIR),
            Family::Implicit(_) if wgrad => Some(model::IMPLICIT_WGRAD),
            Family::Implicit(_) => Some(model::IMPLICIT),
            Family::Explicit(_) if wgrad => Some(model::EXPLICIT_WGRAD),
            Family::Explicit(_) => Some(model::EXPLICIT),
            Family::Resident(_) => Some(model::RESIDENT),
            Family::Packed(_) => Some(model::PACKED),
            Family::WgmmaPair(_) => Some(model::WGMMA_WGRAD),
        }
    }

    /// Whether it is the [`default_algorithm`] of this operation.
    #[must_use]
    pub fn is_default(&self, op: &Operation) -> bool {
        self.family == default_family(op)
    }

    /// The instance that computes this operation; `None` if the algorithm does not apply.
    #[must_use]
    pub fn instance(&self, op: &Operation) -> Option<Instance> {
        self.applies(op).then(|| match self.family {
            Family::Mask(mask) => mask.instance(op),
            Family::Wgmma(wgmma) => wgmma.instance(op),
            Family::Resident(resident) => resident.instance(op),
            Family::Packed(packed) => packed.instance(op),
            Family::Pair(pair) => pair.instance(op),
            Family::WgmmaPair(wgrad) => wgrad.instance(op),
            Family::Implicit(implicit) => implicit.instance(op),
            Family::Explicit(explicit) => explicit.instance(op),
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// Every algorithm, the same on every device.
#[must_use]
pub fn algorithms() -> &'static [Algorithm] {
    static ALL: LazyLock<Vec<Algorithm>> = LazyLock::new(|| {
        let named = |id: AlgoId, family| Algorithm { id, family };
        let mut all = vec![named(ExplicitGemm::id(), Family::Explicit(ExplicitGemm))];
        all.extend(
            ImplicitGemm::ALL
                .iter()
                .map(|implicit| named(implicit.id(), Family::Implicit(*implicit))),
        );
        all.extend(MaskGemm::all().map(|mask| named(mask.id(), Family::Mask(mask))));
        all.extend(WgmmaGemm::all().map(|wgmma| named(wgmma.id(), Family::Wgmma(wgmma))));
        all.extend(ResidentGemm::all().map(|one| named(one.id(), Family::Resident(one))));
        all.extend(PackedGemm::all().map(|one| named(one.id(), Family::Packed(one))));
        all.extend(PairGemm::all().map(|pair| named(pair.id(), Family::Pair(pair))));
        all.extend(WgmmaWgrad::all().map(|wgrad| named(wgrad.id(), Family::WgmmaPair(wgrad))));
        all
    });
    &ALL
}

/// The algorithm of an id.
#[must_use]
pub fn algorithm(id: &AlgoId) -> Option<&'static Algorithm> {
    algorithms().iter().find(|algorithm| algorithm.id == *id)
}

/// What runs where nothing is known: right for every size, never cuBLAS, no more shared memory than every
/// architecture has, and at most the row order that keeps gathers near.
#[must_use]
pub fn default_algorithm(op: &Operation) -> &'static Algorithm {
    let family = default_family(op);
    let mut all = algorithms().iter();
    all.find(|algorithm| algorithm.family == family)
        .expect("defaults are listed, which a test checks")
}

fn default_family(op: &Operation) -> Family {
    let odd = !op.c_in.is_multiple_of(2) || !op.c_out.is_multiple_of(2);
    if op.dtype == DType::Float32 || odd || !is_countable(op) {
        Family::Implicit(ImplicitGemm::default_for(op))
    } else if op.direction == Direction::Wgrad {
        Family::Pair(PairGemm::default_for(op))
    } else {
        Family::Mask(MaskGemm::default_for(op))
    }
}

/// What computes an operation where neither a measurement nor the default can run: it takes any
/// channels, by an instance of its own at worst.
///
/// # Panics
/// Never: it is listed, which a test checks.
#[must_use]
pub fn fallback_algorithm() -> &'static Algorithm {
    algorithm(&ImplicitGemm::FALLBACK.id()).expect("it is listed, which a test checks")
}

/// Shared memory that a block may have. From the CUDA programming guide's table of compute
/// capabilities.
fn shared_bytes_a_block(capability: ComputeCapability) -> usize {
    let kib = match (capability.major, capability.minor) {
        (8, 0 | 7) => 163,
        (8, _) | (12, _) => 99,
        (9.., _) => 227,
        _ => 48,
    };
    kib * 1024
}

/// Copy instructions that bring a tile of so many elements, by [`copy_elements`] of a tensor's channels
/// or fewer.
fn copies(elements: u32, channels: u32, most: u32) -> u32 {
    elements / copy_elements(channels).min(most)
}

/// Blocks that fit on a multiprocessor beside each other: by registers, shared memory and threads.
fn resident_blocks(rates: &Rates, by_registers: u32, shared_bytes: usize, threads: u32) -> u32 {
    /// What the driver keeps of each block's shared memory.
    const RESERVED_BYTES: usize = 1024;
    let by_shared = rates.shared_bytes / (shared_bytes + RESERVED_BYTES);
    by_registers.min(by_shared as u32).min(rates.threads / threads).max(1)
}

/// Elements of one copy: the most of 8, 4, 2 and 1 that divides the channels.
const fn copy_elements(channels: u32) -> u32 {
    let power = 1 << channels.trailing_zeros();
    if power > 8 { 8 } else { power }
}

/// Elements of shared memory a line of a tile takes: a line that is no power of two is padded to an
/// odd number of 16-byte chunks.
const fn line_bytes(elements: u32) -> usize {
    let chunks = elements as usize / 8;
    16 * if chunks.is_power_of_two() || chunks % 2 == 1 { chunks } else { chunks + 1 }
}

/// Blocks a multiprocessor that leave each thread the registers for these accumulators.
const fn min_blocks(threads: u32, accumulators: u32) -> u32 {
    let registers = if accumulators >= 96 { accumulators + 80 } else { accumulators + 64 };
    let blocks = 65_536 / (threads * registers);
    if blocks == 0 { 1 } else { blocks }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use voxtune_types::KernelSize;

    use super::*;

    fn operations() -> impl Iterator<Item = Operation> {
        let channels = [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 16, 20, 32, 33, 48, 64, 96, 128, 192, 256, 384, 512,
        ];
        Direction::ALL.into_iter().flat_map(move |direction| {
            DType::ALL.into_iter().flat_map(move |dtype| {
                channels.into_iter().flat_map(move |c_in| {
                    channels.into_iter().flat_map(move |c_out| {
                        [1, 3, 5].into_iter().map(move |extent| {
                            let kernel = KernelSize::submanifold(extent).unwrap();
                            Operation::submanifold(direction, dtype, c_in, c_out, kernel)
                        })
                    })
                })
            })
        })
    }

    #[test]
    fn ids_are_unique() {
        let ids: BTreeSet<&AlgoId> = algorithms().iter().map(Algorithm::id).collect();
        assert_eq!(ids.len(), algorithms().len());
    }

    #[test]
    fn every_operation_has_a_default_without_cublas() {
        for op in operations() {
            let default = default_algorithm(&op);
            assert!(default.applies(&op) && !default.requires_cublas(), "{op}: {default}");
            assert!(default.fits(&op, ComputeCapability { major: 8, minor: 6 }), "{op}: {default}");
            assert_ne!(default.row_order(), RowOrder::Global, "{op}: {default}");
            assert!(default.in_auto_pool(&op, 100_000), "{op}: {default}");
        }
    }

    /// One instance a direction, dtype and width of masks stands in for all channels.
    #[test]
    fn the_fallback_computes_everything_with_few_instances() {
        let mut instances = BTreeSet::new();
        for op in operations() {
            let own = fallback_algorithm().instance(&op).unwrap();
            assert!(fallback_algorithm().fits(&op, ComputeCapability { major: 8, minor: 6 }));
            instances.insert(own.for_any_channels().unwrap());
        }
        assert_eq!(instances.len(), 3 * 3 * 2);
    }

    #[test]
    fn sixteen_bit_operations_have_at_least_three_algorithms() {
        for op in operations().filter(|op| op.dtype != DType::Float32) {
            let families: BTreeSet<&str> = algorithms()
                .iter()
                .filter(|algorithm| algorithm.in_auto_pool(&op, 100_000))
                .map(|algorithm| algorithm.id().family())
                .collect();
            assert!(families.len() >= 3, "{op}: {families:?}");
        }
    }

    #[test]
    fn the_auto_pool_is_small() {
        for op in operations() {
            let pool = algorithms()
                .iter()
                .filter(|algorithm| algorithm.in_auto_pool(&op, 500_000))
                .count();
            assert!((2..=60).contains(&pool), "{op}: {pool}");
        }
    }

    #[test]
    fn an_instance_is_a_source_of_the_kernels() {
        for op in operations() {
            for algorithm in algorithms() {
                let instance = algorithm.instance(&op);
                assert_eq!(instance.is_some(), algorithm.applies(&op));
                if let Some(instance) = instance {
                    assert!(
                        voxtune_kernels::SOURCES
                            .iter()
                            .any(|source| source.name == instance.source)
                    );
                }
            }
        }
    }

    /// Kernels know neither stride nor which side of a map is which: what a layer of the same
    /// channels runs on inputs alone, it runs between two clouds.
    #[test]
    fn strided_and_transposed_layers_have_the_instances_of_submanifold_ones() {
        for op in operations() {
            for (stride, transposed) in [([2; 3], false), ([2, 1, 1], true), ([1; 3], true)] {
                let across = Operation { stride, transposed, ..op };
                for algorithm in algorithms() {
                    assert_eq!(algorithm.instance(&across), algorithm.instance(&op));
                }
                assert_eq!(default_algorithm(&across).id(), default_algorithm(&op).id());
            }
        }
    }

    #[test]
    fn copies_divide_the_channels() {
        assert_eq!([1, 2, 3, 4, 6, 8, 20, 24, 96].map(copy_elements), [1, 2, 1, 4, 2, 8, 4, 8, 8]);
    }
}
