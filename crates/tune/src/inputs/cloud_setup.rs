//! A cloud on the device with its kernel map, kept for the configurations that share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use voxtune::{Device, Direction, Geometry, KernelMap, LayerKind, MapPart, Voxels};
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
    /// How long parts of the map take to make, for all layers over it.
    pub(crate) making: Making,
}

/// How long parts of a map take to make, each list of them measured once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Making(Arc<Mutex<MadeNs>>);

/// Nanoseconds by the direction that reads parts, and these.
type MadeNs = BTreeMap<(Direction, Vec<MapPart>), u64>;

impl Making {
    /// Nanoseconds for a list of parts that a direction reads, measured at the first call.
    pub(crate) fn get_or_measure<E>(
        &self,
        direction: Direction,
        parts: &[MapPart],
        measure: impl FnOnce() -> Result<u64, E>,
    ) -> Result<u64, E> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (direction, parts.to_vec());
        if let Some(ns) = made.get(&key) {
            return Ok(*ns);
        }
        let ns = measure()?;
        made.insert(key, ns);
        Ok(ns)
    }
}

impl CloudSetup {
    /// That of a map which is there already, of layers over these voxels.
    #[must_use]
    pub fn of_map(voxels: Voxels, map: Arc<KernelMap>) -> Self {
        Self { voxels, map, making: Making::default() }
    }

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
        Ok(Self::of_map(voxels, map))
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
