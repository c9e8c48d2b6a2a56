//! Rows that belong to groups: gathering by index, scatter-add, pooling of whole samples.

use voxtune_cpu::ops as cpu;
use voxtune_cpu::ops::OpError;
use voxtune_cuda::ops as cuda;
use voxtune_types::Voxel;

use super::{Reduction, expect, expect_like, fresh_like, host, host_mut, kernels, wrong_device};
use crate::{ConvError, Device, Tensor};

/// Which of some groups each row belongs to, on a device.
///
/// [`Self::spread`] gathers a group's row for each of its rows, [`Self::reduce`] makes one row of
/// each group's. So an index of rows is a gather with its scatter-add, and the batch numbers of
/// voxels are the global pooling of samples. Sums run over a group's rows in ascending order, in
/// pieces of a fixed length.
#[derive(Debug)]
pub struct RowGroups {
    rows: usize,
    groups: usize,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Host(cpu::RowGroups),
    Cuda(cuda::DeviceRowGroups),
}

impl RowGroups {
    /// Takes the group of each row, -1 for none.
    ///
    /// # Errors
    /// If a row names a group that there is not, there are too many, or the device cannot hold
    /// them.
    pub fn new(device: &Device, group_of_row: Vec<i32>, groups: usize) -> Result<Self, ConvError> {
        let rows = group_of_row.len();
        let host = cpu::RowGroups::new(group_of_row, groups)?;
        let storage = match device.cuda() {
            None => Storage::Host(host),
            Some(backend) => {
                let tables = cuda::GroupTables {
                    group_of_row: host.group_of_row(),
                    starts: host.starts(),
                    order: host.order(),
                    piece_starts: host.piece_starts(),
                    pieces: host.pieces(),
                };
                Storage::Cuda(cuda::DeviceRowGroups::new(backend.device(), tables)?)
            }
        };
        Ok(Self { rows, groups, storage })
    }

    /// The samples of some voxels: the group of a row is its batch number.
    ///
    /// # Errors
    /// If a batch number is negative or not below `batches`, or the device cannot hold them.
    pub fn of_batches(device: &Device, cells: &[Voxel], batches: usize) -> Result<Self, ConvError> {
        if let Some(row) = cells.iter().position(|cell| cell.batch < 0) {
            let (found, groups) = (cells[row].batch, batches);
            return Err(OpError::NoSuchGroup { row, found, groups }.into());
        }
        Self::new(device, cells.iter().map(|cell| cell.batch).collect(), batches)
    }

    /// Groups that the host has made.
    pub(crate) const fn from_host(groups: cpu::RowGroups) -> Self {
        Self { rows: groups.rows(), groups: groups.groups(), storage: Storage::Host(groups) }
    }

    /// Groups that a GPU has made.
    pub(crate) const fn from_cuda(groups: cuda::DeviceRowGroups) -> Self {
        Self { rows: groups.rows(), groups: groups.groups(), storage: Storage::Cuda(groups) }
    }

    /// The group of each row, -1 for none. A GPU's are read back.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn group_of_row(&self) -> Result<Vec<i32>, ConvError> {
        Ok(match &self.storage {
            Storage::Host(groups) => groups.group_of_row().to_vec(),
            Storage::Cuda(groups) => groups.group_of_row()?,
        })
    }

    /// How many rows each group has. A GPU's are read back.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn sizes(&self) -> Result<Vec<usize>, ConvError> {
        let sizes = |starts: &[i32]| {
            starts.windows(2).map(|ends| (ends[1] - ends[0]) as usize).collect::<Vec<_>>()
        };
        Ok(match &self.storage {
            Storage::Host(groups) => sizes(groups.starts()),
            Storage::Cuda(groups) => sizes(&groups.starts()?),
        })
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of groups.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.groups
    }

    fn host(&self, device: &Device) -> Result<&cpu::RowGroups, ConvError> {
        match &self.storage {
            Storage::Host(groups) => Ok(groups),
            Storage::Cuda(_) => Err(wrong_device(device, "groups of rows")),
        }
    }

    fn cuda(&self, device: &Device) -> Result<&cuda::DeviceRowGroups, ConvError> {
        match &self.storage {
            Storage::Cuda(groups) => Ok(groups),
            Storage::Host(_) => Err(wrong_device(device, "groups of rows")),
        }
    }

    /// The row of its group for each row, zeros for a row of none. Its gradient is the
    /// [`Reduction::Sum`] of the rows' gradients.
    ///
    /// # Shapes
    /// `x`: `(groups, channels)`. The result: `(rows, channels)`.
    ///
    /// # Errors
    /// If `x` has other rows, or the device fails.
    pub fn spread(&self, device: &Device, x: &Tensor) -> Result<Tensor, ConvError> {
        let channels = x.channels();
        expect(x, "input", self.groups, channels, x.dtype())?;
        let mut y = Tensor::unwritten(device, x.dtype(), self.rows, channels)?;
        if let Some(kernels) = kernels(device, x.dtype())? {
            kernels.spread(
                self.cuda(device)?,
                x.cuda_matrix()?,
                channels,
                &mut y.cuda_matrix_mut()?,
            )?;
        } else {
            let (groups, x) = (self.host(device)?, host(device, "input", x)?);
            let y = host_mut(device, "result", &mut y)?;
            device.install(|| groups.spread(x, channels, y))?;
        }
        Ok(y)
    }

    /// One row of each group's, zeros for a group without rows.
    ///
    /// # Shapes
    /// `x`: `(rows, channels)`. The result: `(groups, channels)`.
    ///
    /// # Errors
    /// If `x` has other rows, or the device fails.
    pub fn reduce(
        &self,
        device: &Device,
        reduction: Reduction,
        x: &Tensor,
    ) -> Result<Tensor, ConvError> {
        let channels = x.channels();
        expect(x, "input", self.rows, channels, x.dtype())?;
        let mut y = Tensor::unwritten(device, x.dtype(), self.groups, channels)?;
        if let Some(kernels) = kernels(device, x.dtype())? {
            let groups = self.cuda(device)?;
            kernels.reduce(
                groups,
                reduction,
                x.cuda_matrix()?,
                channels,
                &mut y.cuda_matrix_mut()?,
            )?;
        } else {
            let (groups, x) = (self.host(device)?, host(device, "input", x)?);
            let y = host_mut(device, "result", &mut y)?;
            device.install(|| groups.reduce(reduction, x, channels, y))?;
        }
        Ok(y)
    }

    /// The gradient of [`Self::reduce`] for `x`. Of a maximum it goes to every row that is equal to
    /// it.
    ///
    /// # Shapes
    /// `x` and the result: `(rows, channels)`. `y`, which [`Self::reduce`] made of it, and
    /// `grad_y`: `(groups, channels)`.
    ///
    /// # Errors
    /// If shapes or types do not fit, or the device fails.
    pub fn reduce_backward(
        &self,
        device: &Device,
        reduction: Reduction,
        x: &Tensor,
        y: &Tensor,
        grad_y: &Tensor,
    ) -> Result<Tensor, ConvError> {
        let channels = x.channels();
        expect(x, "input", self.rows, channels, x.dtype())?;
        expect(y, "output", self.groups, channels, x.dtype())?;
        expect_like(grad_y, "gradient", y)?;
        let mut grad_x = fresh_like(device, x)?;
        if let Some(kernels) = kernels(device, x.dtype())? {
            let groups = self.cuda(device)?;
            let (both, to) = ((x.cuda_matrix()?, y.cuda_matrix()?), &mut grad_x.cuda_matrix_mut()?);
            kernels.reduce_backward(
                groups,
                reduction,
                both,
                grad_y.cuda_matrix()?,
                channels,
                to,
            )?;
        } else {
            let groups = self.host(device)?;
            let both = (host(device, "input", x)?, host(device, "output", y)?);
            let grad_y = host(device, "gradient", grad_y)?;
            let to = host_mut(device, "result", &mut grad_x)?;
            device.install(|| groups.reduce_backward(reduction, both, grad_y, channels, to))?;
        }
        Ok(grad_x)
    }
}
