//! `wgmma_gemm`: output-stationary implicit GEMM by Hopper's warpgroup instructions.

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation};

use super::mask_gemm::channels;
use super::splits;
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
    /// Offsets a stage.
    offsets: u32,
    /// Stages in shared memory.
    stages: u32,
    /// Multiplying warpgroups.
    groups: u32,
    /// Blocks a multiprocessor.
    blocks: u32,
    /// Parts into which each tile's offsets are cut; 1 leaves them whole.
    pub(super) splits: u32,
    pub(super) order: RowOrder,
}

/// (rows, cols, depth, offsets, stages, groups, blocks). What was never near the best in a ranking is not listed.
type Tile = (u32, u32, u32, u32, u32, u32, u32);
const TILES: [Tile; 17] = [
    (128, 32, 32, 1, 4, 1, 3),
    (256, 32, 32, 1, 5, 2, 2),
    (256, 32, 32, 2, 2, 2, 2),
    (256, 48, 48, 1, 4, 2, 1),
    (128, 48, 48, 1, 4, 1, 2),
    (256, 48, 48, 2, 3, 2, 1),
    (128, 64, 64, 1, 4, 1, 2),
    (128, 64, 64, 1, 3, 2, 2),
    (256, 96, 32, 1, 8, 2, 1),
    (128, 96, 32, 1, 6, 1, 2),
    (256, 96, 96, 1, 3, 2, 1),
    (128, 96, 96, 1, 4, 2, 1),
    (256, 128, 64, 1, 4, 2, 1),
    (128, 128, 64, 1, 3, 1, 2),
    (128, 128, 128, 1, 3, 2, 1),
    (128, 192, 64, 1, 5, 2, 1),
    (128, 256, 64, 1, 4, 2, 1),
];

/// Natural order multiplies several times as many absent rows as a sorted one; nothing here beats it there.
const ORDERS: [RowOrder; 2] = [RowOrder::Sorted, RowOrder::Global];

/// Parts that tiles are cut into, and the tiles that are: the widest at 256 channels and more were the fastest, two warpgroups at 64. Few rows
/// are one segment, so one order does.
const SPLITS: [u32; 4] = [2, 3, 4, 8];
const SPLIT_TILES: [Tile; 5] = [
    (128, 64, 64, 1, 3, 2, 2),
    (128, 96, 32, 1, 6, 1, 2),
    (128, 128, 64, 1, 3, 1, 2),
    (128, 192, 64, 1, 5, 2, 1),
    (128, 256, 64, 1, 4, 2, 1),
];

impl WgmmaGemm {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let whole = TILES.into_iter().flat_map(|tile| ORDERS.map(|order| (tile, 1, order)));
        let cut = SPLIT_TILES
            .into_iter()
            .flat_map(|tile| SPLITS.map(|splits| (tile, splits, RowOrder::Global)));
        whole.chain(cut).map(|(tile, splits, order)| {
            let (rows, cols, depth, offsets, stages, groups, blocks) = tile;
            Self { rows, cols, depth, offsets, stages, groups, blocks, splits, order }
        })
    }

    pub(super) fn id(self) -> AlgoId {
        let mut numbers = vec![
            ("rows", self.rows),
            ("cols", self.cols),
            ("depth", self.depth),
            ("stages", self.stages),
            ("groups", self.groups),
            ("blocks", self.blocks),
        ];
        if self.offsets > 1 {
            numbers.push(("offsets", self.offsets));
        }
        splits::id("wgmma_gemm", &numbers, self.order, self.splits)
    }

    /// Copies are of eight elements. A single offset cannot be cut.
    pub(super) fn applies(self, op: &Operation) -> bool {
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(8)
            && op.c_out.is_multiple_of(8)
            && (self.splits == 1 || op.kernel.volume() > 1)
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
        let tiles = self.tiles(op, n_out);
        // While all are in work at a time, two narrow tiles are faster than a wide one.
        let is_half =
            self.cols * 2 == result && (self.splits > 1 || splits::fit_a_wave(tiles, self.blocks));
        (wide_enough(self.cols) || is_half)
            && padded(self.cols, self.depth) * 4 <= least * 5
            && (self.rows <= 128 || tiles >= 64)
            && (self.splits == 1
                || gathered >= splits::LEAST_CHANNELS
                    && splits::fill_a_wave(tiles, self.blocks, self.splits))
    }

    /// The geometry behind its cost. One warpgroup copies, a row of 16 bytes a copy.
    pub(super) const fn tile(self) -> RowTile {
        RowTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            offsets: self.offsets,
            skipped_rows: 64,
            order: self.order,
            unit: Unit::Wgmma,
            threads: 128,
            resident: self.blocks,
            copies: self.rows * self.depth / 8,
            reads: [1, self.rows / 64],
            keeps_weights: false,
            splits: self.splits,
        }
    }

    #[cfg(test)]
    const fn threads(self) -> u32 {
        (1 + self.groups) * 128
    }

    /// Mirrors `SHARED_BYTES` of `wgmma_gemm_stages.cuh`.
    pub(super) const fn shared_bytes(self) -> usize {
        let slot = ((self.rows + self.cols) * self.depth * 2).next_multiple_of(1024);
        let strip = match self.cols {
            cols if cols.is_multiple_of(64) => 64,
            cols if cols.is_multiple_of(48) => 48,
            cols if cols.is_multiple_of(32) => 32,
            _ => 16,
        };
        let zeros = 128;
        let words = self.stages * (self.offsets * self.rows / 32 + 1).next_multiple_of(4) * 4;
        let ring = self.stages * self.offsets * slot + self.groups * 4 * 16 * (strip + 8) * 2;
        let next_tiles = 2 * 4;
        let barriers = 2 * self.stages * 8;
        ((ring + zeros + words + next_tiles).next_multiple_of(8) + barriers) as usize
    }

    /// The panel of weights that one call of the copy engine brings. Mirrors `WIDTH_B` and `LINES_B`
    /// of `wgmma_gemm_stages.cuh`.
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
        if self.offsets > 1 {
            instance.defines.push(("OFFSETS", self.offsets));
        }
        // One instance for any number of parts; without, the source is as it would be if there were none.
        if self.splits > 1 {
            instance.defines.push(("SPLIT", 1));
        }
        instance.hopper = true;
        instance
    }

    /// Tiles of a launch; parts are tiles.
    fn tiles(self, op: &Operation, n: usize) -> usize {
        let (_, result) = channels(op);
        let whole = n.div_ceil(self.rows as usize) * result.div_ceil(self.cols) as usize;
        whole * self.splits as usize
    }

    /// Blocks of a launch: as many as stay on the device, each for many tiles.
    pub(super) fn resident_blocks(self, op: &Operation, n: usize, multiprocessors: usize) -> usize {
        self.tiles(op, n).min(multiprocessors * self.blocks as usize)
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;
    use crate::map::MapCounts;

    fn layer(channels: u32) -> Operation {
        let kernel = KernelSize::submanifold(3).unwrap();
        Operation::submanifold(Direction::Forward, DType::Float16, channels, channels, kernel)
    }

    /// An uncut tile's id is what it was before there were splits, and so is its instance.
    #[test]
    fn uncut_tiles_are_named_as_ever() {
        let [whole, cut]: [Vec<_>; 2] = [true, false]
            .map(|uncut| WgmmaGemm::all().filter(|it| (it.splits == 1) == uncut).collect());
        assert_eq!(whole.len(), TILES.len() * ORDERS.len());
        for tile in whole {
            assert_eq!(tile.id().number("splits"), None);
            assert_eq!(tile.instance(&layer(64)).define("SPLIT"), None);
        }
        let id = "wgmma_gemm:rows=128:cols=256:depth=64:stages=4:groups=2:blocks=1:order=global";
        assert!(WgmmaGemm::all().any(|tile| tile.id().as_str() == id));
        assert!(!cut.is_empty());
        for tile in cut {
            assert_eq!(tile.id().number("splits"), Some(tile.splits));
            assert!((2..=splits::MAX_PARTS).contains(&tile.splits));
            assert_eq!(crate::algo::algorithm(&tile.id()).unwrap().id(), &tile.id());
        }
    }

    /// A stage of one offset is named as it was before there were others, and so is its instance.
    #[test]
    fn stages_of_several_offsets_say_so() {
        assert!(WgmmaGemm::all().any(|tile| tile.offsets > 1));
        for tile in WgmmaGemm::all() {
            let said = (tile.offsets > 1).then_some(tile.offsets);
            assert_eq!(tile.id().number("offsets"), said);
            assert_eq!(tile.instance(&layer(64)).define("OFFSETS"), said);
        }
    }

    /// The number of parts is a launch's, not an instance's.
    #[test]
    fn parts_share_an_instance() {
        let of = |splits| {
            let tile = WgmmaGemm::all().find(|it| it.splits == splits && it.cols == 256).unwrap();
            tile.instance(&layer(256))
        };
        assert_eq!(of(2), of(splits::MAX_PARTS));
        assert_ne!(of(1), of(2));
        assert_eq!(of(2).define("SPLIT"), Some(1));
    }

    /// Splits meet the race where tiles are few, and nowhere else.
    #[test]
    fn splits_compete_where_tiles_leave_multiprocessors_idle() {
        let pool = |channels, n| -> Vec<(u32, u32)> {
            let cut = WgmmaGemm::all().filter(|tile| tile.splits > 1);
            cut.filter(|tile| tile.in_auto_pool(&layer(channels), n))
                .map(|tile| (tile.cols, tile.splits))
                .collect()
        };
        assert_eq!(pool(256, 1_000), [(128, 8), (256, 8)]);
        assert_eq!(pool(256, 5_000), [(128, 2), (128, 3), (128, 4), (256, 2), (256, 3), (256, 4)]);
        assert_eq!(pool(256, 10_000), [(128, 2), (128, 3), (256, 2), (256, 3)]);
        assert_eq!(pool(128, 4_000), [(64, 3), (64, 4), (64, 8), (128, 8)]);
        for (channels, n) in [(256, 30_000), (256, 1_000_000), (32, 1_000), (64, 100_000)] {
            assert!(pool(channels, n).is_empty(), "{channels} {n}");
        }
    }

    #[test]
    fn narrow_tiles_compete_where_one_wave_takes_them() {
        let narrow = |n| {
            let mut tiles = WgmmaGemm::all().filter(|it| it.splits == 1 && it.cols == 64);
            tiles.any(|tile| tile.in_auto_pool(&layer(128), n))
        };
        assert!(narrow(16_000) && !narrow(17_000));
    }

    /// A part's sums for each part, of two million rows and more; an uncut tile needs nothing.
    #[test]
    fn the_workspace_holds_every_part() {
        for direction in [Direction::Forward, Direction::Dgrad] {
            let op = Operation { direction, c_in: 256, ..layer(512) };
            let counts = MapCounts { n_in: 1_000_000, n_out: 2_000_000, pairs: Vec::new() };
            let result =
                if direction == Direction::Dgrad { 1_000_000 * 256 } else { 2_000_000 * 512 };
            for tile in WgmmaGemm::all() {
                let algorithm = crate::algo::algorithm(&tile.id()).unwrap();
                let parts = if tile.splits > 1 { tile.splits as usize } else { 0 };
                assert_eq!(algorithm.workspace_bytes(&op, &counts), parts * result * 4);
            }
        }
    }

    /// One offset has no parts.
    #[test]
    fn pointwise_layers_are_not_cut() {
        let op = Operation { kernel: KernelSize::submanifold(1).unwrap(), ..layer(64) };
        assert!(WgmmaGemm::all().all(|tile| tile.applies(&op) == (tile.splits == 1)));
    }

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
