//! A cloud on the device with its kernel map, kept for the configurations that share it.

use std::sync::Arc;

use voxtune::{ConvError, Device, KernelMap, KernelSize, Voxels};
use voxtune_pointcloud::CloudError;

use crate::inputs::planned_cloud::PlannedCloud;

/// A cloud on the device with the kernel map of one kernel size.
#[derive(Clone, Debug)]
pub struct CloudSetup {
    /// The voxels.
    pub voxels: Voxels,
    /// Their kernel map.
    pub map: Arc<KernelMap>,
}

/// A set-up that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The cloud cannot be had.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The device refused.
    #[error(transparent)]
    Device(#[from] ConvError),
}

impl CloudSetup {
    /// Makes the cloud and builds its map.
    ///
    /// # Errors
    /// If the cloud cannot be had or has duplicates.
    pub fn new(
        device: &Device,
        cloud: &PlannedCloud,
        kernel: KernelSize,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, SetupError> {
        let cells = device.install(|| cloud.cells(batch_size, seed))?;
        let voxels = Voxels::new(device, cells)?;
        let map = voxels.kernel_map(kernel)?;
        Ok(Self { voxels, map })
    }
}

/// The set-ups of the configuration at hand, kept for those after it that share them.
#[derive(Debug, Default)]
pub struct SetupCache {
    held: Vec<(PlannedCloud, KernelSize, CloudSetup)>,
}

impl SetupCache {
    /// Drops what a configuration over these clouds cannot use.
    pub fn keep_only(&mut self, clouds: &[PlannedCloud], kernel: KernelSize) {
        self.held.retain(|(held, held_kernel, _)| {
            *held_kernel == kernel && clouds.iter().any(|cloud| cloud.is_same(held))
        });
    }

    /// The set-up of a cloud, made at the first request.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn get(
        &mut self,
        device: &Device,
        cloud: &PlannedCloud,
        kernel: KernelSize,
        batch_size: usize,
        seed: u64,
    ) -> Result<CloudSetup, SetupError> {
        let found = self
            .held
            .iter()
            .find(|(held, held_kernel, _)| *held_kernel == kernel && held.is_same(cloud));
        if let Some((_, _, setup)) = found {
            return Ok(setup.clone());
        }
        let setup = CloudSetup::new(device, cloud, kernel, batch_size, seed)?;
        self.held.push((cloud.clone(), kernel, setup.clone()));
        Ok(setup)
    }
}
