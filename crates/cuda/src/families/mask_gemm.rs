//! `mask_gemm`: output-stationary implicit GEMM on tensor cores.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::countable::is_countable;
use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{blocks_per_sm, channels, copies, copy_elements, line_bytes, min_blocks};
use super::splits::{self, LEAST_CHANNELS};
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::{MapCounts, RowOrder, mask_words};
use crate::model::{Constants, MASK as COST, MapSize, Rates, RowTile, Unit, Work};
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaskGemm {
    tile: Tile,
    /// Parts into which each block's offsets are cut; 1 leaves them whole.
    splits: u32,
    order: RowOrder,
}

/// Geometry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// Result rows per block.
    rows: u32,
    /// Result channels per block.
    cols: u32,
    /// Gathered channels per step.
    depth: u32,
    /// Steps in shared memory.
    stages: u32,
    /// Result rows per warp: 64 read shared memory less often, 32 skip more.
    warp: u32,
}

/// Narrow results take deep steps where shared memory allows; wide ones take many rows, so that
/// weights are read from L2 less often.
#[rustfmt::skip]
const TILES: [Tile; 20] = [
    Tile { rows: 64, cols: 16, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 64, cols: 32, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 32, depth: 16, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 32, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 48, depth: 16, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 48, depth: 48, stages: 3, warp: 32 },
    Tile { rows: 64, cols: 64, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 64, depth: 16, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 64, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 64, depth: 64, stages: 3, warp: 32 },
    Tile { rows: 256, cols: 64, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 96, depth: 16, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 96, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 96, depth: 48, stages: 3, warp: 32 },
    Tile { rows: 64, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 16, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 64, stages: 3, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 64, stages: 3, warp: 64 },
    Tile { rows: 128, cols: 256, depth: 32, stages: 4, warp: 64 },
];

/// Parts that blocks are cut into, and the tiles that are. Few rows are one segment, so one order
/// does.
const SPLITS: [u32; 3] = [2, 4, 8];
#[rustfmt::skip]
const SPLIT_TILES: [Tile; 4] = [
    Tile { rows: 128, cols: 64, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 64, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 64, stages: 3, warp: 64 },
];

impl MaskGemm {
    fn all() -> impl Iterator<Item = Self> {
        let whole = TILES.into_iter().flat_map(|tile| RowOrder::ALL.map(|order| (tile, 1, order)));
        let cut = SPLIT_TILES
            .into_iter()
            .flat_map(|tile| SPLITS.map(|splits| (tile, splits, RowOrder::Global)));
        whole.chain(cut).map(|(tile, splits, order)| Self { tile, splits, order })
    }

    /// Whether padded products stay within a quarter of the least possible, and the tile suits the
    /// number of rows.
    fn is_well_filled(self, op: &Operation, n: usize) -> bool {
        let (gathered, result) = channels(op);
        let wide_enough = |tile: &Tile| {
            // A narrow tile gathers the rows once more for each column of tiles; a shallow one
            // synchronises more often.
            let Tile { rows, cols, depth, .. } = *tile;
            let narrow = cols < 128 && cols * 2 < result.min(256);
            let shallow = depth == 16 && gathered > 32;
            // A tile that leaves most SMs idle loses to one of half its rows.
            let blocks = n.div_ceil(rows as usize) * result.div_ceil(cols) as usize;
            !narrow && !shallow && (rows <= 128 || blocks >= 64)
        };
        let padded = |tile: &Tile| {
            gathered.next_multiple_of(tile.depth) * result.next_multiple_of(tile.cols)
        };
        if !wide_enough(&self.tile) {
            return false;
        }
        let usable = TILES.iter().filter(|tile| wide_enough(tile));
        padded(&self.tile) * 4 <= usable.map(padded).min().unwrap_or(0) * 5
    }

    /// Whether chains are long, and too few to fill a device but for being cut.
    fn is_worth_cutting(self, op: &Operation, n: usize, rates: &Rates) -> bool {
        let (gathered, _) = channels(op);
        let tiles = self.blocks(op, n) * self.splits as usize;
        gathered >= LEAST_CHANNELS
            && splits::fill_a_wave(tiles, self.min_blocks(), self.splits, rates)
    }

    fn default_for(op: &Operation) -> Self {
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
        let tile = Tile { rows, cols, depth, stages, warp: 32 };
        let listed = |order| Self { tile, splits: 1, order };
        // Measured 1.5 to 2.7 times faster than the natural order, and made once a map.
        let chosen = listed(RowOrder::Sorted);
        let fits = |one: &Self| one.is_well_filled(op, usize::MAX / 2048);
        if fits(&chosen) {
            return chosen;
        }
        let sorted = Self::all().filter(|one| one.order == RowOrder::Sorted);
        sorted
            .filter(fits)
            .min_by_key(|one| (one.shared_bytes(op), one.tile.rows))
            .unwrap_or(chosen)
    }

    /// Rows and columns of a warp's tile.
    const fn warp_tile(self) -> (u32, u32) {
        (self.tile.warp, if self.tile.cols.is_multiple_of(64) { 64 } else { self.tile.cols })
    }

    const fn threads(self) -> u32 {
        let (rows, cols) = self.warp_tile();
        (self.tile.rows / rows) * (self.tile.cols / cols) * 32
    }

    /// Blocks per SM for which the compiler leaves registers.
    const fn min_blocks(self) -> u32 {
        let (warp_rows, warp_cols) = self.warp_tile();
        min_blocks(self.threads(), warp_rows * warp_cols / 32)
    }

    /// The geometry behind its cost.
    fn row_tile(self, op: &Operation, rates: &Rates) -> RowTile {
        let (warp_rows, warp_cols) = self.warp_tile();
        let (gathered, _) = channels(op);
        let shared = self.shared_bytes(op);
        RowTile {
            rows: self.tile.rows,
            cols: self.tile.cols,
            depth: self.tile.depth,
            offsets: 1,
            skipped_rows: warp_rows,
            order: self.order,
            unit: Unit::Mma,
            threads: self.threads(),
            resident: blocks_per_sm(rates, self.min_blocks(), shared, self.threads()),
            copies: copies(self.tile.rows * self.tile.depth, gathered, 8)
                + copies(self.tile.cols * self.tile.depth, op.c_out, 8),
            reads: [self.tile.cols / warp_cols, self.tile.rows / warp_rows],
            keeps_weights: false,
            splits: self.splits,
        }
    }

    /// Blocks of a launch, of each part.
    fn blocks(self, op: &Operation, n: usize) -> usize {
        let (_, result) = channels(op);
        n.div_ceil(self.tile.rows as usize) * result.div_ceil(self.tile.cols) as usize
    }
}

impl Variant for MaskGemm {
    fn id(&self) -> AlgoId {
        let numbers = [
            ("rows", self.tile.rows),
            ("cols", self.tile.cols),
            ("depth", self.tile.depth),
            ("stages", self.tile.stages),
            ("warp", self.tile.warp),
        ];
        splits::id("mask_gemm", &numbers, self.order, self.splits)
    }

    /// A single offset cannot be cut.
    fn applies(&self, op: &Operation) -> bool {
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && (self.splits == 1 || op.kernel.volume() > 1)
    }

    fn in_auto_pool(&self, op: &Operation, rows: usize, rates: &Rates) -> bool {
        self.is_well_filled(op, rows)
            && (self.splits == 1 || self.is_worth_cutting(op, rows, rates))
    }

    /// Mirrors `SHARED_BYTES` of `mask_gemm_stages.cuh`.
    fn shared_bytes(&self, op: &Operation) -> usize {
        let (rows, cols, depth, stages) = (
            self.tile.rows as usize,
            self.tile.cols as usize,
            self.tile.depth as usize,
            self.tile.stages as usize,
        );
        let words = mask_words(op.kernel.volume());
        let weights = if op.direction == Direction::Dgrad {
            line_bytes(self.tile.depth) * cols
        } else {
            line_bytes(self.tile.cols) * depth
        };
        let stage = line_bytes(self.tile.depth) * rows + weights;
        let ring = (stages * stage).max(rows * (cols + 8) * 2);
        let index = 2 * stages * rows * 4;
        let masks = (rows + rows / 16 + 1) * words * 4;
        ring + 256 + index + masks + 16 + 128
    }

    fn instance(&self, op: &Operation) -> Instance {
        let (warp_rows, warp_cols) = self.warp_tile();
        let (gathered, result) = channels(op);
        let mut instance = Instance::new(
            "mask_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("ROWS", self.tile.rows),
                ("COLS", self.tile.cols),
                ("DEPTH", self.tile.depth),
                ("STAGES", self.tile.stages),
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

    fn row_order(&self) -> RowOrder {
        self.order
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        splits::workspace_bytes(op, counts, self.splits)
    }

    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        Some(self.row_tile(op, rates).work(op, size, rates))
    }

    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        Some(COST)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        TileGemm::bind(*self, loaded, "mask_gemm")
    }
}

impl Tiles for MaskGemm {
    fn order(self) -> RowOrder {
        self.order
    }

    /// A part is a layer of the grid.
    fn grid(self, op: &Operation, rows: usize, _sms: usize) -> (usize, u32) {
        (self.blocks(op, rows), self.splits)
    }

    fn parts(self) -> u32 {
        self.splits
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(MaskGemm::all())
    }

    fn default_variant(&self, op: &Operation) -> Option<usize> {
        let even = op.c_in.is_multiple_of(2) && op.c_out.is_multiple_of(2);
        if op.dtype == DType::Float32
            || !even
            || !is_countable(op)
            || op.direction == Direction::Wgrad
        {
            return None;
        }
        let default = MaskGemm::default_for(op);
        MaskGemm::all().position(|one| one == default)
    }
}
