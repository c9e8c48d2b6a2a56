//! A cloud on the device with its kernel map, kept for the configurations that share it.

use std::sync::Arc;

use voxtune::{Device, Geometry, KernelMap, LayerKind, Voxels};
use voxtune_types::Voxel;

use crate::inputs::error::MeasureError;
use crate::inputs::generated_cells::GeneratedCells;
use crate::inputs::planned_cloud::PlannedCloud;

/// A cloud on the device with the kernel map of a layer.
#[derive(Clone, Debug)]
pub struct CloudSetup {
    /// The voxels.
    pub voxels: Voxels,
    /// The map of a layer over them, with the layer's own padding and dilation. That of an inverse
    /// layer goes back to them, from what the sparse layer which it undoes makes of them.
    pub map: Arc<KernelMap>,
}

impl CloudSetup {
    /// Builds the map of a cloud whose cells are made.
    ///
    /// # Errors
    /// If the device cannot hold them, or they have duplicates.
    pub fn new(
        device: &Device,
        cloud: &PlannedCloud,
        cells: Vec<Voxel>,
        layer: Geometry,
    ) -> Result<Self, MeasureError> {
        let voxels = match cloud.grid() {
            None => Voxels::new(device, cells)?,
            Some(grid) => Voxels::within(device, grid, cells)?,
        };
        Self::of_layer(voxels, layer)
    }

    /// The set-up of voxels that are there already.
    ///
    /// # Errors
    /// If the map cannot be built.
    pub fn of_layer(voxels: Voxels, layer: Geometry) -> Result<Self, MeasureError> {
        let map = match layer.kind {
            LayerKind::Given => Arc::new(voxels.map_to(&voxels, &layer)?),
            LayerKind::Inverse => {
                let coarse = voxels.outputs_of(&layer.with_kind(LayerKind::Sparse))?.0;
                coarse.outputs_of(&layer)?.1
            }
            _ => voxels.outputs_of(&layer)?.1,
        };
        Ok(Self { voxels, map })
    }
}

/// The set-ups of the configuration at hand, kept for those after it that share them.
#[derive(Debug, Default)]
pub struct SetupCache {
    held: Vec<(PlannedCloud, Geometry, CloudSetup)>,
    /// For configurations of other layers over the same clouds.
    cells: GeneratedCells,
}

impl SetupCache {
    /// Drops what a configuration over these clouds cannot use.
    pub fn keep_only(&mut self, clouds: &[PlannedCloud], layer: Geometry) {
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
        layer: Geometry,
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
        let cells = cloud.cells(device, &mut self.cells, (batch_size, seed))?;
        let setup = CloudSetup::new(device, cloud, cells, layer)?;
        self.held.push((cloud.clone(), layer, setup.clone()));
        Ok(setup)
    }
}
