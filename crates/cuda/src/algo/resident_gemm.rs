//! `resident_gemm`: output-stationary implicit GEMM of few channels, all weights in shared memory.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::copy_elements;
use super::mask_gemm::channels;
use crate::instance::{Instance, dtype_define};
use crate::map::RowOrder;
use crate::model::{RowTile, Unit};

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResidentGemm {
    /// Warps a block, which has a multiprocessor for itself.
    warps: u32,
    /// Shared memory of a block, for the weights and the rings: what the architecture has.
    kib: u32,
    pub(super) order: RowOrder,
}

/// (warps, KiB): Hopper's shared memory with two numbers of warps, the A100's, and the least there is. More warps
/// were always faster than longer rings.
const SHAPES: [(u32, u32); 4] = [(24, 224), (16, 224), (16, 160), (8, 96)];

/// Natural order multiplies several times as many absent rows as a sorted one; it never came near.
const ORDERS: [RowOrder; 2] = [RowOrder::Sorted, RowOrder::Global];

/// Positions a warp.
const ROWS: usize = 16;

/// More result channels are more sums than registers hold.
const MOST_RESULT: u32 = 96;

/// Gathered channels that a warp multiplies at a time.
const SLICE: u32 = 32;

/// Steps of a ring: two so that one is filled while the other is multiplied; more than eight are not used up.
const STAGES: std::ops::RangeInclusive<u32> = 2..=8;

impl ResidentGemm {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        SHAPES.into_iter().flat_map(|(warps, kib)| ORDERS.map(|order| Self { warps, kib, order }))
    }

    pub(super) fn id(self) -> AlgoId {
        let params = [
            ("warps", &*self.warps.to_string()),
            ("kib", &self.kib.to_string()),
            ("order", self.order.as_str()),
        ];
        AlgoId::new("resident_gemm", &params).expect("parameters are words and numbers")
    }

    /// Offsets are the bits of one word, and weights fit beside nothing else.
    pub(super) fn applies(self, op: &Operation) -> bool {
        let (_, result) = channels(op);
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.kernel.volume() <= 32
            && result <= MOST_RESULT
            && self.stages(op) >= *STAGES.start()
    }

    /// Rows too few for a block on each multiprocessor do not repay bringing the weights, and one offset's weights
    /// are read once whoever has them.
    pub(super) fn in_auto_pool(self, op: &Operation, n_out: usize) -> bool {
        self.applies(op) && n_out >= 4_096 && op.kernel.volume() > 1
    }

    /// Whether no listed shape makes more of so much shared memory.
    pub(super) fn is_cut_for(self, shared_bytes: usize) -> bool {
        let fitting =
            SHAPES.iter().map(|(_, kib)| *kib).filter(|kib| (kib * 1024) as usize <= shared_bytes);
        fitting.max() == Some(self.kib)
    }

    /// The geometry behind its cost: each warp is a block of its own.
    pub(super) fn tile(self, op: &Operation) -> RowTile {
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
        op.kernel.volume() as u32 * weights * 2
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

    /// Mirrors `SHARED_BYTES` of `resident_gemm.cu`.
    pub(super) fn shared_bytes(self, op: &Operation) -> usize {
        let rings = self.warps * self.stages(op) * Self::step_bytes(op);
        (Self::weight_bytes(op) + rings) as usize
    }

    pub(super) fn instance(self, op: &Operation) -> Instance {
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

    /// Blocks of a launch: as many as stay on the device, each for many units of rows.
    pub(super) fn resident_blocks(self, n: usize, multiprocessors: usize) -> usize {
        n.div_ceil(ROWS).div_ceil(self.warps as usize).min(multiprocessors)
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
