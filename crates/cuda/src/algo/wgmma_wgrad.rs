//! `wgmma_wgrad`: wgrad over pair lists by Hopper's warpgroup instructions.

use voxtune_types::{AlgoId, DType, Direction, Operation};

use super::pair_units::PairUnits;
use crate::instance::{Instance, dtype_define};
use crate::map::MapCounts;
use crate::model::{PairTile, Unit};

/// Parameters of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WgmmaWgrad {
    /// Input channels a block.
    rows: u32,
    /// Output channels a block.
    cols: u32,
    /// Pairs a stage.
    depth: u32,
    /// Stages in shared memory.
    stages: u32,
    /// Multiplying warpgroups.
    groups: u32,
    /// Blocks a multiprocessor.
    blocks: u32,
    /// Blocks of a launch, about: each tile of the result is shared by so many that all tiles together have this number.
    split: u32,
}

/// (rows, cols, depth, stages, groups, blocks).
const TILES: [(u32, u32, u32, u32, u32, u32); 9] = [
    (64, 64, 64, 4, 1, 3),
    (64, 128, 64, 4, 1, 2),
    (128, 64, 64, 4, 1, 2),
    (128, 96, 64, 3, 1, 2),
    (128, 128, 64, 3, 1, 2),
    (128, 192, 64, 5, 2, 1),
    (192, 192, 64, 4, 3, 1),
    (128, 256, 64, 4, 2, 1),
    (256, 128, 64, 4, 2, 1),
];

/// Multiprocessors of an H100 or an H200. Any split is right on any device; whole multiples of this one fill these.
const MULTIPROCESSORS: u32 = 132;

/// Times that a launch fills the device. Once keeps all offsets side by side; more leave shorter ends.
const WAVES: [u32; 3] = [1, 2, 4];

impl WgmmaWgrad {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TILES.into_iter().flat_map(|(rows, cols, depth, stages, groups, blocks)| {
            WAVES.map(|waves| {
                let split = MULTIPROCESSORS * blocks * waves;
                Self { rows, cols, depth, stages, groups, blocks, split }
            })
        })
    }

    pub(super) fn id(self) -> AlgoId {
        let params = [
            ("rows", &*self.rows.to_string()),
            ("cols", &self.cols.to_string()),
            ("depth", &self.depth.to_string()),
            ("stages", &self.stages.to_string()),
            ("groups", &self.groups.to_string()),
            ("blocks", &self.blocks.to_string()),
            ("split", &self.split.to_string()),
        ];
        AlgoId::new("wgmma_wgrad", &params).expect("parameters are words and numbers")
    }

    /// Copies are of eight elements.
    pub(super) fn applies(self, op: &Operation) -> bool {
        op.direction == Direction::Wgrad
            && op.dtype != DType::Float32
            && op.c_in.is_multiple_of(8)
            && op.c_out.is_multiple_of(8)
    }

    /// Tiles whose padded products stay within a quarter of the least possible and whose gathered bytes
    /// within an eighth. Of the splits, those with a unit or more for each time that the device is filled: in each wave the offsets
    /// that are side by side fetch their rows again. A layer of many tiles has few units a wave, so that it takes more waves
    /// to even out their lengths. Layers of fewer than 32 channels fill less than half of any line.
    pub(super) fn in_auto_pool(self, op: &Operation) -> bool {
        let padded =
            |rows: u32, cols: u32| op.c_in.next_multiple_of(rows) * op.c_out.next_multiple_of(cols);
        let gathered = |rows: u32, cols: u32| {
            op.c_in * op.c_out.div_ceil(cols) + op.c_out * op.c_in.div_ceil(rows)
        };
        let least_padded =
            TILES.iter().map(|(rows, cols, ..)| padded(*rows, *cols)).min().unwrap_or(0);
        let dense = |rows: u32, cols: u32| padded(rows, cols) * 4 <= least_padded * 5;
        let least_gathered = TILES
            .iter()
            .filter(|(rows, cols, ..)| dense(*rows, *cols))
            .map(|(rows, cols, ..)| gathered(*rows, *cols))
            .min()
            .unwrap_or(0);
        let waves = self.split / (MULTIPROCESSORS * self.blocks);
        let tiles = self.tiles(op) as u32;
        let even = waves <= tiles && (tiles <= 4 * waves || waves == WAVES[2]);
        op.c_in >= 32
            && op.c_out >= 32
            && dense(self.rows, self.cols)
            && gathered(self.rows, self.cols) * 8 <= least_gathered * 9
            && even
    }

    /// The geometry behind its cost. One warpgroup copies, a row of 16 bytes a copy.
    pub(super) fn tile(self, op: &Operation) -> PairTile {
        PairTile {
            rows: self.rows,
            cols: self.cols,
            depth: self.depth,
            split: (self.split / self.tiles(op) as u32).max(1),
            unit: Unit::Wgmma,
            threads: 128,
            resident: self.blocks,
            copies: (self.rows + self.cols) * self.depth / 8,
        }
    }

    #[cfg(test)]
    const fn threads(self) -> u32 {
        (1 + self.groups) * 128
    }

    /// Mirrors `SHARED_BYTES` of `wgmma_wgrad.cu`.
    pub(super) const fn shared_bytes(self) -> usize {
        let stage = ((self.rows + self.cols) * self.depth * 2).next_multiple_of(1024);
        let barriers = 2 * 8;
        (self.stages * (stage + barriers)) as usize
    }

    pub(super) fn units(self, op: &Operation, counts: &MapCounts) -> PairUnits {
        PairUnits::interleaved(counts, self.split as usize / self.tiles(op), self.depth)
    }

    pub(super) fn workspace_bytes(self, op: &Operation, counts: &MapCounts) -> usize {
        let units = self.units(op, counts).len(counts.pairs.len());
        units * op.c_in as usize * op.c_out as usize * 4
    }

    /// Tiles of a unit.
    pub(super) fn tiles(self, op: &Operation) -> usize {
        (op.c_in.div_ceil(self.rows) * op.c_out.div_ceil(self.cols)) as usize
    }

    pub(super) fn instance(self, op: &Operation) -> Instance {
        let mut instance = Instance::new(
            "wgmma_wgrad.cu",
            &[
                dtype_define(op.dtype),
                ("ROWS", self.rows),
                ("COLS", self.cols),
                ("DEPTH", self.depth),
                ("STAGES", self.stages),
                ("GROUPS", self.groups),
                ("MIN_BLOCKS", self.blocks),
            ],
        );
        instance.hopper = true;
        instance
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    fn layer(c_in: u32, c_out: u32) -> Operation {
        let kernel = KernelSize::submanifold(3).unwrap();
        Operation::submanifold(Direction::Wgrad, DType::Float16, c_in, c_out, kernel)
    }

    /// What nvcc is told, the kernel demands: whole warpgroups of at most two fragments each, gathering warps of sixteen lines, panels
    /// that begin where their swizzle does, and room on a multiprocessor for as many blocks as are promised.
    #[test]
    fn tiles_are_what_the_kernel_can_be() {
        const A_MULTIPROCESSOR: usize = 228 * 1024;
        const A_BLOCKS_OWN: usize = 1024;
        for tile in WgmmaWgrad::all() {
            assert!(tile.rows.is_multiple_of(64 * tile.groups), "{}", tile.id());
            assert!(tile.rows / 64 / tile.groups <= 2, "{}", tile.id());
            assert!([64, 96, 128, 192, 256].contains(&tile.cols), "{}", tile.id());
            assert_eq!(tile.depth, 64, "{}", tile.id());
            assert!(tile.threads() * tile.blocks <= 2048, "{}", tile.id());
            let blocks = tile.blocks as usize * (tile.shared_bytes() + A_BLOCKS_OWN);
            assert!(blocks <= A_MULTIPROCESSOR, "{}: {blocks}", tile.id());
            // Accumulators, and what else a multiplying thread holds, out of the registers it is given.
            let share = 65_536 / (tile.threads() * tile.blocks) / 8 * 8;
            let multiplying = (share * (1 + tile.groups) - share.min(72)) / tile.groups;
            assert!(tile.rows * tile.cols / tile.groups / 128 + 24 <= multiplying, "{}", tile.id());
        }
    }

    #[test]
    fn narrow_and_ragged_layers_are_left_to_others() {
        let any = |op: &Operation| WgmmaWgrad::all().any(|tile| tile.in_auto_pool(op));
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
            let in_pool = WgmmaWgrad::all().filter(|tile| tile.in_auto_pool(&op));
            let mut tiles: Vec<_> = in_pool.map(|tile| (tile.rows, tile.cols)).collect();
            tiles.dedup();
            tiles
        };
        assert_eq!(pool(256, 256), [(128, 256), (256, 128)]);
        assert_eq!(pool(512, 512), [(128, 256), (256, 128)]);
        assert_eq!(pool(128, 256), [(128, 256)]);
        assert_eq!(pool(192, 192), [(192, 192)]);
        assert_eq!(pool(128, 128), [(128, 128)]);
    }

    /// The workspace holds one partial result a unit, and a launch about as many blocks as its split.
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
