//! `cluster_gemm`: output-stationary implicit GEMM of few rows, whose long tiles are cut into parts
//! that are blocks of a cluster.

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

/// Where the sums of a block lie until the parts of its tile have added them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    /// Behind the stages: the next item is gathered while one is multiplied.
    Apart,
    /// In place of the stages: tiles are larger, or there are more stages.
    Ring,
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
    /// Stages in shared memory.
    stages: u32,
    /// Blocks per SM.
    blocks: u32,
    /// Blocks per cluster, the most parts of a tile.
    parts: u32,
    sums: Sums,
}

#[rustfmt::skip]
const TILES: [ClusterGemm; 16] = [
    ClusterGemm { rows: 64, cols: 16, depth: 16, stages: 8, blocks: 4, parts: 4, sums: Sums::Apart },
    ClusterGemm { rows: 128, cols: 16, depth: 16, stages: 6, blocks: 3, parts: 2, sums: Sums::Apart },
    ClusterGemm { rows: 64, cols: 32, depth: 32, stages: 8, blocks: 3, parts: 2, sums: Sums::Apart },
    ClusterGemm { rows: 64, cols: 32, depth: 32, stages: 8, blocks: 3, parts: 4, sums: Sums::Apart },
    ClusterGemm { rows: 128, cols: 32, depth: 32, stages: 6, blocks: 3, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 48, depth: 48, stages: 5, blocks: 3, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 64, depth: 32, stages: 8, blocks: 3, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 64, depth: 64, stages: 4, blocks: 3, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 64, depth: 64, stages: 4, blocks: 3, parts: 4, sums: Sums::Ring },
    ClusterGemm { rows: 128, cols: 64, depth: 64, stages: 4, blocks: 2, parts: 4, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 80, depth: 48, stages: 4, blocks: 3, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 80, depth: 32, stages: 6, blocks: 3, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 96, depth: 96, stages: 3, blocks: 2, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 96, depth: 32, stages: 6, blocks: 2, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 128, depth: 64, stages: 4, blocks: 2, parts: 2, sums: Sums::Ring },
    ClusterGemm { rows: 64, cols: 128, depth: 64, stages: 4, blocks: 2, parts: 4, sums: Sums::Ring },
];

/// Few rows are one segment, so one order does.
const ORDER: RowOrder = RowOrder::Global;

/// Most waves of blocks: with more, tiles of one wave have nothing to gain from being cut.
const MOST_WAVES: usize = 2;

/// Of ten SMs, those whose blocks clusters of four can take: clusters do not span groups of SMs,
/// whose number of blocks is no multiple of four.
const TENTHS_IN_FOURS: usize = 9;

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
            offsets: 1,
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

    /// Tiles of result channels.
    fn columns(self, op: &Operation) -> usize {
        let (_, result) = channels(op);
        result.div_ceil(self.cols) as usize
    }

    /// Blocks of a layer of the grid that run at once, in whole clusters.
    fn blocks_at_once(self, op: &Operation, sms: usize) -> usize {
        let all = sms * self.blocks as usize;
        let usable = if self.parts > 2 { all * TENTHS_IN_FOURS / 10 } else { all };
        let parts = self.parts as usize;
        (usable / self.columns(op).max(1) / parts * parts).max(parts)
    }
}

impl Variant for ClusterGemm {
    fn id(&self) -> AlgoId {
        let numbers = [
            ("rows", self.rows),
            ("cols", self.cols),
            ("depth", self.depth),
            ("stages", self.stages),
            ("blocks", self.blocks),
            ("parts", self.parts),
        ];
        splits::id("cluster_gemm", &numbers, ORDER, 1)
    }

    /// Copies are of eight elements, or of four along the input's channels; the TMA takes eight of
    /// the output's. A single offset cannot be cut.
    fn applies(&self, op: &Operation) -> bool {
        op.direction != Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(4)
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
        is_wide_enough(self)
            && padded(self) * 4 <= least * 5
            && splits::fit_waves(blocks, self.blocks, MOST_WAVES, rates)
    }

    /// Mirrors `CLUSTER_SHARED_BYTES` of `cluster_gemm/places.cuh`.
    fn shared_bytes(&self, _op: &Operation) -> usize {
        let slot = ((self.rows + self.cols) * self.depth * 2).next_multiple_of(1024);
        let (sums, items) = match self.sums {
            Sums::Apart => (self.rows * (self.cols + 8) * 4, 2),
            Sums::Ring => (0, 1),
        };
        let zeros = 128;
        let words = self.stages * (self.rows / 32 + 1).next_multiple_of(4) * 4;
        let next_tiles = 2 * 4;
        let barriers = 2 * self.stages * 8;
        let ring = self.stages * slot + sums + zeros + words + next_tiles;
        let numbers = items * MOST_PLANNED_OFFSETS as u32 * self.rows * 4;
        let affine = 2 * self.cols * 4;
        let cluster_barriers = 3 * 8;
        let behind = (ring.next_multiple_of(8) + barriers).next_multiple_of(16);
        (behind + numbers + affine + cluster_barriers) as usize
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
                ("CLUSTER", self.parts),
                ("SUMS_IN_RING", u32::from(self.sums == Sums::Ring)),
            ],
        );
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
        let blocks = self.blocks_at_once(op, sms) as u32;
        Some(TilePlan { order: ORDER, rows: self.rows, parts: self.parts, blocks })
    }

    /// Constants are still to be fitted to measurements, so no race leaves it out, and no model
    /// chooses it.
    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        let mut work = self.row_tile().work(op, size, rates);
        if let Work::Tiles(tiles) = &mut work {
            let at_once = self.blocks_at_once(op, rates.sms as usize) * self.columns(op);
            tiles.cut(at_once as f64, f64::from(self.parts));
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

    /// As many blocks as run at once, or as there may be items; each takes every so many-th.
    fn grid(self, op: &Operation, rows: usize, sms: usize) -> (usize, u32) {
        let items = self.tile_plan(op, sms).map_or(0, |plan| plan.most_items(rows));
        (items.min(self.blocks_at_once(op, sms)), self.columns(op) as u32)
    }

    fn plan(self, op: &Operation, sms: usize) -> Option<TilePlan> {
        self.tile_plan(op, sms)
    }

    /// Mirrors `WIDTH_B` and `LINES_B` of `wgmma_gemm_stages.cuh`.
    fn weights_box(self, direction: Direction) -> Option<WeightsBox> {
        Some(match direction.product() {
            Product::Dgrad => WeightsBox { width: panel_width(self.depth), lines: self.cols },
            Product::Forward | Product::Wgrad => {
                WeightsBox { width: panel_width(self.cols), lines: self.depth }
            }
        })
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
    use crate::families::testing::{forward as layer, h100};

    /// What nvcc is told, the kernel demands: rows that a lane can ask for, sums that the ring
    /// holds, and shared memory for as many blocks as are promised per SM.
    #[test]
    fn tiles_are_what_the_kernel_can_be() {
        const PER_SM: usize = 228 * 1024;
        const A_BLOCKS_OWN: usize = 1024;
        for tile in ClusterGemm::all() {
            let id = tile.id();
            assert!([64, 128].contains(&tile.rows) && [2, 4].contains(&tile.parts), "{id}");
            assert!(tile.cols.is_multiple_of(16) && tile.depth.is_multiple_of(16), "{id}");
            let slot = ((tile.rows + tile.cols) * tile.depth * 2).next_multiple_of(1024);
            let sums = tile.rows * (tile.cols + 8) * 4;
            assert!(tile.sums == Sums::Apart || sums <= tile.stages * slot, "{id}");
            let block = tile.shared_bytes(&layer(64, 64)) + A_BLOCKS_OWN;
            assert!(tile.blocks as usize * block <= PER_SM, "{id}: {block}");
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
                    assert!(blocks > 0 && blocks.is_multiple_of(tile.parts as usize));
                    assert!(blocks <= plan.most_items(rows) && blocks <= plan.blocks as usize);
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
                .map(|tile| (tile.rows, tile.cols, tile.parts))
                .collect()
        };
        assert_eq!(pool((16, 16), 80_000), [(128, 16, 2)]);
        assert_eq!(pool((32, 32), 30_000), [(64, 32, 2), (64, 32, 4), (128, 32, 2)]);
        for tile in [(64, 64, 4), (64, 128, 2), (64, 128, 4)] {
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
