//! A cloud on the device with its kernel map, kept for the configurations that share it.

use std::sync::Arc;

use voxtune::{Device, Direction, KernelMap, Operation, Voxels};

use crate::inputs::error::MeasureError;
use crate::inputs::layer_shape::LayerShape;
use crate::inputs::planned_cloud::PlannedCloud;

/// A cloud on the device with the kernel map of a layer.
#[derive(Clone, Debug)]
pub struct CloudSetup {
    /// The voxels.
    pub voxels: Voxels,
    /// The map of a layer over them; that of an inverse layer goes back to them.
    pub map: Arc<KernelMap>,
}

impl CloudSetup {
    /// Makes the cloud and builds its map.
    ///
    /// # Errors
    /// If the cloud cannot be had or has duplicates.
    pub fn new(
        device: &Device,
        cloud: &PlannedCloud,
        layer: LayerShape,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, MeasureError> {
        let cells = device.install(|| cloud.cells(batch_size, seed))?;
        let voxels = Voxels::new(device, cells)?;
        Self::of_layer(voxels, layer)
    }

    /// The set-up of voxels that are there already.
    ///
    /// # Errors
    /// If the map cannot be built.
    pub fn of_layer(voxels: Voxels, layer: LayerShape) -> Result<Self, MeasureError> {
        let LayerShape { kind, kernel, stride } = layer;
        let dtype = voxtune::DType::Float32;
        let operation = Operation::strided(Direction::Forward, dtype, 1, 1, kernel, stride);
        let map = voxels.typical_map(&operation.with_kind(kind))?;
        Ok(Self { voxels, map })
    }
}

/// The set-ups of the configuration at hand, kept for those after it that share them.
#[derive(Debug, Default)]
pub struct SetupCache {
    held: Vec<(PlannedCloud, LayerShape, CloudSetup)>,
}

impl SetupCache {
    /// Drops what a configuration over these clouds cannot use.
    pub fn keep_only(&mut self, clouds: &[PlannedCloud], layer: LayerShape) {
        self.held.retain(|(held, held_layer, _)| {
            *held_layer == layer && clouds.iter().any(|cloud| cloud.is_same(held))
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
        layer: LayerShape,
        batch_size: usize,
        seed: u64,
    ) -> Result<CloudSetup, MeasureError> {
        let found = self
            .held
            .iter()
            .find(|(held, held_layer, _)| *held_layer == layer && held.is_same(cloud));
        if let Some((_, _, setup)) = found {
            return Ok(setup.clone());
        }
        let setup = CloudSetup::new(device, cloud, layer, batch_size, seed)?;
        self.held.push((cloud.clone(), layer, setup.clone()));
        Ok(setup)
    }
}
