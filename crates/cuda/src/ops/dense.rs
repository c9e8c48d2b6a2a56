//! A dense tensor of the cells that voxels lie in.

use super::{FeatureKernels, Shape, check_bytes, within};
use crate::buffer::{DeviceSlice, DeviceSliceMut};
use crate::error::Result;
use crate::map::Cloud;
use crate::module::arguments;
use crate::{Matrix, MatrixMut};

/// A dense grid: samples of `shape` cells each, from coordinate 0 on. Its tensor is
/// `(batches · channels, cells)`: batch, channel, x, y, z, the last one fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseGrid {
    /// Samples.
    pub batches: usize,
    /// Cells along x, y and z.
    pub shape: [usize; 3],
}

/// `DenseGrid` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GridParams {
    batches: i32,
    shape: [i32; 3],
}

/// Rows of a tile of the kernels.
const TILE: usize = 32;

impl DenseGrid {
    fn params(&self) -> Result<GridParams> {
        let counts = [self.batches, self.shape[0], self.shape[1], self.shape[2]];
        for count in counts {
            within("cells along an axis of a dense grid", count, i32::MAX as usize)?;
        }
        let [batches, shape @ ..] = counts.map(|count| count as i32);
        Ok(GridParams { batches, shape })
    }

    /// Elements of its tensor. What is no number is no length either.
    fn len(&self, channels: usize) -> usize {
        let lines = self.batches.saturating_mul(channels);
        self.shape.iter().fold(lines, |len, cells| len.saturating_mul(*cells))
    }
}

impl FeatureKernels {
    /// Queues the making of a dense tensor of rows, zeros where no voxel is. A voxel outside the
    /// grid is left out. Voxels are distinct: which of two rows a cell gets is not decided.
    ///
    /// # Shapes
    /// `x`: `(voxels, channels)`. `dense`: `(batches · channels, cells)`, without a pitch.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn to_dense(
        &self,
        grid: DenseGrid,
        x: Matrix<'_>,
        voxels: Cloud<'_>,
        channels: usize,
        dense: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let (shape, params) = (Shape::new(voxels.capacity(), channels)?, grid.params()?);
        self.check("x", x, shape)?;
        self.check_dense(grid, voxels, dense.len_bytes(), channels)?;
        dense.fill(0)?;
        if shape.is_empty() {
            return Ok(());
        }
        let (x, dense) = (self.read(x)?, dense.write_by(&self.device)?);
        let (rows, channels) = (voxels.count(), shape.channels());
        let voxels = voxels.read_by(&self.device)?;
        let arguments = arguments![x, dense, voxels, rows, channels, params];
        // SAFETY: (Rows, Element*, i32*, RowCount, i32, DenseGrid); lengths have been compared, and
        // the kernel writes to cells of the grid alone. It only reads the features, and the dense
        // tensor is borrowed mutably.
        unsafe { self.to_dense.launch(self.grid(shape.rows, TILE), arguments) }
    }

    /// Queues the reading of the cells of a dense tensor in which voxels lie, zeros for a voxel
    /// outside the grid.
    ///
    /// # Shapes
    /// As those of [`Self::to_dense`].
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn from_dense(
        &self,
        grid: DenseGrid,
        dense: DeviceSlice<'_>,
        voxels: Cloud<'_>,
        channels: usize,
        x: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let (shape, params) = (Shape::new(voxels.capacity(), channels)?, grid.params()?);
        self.check_mut("x", x, shape)?;
        self.check_dense(grid, voxels, dense.len_bytes(), channels)?;
        if shape.is_empty() {
            return Ok(());
        }
        let (x, dense) = (self.written(x)?, dense.read_by(&self.device)?);
        let (rows, channels) = (voxels.count(), shape.channels());
        let voxels = voxels.read_by(&self.device)?;
        let arguments = arguments![x, dense, voxels, rows, channels, params];
        // SAFETY: (Rows, Element*, i32*, RowCount, i32, DenseGrid); lengths have been compared,
        // and the kernel reads cells of the grid alone; the features are borrowed mutably.
        unsafe { self.from_dense.launch(self.grid(shape.rows, TILE), arguments) }
    }

    fn check_dense(
        &self,
        grid: DenseGrid,
        voxels: Cloud<'_>,
        dense_bytes: usize,
        channels: usize,
    ) -> Result<()> {
        voxels.check()?;
        let expected = grid.len(channels).saturating_mul(self.dtype.bytes());
        check_bytes("the dense tensor", dense_bytes, expected)
    }
}
