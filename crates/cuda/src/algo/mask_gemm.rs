//! `mask_gemm`: output-stationary implicit GEMM on tensor cores.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::splits::{self, LEAST_CHANNELS};
use super::{copies, copy_elements, line_bytes, min_blocks, resident_blocks};
use crate::instance::{Instance, dtype_define};
use crate::map::{RowOrder, mask_words};
use crate::model::{Rates, RowTile, Unit};

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaskGemm {
    /// Result rows a block.
    rows: u32,
    /// Result channels a block.
    cols: u32,
    /// Gathered channels a step.
    depth: u32,
    /// Steps in shared memory.
    stages: u32,
    /// Result rows a warp: 64 read shared memory less often, 32 skip more.
    warp: u32,
    /// Parts into which each block's offsets are cut; 1 leaves them whole.
    pub(super) splits: u32,
    pub(super) order: RowOrder,
}

/// (rows, cols, depth, stages, warp). Narrow results take deep steps where shared memory allows;
/// wide ones take many rows, so that weights are read from the second-level cache less often.
const TILES: [(u32, u32, u32, u32, u32); 20] = [
    (64, 16, 32, 4, 32),
    (64, 32, 32, 4, 32),
    (128, 32, 16, 4, 32),
    (128, 32, 32, 4, 32),
    (128, 48, 16, 4, 32),
    (128, 48, 48, 3, 32),
    (64, 64, 32, 4, 32),
    (128, 64, 16, 4, 32),
    (128, 64, 32, 4, 32),
    (128, 64, 64, 3, 32),
    (256, 64, 32, 4, 32),
    (128, 96, 16, 4, 32),
    (128, 96, 32, 4, 32),
    (128, 96, 48, 3, 32),
    (64, 128, 32, 4, 32),
    (128, 128, 16, 4, 32),
    (128, 128, 32, 4, 32),
    (128, 128, 64, 3, 32),
    (128, 128, 64, 3, 64),
    (128, 256, 32, 4, 64),
];

/// Parts that blocks are cut into, and the tiles that are. Few rows are one segment, so one order does.
const SPLITS: [u32; 3] = [2, 4, 8];
const SPLIT_TILES: [(u32, u32, u32, u32, u32); 4] =
    [(128, 64, 32, 4, 32), (64, 128, 32, 4, 32), (128, 128, 32, 4, 32), (128, 128, 64, 3, 64)];

impl MaskGemm {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let whole = TILES.into_iter().flat_map(|tile| RowOrder::ALL.map(|order| (tile, 1, order)));
        let cut = SPLIT_TILES
            .into_iter()
            .flat_map(|tile| SPLITS.map(|splits| (tile, splits, RowOrder::Global)));
        whole.chain(cut).map(|((rows, cols, depth, stages, warp), splits, order)| Self {
            rows,
            cols,
            depth,
            stages,
            warp,
            splits,
            order,
        })
    }

    pub(super) fn id(self) -> AlgoId {
        let numbers = [
            ("rows", self.rows),
            ("cols", self.cols),
            ("depth", self.depth),
            ("stages", self.stages),
            ("warp", self.warp),
        ];
        splits::id("mask_gemm", &numbers, self.order, self.splits)
    }

    /// A single offset cannot be cut.
    pub(super) fn applies(self, op: &Operation) -> bool {
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && (self.splits == 1 || op.kernel.volume() > 1)
    }

    /// Tiles whose padded products stay within a quarter of the least possible.
    pub(super) fn in_auto_pool(self, op: &Operation, n_out: usize) -> bool {
        let (gathered, result) = channels(op);
        let wide_enough = |rows: u32, cols: u32, depth: u32| {
            // A narrow tile gathers the rows once more for each column of tiles; a shallow one
            // synchronises more often.
            let narrow = cols < 128 && cols * 2 < result.min(256);
            let shallow = depth == 16 && gathered > 32;
            // A tile that leaves most multiprocessors idle loses to one of half its rows.
            let blocks = n_out.div_ceil(rows as usize) * result.div_ceil(cols) as usize;
            !narrow && !shallow && (rows <= 128 || blocks >= 64)
        };
        let padded = |cols: u32, depth: u32| {
            gathered.next_multiple_of(depth) * result.next_multiple_of(cols)
        };
        let usable =
            TILES.iter().filter(|(rows, cols, depth, ..)| wide_enough(*rows, *cols, *depth));
        let least = usable.map(|(_, cols, depth, ..)| padded(*cols, *depth)).min().unwrap_or(0);
        wide_enough(self.rows, self.cols, self.depth)
            && padded(self.cols, self.depth) * 4 <= least * 5
            && (self.splits == 1 || self.is_worth_cutting(op, n_out))
    }

    /// Whether chains are long, and too few to fill a device but for being cut.
    fn is_worth_cutting(self, op: &Operation, n: usize) -> bool {
        let (gathered, _) = channels(op);
        let tiles = self.blocks(op, n) * self.splits as usize;
        gathered >= LEAST_CHANNELS && splits::fill_a_wave(tiles, self.min_blocks(), self.splits)
    }

    pub(super) fn default_for(op: &Operation) -> Self {
        let (gathered, result) = channels(op);
        let (rows, cols, depth, stages) = match result {
            _ if gathered <= 16 => (128, 32, 16, 4),
            0..=16 => (64, 16, 32, 4),
            17..=32 => (128, 32, 32, 4),
            33..=48 => (128, 48, 16, 4),
            49..=64 => (128, 64, 32, 4),
            65..=96 => (128, 96, 32, 4),
            _ => (128, 128, 32, 4),
        };
        let listed = |order| Self { rows, cols, depth, stages, warp: 32, splits: 1, order };
        // Measured 1.5 to 2.7 times faster than the natural order, and made once a map.
        let chosen = listed(RowOrder::Sorted);
        let fits = |tile: &Self| tile.in_auto_pool(op, usize::MAX / 2048);
        if fits(&chosen) {
            return chosen;
        }
        let sorted = Self::all().filter(|tile| tile.order == RowOrder::Sorted);
        sorted.filter(fits).min_by_key(|tile| (tile.shared_bytes(op), tile.rows)).unwrap_or(chosen)
    }

    /// Rows and columns of a warp's tile.
    const fn warp_tile(self) -> (u32, u32) {
        (self.warp, if self.cols.is_multiple_of(64) { 64 } else { self.cols })
    }

    const fn threads(self) -> u32 {
        let (rows, cols) = self.warp_tile();
        (self.rows / rows) * (self.cols / cols) * 32
    }

    /// Blocks a multiprocessor for which the compiler leaves registers.
    const fn min_blocks(self) -> u32 {
        let (warp_rows, warp_cols) = self.warp_tile();
        min_blocks(self.threads(), warp_rows * warp_cols / 32)
    }

    /// The geometry behind its cost.
    pub(super) fn tile(self, op: &Operation, rates: &Rates) -> RowTile {
        let (warp_rows, warp_cols) = self.warp_tile();
        let (gathered, _) = channels(op);
        let shared = self.shared_bytes(op);
        RowTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            offsets: 1,
            skipped_rows: warp_rows,
            order: self.order,
            unit: Unit::Mma,
            threads: self.threads(),
            resident: resident_blocks(rates, self.min_blocks(), shared, self.threads()),
            copies: copies(self.rows * self.depth, gathered, 8)
                + copies(self.cols * self.depth, op.c_out, 8),
            reads: [self.cols / warp_cols, self.rows / warp_rows],
            keeps_weights: false,
            splits: self.splits,
        }
    }

    /// Mirrors `SHARED_BYTES` of `mask_gemm_stages.cuh`.
    pub(super) fn shared_bytes(self, op: &Operation) -> usize {
        let (rows, cols, depth, stages) =
            (self.rows as usize, self.cols as usize, self.depth as usize, self.stages as usize);
        let words = mask_words(op.kernel.volume());
        let weights = if op.direction == Direction::Dgrad {
            line_bytes(self.depth) * cols
        } else {
            line_bytes(self.cols) * depth
        };
        let stage = line_bytes(self.depth) * rows + weights;
        let ring = (stages * stage).max(rows * (cols + 8) * 2);
        let index = 2 * stages * rows * 4;
        let masks = (rows + rows / 16 + 1) * words * 4;
        ring + 256 + index + masks + 16 + 128
    }

    pub(super) fn instance(self, op: &Operation) -> Instance {
        let (warp_rows, warp_cols) = self.warp_tile();
        let (gathered, result) = channels(op);
        let mut instance = Instance::new(
            "mask_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("ROWS", self.rows),
                ("COLS", self.cols),
                ("DEPTH", self.depth),
                ("STAGES", self.stages),
                ("WARP_ROWS", warp_rows),
                ("WARP_COLS", warp_cols),
                ("MASK_WORDS", mask_words(op.kernel.volume()) as u32),
                ("VEC_A", copy_elements(gathered)),
                ("VEC_B", copy_elements(op.c_out)),
                ("VEC_Y", copy_elements(result)),
                ("MIN_BLOCKS", self.min_blocks()),
            ],
        );
        // One instance for any number of parts.
        if self.splits > 1 {
            instance.defines.push(("SPLIT", 1));
        }
        instance
    }

    /// Blocks of a launch, of each part.
    pub(super) fn blocks(self, op: &Operation, n: usize) -> usize {
        let (_, result) = channels(op);
        n.div_ceil(self.rows as usize) * result.div_ceil(self.cols) as usize
    }
}

/// Gathered and result channels.
pub(crate) const fn channels(op: &Operation) -> (u32, u32) {
    match op.direction {
        Direction::Dgrad => (op.c_out, op.c_in),
        Direction::Forward | Direction::Wgrad => (op.c_in, op.c_out),
    }
}
