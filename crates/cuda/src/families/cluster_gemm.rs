//! `cluster_gemm`: output-stationary implicit GEMM of few rows, whose long tiles are cut into parts
//! that are blocks of a cluster. Or tiles stay whole, the longest first, and where a cluster has
//! several, its blocks walk the offsets of all in lockstep and bring weights for each other.

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation, Product};

use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::{channels, has_wgmma};
use super::splits;
use super::tensor_map::WeightsBox;
use super::tile_gemm::{TileGemm, Tiles};
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::{MOST_PLANNED_OFFSETS, RowOrder, TilePlan};
use crate::model::{MapSize, Rates, RowTile, Unit, Work};
use crate::module::LoadedInstance;

/// What the blocks of a cluster are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cluster {
    /// Parts of a tile, whose sums lie behind the stages until all are added up: the next item is
    /// gathered while one is multiplied.
    SumsApart,
    /// Parts of a tile, whose sums lie in place of the stages: tiles are larger, or there are more
    /// stages.
    SumsInRing,
    /// A tile each, which stay whole. Neighbouring ones go in lockstep: each block brings a share
    /// of an offset's weights to all.
    Lockstep,
}

/// Parameters of an instance: geometry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClusterGemm {
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
    /// Blocks per cluster: the most parts of a tile, or tiles in lockstep.
    peers: u32,
    cluster: Cluster,
}

const fn tile(
    [rows, cols, depth, offsets, stages, groups, blocks, peers]: [u32; 8],
    cluster: Cluster,
) -> ClusterGemm {
    ClusterGemm { rows, cols, depth, offsets, stages, groups, blocks, peers, cluster }
}

/// Rows, columns, depth, offsets, stages, warpgroups, blocks per SM, blocks per cluster. Tiles that
/// were never near the best are not listed.
const TILES: [ClusterGemm; 21] = [
    tile([64, 16, 16, 4, 3, 1, 4, 2], Cluster::SumsInRing),
    tile([128, 16, 16, 2, 4, 1, 3, 2], Cluster::SumsInRing),
    tile([64, 32, 32, 1, 8, 1, 3, 2], Cluster::SumsApart),
    tile([128, 32, 32, 1, 6, 1, 3, 2], Cluster::SumsInRing),
    tile([64, 32, 32, 2, 4, 1, 3, 2], Cluster::SumsInRing),
    tile([64, 48, 48, 1, 5, 1, 3, 2], Cluster::SumsInRing),
    tile([64, 64, 32, 1, 8, 1, 3, 2], Cluster::SumsInRing),
    tile([64, 64, 64, 1, 4, 1, 3, 2], Cluster::SumsInRing),
    tile([128, 64, 64, 1, 4, 1, 2, 2], Cluster::SumsInRing),
    tile([64, 80, 48, 1, 3, 1, 3, 2], Cluster::SumsInRing),
    tile([128, 80, 48, 1, 4, 1, 2, 2], Cluster::SumsInRing),
    tile([64, 96, 96, 1, 3, 1, 2, 2], Cluster::SumsInRing),
    tile([64, 96, 32, 1, 6, 1, 2, 2], Cluster::SumsInRing),
    tile([64, 128, 64, 1, 4, 1, 2, 2], Cluster::SumsInRing),
    tile([128, 160, 64, 1, 4, 2, 1, 2], Cluster::SumsInRing),
    tile([64, 64, 32, 1, 6, 1, 3, 1], Cluster::Lockstep),
    tile([128, 64, 64, 1, 3, 1, 2, 1], Cluster::Lockstep),
    tile([128, 80, 48, 1, 3, 1, 2, 2], Cluster::Lockstep),
    tile([128, 128, 64, 1, 5, 2, 1, 1], Cluster::Lockstep),
    tile([128, 160, 64, 1, 5, 2, 1, 2], Cluster::Lockstep),
    tile([128, 256, 64, 1, 4, 2, 1, 1], Cluster::Lockstep),
];

/// Few rows are one segment, so one order does.
const ORDER: RowOrder = RowOrder::Global;

/// Most waves of blocks: with more, tiles of one wave have nothing to gain from being cut. Whole
/// tiles gain from a list of the longest first for longer.
const MOST_WAVES: usize = 2;
const MOST_WHOLE_WAVES: usize = 8;

/// What an item costs besides its offsets, in offsets: at most so many, and less where an offset
/// has so many gathered channels that it takes longer.
const MOST_FIXED: u32 = 4;
const FIXED_CHANNELS: u32 = 320;

impl ClusterGemm {
    fn all() -> impl Iterator<Item = Self> {
        TILES.into_iter()
    }

    /// The geometry of whole tiles. One warpgroup copies, a row of 16 bytes a copy.
    const fn row_tile(self) -> RowTile {
        RowTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            offsets: self.offsets,
            skipped_rows: 64,
            order: ORDER,
            unit: Unit::Wgmma,
            threads: 128,
            resident: self.blocks,
            copies: self.rows * self.depth / 8,
            reads: [1, self.rows / 64],
            keeps_weights: false,
            splits: 1,
        }
    }

    /// The panel of weights that one call of the TMA brings. Mirrors `WIDTH_B` and `LINES_B` of
    /// `wgmma_gemm_stages.cuh`.
    const fn panel(self, direction: Direction) -> WeightsBox {
        match direction.product() {
            Product::Dgrad => WeightsBox { width: panel_width(self.depth), lines: self.cols },
            Product::Forward | Product::Wgrad => {
                let width = if matches!(self.cols, 80 | 160) { 64 } else { panel_width(self.cols) };
                WeightsBox { width, lines: self.depth }
            }
        }
    }

    /// Mirrors `SLOT_BYTES`.
    const fn slot_bytes(self, direction: Direction) -> u32 {
        let WeightsBox { width, lines } = self.panel(direction);
        let along =
            if matches!(direction.product(), Product::Dgrad) { self.depth } else { self.cols };
        let weights = along.div_ceil(width) * width * lines * 2;
        (self.rows * self.depth * 2 + weights).next_multiple_of(1024)
    }

    /// Tiles of result channels.
    fn columns(self, op: &Operation) -> usize {
        let (_, result) = channels(op);
        result.div_ceil(self.cols) as usize
    }

    /// Blocks of a layer of the grid that run at once, in whole clusters.
    fn blocks_at_once(self, op: &Operation, sms: usize) -> usize {
        let (all, peers) = (sms * self.blocks as usize, self.peers as usize);
        (all / self.columns(op).max(1) / peers * peers).max(peers)
    }

    const fn is_in_lockstep(self) -> bool {
        matches!(self.cluster, Cluster::Lockstep)
    }

    /// Blocks that take an item of the plan together, each its own rows of it.
    const fn blocks_an_item(self) -> u32 {
        if self.is_in_lockstep() { self.peers } else { 1 }
    }

    /// Sixteen rows of each warp's results on their way out: `RESULT_STRIP_BYTES` of
    /// `cluster_gemm/places.cuh`.
    const fn strips_bytes(self) -> u32 {
        let strip = match self.cols {
            cols if cols.is_multiple_of(64) => 64,
            cols if cols.is_multiple_of(48) => 48,
            cols if cols.is_multiple_of(32) => 32,
            _ => 16,
        };
        self.groups * 4 * 16 * (strip + 8) * 2
    }
}

impl Variant for ClusterGemm {
    fn id(&self) -> AlgoId {
        let mut numbers = vec![
            ("rows", self.rows),
            ("cols", self.cols),
            ("depth", self.depth),
            ("stages", self.stages),
            ("blocks", self.blocks),
            (if self.is_in_lockstep() { "lockstep" } else { "parts" }, self.peers),
        ];
        numbers.extend([("offsets", self.offsets)].into_iter().filter(|(_, offsets)| *offsets > 1));
        numbers.extend([("groups", self.groups)].into_iter().filter(|(_, groups)| *groups > 1));
        splits::id("cluster_gemm", &numbers, ORDER, 1)
    }

    /// Copies are of eight elements, or of four along the input's channels; the TMA takes eight of
    /// the output's. Sums of whole tiles are stored eight at a time. A single offset cannot be cut.
    fn applies(&self, op: &Operation) -> bool {
        let stores_eight = self.is_in_lockstep() && op.direction == Direction::Dgrad;
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(if stores_eight { 8 } else { 4 })
            && op.c_out.is_multiple_of(8)
            && (2..=MOST_PLANNED_OFFSETS).contains(&op.kernel.volume())
    }

    /// Tiles whose padded products stay within a quarter of the least possible, where most of them
    /// run at once.
    fn in_auto_pool(&self, op: &Operation, rows: usize, rates: &Rates) -> bool {
        let (gathered, result) = channels(op);
        let padded = |tile: &Self| {
            gathered.next_multiple_of(tile.depth) * result.next_multiple_of(tile.cols)
        };
        let is_wide_enough = |tile: &Self| {
            let is_half = tile.cols * 2 == result && tile.cols >= 64;
            tile.cols * 2 > result || tile.cols >= 128 || is_half
        };
        let least = TILES.iter().filter(|tile| is_wide_enough(tile)).map(padded).min().unwrap_or(0);
        let blocks = rows.div_ceil(self.rows as usize) * self.columns(op);
        let waves = if self.is_in_lockstep() { MOST_WHOLE_WAVES } else { MOST_WAVES };
        is_wide_enough(self)
            && padded(self) * 4 <= least * 5
            && splits::fit_waves(blocks, self.blocks, waves, rates)
    }

    /// Mirrors `CLUSTER_SHARED_BYTES` of `cluster_gemm/places.cuh`.
    fn shared_bytes(&self, op: &Operation) -> usize {
        let slot = self.slot_bytes(op.direction);
        let (sums, items) = match self.cluster {
            Cluster::SumsApart => (self.rows * (self.cols + 8) * 4, 2),
            Cluster::SumsInRing | Cluster::Lockstep => (0, 1),
        };
        let zeros = 128;
        let words = self.stages * (self.offsets * self.rows / 32 + 1).next_multiple_of(4) * 4;
        let next_tiles = 2 * 4;
        let barriers = 2 * self.stages * 8;
        let ring = self.stages * self.offsets * slot + sums + zeros + words + next_tiles;
        let numbers = items * MOST_PLANNED_OFFSETS as u32 * self.rows * 4;
        let finishing = if self.is_in_lockstep() { self.strips_bytes() } else { 2 * self.cols * 4 };
        let cluster_barriers = 3 * 8;
        let behind = (ring.next_multiple_of(8) + barriers).next_multiple_of(16);
        (behind + numbers + finishing + cluster_barriers) as usize
    }

    fn instance(&self, op: &Operation) -> Instance {
        let mut instance = Instance::new(
            "cluster_gemm.cu",
            &[
                dtype_define(op.dtype),
                ("DGRAD", u32::from(op.direction == Direction::Dgrad)),
                ("ROWS", self.rows),
                ("COLS", self.cols),
                ("DEPTH", self.depth),
                ("STAGES", self.stages),
                ("MIN_BLOCKS", self.blocks),
                ("CLUSTER", self.peers),
                ("SUMS_IN_RING", u32::from(self.cluster != Cluster::SumsApart)),
            ],
        );
        if self.is_in_lockstep() {
            instance.defines.push(("LOCKSTEP", 1));
        }
        for (name, value) in [("OFFSETS", self.offsets), ("GROUPS", self.groups)] {
            if value > 1 {
                instance.defines.push((name, value));
            }
        }
        if !op.c_in.is_multiple_of(8) {
            instance.defines.push(("FOURS", 1));
        }
        instance.hopper = true;
        instance
    }

    fn suits(&self, capability: ComputeCapability) -> bool {
        has_wgmma(capability)
    }

    fn row_order(&self) -> RowOrder {
        ORDER
    }

    fn tile_plan(&self, op: &Operation, sms: usize) -> Option<TilePlan> {
        if self.is_in_lockstep() {
            // Nothing is cut, so one plan does for all layers.
            let rows = self.rows * self.peers;
            return Some(TilePlan { order: ORDER, rows, parts: 1, blocks: 1, fixed: 1 });
        }
        let blocks = self.blocks_at_once(op, sms) as u32;
        let (gathered, _) = channels(op);
        let fixed = (FIXED_CHANNELS / gathered).clamp(1, MOST_FIXED);
        Some(TilePlan { order: ORDER, rows: self.rows, parts: self.peers, blocks, fixed })
    }

    /// Constants are still to be fitted to measurements, so no race leaves it out, and no model
    /// chooses it.
    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        let mut work = self.row_tile().work(op, size, rates);
        if let (Work::Tiles(tiles), false) = (&mut work, self.is_in_lockstep()) {
            let at_once = self.blocks_at_once(op, rates.sms as usize) * self.columns(op);
            tiles.cut(at_once as f64, f64::from(self.peers));
        }
        Some(work)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        TileGemm::bind(*self, loaded, "cluster_gemm")
    }
}

impl Tiles for ClusterGemm {
    fn order(self) -> RowOrder {
        ORDER
    }

    /// As many blocks as run at once, or as there may be items for; each takes every so many-th.
    fn grid(self, op: &Operation, rows: usize, sms: usize) -> (usize, u32) {
        let items = self.tile_plan(op, sms).map_or(0, |plan| plan.most_items(rows));
        let blocks = items * self.blocks_an_item() as usize;
        (blocks.min(self.blocks_at_once(op, sms)), self.columns(op) as u32)
    }

    fn plan(self, op: &Operation, sms: usize) -> Option<TilePlan> {
        self.tile_plan(op, sms)
    }

    fn weights_box(self, direction: Direction) -> Option<WeightsBox> {
        let WeightsBox { width, lines } = self.panel(direction);
        Some(WeightsBox { width, lines: lines / self.blocks_an_item() })
    }
}

const fn panel_width(extent: u32) -> u32 {
    if extent.is_multiple_of(64) {
        64
    } else if extent.is_multiple_of(32) {
        32
    } else {
        16
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(ClusterGemm::all())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;
    use crate::families::testing::{fit_on_an_sm, forward as layer, h100};

    /// What nvcc is told, the kernel demands: rows that a lane can ask for, sums that the ring
    /// holds, and shared memory for as many blocks as are promised per SM.
    #[test]
    fn tiles_are_what_the_kernel_can_be() {
        for tile in ClusterGemm::all() {
            let id = tile.id();
            let least_peers = if tile.is_in_lockstep() { 1 } else { 2 };
            let peers = [least_peers, 2, 4, 8];
            assert!([64, 128].contains(&tile.rows) && peers.contains(&tile.peers), "{id}");
            assert!(tile.cols.is_multiple_of(16) && tile.depth.is_multiple_of(16), "{id}");
            let sums = tile.rows * (tile.cols + 8) * 4;
            for direction in [Direction::Forward, Direction::Dgrad] {
                let slots = tile.stages * tile.offsets * tile.slot_bytes(direction);
                assert!(tile.cluster == Cluster::SumsApart || sums <= slots, "{id}");
                // Tables are padded to 256 positions; a share of weights begins where their
                // swizzle does.
                assert!(tile.rows * tile.blocks_an_item() <= 256, "{id}");
                assert!(tile.weights_box(direction).unwrap().lines.is_multiple_of(8), "{id}");
                let op = Operation { direction, ..layer(64, 64) };
                let block = tile.shared_bytes(&op);
                assert!(fit_on_an_sm(tile.blocks, block), "{id}: {block}");
            }
        }
    }

    /// A block reads the item of its own number before it knows how many there are.
    #[test]
    fn a_grid_has_whole_clusters_and_an_item_for_each_block() {
        for tile in ClusterGemm::all() {
            for (channels, sms) in [(16, 132), (64, 1), (160, 78), (512, 132)] {
                let op = layer(channels, channels);
                for rows in [1, 64, 65, 5_000, 100_000] {
                    let plan = tile.tile_plan(&op, sms).unwrap();
                    let (blocks, columns) = tile.grid(&op, rows, sms);
                    assert!(blocks > 0 && blocks.is_multiple_of(tile.peers as usize));
                    assert!(blocks <= plan.most_items(rows) * tile.blocks_an_item() as usize);
                    assert!(tile.is_in_lockstep() || blocks <= plan.blocks as usize);
                    assert!(columns * tile.cols >= channels);
                }
            }
        }
    }

    #[test]
    fn small_clouds_have_a_tile_in_the_race() {
        let pool = |channels: (u32, u32), rows| -> Vec<(u32, u32, u32)> {
            ClusterGemm::all()
                .filter(|tile| tile.in_auto_pool(&layer(channels.0, channels.1), rows, &h100()))
                .map(|tile| (tile.rows, tile.cols, tile.peers))
                .collect()
        };
        assert_eq!(pool((16, 16), 80_000), [(128, 16, 2)]);
        assert_eq!(pool((32, 32), 30_000), [(64, 32, 2), (128, 32, 2), (64, 32, 2)]);
        for tile in [(64, 64, 2), (64, 128, 2)] {
            assert!(pool((128, 128), 10_000).contains(&tile), "{tile:?}");
        }
        for channels in [(20, 64), (48, 80), (160, 160), (224, 256), (16, 32), (32, 64), (64, 128)]
        {
            for rows in [1_000, 14_000] {
                assert!(!pool(channels, rows).is_empty(), "{channels:?} at {rows}");
            }
        }
        assert!(pool((64, 64), 300_000).is_empty() && pool((512, 512), 100_000).is_empty());
    }

    #[test]
    fn pointwise_and_wide_windows_are_left_to_others() {
        for (extent, applies) in [(1, false), (3, true), (5, false)] {
            let op =
                Operation { kernel: KernelSize::submanifold(extent).unwrap(), ..layer(64, 64) };
            assert!(ClusterGemm::all().all(|tile| tile.applies(&op) == applies));
        }
    }

    /// Tiles in two and in four parts would meet at one barrier of a block. In clusters of four,
    /// sums were wrong where a block had one after the other, and launches failed.
    #[test]
    fn all_parts_of_a_tile_are_all_blocks_of_a_cluster() {
        assert!(ClusterGemm::all().all(|tile| tile.is_in_lockstep() || tile.peers == 2));
    }

    /// Their stores of sixteen bytes were misaligned at 36, 52 and 60 channels.
    #[test]
    fn whole_tiles_store_no_channels_in_fours() {
        for tile in ClusterGemm::all() {
            let dgrad = |c_in| Operation { direction: Direction::Dgrad, ..layer(c_in, 64) };
            assert_eq!(tile.applies(&dgrad(36)), !tile.is_in_lockstep());
            assert!(tile.applies(&dgrad(40)) && tile.applies(&layer(36, 64)));
        }
    }

    /// Only what needs it is compiled for channels in fours.
    #[test]
    fn channels_in_fours_have_an_instance_of_their_own() {
        for tile in ClusterGemm::all() {
            let fours = |c_in, c_out| tile.instance(&layer(c_in, c_out)).define("FOURS");
            assert_eq!([fours(20, 64), fours(16, 64), fours(64, 64)], [Some(1), None, None]);
            assert!(!tile.applies(&layer(64, 20)) && !tile.applies(&layer(5, 16)));
        }
    }
}
