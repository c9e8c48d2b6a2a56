//! `pair_gemm`: wgrad over pair lists on tensor cores.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::countable::is_countable;
use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{blocks_per_sm, copies, copy_elements, line_bytes, min_blocks};
use super::pair_lists::{PairLists, Units};
use super::pair_units::PairUnits;
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::MapCounts;
use crate::model::{Constants, MapSize, PAIR as COST, PairTile, Rates, Unit, Work};
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairGemm {
    tile: Tile,
    /// Chunks into which all pairs are cut, before each offset rounds up.
    split: u32,
}

/// Geometry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// Input channels per block.
    rows: u32,
    /// Output channels per block.
    cols: u32,
    /// Pairs per step.
    depth: u32,
    /// Steps in shared memory.
    stages: u32,
    /// Input channels per warp.
    warp: u32,
}

#[rustfmt::skip]
const TILES: [Tile; 15] = [
    Tile { rows: 16, cols: 32, depth: 64, stages: 4, warp: 16 },
    Tile { rows: 16, cols: 64, depth: 64, stages: 4, warp: 16 },
    Tile { rows: 32, cols: 32, depth: 64, stages: 4, warp: 32 },
    Tile { rows: 32, cols: 64, depth: 64, stages: 4, warp: 32 },
    Tile { rows: 64, cols: 32, depth: 64, stages: 4, warp: 32 },
    Tile { rows: 48, cols: 48, depth: 64, stages: 4, warp: 48 },
    Tile { rows: 64, cols: 64, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 64, cols: 64, depth: 32, stages: 4, warp: 64 },
    Tile { rows: 96, cols: 96, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 32, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 32, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 64, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 64, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 32, stages: 4, warp: 32 },
    Tile { rows: 128, cols: 128, depth: 32, stages: 4, warp: 64 },
];
const SPLITS: [u32; 4] = [128, 256, 512, 1024];

impl PairGemm {
    fn all() -> impl Iterator<Item = Self> {
        TILES.into_iter().flat_map(|tile| SPLITS.map(|split| Self { tile, split }))
    }

    /// Tiles whose padded products stay within a half of the least possible: a tile of 128 rows
    /// wins at 96 channels.
    fn is_well_filled(self, op: &Operation) -> bool {
        // Small tiles gather each row once for every tile across from it.
        let large = |rows: u32, cols: u32| {
            let wide = op.c_in >= 128 && op.c_out >= 128;
            let narrow_rows = rows < 64 && op.c_in >= 128 && cols < op.c_out;
            let narrow_cols = cols < 64 && op.c_out >= 128 && rows < op.c_in;
            !(wide && rows * cols < 64 * 128 || narrow_rows || narrow_cols)
        };
        let padded =
            |rows: u32, cols: u32| op.c_in.next_multiple_of(rows) * op.c_out.next_multiple_of(cols);
        let usable = TILES.iter().filter(|tile| large(tile.rows, tile.cols));
        let least = usable.map(|tile| padded(tile.rows, tile.cols)).min().unwrap_or(0);
        large(self.tile.rows, self.tile.cols)
            && padded(self.tile.rows, self.tile.cols) * 2 <= least * 3
    }

    fn default_for(op: &Operation) -> Self {
        let padded = |one: &Self| {
            op.c_in.next_multiple_of(one.tile.rows) * op.c_out.next_multiple_of(one.tile.cols)
        };
        Self::all()
            .filter(|one| one.split == 512 && one.tile.warp <= 48 && one.is_well_filled(op))
            .min_by_key(|one| {
                (
                    padded(one),
                    std::cmp::Reverse(one.tile.rows * one.tile.cols),
                    std::cmp::Reverse(one.tile.depth),
                )
            })
            .expect("the least padded tile of an operation is in its pool")
    }

    /// Rows and columns of a warp's tile, and warps that share it along the pairs.
    const fn warp_tile(self) -> (u32, u32, u32) {
        let rows = self.tile.warp;
        let cols = if self.tile.cols.is_multiple_of(64) { 64 } else { self.tile.cols };
        let warps = (self.tile.rows / rows) * (self.tile.cols / cols);
        let steps = self.tile.depth / 16;
        let share = if warps >= 4 {
            1
        } else if warps >= 2 {
            2
        } else {
            4
        };
        (rows, cols, if share > steps { steps } else { share })
    }

    const fn threads(self) -> u32 {
        let (rows, cols, share) = self.warp_tile();
        (self.tile.rows / rows) * (self.tile.cols / cols) * share * 32
    }

    /// Blocks per SM for which the compiler leaves registers.
    const fn min_blocks(self) -> u32 {
        let (warp_rows, warp_cols, _) = self.warp_tile();
        min_blocks(self.threads(), warp_rows * warp_cols / 32)
    }

    /// The geometry behind its cost.
    fn pair_tile(self, op: &Operation, rates: &Rates) -> PairTile {
        let threads = self.threads();
        PairTile {
            rows: self.tile.rows,
            cols: self.tile.cols,
            depth: self.tile.depth,
            split: self.split,
            unit: Unit::Mma,
            threads,
            resident: blocks_per_sm(rates, self.min_blocks(), self.shared_bytes(op), threads),
            copies: copies(self.tile.rows * self.tile.depth, op.c_in, 8)
                + copies(self.tile.cols * self.tile.depth, op.c_out, 8),
        }
    }
}

impl Variant for PairGemm {
    fn id(&self) -> AlgoId {
        let params = [
            ("rows", &*self.tile.rows.to_string()),
            ("cols", &self.tile.cols.to_string()),
            ("depth", &self.tile.depth.to_string()),
            ("stages", &self.tile.stages.to_string()),
            ("warp", &self.tile.warp.to_string()),
            ("split", &self.split.to_string()),
        ];
        AlgoId::new("pair_gemm", &params).expect("parameters are words and numbers")
    }

    fn applies(&self, op: &Operation) -> bool {
        op.direction == Direction::Wgrad && op.dtype != DType::Float32
    }

    fn in_auto_pool(&self, op: &Operation, _rows: usize, _rates: &Rates) -> bool {
        self.is_well_filled(op)
    }

    /// Mirrors `SHARED_BYTES` of `pair_gemm.cu`.
    fn shared_bytes(&self, _op: &Operation) -> usize {
        let (_, _, share) = self.warp_tile();
        let (depth, stages) = (self.tile.depth as usize, self.tile.stages as usize);
        let stage = (line_bytes(self.tile.rows) + line_bytes(self.tile.cols)) * depth;
        let meeting = (share as usize - 1) * (self.tile.rows * self.tile.cols) as usize * 4;
        (stages * stage).max(meeting) + 2 * stages * depth * 2 * 4
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        PairUnits::workspace_bytes(op, counts, self.split, self.tile.depth)
    }

    fn instance(&self, op: &Operation) -> Instance {
        let (warp_rows, warp_cols, share) = self.warp_tile();
        Instance::new(
            "pair_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("ROWS", self.tile.rows),
                ("COLS", self.tile.cols),
                ("DEPTH", self.tile.depth),
                ("STAGES", self.tile.stages),
                ("WARP_ROWS", warp_rows),
                ("WARP_COLS", warp_cols),
                ("WARPS_K", share),
                ("VEC_A", copy_elements(op.c_in)),
                ("VEC_B", copy_elements(op.c_out)),
                ("MIN_BLOCKS", self.min_blocks()),
            ],
        )
    }

    /// Fewer chunks of pairs than the default's make longer sums, which lose accuracy on large
    /// maps.
    fn is_safe_unverified(&self, op: &Operation) -> bool {
        self.split >= Self::default_for(op).split
    }

    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        Some(self.pair_tile(op, rates).work(op, size, rates))
    }

    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        Some(COST)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        PairLists::bind(*self, loaded, "pair_gemm")
    }
}

impl Units for PairGemm {
    fn units(self, _op: &Operation, counts: &MapCounts) -> PairUnits {
        PairUnits::new(counts, self.split, self.tile.depth)
    }

    fn tiles(self, op: &Operation) -> usize {
        (op.c_in.div_ceil(self.tile.rows) * op.c_out.div_ceil(self.tile.cols)) as usize
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(PairGemm::all())
    }

    fn default_variant(&self, op: &Operation) -> Option<usize> {
        let even = op.c_in.is_multiple_of(2) && op.c_out.is_multiple_of(2);
        if op.dtype == DType::Float32
            || !even
            || !is_countable(op)
            || op.direction != Direction::Wgrad
        {
            return None;
        }
        let default = PairGemm::default_for(op);
        PairGemm::all().position(|one| one == default)
    }
}
