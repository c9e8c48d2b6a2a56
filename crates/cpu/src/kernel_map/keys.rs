//! Cells as sortable keys.

use rayon::prelude::*;
use voxtune_shape::Voxel;

/// A cell that can be compared and shifted. Order is that of [`Voxel`].
pub(super) trait CellKey: Copy + Ord + Send + Sync {
    /// How far another cell is.
    type Shift: Copy + Send + Sync;

    /// The cell this far away. Two cells of the cloud keep their order when both are shifted alike.
    fn shifted(self, shift: Self::Shift) -> Self;

    /// How many cells above `low` along z this one is; at least `limit` if it isn't in the same
    /// column. Not below `low`.
    fn steps_above(self, low: Self, limit: usize) -> usize;
}

/// Keys of a cloud, in the order of its rows.
pub(super) enum Keys {
    /// Row-major indices in the cloud's bounding box.
    Linear(Vec<u64>, LinearGrid),
    /// For boxes with more cells than 64 bits count.
    Wide(Vec<WideKey>),
}

/// The cloud's bounding box with a margin as wide as the kernel reaches, so that a neighbour's index
/// is a sum and never that of a cell in another column.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinearGrid {
    low: Voxel,
    reach: [i32; 3],
    extent_x: u64,
    extent_y: u64,
    extent_z: u64,
    /// Bits that the largest key takes.
    pub(super) bits: u32,
}

impl LinearGrid {
    /// The box around these voxels; `None` if its cells outnumber 64-bit integers.
    fn around(low: Voxel, high: Voxel, reach: [i32; 3]) -> Option<Self> {
        let extent = |low: i32, high: i32, reach: i32| {
            (i64::from(high) - i64::from(low) + 1 + 2 * i64::from(reach)) as u64
        };
        let extent_batch = extent(low.batch, high.batch, 0);
        let extent_x = extent(low.x, high.x, reach[0]);
        let extent_y = extent(low.y, high.y, reach[1]);
        let extent_z = extent(low.z, high.z, reach[2]);
        let cells =
            extent_batch.checked_mul(extent_x)?.checked_mul(extent_y)?.checked_mul(extent_z)?;
        let bits = u64::BITS - (cells - 1).leading_zeros();
        Some(Self { low, reach, extent_x, extent_y, extent_z, bits })
    }

    fn key(&self, voxel: Voxel) -> u64 {
        let above = |value: i32, low: i32, reach: i32| {
            (i64::from(value) - i64::from(low)) as u64 + reach as u64
        };
        let batch = above(voxel.batch, self.low.batch, 0);
        let x = above(voxel.x, self.low.x, self.reach[0]);
        let y = above(voxel.y, self.low.y, self.reach[1]);
        let z = above(voxel.z, self.low.z, self.reach[2]);
        ((batch * self.extent_x + x) * self.extent_y + y) * self.extent_z + z
    }

    /// The difference of two keys this far from each other, modulo 2^64.
    pub(super) fn shift(&self, [dx, dy, dz]: [i32; 3]) -> u64 {
        let [dx, dy, dz] = [dx, dy, dz].map(|steps| i64::from(steps) as u64);
        dx.wrapping_mul(self.extent_y).wrapping_add(dy).wrapping_mul(self.extent_z).wrapping_add(dz)
    }
}

impl CellKey for u64 {
    type Shift = Self;

    fn shifted(self, shift: Self) -> Self {
        self.wrapping_add(shift)
    }

    fn steps_above(self, low: Self, _limit: usize) -> usize {
        (self - low) as usize
    }
}

/// A cell with room for the kernel's reach beyond the extreme coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WideKey {
    batch: i32,
    position: [i64; 3],
}

impl CellKey for WideKey {
    type Shift = [i32; 3];

    fn shifted(self, shift: [i32; 3]) -> Self {
        let [x, y, z] = self.position;
        let [dx, dy, dz] = shift.map(i64::from);
        Self { batch: self.batch, position: [x + dx, y + dy, z + dz] }
    }

    fn steps_above(self, low: Self, limit: usize) -> usize {
        let ([x, y, z], [low_x, low_y, low_z]) = (self.position, low.position);
        let same_column = (self.batch, x, y) == (low.batch, low_x, low_y);
        if same_column { (z - low_z) as usize } else { limit }
    }
}

impl Keys {
    /// The keys of a cloud for a kernel that reaches this many cells along each axis.
    pub(super) fn of(voxels: &[Voxel], reach: [i32; 3]) -> Self {
        let bounds = voxels.par_iter().map(|&voxel| (voxel, voxel)).reduce_with(|a, b| {
            (
                Voxel {
                    batch: a.0.batch.min(b.0.batch),
                    x: a.0.x.min(b.0.x),
                    y: a.0.y.min(b.0.y),
                    z: a.0.z.min(b.0.z),
                },
                Voxel {
                    batch: a.1.batch.max(b.1.batch),
                    x: a.1.x.max(b.1.x),
                    y: a.1.y.max(b.1.y),
                    z: a.1.z.max(b.1.z),
                },
            )
        });
        let (low, high) = bounds.unwrap_or_default();
        match LinearGrid::around(low, high, reach) {
            Some(grid) => {
                Self::Linear(voxels.par_iter().map(|&voxel| grid.key(voxel)).collect(), grid)
            }
            None => Self::Wide(
                voxels
                    .iter()
                    .map(|voxel| WideKey {
                        batch: voxel.batch,
                        position: [voxel.x, voxel.y, voxel.z].map(i64::from),
                    })
                    .collect(),
            ),
        }
    }
}
