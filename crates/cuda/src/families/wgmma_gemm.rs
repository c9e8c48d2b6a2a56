//! `wgmma_gemm`: output-stationary implicit GEMM by Hopper's warpgroup instructions.

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation, Product};

use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{channels, has_wgmma};
use super::splits;
use super::tensor_map::WeightsBox;
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::{MapCounts, RowOrder, mask_words};
use crate::model::{Constants, MapSize, Rates, RowTile, Unit, WGMMA as COST, Work};
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WgmmaGemm {
    tile: Tile,
    /// Parts into which each tile's offsets are cut; 1 leaves them whole.
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
    /// Gathered channels per stage.
    depth: u32,
    /// Offsets per stage.
    offsets: u32,
    /// Stages in shared memory.
    stages: u32,
    /// Multiplying warpgroups.
    groups: u32,
    /// Blocks per SM.
    blocks: u32,
}

/// Tiles that were never near the best in a ranking are not listed.
#[rustfmt::skip]
const TILES: [Tile; 22] = [
    Tile { rows: 64, cols: 32, depth: 32, offsets: 1, stages: 8, groups: 1, blocks: 3 },
    Tile { rows: 64, cols: 48, depth: 48, offsets: 1, stages: 6, groups: 1, blocks: 2 },
    Tile { rows: 64, cols: 64, depth: 64, offsets: 1, stages: 4, groups: 1, blocks: 3 },
    Tile { rows: 64, cols: 96, depth: 96, offsets: 1, stages: 3, groups: 1, blocks: 2 },
    Tile { rows: 64, cols: 128, depth: 64, offsets: 1, stages: 4, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 32, depth: 32, offsets: 1, stages: 4, groups: 1, blocks: 3 },
    Tile { rows: 256, cols: 32, depth: 32, offsets: 1, stages: 5, groups: 2, blocks: 2 },
    Tile { rows: 256, cols: 32, depth: 32, offsets: 2, stages: 2, groups: 2, blocks: 2 },
    Tile { rows: 256, cols: 48, depth: 48, offsets: 1, stages: 4, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 48, depth: 48, offsets: 1, stages: 4, groups: 1, blocks: 2 },
    Tile { rows: 256, cols: 48, depth: 48, offsets: 2, stages: 3, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 64, depth: 64, offsets: 1, stages: 4, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 64, depth: 64, offsets: 1, stages: 3, groups: 2, blocks: 2 },
    Tile { rows: 256, cols: 96, depth: 32, offsets: 1, stages: 8, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 96, depth: 32, offsets: 1, stages: 6, groups: 1, blocks: 2 },
    Tile { rows: 256, cols: 96, depth: 96, offsets: 1, stages: 3, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 96, depth: 96, offsets: 1, stages: 4, groups: 2, blocks: 1 },
    Tile { rows: 256, cols: 128, depth: 64, offsets: 1, stages: 4, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 128, depth: 64, offsets: 1, stages: 3, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 128, depth: 128, offsets: 1, stages: 3, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 192, depth: 64, offsets: 1, stages: 5, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 256, depth: 64, offsets: 1, stages: 4, groups: 2, blocks: 1 },
];

/// Most waves of blocks of 64 rows: with more, larger ones read weights less often.
const SMALL_WAVES: usize = 4;

/// Natural order multiplies several times as many absent rows as a sorted one; nothing here beats
/// it there.
const ORDERS: [RowOrder; 2] = [RowOrder::Sorted, RowOrder::Global];

/// Parts that tiles are cut into, and the tiles that are: the widest at 256 channels and more were
/// the fastest, two warpgroups at 64. Few rows are one segment, so one order does.
const SPLITS: [u32; 4] = [2, 3, 4, 8];
#[rustfmt::skip]
const SPLIT_TILES: [Tile; 5] = [
    Tile { rows: 128, cols: 64, depth: 64, offsets: 1, stages: 3, groups: 2, blocks: 2 },
    Tile { rows: 128, cols: 96, depth: 32, offsets: 1, stages: 6, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 128, depth: 64, offsets: 1, stages: 3, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 192, depth: 64, offsets: 1, stages: 5, groups: 2, blocks: 1 },
    Tile { rows: 128, cols: 256, depth: 64, offsets: 1, stages: 4, groups: 2, blocks: 1 },
];

impl WgmmaGemm {
    fn all() -> impl Iterator<Item = Self> {
        let whole = TILES.into_iter().flat_map(|tile| ORDERS.map(|order| (tile, 1, order)));
        let cut = SPLIT_TILES
            .into_iter()
            .flat_map(|tile| SPLITS.map(|splits| (tile, splits, RowOrder::Global)));
        whole.chain(cut).map(|(tile, splits, order)| Self { tile, splits, order })
    }

    /// The geometry behind its cost. One warpgroup copies, a row of 16 bytes a copy.
    const fn row_tile(self) -> RowTile {
        RowTile {
            rows: self.tile.rows,
            cols: self.tile.cols,
            depth: self.tile.depth,
            offsets: self.tile.offsets,
            skipped_rows: 64,
            order: self.order,
            unit: Unit::Wgmma,
            threads: 128,
            resident: self.tile.blocks,
            copies: self.tile.rows * self.tile.depth / 8,
            reads: [1, self.tile.rows / 64],
            keeps_weights: false,
            splits: self.splits,
        }
    }

    #[cfg(test)]
    const fn threads(self) -> u32 {
        (1 + self.tile.groups) * 128
    }

    /// The panel of weights that one call of the TMA brings. Mirrors `WIDTH_B` and `LINES_B`
    /// of `wgmma_gemm_stages.cuh`.
    const fn panel(self, direction: Direction) -> WeightsBox {
        const fn panel_width(extent: u32) -> u32 {
            if extent.is_multiple_of(64) {
                64
            } else if extent.is_multiple_of(32) {
                32
            } else {
                16
            }
        }
        match direction.product() {
            Product::Dgrad => {
                WeightsBox { width: panel_width(self.tile.depth), lines: self.tile.cols }
            }
            Product::Forward | Product::Wgrad => {
                WeightsBox { width: panel_width(self.tile.cols), lines: self.tile.depth }
            }
        }
    }

    /// Tiles of a launch; parts are tiles.
    fn tiles(self, op: &Operation, n: usize) -> usize {
        let (_, result) = channels(op);
        let whole = n.div_ceil(self.tile.rows as usize) * result.div_ceil(self.tile.cols) as usize;
        whole * self.splits as usize
    }
}

impl Variant for WgmmaGemm {
    fn id(&self) -> AlgoId {
        let mut numbers = vec![
            ("rows", self.tile.rows),
            ("cols", self.tile.cols),
            ("depth", self.tile.depth),
            ("stages", self.tile.stages),
            ("groups", self.tile.groups),
            ("blocks", self.tile.blocks),
        ];
        if self.tile.offsets > 1 {
            numbers.push(("offsets", self.tile.offsets));
        }
        splits::id("wgmma_gemm", &numbers, self.order, self.splits)
    }

    /// Copies are of eight elements. A single offset cannot be cut.
    fn applies(&self, op: &Operation) -> bool {
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(8)
            && op.c_out.is_multiple_of(8)
            && (self.splits == 1 || op.kernel.volume() > 1)
    }

    /// Tiles whose padded products stay within a quarter of the least possible.
    fn in_auto_pool(&self, op: &Operation, rows: usize, rates: &Rates) -> bool {
        let (gathered, result) = channels(op);
        let padded = |cols: u32, depth: u32| {
            gathered.next_multiple_of(depth) * result.next_multiple_of(cols)
        };
        let wide_enough = |cols: u32| cols * 2 > result.min(256) || cols >= 128;
        // Asked last, since it looks at every tile: a first call asks every variant.
        let is_dense = || {
            let wide = TILES.iter().filter(|tile| wide_enough(tile.cols));
            let least = wide.map(|tile| padded(tile.cols, tile.depth)).min().unwrap_or(0);
            padded(self.tile.cols, self.tile.depth) * 4 <= least * 5
        };
        let tiles = self.tiles(op, rows);
        // While all are in work at a time, two narrow tiles are faster than a wide one.
        let is_half = self.tile.cols * 2 == result
            && (self.splits > 1 || splits::fit_a_wave(tiles, self.tile.blocks, rates));
        (wide_enough(self.tile.cols) || is_half)
            && (self.tile.rows <= 128 || tiles >= 64)
            // Few rows: the block with most offsets ends last, and has fewer where it has fewer
            // rows.
            && (self.tile.rows > 64 || splits::fit_waves(tiles, self.tile.blocks, SMALL_WAVES, rates))
            && (self.splits == 1
                || gathered >= splits::LEAST_CHANNELS
                    && splits::fill_a_wave(tiles, self.tile.blocks, self.splits, rates))
            && is_dense()
    }

    /// Mirrors `SHARED_BYTES` of `wgmma_gemm_stages.cuh`.
    fn shared_bytes(&self, _op: &Operation) -> usize {
        let slot = ((self.tile.rows + self.tile.cols) * self.tile.depth * 2).next_multiple_of(1024);
        let strip = match self.tile.cols {
            cols if cols.is_multiple_of(64) => 64,
            cols if cols.is_multiple_of(48) => 48,
            cols if cols.is_multiple_of(32) => 32,
            _ => 16,
        };
        let zeros = 128;
        let words = self.tile.stages
            * (self.tile.offsets * self.tile.rows / 32 + 1).next_multiple_of(4)
            * 4;
        let ring = self.tile.stages * self.tile.offsets * slot
            + self.tile.groups * 4 * 16 * (strip + 8) * 2;
        let next_tiles = 2 * 4;
        let barriers = 2 * self.tile.stages * 8;
        ((ring + zeros + words + next_tiles).next_multiple_of(8) + barriers) as usize
    }

    fn instance(&self, op: &Operation) -> Instance {
        let mut instance = Instance::new(
            "wgmma_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("ROWS", self.tile.rows),
                ("COLS", self.tile.cols),
                ("DEPTH", self.tile.depth),
                ("STAGES", self.tile.stages),
                ("GROUPS", self.tile.groups),
                ("MIN_BLOCKS", self.tile.blocks),
                ("MASK_WORDS", mask_words(op.kernel.volume()) as u32),
            ],
        );
        if self.tile.offsets > 1 {
            instance.defines.push(("OFFSETS", self.tile.offsets));
        }
        // One instance for any number of parts; without, the source is as it would be if there were
        // none.
        if self.splits > 1 {
            instance.defines.push(("SPLIT", 1));
        }
        instance.hopper = true;
        instance
    }

    fn suits(&self, capability: ComputeCapability) -> bool {
        has_wgmma(capability)
    }

    fn row_order(&self) -> RowOrder {
        self.order
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        splits::workspace_bytes(op, counts, self.splits)
    }

    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        Some(self.row_tile().work(op, size, rates))
    }

    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        Some(COST)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        TileGemm::bind(*self, loaded, "wgmma_gemm")
    }
}

impl Tiles for WgmmaGemm {
    fn order(self) -> RowOrder {
        self.order
    }

    /// As many blocks as stay on the device, each for many tiles.
    fn grid(self, op: &Operation, rows: usize, sms: usize) -> (usize, u32) {
        (self.tiles(op, rows).min(sms * self.tile.blocks as usize), 1)
    }

    fn parts(self) -> u32 {
        self.splits
    }

    fn weights_box(self, direction: Direction) -> Option<WeightsBox> {
        Some(self.panel(direction))
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(WgmmaGemm::all())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;
    use crate::families::testing::{forward, h100};
    use crate::map::MapCounts;

    fn layer(channels: u32) -> Operation {
        forward(channels, channels)
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
            assert_eq!(crate::families::algorithm(&tile.id()).unwrap().id(), &tile.id());
        }
    }

    /// A stage of one offset is named as it was before there were others, and so is its instance.
    #[test]
    fn stages_of_several_offsets_say_so() {
        assert!(WgmmaGemm::all().any(|tile| tile.tile.offsets > 1));
        for tile in WgmmaGemm::all() {
            let said = (tile.tile.offsets > 1).then_some(tile.tile.offsets);
            assert_eq!(tile.id().number("offsets"), said);
            assert_eq!(tile.instance(&layer(64)).define("OFFSETS"), said);
        }
    }

    /// The number of parts is a launch's, not an instance's.
    #[test]
    fn parts_share_an_instance() {
        let of = |splits| {
            let tile =
                WgmmaGemm::all().find(|it| it.splits == splits && it.tile.cols == 256).unwrap();
            tile.instance(&layer(256))
        };
        assert_eq!(of(2), of(splits::MAX_PARTS));
        assert_ne!(of(1), of(2));
        assert_eq!(of(2).define("SPLIT"), Some(1));
    }

    /// Splits meet the race where tiles are few, and nowhere else.
    #[test]
    fn splits_compete_where_tiles_leave_sms_idle() {
        let pool = |channels, n| -> Vec<(u32, u32)> {
            let cut = WgmmaGemm::all().filter(|tile| tile.splits > 1);
            cut.filter(|tile| tile.in_auto_pool(&layer(channels), n, &h100()))
                .map(|tile| (tile.tile.cols, tile.splits))
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
            let mut tiles = WgmmaGemm::all().filter(|it| it.splits == 1 && it.tile.cols == 64);
            tiles.any(|tile| tile.in_auto_pool(&layer(128), n, &h100()))
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
                let algorithm = crate::families::algorithm(&tile.id()).unwrap();
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

    /// What nvcc is told, the kernel demands: whole warpgroups, rows that a lane can ask for, and
    /// shared memory for as many blocks as are promised per SM.
    #[test]
    fn tiles_are_what_the_kernel_can_be() {
        const PER_SM: usize = 228 * 1024;
        const A_BLOCKS_OWN: usize = 1024;
        for tile in WgmmaGemm::all() {
            assert!(tile.tile.rows.is_multiple_of(64 * tile.tile.groups), "{}", tile.id());
            assert!(tile.tile.cols.is_multiple_of(16) && tile.tile.depth.is_multiple_of(16));
            assert!(tile.threads() * tile.tile.blocks <= 2048, "{}", tile.id());
            let blocks = tile.tile.blocks as usize * (tile.shared_bytes(&layer(64)) + A_BLOCKS_OWN);
            assert!(blocks <= PER_SM, "{}: {blocks}", tile.id());
        }
    }
}
