//! `wgmma_wgrad`: wgrad over pair lists by Hopper's warpgroup instructions.

use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, Operation};

use super::family::{Bound, KernelFamily, Variant, boxed};
use super::geometry::has_wgmma;
use super::pair_lists::{PairLists, Units};
use super::pair_units::PairUnits;
use crate::error::Result;
use crate::instance::{Instance, dtype_define};
use crate::map::MapCounts;
use crate::model::{Constants, MapSize, PairTile, Rates, Unit, WGMMA_WGRAD as COST, Work};
use crate::module::LoadedInstance;

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WgmmaWgrad {
    tile: Tile,
    /// Blocks of a launch, about: each tile of the result is shared by so many that all tiles
    /// together have this number.
    split: u32,
}

/// Geometry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    /// Input channels per block.
    rows: u32,
    /// Output channels per block.
    cols: u32,
    /// Pairs per stage.
    depth: u32,
    /// Stages in shared memory.
    stages: u32,
    /// Multiplying warpgroups.
    groups: u32,
    /// Blocks per SM.
    blocks: u32,
}

#[rustfmt::skip]
const TILES: [Tile; 9] = [
    Tile { rows: 64, cols: 64, depth: 64, stages: 4, groups: 1, blocks: 3 },
    Tile { rows: 64, cols: 128, depth: 64, stages: 4, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 64, depth: 64, stages: 4, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 96, depth: 64, stages: 3, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 128, depth: 64, stages: 3, groups: 1, blocks: 2 },
    Tile { rows: 128, cols: 192, depth: 64, stages: 5, groups: 2, blocks: 1 },
    Tile { rows: 192, cols: 192, depth: 64, stages: 4, groups: 3, blocks: 1 },
    Tile { rows: 128, cols: 256, depth: 64, stages: 4, groups: 2, blocks: 1 },
    Tile { rows: 256, cols: 128, depth: 64, stages: 4, groups: 2, blocks: 1 },
];

/// Splits for each tile, per block of an SM: about one, two and four times the SMs of an H100. Any
/// split is right on any device. One wave keeps all offsets side by side; more leave shorter ends.
const SPLITS: [u32; 3] = [132, 264, 528];

/// From so many waves on, a layer of any number of tiles is shared out evenly.
const MOST_WAVES: u32 = 4;

impl WgmmaWgrad {
    fn all() -> impl Iterator<Item = Self> {
        TILES
            .into_iter()
            .flat_map(|tile| SPLITS.map(|split| Self { tile, split: split * tile.blocks }))
    }

    /// The geometry behind its cost. One warpgroup copies, a row of 16 bytes a copy.
    fn pair_tile(self, op: &Operation) -> PairTile {
        PairTile {
            rows: self.tile.rows,
            cols: self.tile.cols,
            depth: self.tile.depth,
            split: (self.split / self.tiles(op) as u32).max(1),
            unit: Unit::Wgmma,
            threads: 128,
            resident: self.tile.blocks,
            copies: (self.tile.rows + self.tile.cols) * self.tile.depth / 8,
        }
    }

    #[cfg(test)]
    const fn threads(self) -> u32 {
        (1 + self.tile.groups) * 128
    }
}

impl Variant for WgmmaWgrad {
    fn id(&self) -> AlgoId {
        let params = [
            ("rows", &*self.tile.rows.to_string()),
            ("cols", &self.tile.cols.to_string()),
            ("depth", &self.tile.depth.to_string()),
            ("stages", &self.tile.stages.to_string()),
            ("groups", &self.tile.groups.to_string()),
            ("blocks", &self.tile.blocks.to_string()),
            ("split", &self.split.to_string()),
        ];
        AlgoId::new("wgmma_wgrad", &params).expect("parameters are words and numbers")
    }

    /// Copies are of eight elements.
    fn applies(&self, op: &Operation) -> bool {
        op.direction == Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(8)
            && op.c_out.is_multiple_of(8)
    }

    /// Tiles whose padded products stay within a quarter of the least possible and whose gathered
    /// bytes within an eighth. Of the splits, those with a unit or more for each time that the
    /// device is filled. In each wave the offsets that are side by side fetch their rows again. A
    /// layer of many tiles has few units a wave, so that it takes more waves to even out their
    /// lengths. Layers of fewer than 32 channels fill less than half of any line.
    fn in_auto_pool(&self, op: &Operation, _rows: usize, rates: &Rates) -> bool {
        let wave = rates.sms as u32 * self.tile.blocks;
        let waves = (self.split + wave / 2) / wave;
        let tiles = self.tiles(op) as u32;
        let even = waves <= tiles && (tiles <= 4 * waves || waves >= MOST_WAVES);
        if op.c_in < 32 || op.c_out < 32 || !even {
            return false;
        }
        let padded =
            |rows: u32, cols: u32| op.c_in.next_multiple_of(rows) * op.c_out.next_multiple_of(cols);
        let gathered = |rows: u32, cols: u32| {
            op.c_in * op.c_out.div_ceil(cols) + op.c_out * op.c_in.div_ceil(rows)
        };
        let least_padded = TILES.iter().map(|tile| padded(tile.rows, tile.cols)).min().unwrap_or(0);
        let dense = |rows: u32, cols: u32| padded(rows, cols) * 4 <= least_padded * 5;
        let least_gathered = TILES
            .iter()
            .filter(|tile| dense(tile.rows, tile.cols))
            .map(|tile| gathered(tile.rows, tile.cols))
            .min()
            .unwrap_or(0);
        dense(self.tile.rows, self.tile.cols)
            && gathered(self.tile.rows, self.tile.cols) * 8 <= least_gathered * 9
    }

    /// Mirrors `SHARED_BYTES` of `wgmma_wgrad.cu`.
    fn shared_bytes(&self, _op: &Operation) -> usize {
        let stage =
            ((self.tile.rows + self.tile.cols) * self.tile.depth * 2).next_multiple_of(1024);
        let barriers = 2 * 8;
        (self.tile.stages * (stage + barriers)) as usize
    }

    fn workspace_bytes(&self, op: &Operation, counts: &MapCounts) -> usize {
        let units = self.units(op, counts).len(counts.pairs.len());
        units * op.c_in as usize * op.c_out as usize * 4
    }

    fn instance(&self, op: &Operation) -> Instance {
        let mut instance = Instance::new(
            "wgmma_wgrad.cu",
            &[
                dtype_define(op.dtype),
                ("ROWS", self.tile.rows),
                ("COLS", self.tile.cols),
                ("DEPTH", self.tile.depth),
                ("STAGES", self.tile.stages),
                ("GROUPS", self.tile.groups),
                ("MIN_BLOCKS", self.tile.blocks),
            ],
        );
        instance.hopper = true;
        instance
    }

    fn suits(&self, capability: ComputeCapability) -> bool {
        has_wgmma(capability)
    }

    fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Option<Work> {
        Some(self.pair_tile(op).work(op, size, rates))
    }

    fn cost_constants(&self, _op: &Operation) -> Option<Constants> {
        Some(COST)
    }

    fn bind(&self, _op: &Operation, loaded: &LoadedInstance) -> Result<Box<dyn Bound>> {
        PairLists::bind(*self, loaded, "wgmma_wgrad")
    }
}

impl Units for WgmmaWgrad {
    fn units(self, op: &Operation, counts: &MapCounts) -> PairUnits {
        PairUnits::interleaved(counts, self.split as usize / self.tiles(op), self.tile.depth)
    }

    fn tiles(self, op: &Operation) -> usize {
        (op.c_in.div_ceil(self.tile.rows) * op.c_out.div_ceil(self.tile.cols)) as usize
    }
}

/// The family.
pub(super) struct Family;

impl KernelFamily for Family {
    fn variants(&self) -> Vec<Box<dyn Variant>> {
        boxed(WgmmaWgrad::all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::testing::{fit_on_an_sm, h100, wgrad as layer};

    /// What nvcc is told, the kernel demands. Warpgroups are whole and have at most two fragments
    /// each; gathering warps have sixteen lines; panels begin where their swizzle does. An SM has
    /// room for as many blocks as are promised.
    #[test]
    fn tiles_are_what_the_kernel_can_be() {
        for tile in WgmmaWgrad::all() {
            assert!(tile.tile.rows.is_multiple_of(64 * tile.tile.groups), "{}", tile.id());
            assert!(tile.tile.rows / 64 / tile.tile.groups <= 2, "{}", tile.id());
            assert!([64, 96, 128, 192, 256].contains(&tile.tile.cols), "{}", tile.id());
            assert_eq!(tile.tile.depth, 64, "{}", tile.id());
            assert!(tile.threads() * tile.tile.blocks <= 2048, "{}", tile.id());
            let shared_bytes = tile.shared_bytes(&layer(64, 64));
            assert!(fit_on_an_sm(tile.tile.blocks, shared_bytes), "{}: {shared_bytes}", tile.id());
            // Accumulators, and what else a multiplying thread holds, out of the registers it is
            // given.
            let share = 65_536 / (tile.threads() * tile.tile.blocks) / 8 * 8;
            let multiplying = (share * (1 + tile.tile.groups) - share.min(72)) / tile.tile.groups;
            assert!(
                tile.tile.rows * tile.tile.cols / tile.tile.groups / 128 + 24 <= multiplying,
                "{}",
                tile.id()
            );
        }
    }

    #[test]
    fn narrow_and_ragged_layers_are_left_to_others() {
        let any =
            |op: &Operation| WgmmaWgrad::all().any(|tile| tile.in_auto_pool(op, 100_000, &h100()));
        assert!(!any(&layer(16, 64)) && any(&layer(32, 32)) && any(&layer(96, 48)));
        for op in [
            layer(100, 64),
            layer(64, 20),
            Operation { dtype: DType::Float32, ..layer(64, 64) },
            Operation { direction: Direction::Forward, ..layer(64, 64) },
        ] {
            assert!(WgmmaWgrad::all().all(|tile| !tile.applies(&op)), "{op}");
        }
    }

    /// A large layer meets the tiles that gather each row least often, within its padding.
    #[test]
    fn wide_layers_take_wide_tiles() {
        let pool = |c_in, c_out| -> Vec<(u32, u32)> {
            let op = layer(c_in, c_out);
            let in_pool = WgmmaWgrad::all().filter(|tile| tile.in_auto_pool(&op, 100_000, &h100()));
            let mut tiles: Vec<_> = in_pool.map(|tile| (tile.tile.rows, tile.tile.cols)).collect();
            tiles.dedup();
            tiles
        };
        assert_eq!(pool(256, 256), [(128, 256), (256, 128)]);
        assert_eq!(pool(512, 512), [(128, 256), (256, 128)]);
        assert_eq!(pool(128, 256), [(128, 256)]);
        assert_eq!(pool(192, 192), [(192, 192)]);
        assert_eq!(pool(128, 128), [(128, 128)]);
    }

    /// The workspace holds one partial result a unit, and a launch about as many blocks as its
    /// split.
    #[test]
    fn a_launch_fills_the_device_as_often_as_it_says() {
        let mut pairs = vec![30_000; 27];
        pairs[13] = 300_000;
        let counts = MapCounts { n_in: 300_000, n_out: 300_000, pairs };
        for (c_in, c_out) in [(64, 64), (96, 192), (256, 256), (512, 512)] {
            let op = layer(c_in, c_out);
            for tile in WgmmaWgrad::all() {
                let (units, tiles) = (tile.units(&op, &counts).len(27), tile.tiles(&op));
                let most = (tile.split as usize / tiles).max(27);
                assert!((most / 2..=most).contains(&units), "{}: {units}", tile.id());
                let partial = units * (c_in * c_out * 4) as usize;
                assert_eq!(tile.workspace_bytes(&op, &counts), partial);
            }
        }
    }
}
