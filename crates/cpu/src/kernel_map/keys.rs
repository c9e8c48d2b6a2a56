//! Cells as sortable keys.

use voxtune_types::Voxel;

use crate::chunks::{make_chunks, make_each};

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

/// The cloud's bounding box with a margin as wide as the kernel reaches. So a neighbour's index is
/// a sum, and never that of a cell in another column.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinearGrid {
    low: WideKey,
    reach: [i32; 3],
    extent_x: u64,
    extent_y: u64,
    extent_z: u64,
    cells: u64,
    /// Bits that the largest key takes.
    pub(super) bits: u32,
}

/// No margin: for cells that are not shifted.
pub(super) const NO_REACH: [i32; 3] = [0; 3];

impl LinearGrid {
    /// The box around these cells; `None` if its cells outnumber 64-bit integers.
    fn around((low, high): (WideKey, WideKey), reach: [i32; 3]) -> Option<Self> {
        let extent =
            |low: i64, high: i64, reach: i32| (high - low + 1 + 2 * i64::from(reach)) as u64;
        let extent_batch = extent(low.batch.into(), high.batch.into(), 0);
        let [extent_x, extent_y, extent_z] = std::array::from_fn(|axis| {
            extent(low.position[axis], high.position[axis], reach[axis])
        });
        let cells =
            extent_batch.checked_mul(extent_x)?.checked_mul(extent_y)?.checked_mul(extent_z)?;
        let bits = u64::BITS - (cells - 1).leading_zeros();
        Some(Self { low, reach, extent_x, extent_y, extent_z, cells, bits })
    }

    /// Cells of the box with its margin.
    pub(super) const fn cells(&self) -> u64 {
        self.cells
    }

    fn key(&self, cell: WideKey) -> u64 {
        let above = |value: i64, low: i64, reach: i32| (value - low) as u64 + reach as u64;
        let batch = above(cell.batch.into(), self.low.batch.into(), 0);
        let [x, y, z] = std::array::from_fn(|axis| {
            above(cell.position[axis], self.low.position[axis], self.reach[axis])
        });
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

impl WideKey {
    /// The first cell of the voxel's input window: the voxel itself if the stride is 1.
    fn scaled(voxel: Voxel, stride: [u8; 3]) -> Self {
        let at = [voxel.x, voxel.y, voxel.z];
        let position = std::array::from_fn(|axis| i64::from(at[axis]) * i64::from(stride[axis]));
        Self { batch: voxel.batch, position }
    }

    /// The least box around both.
    fn united(a: (Self, Self), b: (Self, Self)) -> (Self, Self) {
        let by = |a: Self, b: Self, pick: fn(i64, i64) -> i64| Self {
            batch: pick(a.batch.into(), b.batch.into()) as i32,
            position: std::array::from_fn(|axis| pick(a.position[axis], b.position[axis])),
        };
        (by(a.0, b.0, i64::min), by(a.1, b.1, i64::max))
    }

    /// The box around scaled voxels; `None` around none.
    fn bounds(voxels: &[Voxel], stride: [u8; 3]) -> Option<(Self, Self)> {
        /// Voxels of a task.
        const PART: usize = 1 << 14;
        let parts = make_each(voxels.len().div_ceil(PART), &|part| {
            let part = &voxels[part * PART..voxels.len().min((part + 1) * PART)];
            let cells = part.iter().map(|&voxel| Self::scaled(voxel, stride));
            cells.map(|cell| (cell, cell)).reduce(Self::united)
        });
        parts.into_iter().flatten().reduce(Self::united)
    }

    fn none() -> (Self, Self) {
        let origin = Self { batch: 0, position: [0; 3] };
        (origin, origin)
    }
}

/// No step between cells.
const UNIT: [u8; 3] = [1; 3];

impl Keys {
    /// The keys of a cloud for a kernel that reaches this many cells along each axis.
    pub(super) fn of(voxels: &[Voxel], reach: [i32; 3]) -> Self {
        let bounds = WideKey::bounds(voxels, UNIT).unwrap_or_else(WideKey::none);
        Self::in_box(voxels, UNIT, LinearGrid::around(bounds, reach))
    }

    /// The keys of two clouds in one grid: of the inputs, and of the cells that the outputs'
    /// windows begin at.
    pub(super) fn of_both(
        inputs: &[Voxel],
        outputs: &[Voxel],
        stride: [u8; 3],
        reach: [i32; 3],
    ) -> (Self, Self) {
        let both = [WideKey::bounds(inputs, UNIT), WideKey::bounds(outputs, stride)];
        let bounds = both.into_iter().flatten().reduce(WideKey::united);
        let grid = LinearGrid::around(bounds.unwrap_or_else(WideKey::none), reach);
        (Self::in_box(inputs, UNIT, grid), Self::in_box(outputs, stride, grid))
    }

    fn in_box(voxels: &[Voxel], stride: [u8; 3], grid: Option<LinearGrid>) -> Self {
        let cell = |voxel: &Voxel| WideKey::scaled(*voxel, stride);
        let Some(grid) = grid else {
            return Self::Wide(voxels.iter().map(cell).collect());
        };
        let keys = make_chunks(voxels.len(), &|first, keys: &mut [u64]| {
            for (key, voxel) in keys.iter_mut().zip(&voxels[first..]) {
                *key = grid.key(cell(voxel));
            }
        });
        Self::Linear(keys, grid)
    }
}
