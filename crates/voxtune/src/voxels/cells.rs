//! Where the coordinates of voxels lie.

use std::sync::{Arc, OnceLock};

use voxtune_cuda::{Cloud, DeviceBuffer, Outputs, OutputsReport, VoxelIndex};
use voxtune_types::Voxel;

use crate::device::CudaBackend;
use crate::{ConvError, Device};

/// Coordinates, a row each, where their device reads them.
pub(super) enum Cells {
    Host(Vec<Voxel>),
    Cuda(CudaCells),
}

/// Coordinates in a GPU's memory.
pub(super) struct CudaCells {
    coords: DeviceBuffer,
    /// How many there are, or may be where `counted` says how many there are.
    capacity: usize,
    counted: Option<Arc<DeviceBuffer>>,
    /// How many there are, as far as the host knows.
    expected: usize,
    /// By hash, when the first map of them is made.
    index: OnceLock<Arc<VoxelIndex>>,
    /// Read back at the first call that asks for them.
    host: OnceLock<Vec<Voxel>>,
}

impl CudaCells {
    /// As the builders of maps take them.
    pub(super) fn cloud(&self) -> Cloud<'_> {
        let cloud = Cloud::new(&self.coords, self.capacity);
        self.counted.as_ref().map_or(cloud, |counted| cloud.counted(counted))
    }

    /// By hash, for maps of them: made at the first call, of which one is enough.
    pub(super) fn index(&self, backend: &CudaBackend) -> Result<&Arc<VoxelIndex>, ConvError> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let made = backend.index(self.cloud())?;
        Ok(self.index.get_or_init(|| made))
    }

    /// Takes them by hash, if they were not hashed.
    pub(super) fn keep_index(&self, index: Arc<VoxelIndex>) {
        let _ = self.index.set(index);
    }

    /// Rows that tensors over them have.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) const fn coords(&self) -> &DeviceBuffer {
        &self.coords
    }

    /// Whether the device alone knows how many there are.
    pub(super) const fn are_counted(&self) -> bool {
        self.counted.is_some()
    }
}

impl Cells {
    pub(super) fn from_host(device: &Device, cells: Vec<Voxel>) -> Result<Self, ConvError> {
        let Some(cuda) = device.cuda() else { return Ok(Self::Host(cells)) };
        let coords = DeviceBuffer::from_host(cuda.device(), &cells)?;
        let rows = cells.len();
        Ok(Self::Cuda(CudaCells {
            coords,
            capacity: rows,
            counted: None,
            expected: rows,
            index: OnceLock::new(),
            host: OnceLock::from(cells),
        }))
    }

    /// Two cells, neighbours along z. Nothing is waited for.
    pub(super) fn two_neighbours(device: &Device) -> Result<Self, ConvError> {
        let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1)];
        let Some(cuda) = device.cuda() else { return Ok(Self::Host(cells)) };
        let len_bytes = cells.len() * size_of::<Voxel>();
        let mut coords = DeviceBuffer::zeroed(cuda.device(), len_bytes)?;
        // The least byte of the last int32, which is the second cell's z.
        let last = coords.part_mut(len_bytes - 4..len_bytes - 3);
        last.expect("the last word lies in the buffer").fill(1)?;
        Ok(Self::on_device(coords, cells.len()))
    }

    /// So many on the device.
    pub(super) fn on_device(coords: DeviceBuffer, rows: usize) -> Self {
        let (index, host) = <_>::default();
        Self::Cuda(CudaCells { coords, capacity: rows, counted: None, expected: rows, index, host })
    }

    /// At most so many on the device, which knows how many, and about as many as expected.
    pub(super) fn counted(
        coords: DeviceBuffer,
        capacity: usize,
        counted: Arc<DeviceBuffer>,
        expected: usize,
    ) -> Self {
        let (counted, (index, host)) = (Some(counted), <_>::default());
        Self::Cuda(CudaCells { coords, capacity, counted, expected, index, host })
    }

    /// Those that a layer makes, about as many as expected.
    pub(super) fn found(outputs: Outputs, expected: usize) -> (Self, OutputsReport) {
        let Outputs { coords, capacity, counted, report, index } = outputs;
        let index = index.map_or_else(OnceLock::new, OnceLock::from);
        let host = OnceLock::new();
        let expected = expected.min(capacity);
        (Self::Cuda(CudaCells { coords, capacity, counted, expected, index, host }), report)
    }

    /// Rows that tensors over them have.
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Host(cells) => cells.len(),
            Self::Cuda(cells) => cells.capacity,
        }
    }

    /// How many there are, as far as the host knows.
    pub(super) fn expected(&self) -> usize {
        match self {
            Self::Host(cells) => cells.len(),
            Self::Cuda(cells) => cells.expected,
        }
    }

    /// In host memory, `rows` of them if they are read back.
    pub(super) fn host(
        &self,
        rows: impl FnOnce() -> Result<usize, ConvError>,
    ) -> Result<&[Voxel], ConvError> {
        match self {
            Self::Host(cells) => Ok(cells),
            Self::Cuda(CudaCells { coords, host, .. }) => {
                if let Some(cells) = host.get() {
                    return Ok(cells);
                }
                let cells = coords.download(0, rows()?)?;
                // Two threads may have read them at once: both have the same.
                Ok(host.get_or_init(|| cells))
            }
        }
    }

    /// In device memory; `None` if they are the host's.
    pub(super) const fn cuda(&self) -> Option<&CudaCells> {
        match self {
            Self::Host(_) => None,
            Self::Cuda(cells) => Some(cells),
        }
    }
}
