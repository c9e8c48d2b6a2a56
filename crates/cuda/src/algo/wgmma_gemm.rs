//! `wgmma_gemm`: output-stationary implicit GEMM by Hopper's warpgroup instructions.

use voxtune_shape::{AlgoId, ComputeCapability, DType, Direction, Operation};

use super::mask_gemm::channels;
use super::tensor_map::WeightsBox;
use crate::instance::{Instance, dtype_define};
use crate::map::{RowOrder, mask_words};
use crate::model::{RowTile, Unit};

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WgmmaGemm {
    /// Result rows a block.
    rows: u32,
    /// Result channels a block.
    cols: u32,
    /// Gathered channels a stage.
    depth: u32,
    /// Stages in shared memory.
    stages: u32,
    /// Multiplying warpgroups.
    groups: u32,
    /// Blocks a multiprocessor.
    blocks: u32,
    pub(super) order: RowOrder,
}

/// (rows, cols, depth, stages, groups, blocks). What was never near the best in a ranking is not listed.
const TILES: [(u32, u32, u32, u32, u32, u32); 11] = [
    (128, 32, 32, 4, 1, 3),
    (256, 48, 48, 4, 2, 1),
    (128, 48, 48, 4, 1, 2),
    (128, 64, 64, 4, 1, 2),
    (128, 64, 64, 3, 2, 2),
    (256, 96, 32, 8, 2, 1),
    (128, 96, 32, 6, 1, 2),
    (256, 128, 64, 4, 2, 1),
    (128, 128, 64, 3, 1, 2),
    (128, 192, 64, 5, 2, 1),
    (128, 256, 64, 4, 2, 1),
];

/// Natural order multiplies several times as many absent rows as a sorted one; nothing here beats it there.
const ORDERS: [RowOrder; 2] = [RowOrder::Sorted, RowOrder::Global];

impl WgmmaGemm {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TILES.into_iter().flat_map(|(rows, cols, depth, stages, groups, blocks)| {
            ORDERS.map(|order| Self { rows, cols, depth, stages, groups, blocks, order })
        })
    }

    pub(super) fn id(self) -> AlgoId {
        let params = [
            ("rows", &*self.rows.to_string()),
            ("cols", &self.cols.to_string()),
            ("depth", &self.depth.to_string()),
            ("stages", &self.stages.to_string()),
            ("groups", &self.groups.to_string()),
            ("blocks", &self.blocks.to_string()),
            ("order", self.order.as_str()),
        ];
        AlgoId::new("wgmma_gemm", &params).expect("parameters are words and numbers")
    }

    /// Copies are of eight elements.
    pub(super) fn applies(self, op: &Operation) -> bool {
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(8)
            && op.c_out.is_multiple_of(8)
    }

    /// Hopper alone has the instructions.
    pub(super) const fn runs_on(capability: ComputeCapability) -> bool {
        capability.major == 9 && capability.minor == 0
    }

    /// Tiles whose padded products stay within a quarter of the least possible.
    pub(super) fn in_auto_pool(self, op: &Operation, n_out: usize) -> bool {
        let (gathered, result) = channels(op);
        let padded = |cols: u32, depth: u32| {
            gathered.next_multiple_of(depth) * result.next_multiple_of(cols)
        };
        let wide_enough = |cols: u32| cols * 2 > result.min(256) || cols >= 128;
        let least = TILES
            .iter()
            .filter(|(_, cols, ..)| wide_enough(*cols))
            .map(|(_, cols, depth, ..)| padded(*cols, *depth))
            .min()
            .unwrap_or(0);
        let tiles = n_out.div_ceil(self.rows as usize) * result.div_ceil(self.cols) as usize;
        wide_enough(self.cols)
            && padded(self.cols, self.depth) * 4 <= least * 5
            && (self.rows <= 128 || tiles >= 64)
    }

    /// The geometry behind its cost. One warpgroup copies, a row of 16 bytes a copy.
    pub(super) const fn tile(self) -> RowTile {
        RowTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            skipped_rows: 64,
            order: self.order,
            unit: Unit::Wgmma,
            threads: 128,
            resident: self.blocks,
            copies: self.rows * self.depth / 8,
            reads: [1, self.rows / 64],
            keeps_weights: false,
        }
    }

    #[cfg(test)]
    const fn threads(self) -> u32 {
        (1 + self.groups) * 128
    }

    /// Mirrors `SHARED_BYTES` of `wgmma_gemm.cu`.
    pub(super) const fn shared_bytes(self) -> usize {
        let stage = ((self.rows + self.cols) * self.depth * 2).next_multiple_of(1024);
        let strip = match self.cols {
            cols if cols.is_multiple_of(64) => 64,
            cols if cols.is_multiple_of(48) => 48,
            cols if cols.is_multiple_of(32) => 32,
            _ => 16,
        };
        let zeros = 128;
        let words = self.stages * (1 + self.rows / 32) * 4;
        let ring = self.stages * stage + self.groups * 4 * 16 * (strip + 8) * 2;
        let next_tiles = 2 * 4;
        let barriers = 2 * self.stages * 8;
        ((ring + zeros + words + next_tiles).next_multiple_of(8) + barriers) as usize
    }

    /// The panel of weights that one call of the copy engine brings. Mirrors `WIDTH_B` and `LINES_B`.
    pub(super) const fn weights_box(self, direction: Direction) -> WeightsBox {
        const fn panel_width(extent: u32) -> u32 {
            if extent.is_multiple_of(64) {
                64
            } else if extent.is_multiple_of(32) {
                32
            } else {
                16
            }
        }
        match direction {
            Direction::Dgrad => WeightsBox { width: panel_width(self.depth), lines: self.cols },
            Direction::Forward | Direction::Wgrad => {
                WeightsBox { width: panel_width(self.cols), lines: self.depth }
            }
        }
    }

    pub(super) fn instance(self, op: &Operation) -> Instance {
        let mut instance = Instance::new(
            "wgmma_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("ROWS", self.rows),
                ("COLS", self.cols),
                ("DEPTH", self.depth),
                ("STAGES", self.stages),
                ("GROUPS", self.groups),
                ("MIN_BLOCKS", self.blocks),
                ("MASK_WORDS", mask_words(op.kernel.volume()) as u32),
            ],
        );
        instance.hopper = true;
        instance
    }

    /// Blocks of a launch: as many as stay on the device, each for many tiles.
    pub(super) fn resident_blocks(self, op: &Operation, n: usize, multiprocessors: usize) -> usize {
        let (_, result) = channels(op);
        let tiles = n.div_ceil(self.rows as usize) * result.div_ceil(self.cols) as usize;
        tiles.min(multiprocessors * self.blocks as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nvcc is told, the kernel demands: whole warpgroups, rows that a lane can ask for, and shared memory for as many blocks as are
    /// promised a multiprocessor.
    #[test]
    fn tiles_are_what_the_kernel_can_be() {
        const A_MULTIPROCESSOR: usize = 228 * 1024;
        const A_BLOCKS_OWN: usize = 1024;
        for tile in WgmmaGemm::all() {
            assert!(tile.rows.is_multiple_of(128) && tile.rows.is_multiple_of(64 * tile.groups));
            assert!(tile.cols.is_multiple_of(16) && tile.depth.is_multiple_of(16));
            assert!(tile.threads() * tile.blocks <= 2048, "{}", tile.id());
            let blocks = tile.blocks as usize * (tile.shared_bytes() + A_BLOCKS_OWN);
            assert!(blocks <= A_MULTIPROCESSOR, "{}: {blocks}", tile.id());
        }
    }
}
