//! Clouds that catch kernels out.

use std::fmt;

use voxtune_pointcloud::{Generator, generate};
use voxtune_types::Voxel;

/// How the voxels of a small cloud lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// As a generator makes them; of no voxels, none.
    Generated(Generator, usize),
    /// No voxel has a neighbour.
    Isolated(usize),
    /// A solid cube: inner voxels have all neighbours.
    Full {
        /// Voxels along an edge.
        edge: usize,
    },
}

impl Cells {
    /// The voxels.
    pub(super) fn voxels(self) -> Vec<Voxel> {
        match self {
            Self::Generated(_, 0) => Vec::new(),
            Self::Generated(generator, voxels) => {
                generate(generator, voxels, 1, 3).expect("the count is in range")
            }
            Self::Isolated(voxels) => {
                (0..voxels as i32).map(|i| Voxel::new(i % 3, i * 10, -i * 10, 0)).collect()
            }
            Self::Full { edge } => full_cube(edge as i32),
        }
    }
}

impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated(generator, voxels) => write!(f, "{voxels} voxels {generator}"),
            Self::Isolated(voxels) => write!(f, "{voxels} isolated voxels"),
            Self::Full { edge } => write!(f, "a full cube of edge {edge}"),
        }
    }
}

/// Cells at the ends of int32, whose neighbours do not exist.
pub(super) fn corners() -> Vec<Voxel> {
    let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
    let mut cells = Vec::new();
    for x in ends {
        for y in ends {
            for z in ends {
                cells.push(Voxel::new(0, x, y, z));
            }
        }
    }
    cells
}

fn full_cube(edge: i32) -> Vec<Voxel> {
    let mut cells = Vec::new();
    for x in 0..edge {
        for y in 0..edge {
            for z in 0..edge {
                cells.push(Voxel::new(0, x, y, z));
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use voxtune_cpu::KernelMap;
    use voxtune_types::KernelSize;

    use super::*;

    #[test]
    fn isolated_voxels_meet_themselves_and_inner_ones_everything() {
        let kernel = KernelSize::submanifold(3).unwrap();
        let pairs = |cells: Cells| KernelMap::submanifold(&cells.voxels(), kernel).unwrap().pairs();
        assert_eq!(pairs(Cells::Isolated(300)), 300);
        // Along an axis, 8 cells have 8 + 2 * 7 pairs.
        assert_eq!(pairs(Cells::Full { edge: 8 }), 22_usize.pow(3));
    }

    #[test]
    fn corners_are_distinct() {
        let mut cells = corners();
        cells.sort_unstable();
        cells.dedup();
        assert_eq!(cells.len(), 343);
    }
}
