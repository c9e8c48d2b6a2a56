//! Dense tensors of the cells that voxels lie in.

use voxtune_cpu::ops as cpu;
use voxtune_cuda::ops as cuda;
use voxtune_cuda::{Cloud, CudaError};
use voxtune_types::Voxel;

use super::{expect, host, host_mut, kernels, wrong_device};
use crate::{ConvError, Device, Tensor, Voxels};

/// Voxels in a dense grid: `batches` samples of `shape` cells each, from coordinate 0 on.
///
/// Its dense tensor has the elements batch, channel, x, y, z, the last one fastest, which other
/// libraries call NCDHW: `(batches · channels, cells)`.
#[derive(Debug)]
pub struct DenseCells {
    grid: cpu::DenseGrid,
    cells: usize,
    voxels: Voxels,
}

impl DenseCells {
    /// The grid of so many samples of the voxels' [shape](Voxels::shape).
    ///
    /// # Errors
    /// If the voxels have no shape, or the grid too many cells. On the host also if a voxel's batch
    /// is none of the samples. A GPU, which does not read its voxels back, leaves such ones out.
    pub fn new(voxels: &Voxels, batches: usize) -> Result<Self, ConvError> {
        let shape = voxels.shape().ok_or(ConvError::NoShape)?;
        let grid = cpu::DenseGrid { batches, shape: shape.map(|extent| extent as usize) };
        let cells = grid.cells().ok_or(CudaError::TooLarge {
            what: "the number of cells of a dense grid",
            found: usize::MAX,
            limit: isize::MAX as usize,
        })?;
        if voxels.cloud().is_none() {
            grid.check_inside(voxels.cells()?)?;
        }
        Ok(Self { grid, cells, voxels: voxels.clone() })
    }

    fn host(&self, device: &Device) -> Result<&[Voxel], ConvError> {
        match self.voxels.cloud() {
            None => self.voxels.cells(),
            Some(_) => Err(wrong_device(device, "voxels")),
        }
    }

    fn cuda(&self, device: &Device) -> Result<(cuda::DenseGrid, Cloud<'_>), ConvError> {
        let cpu::DenseGrid { batches, shape } = self.grid;
        match self.voxels.cloud() {
            Some(voxels) => Ok((cuda::DenseGrid { batches, shape }, voxels)),
            None => Err(wrong_device(device, "voxels")),
        }
    }

    /// The dense tensor of these rows, zeros where no voxel is. Its gradient is
    /// [`Self::from_dense`].
    ///
    /// # Shapes
    /// `x`: `(rows, channels)`. The result: `(batches · channels, cells)`.
    ///
    /// # Errors
    /// If `x` has other rows, or the device fails.
    pub fn to_dense(&self, device: &Device, x: &Tensor) -> Result<Tensor, ConvError> {
        let lines = self.grid.batches.saturating_mul(x.channels());
        let mut dense = Tensor::unwritten(device, x.dtype(), lines, self.cells)?;
        self.to_dense_into(device, x, &mut dense)?;
        Ok(dense)
    }

    /// [`Self::to_dense`] into a tensor that is there.
    ///
    /// # Errors
    /// As [`Self::to_dense`].
    pub fn to_dense_into(
        &self,
        device: &Device,
        x: &Tensor,
        dense: &mut Tensor,
    ) -> Result<(), ConvError> {
        let (channels, dtype) = (x.channels(), x.dtype());
        let lines = self.grid.batches.saturating_mul(channels);
        expect(x, "input", self.voxels.len(), channels, dtype)?;
        expect(dense, "dense tensor", lines, self.cells, dtype)?;
        if let Some(kernels) = kernels(device, dtype)? {
            let ((grid, voxels), x) = (self.cuda(device)?, x.cuda_matrix()?);
            let to = &mut dense.cuda_mut()?;
            return Ok(kernels.to_dense(grid, x, voxels, channels, to)?);
        }
        let (voxels, x) = (self.host(device)?, host(device, "input", x)?);
        let dense = host_mut(device, "dense tensor", dense)?;
        Ok(device.install(|| self.grid.to_dense(x, channels, voxels, dense))?)
    }

    /// The rows of a dense tensor's cells in which the voxels lie. Its gradient is
    /// [`Self::to_dense`].
    ///
    /// # Shapes
    /// `dense`: `(batches · channels, cells)`. The result: `(rows, channels)`.
    ///
    /// # Errors
    /// If `dense` is none of the grid, or the device fails.
    pub fn from_dense(&self, device: &Device, dense: &Tensor) -> Result<Tensor, ConvError> {
        let channels = dense.rows().checked_div(self.grid.batches).unwrap_or(0);
        let lines = self.grid.batches * channels;
        expect(dense, "dense tensor", lines, self.cells, dense.dtype())?;
        let mut x = Tensor::unwritten(device, dense.dtype(), self.voxels.len(), channels)?;
        if let Some(kernels) = kernels(device, dense.dtype())? {
            let ((grid, voxels), dense) = (self.cuda(device)?, dense.cuda()?);
            let to = &mut x.cuda_matrix_mut()?;
            kernels.from_dense(grid, dense, voxels, channels, to)?;
        } else {
            let (voxels, dense) = (self.host(device)?, host(device, "dense tensor", dense)?);
            let to = host_mut(device, "result", &mut x)?;
            device.install(|| self.grid.from_dense(dense, channels, voxels, to))?;
        }
        Ok(x)
    }
}
