//! `grouped`: products whose channels are in groups that do not meet, depthwise layers among them.

use voxtune_types::{AlgoId, Direction, Operation, Product};

use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{channels, copy_elements};
use super::group_params::{GroupParams, group_channels};
use super::pair_lists::{PairLists, Units};
use super::pair_units::PairUnits;
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::{MapCounts, RowOrder, mask_words};
use crate::model::Rates;
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grouped {
    /// Result channels per block; output channels in wgrad.
    cols: u32,
    walk: Walk,
}

/// What a block goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    /// Positions: forward and dgrad.
    Rows {
        rows: u32,
        /// Channels per thread, in pieces of 16 bytes.
        pieces: u32,
        order: RowOrder,
    },
    /// The pairs of one of about so many chunks: wgrad.
    Pairs { split: u32 },
}

/// Threads per block of wgrad.
const PAIR_THREADS: u32 = 256;

/// Threads of a row of a block: two list its pairs.
const ROW_THREADS: u32 = 2;

/// Input channels of a group that a block of wgrad takes, unless the layer is depthwise. Mirrors
/// `INS` of `grouped/pairs.cuh`.
const INS: u32 = 4;

/// Pairs that chunks of wgrad are whole multiples of.
const STEP: u32 = 32;

/// Pairs in flight a thread of wgrad.
const PAIRS_AHEAD: u32 = 4;

/// Most shared memory that weights take.
const MOST_WEIGHT_BYTES: usize = 32 << 10;

/// Most gathered channels of a group that an instance is compiled for.
const MOST_KNOWN: u32 = 8;

const COLS: [u32; 4] = [32, 64, 128, 256];

impl Grouped {
    fn all() -> impl Iterator<Item = Self> {
        use RowOrder::{Natural, Sorted};
        let walks = [
            (64, 1, Natural),
            (128, 1, Natural),
            (256, 1, Natural),
            (64, 2, Natural),
            (128, 2, Natural),
            (256, 2, Natural),
            (128, 2, Sorted),
        ];
        let rows = walks.map(|(rows, pieces, order)| Walk::Rows { rows, pieces, order });
        let pairs = [512, 1024, 2048].map(|split| Walk::Pairs { split });
        let walks = rows.into_iter().chain(pairs);
        walks.flat_map(|walk| COLS.map(|cols| Self { cols, walk }))
    }

    /// Blocks that no layer is too narrow or too deep for.
    const fn default_for(direction: Direction) -> Self {
        let walk = match direction.product() {
            Product::Wgrad => Walk::Pairs { split: 1024 },
            _ => Walk::Rows { rows: 64, pieces: 1, order: RowOrder::Natural },
        };
        Self { cols: 64, walk }
    }

    /// Channels of a piece: 16 bytes of them.
    const fn owned(op: &Operation) -> u32 {
        16 / op.dtype.bytes() as u32
    }

    /// Elements of one copy of a tensor's rows.
    fn copied(op: &Operation, channels: u32) -> u32 {
        copy_elements(channels).min(Self::owned(op))
    }

    /// Shared memory of the weights, if they lie there, and the gathered channels of a group that
    /// an instance is compiled for, 0 for any number.
    fn weights(self, op: &Operation) -> (usize, u32) {
        let (gathered, _) = group_channels(op);
        let offsets = 32 * mask_words(op.kernel.volume());
        let bytes = offsets * gathered as usize * self.cols as usize * op.dtype.bytes();
        let known = if gathered <= MOST_KNOWN { gathered } else { 0 };
        let held = op.is_depthwise() || (known > 0 && bytes <= MOST_WEIGHT_BYTES);
        (if held { bytes } else { 0 }, known)
    }

    const fn threads(self) -> u32 {
        match self.walk {
            Walk::Rows { rows, .. } => rows * ROW_THREADS,
            Walk::Pairs { .. } => PAIR_THREADS,
        }
    }

    /// Gathered rows in flight a thread, and blocks per SM whose registers hold them.
    const fn in_flight(self, op: &Operation, pieces: u32) -> (u32, u32) {
        match (op.is_depthwise(), pieces) {
            (false, _) => (4, 1),
            (true, 1) => (4, 1024 / self.threads()),
            (true, _) => (3, 768 / self.threads()),
        }
    }

    fn blocks_of_columns(self, op: &Operation) -> usize {
        let (_, result) = channels(op);
        result.div_ceil(self.cols) as usize
    }
}

impl Variant for Grouped {
    fn id(&self) -> AlgoId {
        let cols = self.cols.to_string();
        let id = match self.walk {
            Walk::Rows { rows, pieces, order } => {
                let (rows, pieces) = (rows.to_string(), pieces.to_string());
                let params = [
                    ("rows", &*rows),
                    ("cols", &*cols),
                    ("pieces", &*pieces),
                    ("order", order.as_str()),
                ];
                AlgoId::new("grouped", &params)
            }
            Walk::Pairs { split } => {
                AlgoId::new("grouped", &[("cols", &*cols), ("split", &split.to_string())])
            }
        };
        id.expect("parameters are words and numbers")
    }

    /// Several pieces are for depthwise layers of whole copies alone.
    fn applies(&self, op: &Operation) -> bool {
        let whole = op.is_depthwise() && Self::copied(op, op.c_in) == Self::owned(op);
        match self.walk {
            Walk::Rows { pieces, .. } => op.direction != Direction::Wgrad && (pieces == 1 || whole),
            Walk::Pairs { .. } => op.direction == Direction::Wgrad,
        }
    }

    /// Blocks no wider than the result, nor much narrower.
    fn in_auto_pool(&self, op: &Operation, _rows: usize, _rates: &Rates) -> bool {
        let (_, result) = channels(op);
        let widest = COLS.into_iter().find(|cols| *cols >= result).unwrap_or(COLS[COLS.len() - 1]);
        let fits = self.cols <= widest && (self.cols >= 64 || widest < 64);
        fits || *self == Self::default_for(op.direction)
    }

    /// Mirrors `SHARED_BYTES` of `grouped/shared.cuh` and of `grouped/pairs.cuh`.
    fn shared_bytes(&self, op: &Operation) -> usize {
        match self.walk {
            Walk::Rows { rows, .. } => {
                let (rows, offsets) = (rows as usize, 32 * mask_words(op.kernel.volume()));
                self.weights(op).0 + 128 * 4 + rows * offsets * 5 + rows * 4
            }
            Walk::Pairs { .. } => {
                let at_once = PAIR_THREADS / (self.cols / Self::owned(op));
                let ins = if op.is_depthwise() { 1 } else { INS };
                (at_once * ins * self.cols) as usize * 4
            }
        }
    }

    fn instance(&self, op: &Operation) -> Instance {
        let (gathered, result) = group_channels(op);
        let (c_gathered, c_result) = channels(op);
        let (held, known) = self.weights(op);
        let direction = match op.direction.product() {
            Product::Forward => 0,
            Product::Dgrad => 1,
            Product::Wgrad => 2,
        };
        let mut defines = vec![
            dtype_define(op.dtype),
            ("DIRECTION", direction),
            ("DEPTHWISE", u32::from(op.is_depthwise())),
            ("COLS", self.cols),
            ("OWNED", Self::owned(op)),
            ("BLOCK_THREADS", self.threads()),
            ("VEC_A", Self::copied(op, c_gathered)),
            ("VEC_Y", Self::copied(op, c_result)),
            ("RUN", Self::copied(op, result)),
            ("CHUNK", copy_elements(gathered).min(INS)),
            ("GATHERED", known),
            ("HELD", u32::from(held > 0)),
        ];
        match self.walk {
            Walk::Rows { rows, pieces, .. } => {
                let (in_flight, min_blocks) = self.in_flight(op, pieces);
                defines.extend([
                    ("PIECES", pieces),
                    ("ROWS", rows),
                    ("MASK_WORDS", mask_words(op.kernel.volume()) as u32),
                    ("IN_FLIGHT", in_flight),
                    ("MIN_BLOCKS", min_blocks),
                ]);
            }
            Walk::Pairs { .. } => {
                defines.extend([("PIECES", 1), ("IN_FLIGHT", PAIRS_AHEAD), ("MIN_BLOCKS", 1)]);
            }
        }
        Instance::new("grouped.cu", &defines)
    }

    fn row_order(&self) -> RowOrder {
        match self.walk {
            Walk::Rows { order, .. } => order,
            Walk::Pairs { .. } => RowOrder::Natural,
        }
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        match self.walk {
            Walk::Rows { .. } => 0,
            Walk::Pairs { split } => PairUnits::workspace_bytes(op, counts, split, STEP),
        }
    }

    fn bind(&self, op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        match op.direction.product() {
            Product::Wgrad => PairLists::bind(*self, loaded, "grouped"),
            Product::Forward | Product::Dgrad => TileGemm::bind(*self, loaded, "grouped"),
        }
    }
}

impl Tiles for Grouped {
    fn order(self) -> RowOrder {
        self.row_order()
    }

    /// Neighbouring blocks share rows.
    fn grid(self, op: &Operation, rows: usize, _sms: usize) -> (usize, u32) {
        let Walk::Rows { rows: of_block, .. } = self.walk else { return (0, 1) };
        (rows.div_ceil(of_block as usize) * self.blocks_of_columns(op), 1)
    }

    fn groups(self, op: &Operation) -> Option<GroupParams> {
        Some(GroupParams::of(op))
    }
}

impl Units for Grouped {
    fn units(self, _op: &Operation, counts: &MapCounts) -> PairUnits {
        let split = if let Walk::Pairs { split } = self.walk { split } else { 1 };
        PairUnits::new(counts, split, STEP)
    }

    fn tiles(self, op: &Operation) -> usize {
        let (gathered, _) = group_channels(op);
        gathered.div_ceil(INS) as usize * self.blocks_of_columns(op)
    }

    fn groups(self, op: &Operation) -> Option<GroupParams> {
        Some(GroupParams::of(op))
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(Grouped::all())
    }

    fn takes_groups(&self) -> bool {
        true
    }

    fn default_variant(&self, op: &Operation) -> Option<usize> {
        let default = Grouped::default_for(op.direction);
        Grouped::all().position(|one| one == default)
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, KernelSize};

    use super::*;

    fn op(direction: Direction, dtype: DType, c_in: u32, c_out: u32, groups: u32) -> Operation {
        let kernel = KernelSize::submanifold(3).unwrap();
        Operation::submanifold(direction, dtype, c_in, c_out, kernel).with_groups(groups)
    }

    #[test]
    fn copies_stay_within_a_group_and_16_bytes() {
        use Direction::{Dgrad, Forward, Wgrad};
        let default = |op: &Operation| Grouped::default_for(op.direction).instance(op);
        // Depthwise rows are copied across groups.
        let depthwise = default(&op(Forward, DType::Float16, 64, 64, 64));
        let of = |instance: &Instance, name| instance.define(name).unwrap();
        assert_eq!(["VEC_A", "VEC_Y", "OWNED"].map(|name| of(&depthwise, name)), [8; 3]);
        assert_eq!((of(&depthwise, "RUN"), of(&depthwise, "CHUNK")), (1, 1));
        let wide = default(&op(Forward, DType::Float32, 64, 64, 64));
        assert_eq!(["VEC_A", "VEC_Y", "OWNED"].map(|name| of(&wide, name)), [4; 3]);
        for (direction, run, chunk) in [(Forward, 8, 2), (Dgrad, 2, 4), (Wgrad, 8, 2)] {
            let fine = default(&op(direction, DType::Float16, 12, 48, 6));
            assert_eq!((of(&fine, "RUN"), of(&fine, "CHUNK")), (run, chunk), "{direction}");
        }
    }

    #[test]
    fn weights_that_are_many_stay_in_memory() {
        let held = |c: u32, groups, dtype| {
            let op = op(Direction::Forward, dtype, c, c, groups);
            Grouped::default_for(op.direction).weights(&op)
        };
        assert_eq!(held(64, 64, DType::Float16), (32 * 64 * 2, 1));
        assert_eq!(held(64, 8, DType::Float16), (32 * 8 * 64 * 2, 8));
        assert_eq!(held(64, 8, DType::Float32), (0, 8));
        assert_eq!(held(64, 2, DType::Float16), (0, 0));
    }
}
