//! Where the coordinates of voxels lie.

use std::sync::OnceLock;

use voxtune_cuda::DeviceBuffer;
use voxtune_types::Voxel;

use crate::{ConvError, Device};

/// Coordinates, a row each, where their device reads them.
pub(super) enum Cells {
    Host(Vec<Voxel>),
    Cuda {
        coords: DeviceBuffer,
        rows: usize,
        /// Read back when somebody first asks.
        host: OnceLock<Vec<Voxel>>,
    },
}

impl Cells {
    pub(super) fn from_host(device: &Device, cells: Vec<Voxel>) -> Result<Self, ConvError> {
        let Some(cuda) = device.cuda() else { return Ok(Self::Host(cells)) };
        let coords = DeviceBuffer::from_host(cuda.device(), &cells)?;
        Ok(Self::Cuda { coords, rows: cells.len(), host: OnceLock::from(cells) })
    }

    pub(super) const fn on_device(coords: DeviceBuffer, rows: usize) -> Self {
        Self::Cuda { coords, rows, host: OnceLock::new() }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Host(cells) => cells.len(),
            Self::Cuda { rows, .. } => *rows,
        }
    }

    /// In host memory.
    pub(super) fn host(&self) -> Result<&[Voxel], ConvError> {
        match self {
            Self::Host(cells) => Ok(cells),
            Self::Cuda { coords, rows, host } => {
                if let Some(cells) = host.get() {
                    return Ok(cells);
                }
                let cells = coords.download(0, *rows)?;
                // Two threads may have read them at once: both have the same.
                Ok(host.get_or_init(|| cells))
            }
        }
    }

    /// In device memory; `None` if they are the host's.
    pub(super) const fn cuda(&self) -> Option<(&DeviceBuffer, usize)> {
        match self {
            Self::Host(_) => None,
            Self::Cuda { coords, rows, .. } => Some((coords, *rows)),
        }
    }
}
