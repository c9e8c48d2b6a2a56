//! Voxels in device memory, and how many there are.

use std::sync::Arc;

use voxtune_types::Voxel;

use super::{MAX_ROWS, within};
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::row_count::RowCount;

/// Voxels in device memory, one a row.
///
/// The host either knows how many there are, or has made room for a capacity and leaves the count
/// to the device. Kernels that are queued later read it there, and the host does not wait.
#[derive(Clone, Copy, Debug)]
pub struct Cloud<'a> {
    coords: &'a DeviceBuffer,
    capacity: usize,
    counted: Option<&'a Arc<DeviceBuffer>>,
}

impl<'a> Cloud<'a> {
    /// The first `rows` [`Voxel`]s of a buffer.
    #[must_use]
    pub const fn new(coords: &'a DeviceBuffer, rows: usize) -> Self {
        Self { coords, capacity: rows, counted: None }
    }

    /// At most so many, and as many as an int32 at the start of `counted` says once the work that
    /// is queued before has written it. A larger count means the capacity.
    #[must_use]
    pub const fn counted(self, counted: &'a Arc<DeviceBuffer>) -> Self {
        Self { counted: Some(counted), ..self }
    }

    /// How many there are, or may be.
    #[must_use]
    pub const fn capacity(self) -> usize {
        self.capacity
    }

    /// Address of the coordinates, to be read by work of this handle.
    pub(crate) fn read_by(self, device: &CudaDevice) -> Result<u64> {
        self.coords.as_ref().read_by(device)
    }

    pub(crate) fn count(self) -> RowCount {
        RowCount::new(self.capacity, self.counted.map(|counted| &**counted))
    }

    pub(super) fn count_on_device(self) -> Option<Arc<DeviceBuffer>> {
        self.counted.map(Arc::clone)
    }

    /// Whether rows can be numbered, and the buffers hold what they are said to.
    ///
    /// # Errors
    /// [`CudaError::TooLarge`], [`CudaError::Length`].
    pub(crate) fn check(self) -> Result<()> {
        within("the number of rows", self.capacity, MAX_ROWS)?;
        let count = self.counted.map_or(usize::MAX, |counted| counted.len_bytes());
        for (what, expected, found) in [
            ("coordinates", self.capacity * size_of::<Voxel>(), self.coords.len_bytes()),
            ("the number of voxels", size_of::<i32>(), count),
        ] {
            if found < expected {
                return Err(CudaError::Length { what, expected, found });
            }
        }
        Ok(())
    }
}
