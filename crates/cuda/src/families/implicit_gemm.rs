//! `implicit_gemm`: any dtype and any channels on the plain float32 units.

use voxtune_types::{AlgoId, DType, Direction, Operation, Product};

use super::countable::is_countable;
use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{channels, copies, copy_elements};
use super::pair_lists::{PairLists, Units};
use super::pair_units::PairUnits;
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::{MapCounts, RowOrder, mask_words};
use crate::model::{
    Constants, IMPLICIT as COST, IMPLICIT_WGRAD as WGRAD_COST, MapSize, PairTile, Rates, RowTile,
    Unit, Work,
};
use crate::module::LoadedInstance;

/// Parameters of an instance: result rows, result channels and gathered channels per block. In
/// wgrad they are input channels, output channels and pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImplicitGemm {
    rows: u32,
    cols: u32,
    depth: u32,
}

/// Chunks into which wgrad cuts all pairs: four waves of blocks on the largest devices, and chunks
/// short enough for float32 sums.
const WGRAD_SPLIT: u32 = 1024;

/// Most elements that one load brings.
const MOST_COPIED: u32 = 4;

impl ImplicitGemm {
    const ALL: [Self; 5] = [
        Self { rows: 32, cols: 32, depth: 16 },
        Self { rows: 128, cols: 32, depth: 4 },
        Self { rows: 64, cols: 64, depth: 16 },
        Self { rows: 128, cols: 32, depth: 16 },
        Self { rows: 128, cols: 64, depth: 16 },
    ];

    fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// Neither wasteful for many channels nor for few rows.
    const FALLBACK: Self = Self::ALL[2];

    fn is_well_filled(self, op: &Operation) -> bool {
        let (gathered, result) = channels(op);
        if op.direction == Direction::Wgrad {
            let padded = |tile: Self| {
                op.c_in.next_multiple_of(tile.rows) * op.c_out.next_multiple_of(tile.cols)
            };
            let least = Self::ALL.map(padded).into_iter().min().unwrap_or(0);
            return self.depth == 16 && padded(self) <= least;
        }
        let shallow = gathered <= 4;
        let narrow = result <= 32;
        (self.depth == 4) == shallow && (narrow == (self.cols == 32) || shallow) && (self.rows > 32)
    }

    fn default_for(op: &Operation) -> Self {
        // No geometry suits what no algorithm computes.
        if !is_countable(op) {
            return Self::FALLBACK;
        }
        Self::ALL
            .into_iter()
            .find(|tile| tile.is_well_filled(op))
            .expect("every operation has an implicit_gemm in its pool")
    }

    const fn thread_rows(self) -> u32 {
        if self.rows * self.cols >= 8192 { 8 } else { 4 }
    }

    const fn threads(self) -> u32 {
        self.rows * self.cols / (self.thread_rows() * 4)
    }

    /// Blocks per SM: an estimate, since the launch bounds promise none.
    const fn resident(self) -> u32 {
        let by_threads = 2048 / self.threads();
        if by_threads > 4 { 4 } else { by_threads }
    }

    /// Copies of a step, of four elements at most.
    fn copies(self, a_channels: u32, b_channels: u32) -> u32 {
        copies(self.rows * self.depth, a_channels, 4)
            + copies(self.cols * self.depth, b_channels, 4)
    }

    /// The geometry behind its cost, forward and dgrad.
    fn row_tile(self, op: &Operation) -> RowTile {
        let (gathered, _) = channels(op);
        RowTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            offsets: 1,
            skipped_rows: self.rows,
            order: RowOrder::Natural,
            unit: Unit::Fma,
            threads: self.threads(),
            resident: self.resident(),
            copies: self.copies(gathered, op.c_out),
            reads: [0, 0],
            keeps_weights: false,
            splits: 1,
        }
    }

    /// The geometry behind its cost, wgrad.
    fn pair_tile(self, op: &Operation) -> PairTile {
        PairTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            split: WGRAD_SPLIT,
            unit: Unit::Fma,
            threads: self.threads(),
            resident: self.resident(),
            copies: self.copies(op.c_in, op.c_out),
        }
    }
}

impl Variant for ImplicitGemm {
    fn id(&self) -> AlgoId {
        let params = [
            ("rows", &*self.rows.to_string()),
            ("cols", &self.cols.to_string()),
            ("depth", &self.depth.to_string()),
        ];
        AlgoId::new("implicit_gemm", &params).expect("parameters are words and numbers")
    }

    fn in_auto_pool(&self, op: &Operation, _rows: usize, _rates: &Rates) -> bool {
        self.is_well_filled(op)
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        if op.direction == Direction::Wgrad {
            PairUnits::workspace_bytes(op, counts, WGRAD_SPLIT, self.depth)
        } else {
            0
        }
    }

    fn instance(&self, op: &Operation) -> Instance {
        let (gathered, _) = channels(op);
        let direction = match op.direction.product() {
            Product::Forward => 0,
            Product::Dgrad => 1,
            Product::Wgrad => 2,
        };
        Instance::new(
            "implicit_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DIRECTION", direction),
                ("ROWS", self.rows),
                ("COLS", self.cols),
                ("DEPTH", self.depth),
                ("TM", self.thread_rows()),
                ("MASK_WORDS", mask_words(op.kernel.volume()) as u32),
                ("VEC_A", copy_elements(gathered).min(4)),
                ("VEC_B", copy_elements(op.c_out).min(4)),
            ],
        )
    }

    fn applies(&self, _op: &Operation) -> bool {
        true
    }

    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        Some(match op.direction.product() {
            Product::Wgrad => self.pair_tile(op).work(op, size, rates),
            Product::Forward | Product::Dgrad => self.row_tile(op).work(op, size, rates),
        })
    }

    fn cost_constants(&self, op: &Operation) -> Option<Constants> {
        Some(if op.direction == Direction::Wgrad { WGRAD_COST } else { COST })
    }

    fn bind(&self, op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        match op.direction.product() {
            Product::Wgrad => PairLists::bind(*self, loaded, "implicit_gemm"),
            Product::Forward | Product::Dgrad => TileGemm::bind(*self, loaded, "implicit_gemm"),
        }
    }
}

impl Units for ImplicitGemm {
    const MOST_COPIED: u32 = MOST_COPIED;

    fn units(self, _op: &Operation, counts: &MapCounts) -> PairUnits {
        PairUnits::new(counts, WGRAD_SPLIT, self.depth)
    }

    fn tiles(self, op: &Operation) -> usize {
        (op.c_in.div_ceil(self.rows) * op.c_out.div_ceil(self.cols)) as usize
    }
}

impl Tiles for ImplicitGemm {
    const MOST_COPIED: u32 = MOST_COPIED;

    fn order(self) -> RowOrder {
        RowOrder::Natural
    }

    fn grid(self, op: &Operation, rows: usize, _sms: usize) -> (usize, u32) {
        let (_, result) = channels(op);
        (rows.div_ceil(self.rows as usize) * result.div_ceil(self.cols) as usize, 1)
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(ImplicitGemm::all())
    }

    fn default_variant(&self, op: &Operation) -> Option<usize> {
        let odd = !op.c_in.is_multiple_of(2) || !op.c_out.is_multiple_of(2);
        if op.dtype != DType::Float32 && !odd && is_countable(op) {
            return None;
        }
        let default = ImplicitGemm::default_for(op);
        ImplicitGemm::all().position(|one| one == default)
    }

    fn fallback_variant(&self) -> Option<usize> {
        ImplicitGemm::all().position(|one| one == ImplicitGemm::FALLBACK)
    }
}
