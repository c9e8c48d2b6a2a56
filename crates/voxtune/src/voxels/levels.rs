//! The voxels of one input at every stride, with the kernel maps within and between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use voxtune_types::Geometry;

use super::cells::Cells;
use crate::{ConvError, Device, KernelMap};

/// One set of voxels.
pub(super) struct Level {
    /// Among the levels of one input.
    pub(super) number: usize,
    pub(super) cells: Cells,
    /// Cells along x, y and z; none where coordinates are unbounded.
    pub(super) shape: Option<[u32; 3]>,
    /// The level whose layer of this geometry made it.
    pub(super) origin: Option<(Arc<Self>, Geometry)>,
}

/// Which map: from one level to another, for layers of a geometry.
type MapKey = (usize, usize, Geometry);

/// Which outputs: of a level, by layers of a geometry.
type OutputsKey = (usize, Geometry);

/// A value that the first who needs it makes.
type Slot<T> = Arc<OnceLock<T>>;

/// Everything that the layers of a network share over one input. It lives as long as any of its
/// voxels.
pub(super) struct Levels {
    pub(super) device: Device,
    /// Whether maps are made complete for the layers that are alive.
    prepares: bool,
    maps: Mutex<BTreeMap<MapKey, Slot<Arc<KernelMap>>>>,
    /// What a layer makes of a level.
    outputs: Mutex<BTreeMap<OutputsKey, Slot<Arc<Level>>>>,
    count: Mutex<usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a slot holds, made at the first call. Two threads may make it at once: both make the same, and
/// the first is kept.
fn get_or_make<T: Clone>(
    slot: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, ConvError>,
) -> Result<T, ConvError> {
    if let Some(held) = slot.get() {
        return Ok(held.clone());
    }
    let made = make()?;
    Ok(slot.get_or_init(|| made).clone())
}

impl Levels {
    pub(super) fn new(device: &Device, prepares: bool) -> Self {
        Self {
            device: device.clone(),
            prepares,
            maps: Mutex::default(),
            outputs: Mutex::default(),
            count: Mutex::default(),
        }
    }

    /// A further level.
    pub(super) fn add(
        &self,
        cells: Cells,
        shape: Option<[u32; 3]>,
        origin: Option<(Arc<Level>, Geometry)>,
    ) -> Arc<Level> {
        let mut count = locked(&self.count);
        let number = *count;
        *count += 1;
        Arc::new(Level { number, cells, shape, origin })
    }

    /// The map from a level to another, built at the first call with everything that the layers which
    /// are alive on the device will read of it.
    pub(super) fn map(
        &self,
        from: &Level,
        to: &Level,
        geometry: Geometry,
        build: impl FnOnce() -> Result<KernelMap, ConvError>,
    ) -> Result<Arc<KernelMap>, ConvError> {
        let key = (from.number, to.number, geometry);
        let slot = Arc::clone(locked(&self.maps).entry(key).or_default());
        get_or_make(&slot, || {
            let map = Arc::new(build()?);
            if self.prepares {
                self.device.prepare_map(&map);
            }
            Ok(map)
        })
    }

    /// The level that a layer makes of another, found at the first call.
    pub(super) fn outputs(
        &self,
        from: &Arc<Level>,
        geometry: Geometry,
    ) -> Result<Arc<Level>, ConvError> {
        let key = (from.number, geometry);
        let slot = Arc::clone(locked(&self.outputs).entry(key).or_default());
        get_or_make(&slot, || {
            let shape = from.shape.map(|shape| geometry.output_shape(shape));
            let cells = self.device.find_outputs(&from.cells, &geometry, shape)?;
            Ok(self.add(cells, shape, Some((Arc::clone(from), geometry))))
        })
    }
}

impl Device {
    fn find_outputs(
        &self,
        cells: &Cells,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Cells, ConvError> {
        if let (Some(cuda), Some((coords, rows))) = (self.cuda(), cells.cuda()) {
            let found = cuda.outputs_builder()?.find(coords, rows, geometry, shape)?;
            return Ok(Cells::on_device(found.coords, found.rows));
        }
        let cells = cells.host()?;
        let found = self.install(|| voxtune_cpu::layer_outputs(cells, geometry, shape))?;
        Ok(Cells::Host(found))
    }

    /// The map of layers of a geometry between two levels.
    pub(super) fn build_map(
        &self,
        inputs: &Cells,
        outputs: &Cells,
        geometry: &Geometry,
    ) -> Result<KernelMap, ConvError> {
        if let (Some(cuda), Some(inputs), Some(outputs)) =
            (self.cuda(), inputs.cuda(), outputs.cuda())
        {
            return Ok(KernelMap::from_cuda(
                *geometry,
                cuda.build_map(inputs, outputs, geometry)?,
            )?);
        }
        let (inputs, outputs) = (inputs.host()?, outputs.host()?);
        let map = self.install(|| voxtune_cpu::KernelMap::of(inputs, outputs, geometry))?;
        Ok(KernelMap::from_host(*geometry, map))
    }
}
