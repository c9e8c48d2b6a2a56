//! `resident_gemm`: output-stationary implicit GEMM of few channels, all weights in shared memory.

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation};

use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{channels, copy_elements, shared_bytes_per_block};
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::RowOrder;
use crate::model::{Constants, MapSize, RESIDENT as COST, Rates, RowTile, Unit, Work};
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResidentGemm {
    /// Warps per block, which has an SM for itself.
    warps: u32,
    /// Shared memory of a block, for the weights and the rings: what the architecture has.
    kib: u32,
    order: RowOrder,
}

/// A block's warps, and the shared memory for its weights and rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    warps: u32,
    kib: u32,
}

/// Hopper's shared memory with two numbers of warps, the A100's, and the least there is. More warps
/// were always faster than longer rings.
const SHAPES: [Shape; 4] = [
    Shape { warps: 24, kib: 224 },
    Shape { warps: 16, kib: 224 },
    Shape { warps: 16, kib: 160 },
    Shape { warps: 8, kib: 96 },
];

/// Natural order multiplies several times as many absent rows as a sorted one; it never came near.
const ORDERS: [RowOrder; 2] = [RowOrder::Sorted, RowOrder::Global];

/// Positions per warp.
const ROWS: usize = 16;

/// More result channels are more sums than registers hold.
const MOST_RESULT: u32 = 96;

/// Gathered channels that a warp multiplies at a time.
const SLICE: u32 = 32;

/// Steps of a ring: two so that one is filled while the other is multiplied; more than eight are
/// not used up.
const STAGES: std::ops::RangeInclusive<u32> = 2..=8;

impl ResidentGemm {
    fn all() -> impl Iterator<Item = Self> {
        SHAPES
            .into_iter()
            .flat_map(|Shape { warps, kib }| ORDERS.map(|order| Self { warps, kib, order }))
    }

    /// Whether no listed shape makes more of so much shared memory.
    fn is_cut_for(self, shared_bytes: usize) -> bool {
        let fitting = SHAPES
            .iter()
            .map(|shape| shape.kib)
            .filter(|kib| (kib * 1024) as usize <= shared_bytes);
        fitting.max() == Some(self.kib)
    }

    /// The geometry behind its cost: each warp is a block of its own.
    fn row_tile(self, op: &Operation) -> RowTile {
        RowTile {
            rows: ROWS as u32,
            cols: channels(op).1.next_multiple_of(8),
            depth: SLICE,
            offsets: 1,
            skipped_rows: ROWS as u32,
            order: self.order,
            unit: Unit::Mma,
            threads: 32,
            resident: self.warps,
            copies: ROWS as u32 * SLICE / 8,
            reads: [1, 1],
            keeps_weights: true,
            splits: 1,
        }
    }

    /// Mirrors `WEIGHT_BYTES` of `resident_gemm.cu`.
    fn weight_bytes(op: &Operation) -> u32 {
        let (gathered, result) = channels(op);
        let weights = gathered.next_multiple_of(SLICE) * result.next_multiple_of(8);
        (op.kernel.volume() as u32 * 2).saturating_mul(weights)
    }

    /// Mirrors a step of `RING_BYTES`: one or two offsets of rows and four words.
    fn step_bytes(op: &Operation) -> u32 {
        let slices = channels(op).0.div_ceil(SLICE);
        let offsets = if slices < 3 { 2 } else { 1 };
        offsets * slices * ROWS as u32 * SLICE * 2 + 16
    }

    /// Steps of a warp's ring: what the weights leave room for.
    fn stages(self, op: &Operation) -> u32 {
        let left = (self.kib * 1024).saturating_sub(Self::weight_bytes(op));
        (left / (self.warps * Self::step_bytes(op))).min(*STAGES.end())
    }
}

impl Variant for ResidentGemm {
    fn id(&self) -> AlgoId {
        let params = [
            ("warps", &*self.warps.to_string()),
            ("kib", &self.kib.to_string()),
            ("order", self.order.as_str()),
        ];
        AlgoId::new("resident_gemm", &params).expect("parameters are words and numbers")
    }

    /// Offsets are the bits of one word, and weights fit beside nothing else.
    fn applies(&self, op: &Operation) -> bool {
        let (_, result) = channels(op);
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.kernel.volume() <= 32
            && result <= MOST_RESULT
            && self.stages(op) >= *STAGES.start()
    }

    /// Rows too few for a block on each SM do not repay bringing the weights, and one offset's
    /// weights are read once by any family.
    fn in_auto_pool(&self, op: &Operation, rows: usize, _rates: &Rates) -> bool {
        self.applies(op) && rows >= 4_096 && op.kernel.volume() > 1
    }

    /// Mirrors `SHARED_BYTES` of `resident_gemm.cu`.
    fn shared_bytes(&self, op: &Operation) -> usize {
        let rings = self.warps * self.stages(op) * Self::step_bytes(op);
        (Self::weight_bytes(op) + rings) as usize
    }

    fn instance(&self, op: &Operation) -> Instance {
        let (gathered, result) = channels(op);
        Instance::new(
            "resident_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("VOLUME", op.kernel.volume() as u32),
                ("DEPTH", gathered.next_multiple_of(SLICE)),
                ("COLS", result.next_multiple_of(8)),
                ("WARPS", self.warps),
                ("STAGES", self.stages(op)),
                ("VEC_A", copy_elements(gathered)),
                ("VEC_B", copy_elements(op.c_out)),
                ("VEC_Y", copy_elements(result)),
            ],
        )
    }

    fn suits(&self, capability: ComputeCapability) -> bool {
        self.is_cut_for(shared_bytes_per_block(capability))
    }

    fn row_order(&self) -> RowOrder {
        self.order
    }

    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        Some(self.row_tile(op).work(op, size, rates))
    }

    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        Some(COST)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        TileGemm::bind(*self, loaded, "resident_gemm")
    }
}

impl Tiles for ResidentGemm {
    fn order(self) -> RowOrder {
        self.order
    }

    /// As many blocks as stay on the device, each for many units of rows.
    fn grid(self, _op: &Operation, rows: usize, sms: usize) -> (usize, u32) {
        (rows.div_ceil(ROWS).div_ceil(self.warps as usize).min(sms), 1)
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(ResidentGemm::all())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    #[test]
    fn weights_decide_who_applies() {
        let applies = |c_in, c_out, extent| {
            let kernel = KernelSize::submanifold(extent).unwrap();
            let op =
                Operation::submanifold(Direction::Forward, DType::Float16, c_in, c_out, kernel);
            ResidentGemm::all().any(|one| one.applies(&op))
        };
        assert!(applies(3, 32, 3) && applies(32, 32, 3) && applies(96, 20, 3));
        assert!(!applies(64, 64, 3), "221,184 bytes leave no room for rings");
        assert!(!applies(96, 96, 3) && !applies(32, 32, 5));
    }
}
