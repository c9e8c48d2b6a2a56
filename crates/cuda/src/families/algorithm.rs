//! What an algorithm of a GPU is to its callers: a variant of a family, under its permanent id.

use std::fmt;

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation};

use super::countable::is_countable;
use super::family::Variant;
use super::geometry::shared_bytes_per_block;
use super::{FAMILIES, default_of, takes};
use crate::error::Result;
use crate::instance::Instance;
use crate::map::{DeviceKernelMap, MapCounts, MapPart, RowOrder, TilePlan};
use crate::model::{Constants, Correction, Described, MapSize, Rates, UNFITTED, Work};

/// A kernel family with its parameters, under its permanent id.
#[derive(Debug)]
pub struct Algorithm {
    pub(super) id: AlgoId,
    /// The family's place in [`FAMILIES`], and the variant's in the family.
    pub(super) place: (usize, usize),
    pub(super) variant: Box<dyn Variant>,
}

impl Algorithm {
    /// The permanent id.
    #[must_use]
    pub const fn id(&self) -> &AlgoId {
        &self.id
    }

    pub(crate) fn variant(&self) -> &dyn Variant {
        &*self.variant
    }

    /// Whether the algorithm computes this operation at all.
    #[must_use]
    pub fn applies(&self, op: &Operation) -> bool {
        // Kernels read row maps and pair lists, whatever layer these are of, and rows at any pitch.
        self.can_count(op) && self.variant.applies(op)
    }

    /// Whether the family takes such groups, and its kernels can count what the operation has.
    fn can_count(&self, op: &Operation) -> bool {
        takes(FAMILIES[self.place.0], op) && op.has_whole_groups() && is_countable(op)
    }

    /// Whether it has a chance on this operation at this size, by its share of wasted products and
    /// of idle SMs.
    #[must_use]
    pub fn in_auto_pool(&self, op: &Operation, rows: usize, rates: &Rates) -> bool {
        self.applies(op) && self.variant.in_auto_pool(op, rows, rates)
    }

    /// How long a launch takes on a cold cache, as far as a model can say. `None` for what it does
    /// not describe: float32, and families without constants.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn modelled_ns(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<f64> {
        if op.dtype == DType::Float32 {
            return None;
        }
        Some(self.work(op, size, rates)?.time_ns(rates, &self.cost_constants(op)?))
    }

    /// A launch as a [`Correction`] sees it; `None` for what no model describes.
    #[must_use]
    pub fn described(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Described> {
        if op.dtype == DType::Float32 {
            return None;
        }
        let constants = self.cost_constants(op).unwrap_or(UNFITTED);
        Described::of(op, size, rates, &self.work(op, size, rates)?, &constants)
    }

    /// [`Self::modelled_ns`] with what was learned of the algorithm on its architecture, if
    /// anything was.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn expected_ns(
        &self,
        op: &Operation,
        size: MapSize,
        rates: &Rates,
        correction: Option<&Correction>,
    ) -> Option<f64> {
        let learned = correction.and_then(|correction| {
            let Described { time_ns, features } = self.described(op, size, rates)?;
            Some(time_ns * correction.factor(&features))
        });
        learned.or_else(|| self.modelled_ns(op, size, rates))
    }

    /// Whether it may be chosen where nothing was measured, and so nothing verified.
    #[must_use]
    pub fn is_safe_unverified(&self, op: &Operation) -> bool {
        self.variant.is_safe_unverified(op)
    }

    /// Whether it needs cuBLAS, which a machine with only a driver lacks.
    #[must_use]
    pub fn requires_cublas(&self) -> bool {
        self.variant.requires_cublas()
    }

    /// Whether this architecture has its instructions, and shared memory for a block and, where an
    /// instance is cut for all that there is, not for more.
    #[must_use]
    pub fn fits(&self, op: &Operation, capability: ComputeCapability) -> bool {
        capability.is_supported()
            && self.variant.suits(capability)
            && self.can_count(op)
            && self.shared_bytes(op) <= shared_bytes_per_block(capability)
    }

    /// Dynamic shared memory of a block.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn shared_bytes(&self, op: &Operation) -> usize {
        self.variant.shared_bytes(op)
    }

    /// The row order that a launch of forward or dgrad reads.
    #[must_use]
    pub fn row_order(&self) -> RowOrder {
        self.variant.row_order()
    }

    /// The plan of tiles that a launch of forward or dgrad reads, on a device of so many SMs.
    #[must_use]
    pub fn tile_plan(&self, op: &Operation, sms: usize) -> Option<TilePlan> {
        self.variant.tile_plan(op, sms)
    }

    /// What a launch reads beyond the map's masks, on a device of so many SMs. What a part is made
    /// of comes before it.
    #[must_use]
    pub fn map_parts(&self, op: &Operation, sms: usize) -> Vec<MapPart> {
        if op.direction == Direction::Wgrad || self.requires_cublas() {
            return vec![MapPart::Pairs];
        }
        let plan = self.tile_plan(op, sms).map(MapPart::Plan);
        std::iter::once(MapPart::Order(self.row_order())).chain(plan).collect()
    }

    /// Whether launches are sized by the pairs of each offset, which the host then has to know.
    #[must_use]
    pub fn needs_pair_counts(&self, op: &Operation) -> bool {
        self.variant.needs_pair_counts(op)
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
        if self.needs_pair_counts(op) {
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
        if !self.can_count(op) {
            return usize::MAX;
        }
        self.variant.workspace_bytes(op, counts)
    }

    /// What a launch asks of a device; `None` for a family whose geometry is not described, and of
    /// channels that no algorithm computes.
    #[must_use]
    pub fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        if !self.can_count(op) {
            return None;
        }
        self.variant.work(op, size, rates)
    }

    /// What the family's [`Work`] is timed by; `None` for a family that nothing was fitted for.
    #[must_use]
    pub fn cost_constants(&self, op: &Operation) -> Option<Constants> {
        self.variant.cost_constants(op)
    }

    /// Whether it is the [`default_algorithm`](super::default_algorithm) of this operation.
    #[must_use]
    pub fn is_default(&self, op: &Operation) -> bool {
        let (family, variant) = self.place;
        default_of(FAMILIES[family], op) == Some(variant)
    }

    /// The instance that computes this operation; `None` if the algorithm does not apply.
    #[must_use]
    pub fn instance(&self, op: &Operation) -> Option<Instance> {
        self.applies(op).then(|| self.variant.instance(op))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}
