//! Points on a device.

use std::fmt;
use std::sync::Arc;

use voxtune_cpu::Elements;
use voxtune_cpu::points::{self as cpu, PointsError};
use voxtune_cuda::{CudaError, DevicePointBatches, DevicePoints, PointGrid, PointLimits};
use voxtune_types::DType;

use super::{AxisOrder, PointVoxels, VoxelGrid, Voxelization};
use crate::ops::RowGroups;
use crate::{ConvError, Device, SparseTensor, Tensor, Voxels};

/// Points on a device: rows of x, y, z and further columns, such as intensity and time. Cloning
/// shares them.
///
/// ```
/// use voxtune::{AxisOrder, Device, PointCloud, SubmConv3d, VoxelGrid, Voxelization, WeightLayout};
///
/// let device = Device::cpu()?;
/// // x, y, z, intensity. The first two points share a voxel, the last one lies outside.
/// let points = [
///     [1.02, 1.0, 0.1, 0.5],
///     [1.04, 1.0, 0.1, 0.7],
///     [-8.0, 3.0, 1.0, 0.2],
///     [99.0, 0.0, 0.0, 0.1],
/// ];
/// let cloud = PointCloud::from_rows(&device, &points)?;
/// // As OpenPCDet has it: coordinates (batch, z, y, x), and a cell more along z.
/// let grid = VoxelGrid::new([-75.2, -75.2, -2.0], [75.2, 75.2, 4.0], [0.1, 0.1, 0.15])
///     .with_order(AxisOrder::Zyx)
///     .with_spare_cells([0, 0, 1]);
/// let hard = Voxelization::Hard { max_points: 10, max_voxels: Some(150_000) };
/// let found = cloud.voxelize(&grid, hard)?;
/// let input = found.tensor();
/// assert_eq!((input.voxels().len(), input.voxels().shape()), (2, Some([41, 1504, 1504])));
///
/// let layer = SubmConv3d::builder(4, 16).weights(WeightLayout::Rsck, &[0.5; 27 * 4 * 16]);
/// let output = layer.build(&device)?.forward(input)?;
/// // Each point has the features of its voxel; a point in none has zeros.
/// let of_points = found.to_points(output.features())?.to_f32()?;
/// assert_eq!(of_points[..16], of_points[16..32]);
/// assert_eq!(of_points[48..], [0.0; 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PointCloud {
    device: Device,
    points: Arc<Tensor>,
    batches: Option<Arc<Batches>>,
}

/// The sample of each point, also where a GPU reads it.
struct Batches {
    host: cpu::PointBatches,
    cuda: Option<DevicePointBatches>,
}

impl Batches {
    fn new(device: &Device, host: cpu::PointBatches) -> Result<Arc<Self>, ConvError> {
        let upload = |backend: &crate::device::CudaBackend| {
            let begins = host.begins().ok();
            let of_point = host.of_point();
            DevicePointBatches::new(backend.device(), of_point, host.samples(), begins)
        };
        let cuda = device.cuda().map(upload).transpose()?;
        Ok(Arc::new(Self { host, cuda }))
    }
}

impl PointCloud {
    /// Takes points that are on the device, all of batch 0.
    ///
    /// # Shapes
    /// `points`: `(points, columns)` in float32: x, y, z and any further columns.
    ///
    /// # Errors
    /// If there are fewer columns, another storage type or too many points, or they are on another
    /// device.
    pub fn new(device: &Device, points: Tensor) -> Result<Self, ConvError> {
        let what = "points";
        if points.dtype() != DType::Float32 {
            let (expected, found) = (DType::Float32, points.dtype());
            return Err(ConvError::DType { what, expected, found });
        }
        if points.host().is_some() != device.cuda().is_none() {
            let (algorithm, device) = (what.to_owned(), device.identity().clone());
            return Err(ConvError::WrongDevice { algorithm, device });
        }
        if points.channels() < 3 {
            return Err(PointsError::Columns { found: points.channels() }.into());
        }
        if points.rows() > cpu::PointBatches::MAX_POINTS {
            return Err(PointsError::TooManyPoints { found: points.rows() }.into());
        }
        Ok(Self { device: device.clone(), points: Arc::new(points), batches: None })
    }

    /// Takes points from host memory, all of batch 0.
    ///
    /// # Errors
    /// As [`Self::new`], and if the device cannot hold them.
    pub fn from_rows<const COLUMNS: usize>(
        device: &Device,
        rows: &[[f32; COLUMNS]],
    ) -> Result<Self, ConvError> {
        Self::new(device, Tensor::from_rows(device, rows)?)
    }

    /// [`Self::from_rows`] where the number of columns is known at run time.
    ///
    /// # Shapes
    /// `values`: `(points, columns)`, row-major.
    ///
    /// # Errors
    /// As [`Self::from_rows`], and if the values are no whole rows.
    pub fn from_f32(device: &Device, columns: usize, values: &[f32]) -> Result<Self, ConvError> {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        Self::new(device, Tensor::from_f32(device, DType::Float32, rows, columns, values)?)
    }

    /// The same points, of these batch numbers.
    ///
    /// # Errors
    /// If there is not one for each point, one is negative or 2²⁰ or more, or the device cannot
    /// hold them.
    pub fn with_batches(&self, batches: Vec<i32>) -> Result<Self, ConvError> {
        let (expected, found) = (self.len(), batches.len());
        if found != expected {
            let what = "batch numbers of points";
            return Err(PointsError::Length { what, expected, found }.into());
        }
        let batches = Some(Batches::new(&self.device, cpu::PointBatches::new(batches)?)?);
        Ok(Self { batches, ..self.clone() })
    }

    /// Clouds of one sample each, one behind the other: the points of `samples[i]` are of batch
    /// `i`, whatever they were of.
    ///
    /// # Errors
    /// If columns or devices differ, there is no cloud, or the device cannot hold them.
    pub fn join(samples: &[Self]) -> Result<Self, ConvError> {
        let Some(first) = samples.first() else {
            let (what, expected, found) = ("samples of a cloud", 1, 0);
            return Err(PointsError::Length { what, expected, found }.into());
        };
        let (device, columns) = (&first.device, first.columns());
        for sample in samples {
            if sample.columns() != columns {
                let (what, found) = ("points", sample.columns());
                return Err(ConvError::Channels { what, expected: columns, found });
            }
        }
        let lengths: Vec<usize> = samples.iter().map(Self::len).collect();
        let batches = cpu::PointBatches::joined(&lengths)?;
        let mut points = Tensor::unwritten(device, DType::Float32, batches.len(), columns)?;
        let mut end = 0;
        for sample in samples {
            let begin = end;
            end += sample.len() * columns;
            match points.host_mut() {
                Some(voxtune_cpu::ElementsMut::Float32(whole)) => {
                    whole[begin..end].copy_from_slice(sample.host()?);
                }
                _ => {
                    let absent = CudaError::NotOnDevice { what: "points" };
                    let mut whole = points.cuda_mut()?;
                    let mut part = whole.get(begin * 4..end * 4).ok_or(absent)?;
                    part.copy_from(sample.points.cuda()?)?;
                }
            }
        }
        let batches = Some(Batches::new(device, batches)?);
        Ok(Self { batches, ..Self::new(device, points)? })
    }

    /// Number of points.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.rows()
    }

    /// Whether there are no points.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns of a point: x, y, z and any further ones.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.points.channels()
    }

    /// The points.
    ///
    /// # Shapes
    /// `(points, columns)`.
    #[must_use]
    pub fn points(&self) -> &Tensor {
        &self.points
    }

    /// The batch number of each point; `None` if all are of batch 0.
    #[must_use]
    pub fn batches(&self) -> Option<&[i32]> {
        self.batches.as_deref().map(|batches| batches.host.of_point())
    }

    /// The device that holds them.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The cells of a grid that the points lie in, in the order of their first points. With them
    /// come the mean of each cell's points and the voxel of each point.
    ///
    /// A point outside the [grid](VoxelGrid) is in no voxel, and neither is one with a column that
    /// is no finite number. Means are those of all columns, x, y and z included; their sums are
    /// float64. A GPU does everything itself, and is waited for once, for the number of voxels;
    /// runs repeat to the bit.
    ///
    /// # Errors
    /// If the grid has no cells or too many, samples are mixed where their voxels are limited, or
    /// the device fails.
    pub fn voxelize(
        &self,
        grid: &VoxelGrid,
        voxelization: Voxelization,
    ) -> Result<PointVoxels, ConvError> {
        let (shape, columns) = (grid.shape()?, self.columns());
        let max_points = voxelization.max_points()?;
        let batches = self.batches.as_deref();
        let Some(backend) = self.device.cuda() else {
            let batches = batches.map(|batches| &batches.host);
            let points = cpu::Points { values: self.host()?, columns, batches };
            let found = self.device.install(|| cpu::voxelize(points, grid, voxelization))?;
            let features = Tensor::from_host(found.means, found.voxels.len(), columns)?;
            let voxels = Voxels::from_distinct(&self.device, found.voxels, shape)?;
            let groups = RowGroups::from_host(found.groups);
            return Ok(PointVoxels::new(SparseTensor::new(voxels, features)?, groups, max_points));
        };
        if let (Some(batches), Some(_)) = (batches, voxelization.max_voxels()) {
            batches.host.begins()?;
        }
        let points = DevicePoints {
            values: self.points.cuda()?,
            rows: self.len(),
            columns,
            batches: batches.and_then(|batches| batches.cuda.as_ref()),
        };
        let on_device = PointGrid {
            low: grid.range_min,
            size: grid.voxel_size,
            cells: grid.cells()?,
            reversed: grid.order == AxisOrder::Zyx,
        };
        let limits = PointLimits { points: max_points, voxels: voxelization.max_voxels() };
        let found = backend.points_builder()?.voxelize(points, on_device, limits)?;
        let features = Tensor::from_cuda(found.means, found.rows, columns)?;
        let voxels = Voxels::from_device(&self.device, found.coords, found.rows, Some(shape))?;
        let groups = RowGroups::from_cuda(found.groups);
        Ok(PointVoxels::new(SparseTensor::new(voxels, features)?, groups, max_points))
    }

    fn host(&self) -> Result<&[f32], ConvError> {
        match self.points.host() {
            Some(Elements::Float32(values)) => Ok(values),
            _ => {
                let (algorithm, device) = ("points".to_owned(), self.device.identity().clone());
                Err(ConvError::WrongDevice { algorithm, device })
            }
        }
    }
}

impl fmt::Debug for PointCloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (points, columns) = (self.len(), self.columns());
        write!(f, "PointCloud({points} points of {columns} columns, {})", self.device.identity())
    }
}
