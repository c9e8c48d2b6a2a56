//! The voxels of one input at every stride, with the kernel maps within and between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use voxtune_cuda::{OutputCounts, OutputsBuilder};
use voxtune_types::{Geometry, LayerKind};

use super::at_once::Recipe;
use super::cells::{Cells, CudaCells};
use super::frame::{Frame, FrameRows, MapPath, Path, Room};
use crate::{ConvError, Device, KernelMap, MapCounts};

/// One set of voxels.
pub(super) struct Level {
    /// Among the levels of one input.
    pub(super) number: usize,
    pub(super) cells: Cells,
    /// Cells along x, y and z; none where coordinates are unbounded.
    pub(super) shape: Option<[u32; 3]>,
    /// The level whose layer of this geometry made it.
    pub(super) origin: Option<(Arc<Self>, Geometry)>,
    /// What was counted when it was found, where the host waited for that.
    counts: Option<OutputCounts>,
}

impl Level {
    /// The layers that made it of the input, the first one first.
    pub(super) fn path(&self) -> Path {
        let origins = std::iter::successors(self.origin.as_ref(), |(from, _)| from.origin.as_ref());
        let mut path: Path = origins.map(|(_, geometry)| *geometry).collect();
        path.reverse();
        path
    }
}

/// Which map: from one level to another, for layers of a geometry.
pub(super) type MapKey = (usize, usize, Geometry);

/// Which outputs: of a level, by layers of a geometry.
pub(super) type OutputsKey = (usize, Geometry);

/// A value that the first who needs it makes.
type Slot<T> = Arc<OnceLock<T>>;

/// What the layers of a network have made of one input.
pub(super) struct MadeSoFar {
    pub(super) levels: Vec<Arc<Level>>,
    pub(super) maps: Vec<(MapKey, Arc<KernelMap>)>,
}

/// Everything that the layers of a network share over one input. It lives as long as any of its
/// voxels.
pub(super) struct Levels {
    pub(super) device: Device,
    /// Whether they are those of a warm-up launch: maps are not made complete for the layers that
    /// are alive, and counts are of no interest.
    is_warm_up: bool,
    /// What their counts are expected to be, if anybody expects something.
    frame: Option<Arc<Frame>>,
    /// The level that the frame begins with.
    first: usize,
    maps: Mutex<BTreeMap<MapKey, Slot<Arc<KernelMap>>>>,
    /// Maps that layers have given names.
    names: Mutex<BTreeMap<Arc<str>, MapKey>>,
    /// What a layer makes of a level.
    outputs: Mutex<BTreeMap<OutputsKey, Slot<Arc<Level>>>>,
    count: Mutex<usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a slot holds, made at the first call. Two threads may make it at once: both make the same,
/// and the first is kept.
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
    pub(super) fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            is_warm_up: false,
            frame: None,
            first: 0,
            maps: Mutex::default(),
            names: Mutex::default(),
            outputs: Mutex::default(),
            count: Mutex::default(),
        }
    }

    /// The levels of a frame, none of which has the number of the level that it begins with.
    pub(super) fn of_frame(device: &Device, frame: Arc<Frame>, first: &Level) -> Self {
        let mut made = Self::new(device);
        (made.frame, made.first) = (Some(frame), first.number);
        *locked(&made.count) = first.number + 1;
        made
    }

    /// The levels of a warm-up launch.
    pub(super) fn of_warm_up(device: &Device) -> Self {
        let mut made = Self::new(device);
        made.is_warm_up = true;
        made
    }

    /// The frame that they are of.
    pub(super) const fn frame(&self) -> Option<&Arc<Frame>> {
        self.frame.as_ref()
    }

    /// What tensors over a level have to wait for before they are read.
    pub(super) fn rows_of(&self, level: &Level) -> Option<FrameRows> {
        let frame = Arc::clone(self.frame.as_ref()?);
        let counted = level.cells.cuda().is_some_and(CudaCells::are_counted);
        Some(FrameRows::new(frame, counted.then(|| level.path())))
    }

    /// How many rows a level has, which is waited for where the device counts them.
    pub(super) fn count_rows(&self, level: &Level) -> Result<usize, ConvError> {
        let capacity = level.cells.capacity();
        match self.rows_of(level).filter(|rows| !rows.are_known()) {
            Some(rows) => rows.wait(capacity),
            None => Ok(capacity),
        }
    }

    /// A further level.
    pub(super) fn add(
        &self,
        cells: Cells,
        shape: Option<[u32; 3]>,
        origin: Option<(Arc<Level>, Geometry)>,
    ) -> Arc<Level> {
        let number = self.next_number();
        Arc::new(Level { number, cells, shape, origin, counts: None })
    }

    /// The map from a level to another, built at the first call with everything that the layers
    /// which are alive on the device will read of it.
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
            if !self.is_warm_up {
                self.device.prepare_map(&map);
            }
            Ok(map)
        })
    }

    /// What was made so far: levels by their numbers, and maps.
    pub(super) fn made(&self) -> MadeSoFar {
        let outputs = locked(&self.outputs);
        let mut levels: Vec<_> = outputs.values().filter_map(|slot| slot.get().cloned()).collect();
        levels.sort_by_key(|level| level.number);
        let maps = locked(&self.maps);
        let maps = maps.iter().filter_map(|(key, slot)| Some((*key, slot.get()?.clone())));
        MadeSoFar { levels, maps: maps.collect() }
    }

    /// Takes a level that was made elsewhere, if there is none.
    pub(super) fn hold_outputs(&self, key: OutputsKey, level: &Arc<Level>) {
        let slot = Arc::clone(locked(&self.outputs).entry(key).or_default());
        slot.get_or_init(|| Arc::clone(level));
    }

    /// Takes a map that was made elsewhere, if there is none.
    pub(super) fn hold_map(&self, key: MapKey, map: &Arc<KernelMap>) {
        let slot = Arc::clone(locked(&self.maps).entry(key).or_default());
        slot.get_or_init(|| Arc::clone(map));
    }

    /// Gives a map a name, or compares it with the one that has it. A layer that undoes another has
    /// that layer's map, which has to be there.
    pub(super) fn name_map(
        &self,
        name: &Arc<str>,
        from: &Level,
        to: &Level,
        geometry: &Geometry,
    ) -> Result<(), ConvError> {
        let undoes = geometry.kind == LayerKind::Inverse;
        let key = match undoes {
            false => (from.number, to.number, *geometry),
            true => (to.number, from.number, geometry.with_kind(LayerKind::Sparse)),
        };
        let mut names = locked(&self.names);
        let held = names.get(name).copied();
        match held {
            Some(held) if held == key => return Ok(()),
            None if !undoes => {
                names.insert(Arc::clone(name), key);
                return Ok(());
            }
            _ => {}
        }
        Err(ConvError::MapName {
            name: name.to_string(),
            layer: *geometry,
            named: held.map(|(_, _, geometry)| geometry),
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
            let (cells, counts) = self.find_outputs(from, &geometry, shape)?;
            let origin = Some((Arc::clone(from), geometry));
            let number = self.next_number();
            Ok(Arc::new(Level { number, cells, shape, origin, counts }))
        })
    }

    fn next_number(&self) -> usize {
        let mut count = locked(&self.count);
        let number = *count;
        *count += 1;
        number
    }

    /// The outputs of a layer over a level, and what was counted if the host has waited for it.
    fn find_outputs(
        &self,
        from: &Level,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<(Cells, Option<OutputCounts>), ConvError> {
        let (Some(cuda), Some(cells)) = (self.device.cuda(), from.cells.cuda()) else {
            let cells = from.cells.host(|| self.count_rows(from))?;
            let find = || voxtune_cpu::layer_outputs(cells, geometry, shape);
            return Ok((Cells::Host(self.device.install(find)?), None));
        };
        let (builder, cloud) = (cuda.outputs_builder()?, cells.cloud());
        let inputs = (cloud, cells.index(cuda)?);
        if self.is_warm_up {
            let capacity = OutputsBuilder::most_outputs(geometry, cloud.capacity());
            let found = builder.find_at_most(inputs, geometry, shape, capacity)?;
            return Ok((Cells::found(found, capacity).0, None));
        }
        let path = || from.path().into_iter().chain([*geometry]).collect::<Path>();
        let room = match &self.frame {
            None => None,
            Some(frame) => frame.room(&path())?,
        };
        let Some(Room { expected, capacity: room }) = room else {
            let found = builder.find(inputs, geometry, shape)?;
            let counts = found.report.try_read()?;
            let rows = found.capacity;
            if let Some(frame) = &self.frame {
                frame.knows_outputs(path(), rows);
            }
            return Ok((Cells::found(found, rows).0, counts));
        };
        let capacity = room.min(OutputsBuilder::most_outputs(geometry, cloud.capacity()));
        let found = builder.find_at_most(inputs, geometry, shape, capacity)?;
        let is_counted = found.counted.is_some();
        let (cells, report) = Cells::found(found, expected);
        if let Some(frame) = self.frame.as_ref().filter(|_| is_counted) {
            frame.expects_outputs(path(), capacity, report);
        }
        Ok((cells, None))
    }

    /// The map of layers of a geometry between two levels.
    pub(super) fn build_map(
        &self,
        from: &Level,
        to: &Level,
        geometry: &Geometry,
    ) -> Result<KernelMap, ConvError> {
        let (Some(cuda), Some(inputs), Some(outputs)) =
            (self.device.cuda(), from.cells.cuda(), to.cells.cuda())
        else {
            let inputs = from.cells.host(|| self.count_rows(from))?;
            let outputs = to.cells.host(|| self.count_rows(to))?;
            let build = || voxtune_cpu::KernelMap::of(inputs, outputs, geometry);
            return Ok(KernelMap::from_host(*geometry, self.device.install(build)?));
        };
        let map = cuda.build_map(inputs.index(cuda)?, outputs.index(cuda)?, geometry)?;
        let of_warm_up = self.is_warm_up.then(|| to.cells.expected());
        let mut pairs = of_warm_up.or_else(|| pairs_counted(from, to, geometry));
        if let Some(frame) = &self.frame {
            let path: MapPath = (from.path(), to.path(), *geometry);
            pairs = frame.pairs(&path).or(pairs);
            frame.expects_pairs(path, map.report());
        }
        let counts = pairs.map(|pairs| MapCounts {
            n_in: from.cells.expected(),
            n_out: to.cells.expected(),
            pairs,
        });
        let map = KernelMap::from_cuda(*geometry, map, counts)?;
        Ok(if self.frame.is_some() { map.without_waiting() } else { map })
    }
}

/// What a frame has made, the next one makes at once.
impl Drop for Levels {
    fn drop(&mut self) {
        if let Some(frame) = &self.frame
            && self.device.cuda().is_some()
        {
            frame.learn_recipe(|| Recipe::of(&self.made(), self.first));
        }
    }
}

/// How many pairs a map has, or about how many, by what was counted when its outputs were found;
/// `None` if nothing was that says so.
fn pairs_counted(from: &Level, to: &Level, geometry: &Geometry) -> Option<usize> {
    let counts = to.counts?;
    if geometry.kind == LayerKind::Submanifold {
        return Some(counts.submanifold_pairs(geometry.kernel));
    }
    let (origin, made_by) = to.origin.as_ref()?;
    (origin.number == from.number && made_by == geometry).then_some(counts.pairs)
}
