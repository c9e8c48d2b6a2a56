//! `pair_gemm`: wgrad over pair lists on tensor cores.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::pair_units::PairUnits;
use super::{copies, copy_elements, line_bytes, min_blocks, resident_blocks};
use crate::instance::{Instance, dtype_define};
use crate::map::MapCounts;
use crate::model::{PairTile, Rates, Unit};

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairGemm {
    /// Input channels a block.
    rows: u32,
    /// Output channels a block.
    cols: u32,
    /// Pairs a step.
    depth: u32,
    /// Steps in shared memory.
    stages: u32,
    /// Input channels a warp.
    warp: u32,
    /// Chunks into which all pairs are cut, before each offset rounds up.
    pub(super) split: u32,
}

/// (rows, cols, depth, stages, warp).
const TILES: [(u32, u32, u32, u32, u32); 15] = [
    (16, 32, 64, 4, 16),
    (16, 64, 64, 4, 16),
    (32, 32, 64, 4, 32),
    (32, 64, 64, 4, 32),
    (64, 32, 64, 4, 32),
    (48, 48, 64, 4, 48),
    (64, 64, 32, 4, 32),
    (64, 64, 32, 4, 64),
    (96, 96, 32, 4, 32),
    (32, 128, 32, 4, 32),
    (128, 32, 32, 4, 32),
    (64, 128, 32, 4, 32),
    (128, 64, 32, 4, 32),
    (128, 128, 32, 4, 32),
    (128, 128, 32, 4, 64),
];
const SPLITS: [u32; 4] = [128, 256, 512, 1024];

impl PairGemm {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TILES.into_iter().flat_map(|(rows, cols, depth, stages, warp)| {
            SPLITS.map(|split| Self { rows, cols, depth, stages, warp, split })
        })
    }

    pub(super) fn id(self) -> AlgoId {
        let params = [
            ("rows", &*self.rows.to_string()),
            ("cols", &self.cols.to_string()),
            ("depth", &self.depth.to_string()),
            ("stages", &self.stages.to_string()),
            ("warp", &self.warp.to_string()),
            ("split", &self.split.to_string()),
        ];
        AlgoId::new("pair_gemm", &params).expect("parameters are words and numbers")
    }

    pub(super) fn applies(self, op: &Operation) -> bool {
        op.direction == Direction::Wgrad && op.dtype != DType::Float32
    }

    /// Tiles whose padded products stay within a half of the least possible: a tile of 128 rows wins at 96 channels.
    pub(super) fn in_auto_pool(self, op: &Operation) -> bool {
        // Small tiles gather each row once for every tile across from it.
        let large = |rows: u32, cols: u32| {
            let wide = op.c_in >= 128 && op.c_out >= 128;
            let narrow_rows = rows < 64 && op.c_in >= 128 && cols < op.c_out;
            let narrow_cols = cols < 64 && op.c_out >= 128 && rows < op.c_in;
            !(wide && rows * cols < 64 * 128 || narrow_rows || narrow_cols)
        };
        let padded =
            |rows: u32, cols: u32| op.c_in.next_multiple_of(rows) * op.c_out.next_multiple_of(cols);
        let usable = TILES.iter().filter(|(rows, cols, ..)| large(*rows, *cols));
        let least = usable.map(|(rows, cols, ..)| padded(*rows, *cols)).min().unwrap_or(0);
        large(self.rows, self.cols) && padded(self.rows, self.cols) * 2 <= least * 3
    }

    pub(super) fn default_for(op: &Operation) -> Self {
        let padded = |tile: &Self| {
            op.c_in.next_multiple_of(tile.rows) * op.c_out.next_multiple_of(tile.cols)
        };
        Self::all()
            .filter(|tile| tile.split == 512 && tile.warp <= 48 && tile.in_auto_pool(op))
            .min_by_key(|tile| {
                (
                    padded(tile),
                    std::cmp::Reverse(tile.rows * tile.cols),
                    std::cmp::Reverse(tile.depth),
                )
            })
            .expect("the least padded tile of an operation is in its pool")
    }

    /// Rows and columns of a warp's tile, and warps that share it along the pairs.
    const fn warp_tile(self) -> (u32, u32, u32) {
        let rows = self.warp;
        let cols = if self.cols.is_multiple_of(64) { 64 } else { self.cols };
        let warps = (self.rows / rows) * (self.cols / cols);
        let steps = self.depth / 16;
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
        (self.rows / rows) * (self.cols / cols) * share * 32
    }

    /// Blocks a multiprocessor for which the compiler leaves registers.
    const fn min_blocks(self) -> u32 {
        let (warp_rows, warp_cols, _) = self.warp_tile();
        min_blocks(self.threads(), warp_rows * warp_cols / 32)
    }

    /// The geometry behind its cost.
    pub(super) fn tile(self, op: &Operation, rates: &Rates) -> PairTile {
        let threads = self.threads();
        PairTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            split: self.split,
            unit: Unit::Mma,
            threads,
            resident: resident_blocks(rates, self.min_blocks(), self.shared_bytes(), threads),
            copies: copies(self.rows * self.depth, op.c_in, 8)
                + copies(self.cols * self.depth, op.c_out, 8),
        }
    }

    /// Mirrors `SHARED_BYTES` of `pair_gemm.cu`.
    pub(super) fn shared_bytes(self) -> usize {
        let (_, _, share) = self.warp_tile();
        let (depth, stages) = (self.depth as usize, self.stages as usize);
        let stage = (line_bytes(self.rows) + line_bytes(self.cols)) * depth;
        let meeting = (share as usize - 1) * (self.rows * self.cols) as usize * 4;
        (stages * stage).max(meeting) + 2 * stages * depth * 2 * 4
    }

    pub(super) fn units(self, counts: &MapCounts) -> PairUnits {
        PairUnits::new(counts, self.split, self.depth)
    }

    pub(super) fn workspace_bytes(self, op: &Operation, counts: &MapCounts) -> usize {
        PairUnits::workspace_bytes(op, counts, self.split, self.depth)
    }

    /// Tiles of a unit.
    pub(super) fn tiles(self, op: &Operation) -> usize {
        (op.c_in.div_ceil(self.rows) * op.c_out.div_ceil(self.cols)) as usize
    }

    pub(super) fn instance(self, op: &Operation) -> Instance {
        let (warp_rows, warp_cols, share) = self.warp_tile();
        Instance::new(
            "pair_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("ROWS", self.rows),
                ("COLS", self.cols),
                ("DEPTH", self.depth),
                ("STAGES", self.stages),
                ("WARP_ROWS", warp_rows),
                ("WARP_COLS", warp_cols),
                ("WARPS_K", share),
                ("VEC_A", copy_elements(op.c_in)),
                ("VEC_B", copy_elements(op.c_out)),
                ("MIN_BLOCKS", self.min_blocks()),
            ],
        )
    }
}
