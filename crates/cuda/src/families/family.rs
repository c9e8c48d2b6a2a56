//! What a kernel family is: the one place that the rest of the crate knows families by.
//!
//! ```text
//! KernelFamily ── variants ──> Variant ── bind(loaded code) ──> Bound ── launch(operands)
//! ```
//!
//! A family is a source in `kernels/cuda` and a file beside this one. It is listed in
//! [`FAMILIES`](super::FAMILIES), and nowhere else.

use std::fmt;

use voxtune_types::{AlgoId, ComputeCapability, Direction, Operation};

use super::explicit_gemm::Cublas;
use super::operands::Operands;
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::instance::Instance;
use crate::map::{DeviceKernelMap, MapCounts, RowOrder, TilePlan};
use crate::model::{Constants, MapSize, Rates, Work};
use crate::module::LoadedInstance;

/// A kernel source with all parameters that it is compiled with.
pub(crate) trait KernelFamily: Sync {
    /// Every variant. Their order is permanent only as far as it breaks ties in a listing.
    fn variants(&self) -> Vec<Box<dyn Variant>>;

    /// Whether it computes operations of several groups, and those alone. All others compute one
    /// group.
    fn takes_groups(&self) -> bool {
        false
    }

    /// Which variant runs where nothing is known about an operation of as many groups as the family
    /// takes; `None` if that is another family's. Exactly one family names a variant, which a test
    /// checks.
    fn default_variant(&self, _op: &Operation) -> Option<usize> {
        None
    }

    /// The variant that computes any operation, by an instance of its own at worst; `None` for all
    /// families but one.
    fn fallback_variant(&self) -> Option<usize> {
        None
    }
}

/// A family with its parameters.
pub(crate) trait Variant: fmt::Debug + Send + Sync {
    /// The permanent id.
    fn id(&self) -> AlgoId;

    /// Whether it computes this operation, which has as many groups as its family takes and a
    /// volume that maps hold.
    fn applies(&self, op: &Operation) -> bool;

    /// Whether an architecture has its instructions and is what it was cut for. Shared memory is
    /// compared elsewhere.
    fn suits(&self, _capability: ComputeCapability) -> bool {
        true
    }

    /// Whether it has a chance on an operation that it computes, at this number of result rows.
    fn in_auto_pool(&self, op: &Operation, rows: usize, rates: &Rates) -> bool;

    /// Whether it may be chosen where nothing was measured, and so nothing verified.
    fn is_safe_unverified(&self, _op: &Operation) -> bool {
        true
    }

    /// Whether it needs cuBLAS, which a machine with only a driver lacks.
    fn requires_cublas(&self) -> bool {
        false
    }

    /// Whether launches are sized by the pairs of each offset, which the host then has to know.
    fn needs_pair_counts(&self, op: &Operation) -> bool {
        op.direction == Direction::Wgrad
    }

    /// What nvcc compiles for an operation.
    fn instance(&self, op: &Operation) -> Instance;

    /// Dynamic shared memory of a block, in bytes.
    fn shared_bytes(&self, _op: &Operation) -> usize {
        0
    }

    /// The row order that forward and dgrad read.
    fn row_order(&self) -> RowOrder {
        RowOrder::Natural
    }

    /// The plan of tiles that forward and dgrad read, on a device of so many SMs.
    fn tile_plan(&self, _op: &Operation, _sms: usize) -> Option<TilePlan> {
        None
    }

    /// Scratch memory of a launch, in bytes. Pairs are given only to those that
    /// [need them](Self::needs_pair_counts).
    fn workspace_bytes(&self, _op: &Operation, _counts: &MapCounts) -> usize {
        0
    }

    /// What a launch asks of a device; `None` where the geometry is not described.
    fn work(&self, _op: &Operation, _size: MapSize, _rates: &Rates) -> Option<Work> {
        None
    }

    /// What the family's [`Work`] is timed by; `None` if nothing was fitted.
    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        None
    }

    /// Finds the kernels of an operation in its loaded instance.
    ///
    /// # Errors
    /// If the code lacks a kernel, or takes other parameters than the host passes.
    fn bind(&self, op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>>;
}

/// Variants as a family lists them.
pub(super) fn boxed<V: Variant + 'static>(all: impl Iterator<Item = V>) -> Vec<Box<dyn Variant>> {
    all.map(|variant| Box::new(variant) as Box<dyn Variant>).collect()
}

/// A variant with its kernels loaded for one operation, for every execution context.
pub(crate) trait Bound: fmt::Debug + Send + Sync {
    /// Queues the product.
    ///
    /// # Errors
    /// Whatever the map or the driver fails with.
    fn launch(&self, launch: Launch<'_, '_>) -> Result<()>;

    /// Dynamic shared memory of a block, as the compiled instance says, in bytes; `None` for a
    /// family that leaves this to a library.
    fn compiled_shared_bytes(&self) -> Option<u32>;
}

/// One call: operands that were checked, and a workspace that is large enough.
pub(crate) struct Launch<'a, 'b> {
    /// Where it is queued.
    pub(crate) device: &'a CudaDevice,
    pub(crate) op: &'a Operation,
    pub(crate) map: &'a DeviceKernelMap,
    pub(crate) operands: &'a mut Operands<'b>,
    pub(crate) workspace: &'a mut DeviceBuffer,
    /// Address of two counters that are zero between launches.
    pub(crate) scheduler: u64,
    /// The context's handle of cuBLAS, if the variant [needs](Variant::requires_cublas) one.
    pub(crate) cublas: Option<&'a Cublas>,
}
