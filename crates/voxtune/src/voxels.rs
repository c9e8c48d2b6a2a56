//! Occupied cells and their kernel maps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use voxtune_cpu::KernelMapError;
use voxtune_types::{KernelSize, Voxel};

use crate::{ConvError, Device, KernelMap};

/// The occupied cells of a sparse tensor on a device. Layers of one kernel size share one kernel
/// map, which is built at the first use. Cloning shares everything.
#[derive(Clone)]
pub struct Voxels {
    inner: Arc<Inner>,
}

struct Inner {
    device: Device,
    cells: Vec<Voxel>,
    maps: Mutex<BTreeMap<KernelSize, Arc<OnceLock<Arc<KernelMap>>>>>,
}

impl Voxels {
    /// Takes the cells of one or several samples. Row `i` of every tensor over them belongs to
    /// `cells[i]`. Any batch numbers and coordinates will do.
    ///
    /// # Errors
    /// If two cells are equal, or there are too many for a kernel map.
    pub fn new(device: &Device, cells: Vec<Voxel>) -> Result<Self, ConvError> {
        device.install(|| voxtune_cpu::check_distinct(&cells))?;
        Ok(Self::of_distinct(device, cells))
    }

    /// Takes cells that are known to be distinct.
    fn of_distinct(device: &Device, cells: Vec<Voxel>) -> Self {
        let maps = Mutex::new(BTreeMap::new());
        Self { inner: Arc::new(Inner { device: device.clone(), cells, maps }) }
    }

    /// Number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.cells.len()
    }

    /// Whether there are no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.cells.is_empty()
    }

    /// The cells, in row order.
    #[must_use]
    pub fn cells(&self) -> &[Voxel] {
        &self.inner.cells
    }

    /// The device that holds them.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The submanifold kernel map of this kernel size. The first call builds it, with everything
    /// that the layers which are alive on the device will read of it.
    ///
    /// # Errors
    /// If the kernel is not centred, or the device cannot hold the map.
    pub fn kernel_map(&self, kernel: KernelSize) -> Result<Arc<KernelMap>, ConvError> {
        if !kernel.is_centred() {
            return Err(KernelMapError::NotCentred(kernel).into());
        }
        let slot = {
            let mut maps = self.inner.maps.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(maps.entry(kernel).or_default())
        };
        if let Some(map) = slot.get() {
            return Ok(Arc::clone(map));
        }
        let map = Arc::new(self.inner.device.build_kernel_map(&self.inner.cells, kernel)?);
        self.inner.device.prepare_map(&map);
        // Two threads may build the same map at once: both are equal, and the first is kept.
        Ok(Arc::clone(slot.get_or_init(|| map)))
    }

    /// The outputs of a strided layer over these voxels, and the map to them: every voxel whose window
    /// holds one of these, sorted ([`voxtune_cpu::strided_outputs`]). Its key is that of an
    /// [`Operation::strided`](voxtune_types::Operation::strided).
    ///
    /// The outputs are found on the host.
    ///
    /// # Errors
    /// If a stride is zero, or the device cannot hold the map.
    pub fn strided(
        &self,
        kernel: KernelSize,
        stride: [u8; 3],
    ) -> Result<(Self, KernelMap), ConvError> {
        let Inner { device, cells, .. } = &*self.inner;
        let outputs = device.install(|| voxtune_cpu::strided_outputs(cells, kernel, stride))?;
        let outputs = Self::of_distinct(device, outputs);
        let map = self.map_to(&outputs, kernel, stride)?;
        Ok((outputs, map))
    }

    /// The map of a strided layer from these voxels to outputs of the caller's: output `o` meets the
    /// input at `o · stride + offset`, for each of [`KernelSize::offsets`]. Any distinct outputs will
    /// do, with a stride of 1 also finer or other ones than a layer would make.
    ///
    /// # Errors
    /// If a stride is zero, or the device cannot hold the map.
    pub fn map_to(
        &self,
        outputs: &Self,
        kernel: KernelSize,
        stride: [u8; 3],
    ) -> Result<KernelMap, ConvError> {
        self.inner.device.build_strided_map(&self.inner.cells, outputs.cells(), kernel, stride)
    }
}

impl fmt::Debug for Voxels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.inner.device.identity();
        write!(f, "Voxels({} cells, {device})", self.len())
    }
}
