//! The voxels of one input at every stride, with the kernel maps within and between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use voxtune_cuda::{Beside, OutputCounts, OutputsBuilder};
use voxtune_types::{Geometry, LayerKind};

use super::at_once::Recipe;
use super::cells::{Cells, CudaCells};
use super::frame::{Frame, FrameRows, MapPath, Path, Room, no_such_sample};
use super::last_calls::{Calls, Left, ReadAs};
use super::rooms::FrameCounts;
use crate::ops::RowGroups;
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

/// Of which level, for how many samples.
type SamplesKey = (usize, usize);

/// A value that the first who needs it makes.
type Slot<T> = Arc<OnceLock<T>>;

/// What the layers of a network have made of one input.
pub(super) struct MadeSoFar {
    pub(super) levels: Vec<Arc<Level>>,
    pub(super) maps: Vec<(MapKey, ReadAs)>,
    /// How often each map was asked for.
    pub(super) calls: BTreeMap<MapKey, usize>,
}

/// Everything that the layers of a network share over one input. It lives as long as any of its
/// voxels.
pub(super) struct Levels {
    pub(super) device: Device,
    /// Whether they are those of a warm-up launch: maps are not made complete for the layers that
    /// are alive, and counts are of no interest.
    is_warm_up: bool,
    /// What their counts are expected to be, if anything is expected.
    frame: Option<Arc<Frame>>,
    /// The level that the frame begins with.
    first: usize,
    maps: Mutex<BTreeMap<MapKey, Slot<Arc<KernelMap>>>>,
    left: Mutex<Left>,
    /// Whether a network gives maps back when it leaves a level.
    is_of_one_pass: bool,
    /// Levels that a [`Stay`] keeps, once for each guard.
    staying: Mutex<Vec<usize>>,
    /// Maps that layers have given names.
    names: Mutex<BTreeMap<Arc<str>, MapKey>>,
    /// What a layer makes of a level.
    outputs: Mutex<BTreeMap<OutputsKey, Slot<Arc<Level>>>>,
    count: Mutex<usize>,
    /// The sample of each row of a level, for so many samples.
    samples: Mutex<BTreeMap<SamplesKey, Slot<Arc<RowGroups>>>>,
    calls: Mutex<Calls>,
    /// What makes levels beside layers, and their numbers there by those here.
    beside: Mutex<Option<(Beside, BTreeMap<usize, usize>)>>,
}

/// Keeps the maps of a level.
pub(super) struct Stay {
    levels: Arc<Levels>,
    number: usize,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut staying = locked(&self.levels.staying);
        if let Some(place) = staying.iter().rposition(|number| *number == self.number) {
            staying.swap_remove(place);
        }
    }
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
            left: Mutex::default(),
            is_of_one_pass: false,
            staying: Mutex::default(),
            names: Mutex::default(),
            outputs: Mutex::default(),
            count: Mutex::default(),
            samples: Mutex::default(),
            calls: Mutex::default(),
            beside: Mutex::default(),
        }
    }

    /// The levels of a frame, none of which has the number of the level that it begins with.
    pub(super) fn of_frame(device: &Device, frame: Arc<Frame>, first: &Level) -> Self {
        let mut made = Self::new(device);
        (made.frame, made.first) = (Some(frame), first.number);
        *locked(&made.count) = first.number + 1;
        made
    }

    /// Levels whose maps go when a network leaves them, none of which has the number of the level
    /// that they begin with.
    pub(super) fn of_one_pass(device: &Device, first: &Level) -> Self {
        let mut made = Self::new(device);
        (made.is_of_one_pass, made.first) = (true, first.number);
        *locked(&made.count) = first.number + 1;
        made
    }

    /// Gives back the maps to and from a level, unless a [`Stay`] keeps them.
    pub(super) fn leave(&self, level: &Level) {
        let number = level.number;
        if self.is_of_one_pass && !locked(&self.staying).contains(&number) {
            locked(&self.maps).retain(|(from, to, _), _| *from != number && *to != number);
        }
    }

    /// Keeps maps to and from a level while the guard lives.
    pub(super) fn stay(self: &Arc<Self>, level: &Level) -> Stay {
        locked(&self.staying).push(level.number);
        Stay { levels: Arc::clone(self), number: level.number }
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

    /// Keeps what makes levels beside layers, and their numbers there by those here.
    pub(super) fn keep_beside(&self, beside: Beside, numbers: BTreeMap<usize, usize>) {
        *locked(&self.beside) = Some((beside, numbers));
    }

    /// Lets what is queued next wait for some levels and the maps to them.
    fn wait_for(&self, levels: &[&Level]) -> Result<(), ConvError> {
        let mut beside = locked(&self.beside);
        let Some((beside, numbers)) = &mut *beside else { return Ok(()) };
        let known = levels.iter().filter_map(|level| numbers.get(&level.number));
        Ok(known.max().map_or(Ok(()), |&last| beside.wait(last))?)
    }

    /// Lets what is queued next wait for all levels.
    pub(super) fn wait_for_all(&self) -> Result<(), ConvError> {
        let beside = locked(&self.beside).take();
        Ok(beside.map_or(Ok(()), |(beside, _)| beside.wait_for_all())?)
    }

    /// The map from a level to another, built at the first call.
    pub(super) fn map(
        &self,
        from: &Level,
        to: &Level,
        geometry: Geometry,
        build: impl FnOnce() -> Result<KernelMap, ConvError>,
    ) -> Result<Arc<KernelMap>, ConvError> {
        self.wait_for(&[from, to])?;
        self.give_back();
        let key = (from.number, to.number, geometry);
        let slot = Arc::clone(locked(&self.maps).entry(key).or_default());
        let map = get_or_make(&slot, || Ok(Arc::new(build()?)))?;
        if locked(&self.calls).is_last(key) {
            locked(&self.left).last = Some(key);
        }
        Ok(map)
    }

    /// Gives back the memory of the map that was read for the last time before this call.
    fn give_back(&self) {
        let Some(key) = locked(&self.left).last.take() else { return };
        let slot = locked(&self.maps).remove(&key);
        if let Some(map) = slot.as_ref().and_then(|slot| slot.get()) {
            let read_as = ReadAs::of(map);
            locked(&self.left).before.push((key, read_as));
        }
    }

    /// Says how often each map will be asked for: after the last time, its memory is given back.
    pub(super) fn expect_calls(&self, calls: impl IntoIterator<Item = (MapKey, usize)>) {
        locked(&self.calls).expected.extend(calls);
    }

    /// What was made so far: levels by their numbers, and maps.
    pub(super) fn made(&self) -> MadeSoFar {
        let outputs = locked(&self.outputs);
        let mut levels: Vec<_> = outputs.values().filter_map(|slot| slot.get().cloned()).collect();
        levels.sort_by_key(|level| level.number);
        let maps = locked(&self.maps);
        let held = maps.iter().filter_map(|(key, slot)| Some((*key, ReadAs::of(slot.get()?))));
        let left = locked(&self.left);
        let maps = held.chain(left.before.iter().cloned());
        let calls = locked(&self.calls).so_far.clone();
        MadeSoFar { levels, maps: maps.collect(), calls }
    }

    /// What layers have made of a level so far, where the host has the maps.
    pub(super) fn counts(&self, first: &Level) -> FrameCounts {
        let made = self.made();
        let levels = &made.levels;
        let of_levels = levels.iter().map(|level| (level.path(), level.cells.capacity()));
        let path = |number: usize| {
            let level = levels.iter().map(|level| &**level).find(|level| level.number == number);
            Some(level.or((first.number == number).then_some(first))?.path())
        };
        let maps = locked(&self.maps);
        let of_maps = maps.iter().filter_map(|(&(from, to, geometry), slot)| {
            // Layers that undo others read the maps of those.
            let is_own = geometry.kind != LayerKind::Inverse;
            let map = slot.get().filter(|_| is_own)?;
            Some(((path(from)?, path(to)?, geometry), map.counts().pairs))
        });
        FrameCounts {
            input_rows: first.cells.capacity(),
            rows: of_levels.collect(),
            pairs: of_maps.collect(),
            made: Recipe::of(&made, first.number),
        }
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
            self.wait_for(&[from])?;
            let shape = from.shape.map(|shape| geometry.output_shape(shape));
            let (cells, counts) = self.find_outputs(from, &geometry, shape)?;
            let origin = Some((Arc::clone(from), geometry));
            let number = self.next_number();
            Ok(Arc::new(Level { number, cells, shape, origin, counts }))
        })
    }

    /// The sample of each row of a level, found at the first call.
    pub(super) fn samples(
        &self,
        level: &Level,
        samples: usize,
    ) -> Result<Arc<RowGroups>, ConvError> {
        let slot = Arc::clone(locked(&self.samples).entry((level.number, samples)).or_default());
        get_or_make(&slot, || {
            let (Some(cuda), Some(cells)) = (self.device.cuda(), level.cells.cuda()) else {
                let cells = level.cells.host(|| self.count_rows(level))?;
                return RowGroups::of_batches(&self.device, cells, samples).map(Arc::new);
            };
            let (groups, report) = cuda.points_builder()?.samples(cells.cloud(), samples)?;
            match &self.frame {
                Some(frame) => frame.expects_samples(samples, report),
                None => {
                    if let Some(stray) = report.wait()? {
                        return Err(no_such_sample(stray, samples));
                    }
                }
            }
            Ok(Arc::new(RowGroups::from_cuda(groups)))
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

    /// Makes of a new map what the layers which are alive on the device would read of it.
    pub(super) fn prepare(&self, map: &KernelMap) {
        if !self.is_warm_up {
            self.device.prepare_map(map);
        }
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

/// How many pairs a map has, or about how many, by what was counted when its outputs were found.
/// `None` if nothing was that says so.
fn pairs_counted(from: &Level, to: &Level, geometry: &Geometry) -> Option<usize> {
    let counts = to.counts?;
    if geometry.kind == LayerKind::Submanifold {
        return Some(counts.submanifold_pairs(geometry.kernel));
    }
    let (origin, made_by) = to.origin.as_ref()?;
    (origin.number == from.number && made_by == geometry).then_some(counts.pairs)
}
