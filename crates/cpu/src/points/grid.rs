//! A grid that clouds share.

use super::PointsError;

/// In which order voxels have their coordinates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AxisOrder {
    /// `(batch, x, y, z)`.
    #[default]
    Xyz,
    /// `(batch, z, y, x)`: spconv's voxel generators, OpenPCDet, CenterPoint. The fields `x`, `y`
    /// and `z` of a voxel then hold the cell along z, y and x.
    Zyx,
}

/// A grid of cells that is fixed by a range, so that all clouds share it.
///
/// Along an axis it has `round((range_max - range_min) / voxel_size)` cells: what the range does
/// not hold whole is rounded. A point at `p` lies in the cell `floor((p - range_min) /
/// voxel_size)`. Both are computed in float32, as spconv does. A point lies outside if there is no
/// such cell, so one at `range_min` is inside, and one at `range_max` is not.
///
/// # Units
/// Those of the points; x, y, z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VoxelGrid {
    /// Where the first cell begins.
    pub range_min: [f32; 3],
    /// Where the last cell ends.
    pub range_max: [f32; 3],
    /// The size of a cell.
    pub voxel_size: [f32; 3],
    /// The order of a voxel's coordinates, and of the shape.
    pub order: AxisOrder,
    /// Cells along x, y and z that the shape has beyond the range. No point lies in them; they
    /// change what strided layers make at the far end. OpenPCDet's backbones have `[0, 0, 1]`:
    /// their `sparse_shape` is `grid_size[::-1] + [1, 0, 0]`.
    pub spare_cells: [u8; 3],
}

impl VoxelGrid {
    /// Most cells along an axis: float32 tells no more apart.
    pub const MAX_CELLS: u32 = 1 << 24;

    /// A grid with coordinates `(batch, x, y, z)` and no spare cells.
    #[must_use]
    pub const fn new(range_min: [f32; 3], range_max: [f32; 3], voxel_size: [f32; 3]) -> Self {
        let (order, spare_cells) = (AxisOrder::Xyz, [0; 3]);
        Self { range_min, range_max, voxel_size, order, spare_cells }
    }

    /// The same grid with coordinates in this order.
    #[must_use]
    pub const fn with_order(self, order: AxisOrder) -> Self {
        Self { order, ..self }
    }

    /// The same grid with so many cells along x, y and z beyond the range.
    #[must_use]
    pub const fn with_spare_cells(self, spare_cells: [u8; 3]) -> Self {
        Self { spare_cells, ..self }
    }

    /// Cells along x, y and z that points can lie in.
    ///
    /// # Errors
    /// [`PointsError::Grid`] if a range or size is not finite, or an axis has no cell or more than
    /// [`Self::MAX_CELLS`].
    pub fn cells(&self) -> Result<[u32; 3], PointsError> {
        let mut cells = [0; 3];
        for axis in 0..3 {
            let (low, high) = (self.range_min[axis], self.range_max[axis]);
            let size = self.voxel_size[axis];
            let count = ((high - low) / size).round();
            let counts = (1.0..=Self::MAX_CELLS as f32).contains(&count);
            if !(counts && low.is_finite() && high.is_finite() && size.is_finite() && size > 0.0) {
                return Err(PointsError::Grid { axis: ['x', 'y', 'z'][axis], low, high, size });
            }
            cells[axis] = count as u32;
        }
        Ok(cells)
    }

    /// Cells along each axis in the order of the coordinates, with the spare ones: the shape of the
    /// voxels.
    ///
    /// # Errors
    /// As [`Self::cells`].
    pub fn shape(&self) -> Result<[u32; 3], PointsError> {
        let mut shape = self.cells()?;
        for (cells, spare) in shape.iter_mut().zip(self.spare_cells) {
            *cells += u32::from(spare);
        }
        Ok(self.ordered(shape))
    }

    /// Numbers along x, y and z in the order of the coordinates.
    pub(super) fn ordered<T: Copy>(&self, [x, y, z]: [T; 3]) -> [T; 3] {
        match self.order {
            AxisOrder::Xyz => [x, y, z],
            AxisOrder::Zyx => [z, y, x],
        }
    }

    /// The cell along x, y and z of a point; `None` outside the [cells](Self::cells), and for what
    /// is no finite number.
    pub(super) fn cell_of(&self, cells: [u32; 3], point: &[f32]) -> Option<[u32; 3]> {
        let mut cell = [0; 3];
        for axis in 0..3 {
            let place = ((point[axis] - self.range_min[axis]) / self.voxel_size[axis]).floor();
            // False for what is not a number.
            if !(place >= 0.0 && place < cells[axis] as f32) {
                return None;
            }
            cell[axis] = place as u32;
        }
        Some(cell)
    }
}
