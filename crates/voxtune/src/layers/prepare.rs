//! Getting ready before the first call: code loaded, kernel maps complete.
//!
//! What belongs to an operation (its modules, the library's handles, memory for a first launch) is
//! made by [`Device::prepare`], which building a layer calls. Row orders, pair lists and the
//! workspace for its pairs belong to a map. They are made together with it, for the layers of the
//! device that are alive then.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustc_hash::FxBuildHasher;
use voxtune_cuda::{MapPart, RowOrder, TilePlan};
use voxtune_types::{
    AlgoId, DType, Direction, Geometry, KernelSize, LayerKind, Operation, Product, Voxel,
};

use crate::voxels::FrameCounts;
use crate::{Algorithm, ConvError, Device, KernelMap, Launch, MapCounts, Tensor, Tuner, Voxels};

/// What a preparation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what failed is met again by the first call that needs it"]
pub struct Prepared {
    /// Algorithms that are ready, each for one operation, those included that were so before.
    pub algorithms: usize,
    /// Algorithms that are not, and why: a missing kernel, too little memory.
    pub failed: Vec<(AlgoId, String)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a device remembers of what was prepared.
pub(crate) struct Preparations {
    /// What every layer needs was got ready.
    shared: Once,
    /// Algorithms that have run for an operation.
    done: Mutex<HashSet<(AlgoId, Operation), FxBuildHasher>>,
    layers: Mutex<Vec<Weak<RegisteredLayer>>>,
}

/// A live layer: kernel maps are completed for it.
#[derive(Debug)]
pub(crate) struct RegisteredLayer {
    tuner: Tuner,
    /// In the forward direction.
    operation: Operation,
    /// A bit for each [`Direction`].
    directions: AtomicU8,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RegisteredLayer {
    pub(crate) fn add(&self, directions: &[Direction]) {
        let bits = directions.iter().fold(0, |bits, direction| bits | 1 << *direction as u8);
        self.directions.fetch_or(bits, Ordering::Relaxed);
    }

    fn operations(&self) -> impl Iterator<Item = Operation> {
        let bits = self.directions.load(Ordering::Relaxed);
        let prepared = move |direction: &Direction| bits & (1 << *direction as u8) != 0;
        let operation = self.operation;
        Direction::ALL.into_iter().filter(prepared).map(move |one| operation.with_direction(one))
    }
}

/// An operation with algorithms that it may run.
type Wanted<'a> = (&'a Operation, Vec<Arc<dyn Algorithm>>);

/// The map of an operation's layer over two neighbouring voxels.
fn warm_up_map(device: &Device, operation: &Operation) -> Result<Arc<KernelMap>, ConvError> {
    Voxels::of_warm_up(device)?.typical_map(operation)
}

/// A plan of tiles as some kernel reads one.
const SOME_PLAN: TilePlan =
    TilePlan { order: RowOrder::Global, rows: 64, parts: 2, blocks: 64, fixed: 4 };

/// Makes a coarser level over two neighbouring voxels, and waits for its count, as a first frame
/// does; and the maps at once, as frames that expect their counts do. So the host has met each of
/// these calls, the device each kernel, and pages are locked that counts come by.
fn warm_up_levels(device: &Device) -> Result<(), ConvError> {
    let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 1, 0, 0)];
    let voxels = Voxels::new(device, cells)?;
    let kernel = KernelSize::cubic(3).expect("3 is an extent");
    let within = voxels.kernel_map(kernel)?;
    let (coarse, down) = voxels.strided(kernel, [2; 3])?;
    coarse.kernel_map(kernel)?;
    let parts = [
        MapPart::Order(RowOrder::Sorted),
        MapPart::Order(RowOrder::Global),
        MapPart::Plan(SOME_PLAN),
    ];
    for map in [within, down] {
        voxels.make_maps_at_once(1, &map, Direction::Forward, &parts)?;
    }
    coarse.count().map(|_| ())
}

/// A warm-up launch: an operation over two neighbouring voxels, with operands.
struct WarmUp<'a> {
    map: &'a KernelMap,
    first: Tensor,
    second: Tensor,
    result: Tensor,
}

impl<'a> WarmUp<'a> {
    fn new(
        device: &Device,
        operation: &Operation,
        maps: &'a mut BTreeMap<Geometry, Arc<KernelMap>>,
    ) -> Result<Self, ConvError> {
        let map = match maps.entry(operation.typical_geometry()) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(warm_up_map(device, operation)?),
        };
        let Operation { direction, dtype, c_in, c_out, .. } = *operation;
        let (n_in, n_out) = (map.n_in(), map.n_out());
        let weight_rows = operation.weight_rows();
        let zeros =
            |dtype, rows, channels: u32| Tensor::zeros(device, dtype, rows, channels as usize);
        let weights = |dtype| zeros(dtype, weight_rows, c_out);
        let (first, second, result) = match direction.product() {
            Product::Forward => {
                (zeros(dtype, n_in, c_in)?, weights(dtype)?, zeros(dtype, n_out, c_out)?)
            }
            Product::Dgrad => {
                (zeros(dtype, n_out, c_out)?, weights(dtype)?, zeros(dtype, n_in, c_in)?)
            }
            Product::Wgrad => {
                (zeros(dtype, n_in, c_in)?, zeros(dtype, n_out, c_out)?, weights(DType::Float32)?)
            }
        };
        Ok(Self { map, first, second, result })
    }

    fn run(
        &mut self,
        device: &Device,
        operation: &Operation,
        algorithm: &dyn Algorithm,
    ) -> Result<(), ConvError> {
        let Self { map, first, second, result } = self;
        let launch = Launch { operation, map, a: first, b: second, out: result, epilogue: None };
        device.registry().run(algorithm, device, launch)
    }
}

impl Default for Preparations {
    fn default() -> Self {
        Self { shared: Once::new(), done: Mutex::default(), layers: Mutex::default() }
    }
}

impl Preparations {
    /// Keeps a layer registered for as long as it lives.
    pub(crate) fn register_layer(
        &self,
        tuner: &Tuner,
        operation: Operation,
    ) -> Arc<RegisteredLayer> {
        let registered =
            RegisteredLayer { tuner: tuner.clone(), operation, directions: AtomicU8::new(0) };
        let registered = Arc::new(registered);
        let mut layers = locked(&self.layers);
        layers.retain(|layer| layer.strong_count() > 0);
        layers.push(Arc::downgrade(&registered));
        registered
    }

    /// The layers that are alive and whose operation fits, equal ones once.
    fn layers_with(&self, fits: impl Fn(&Operation) -> bool) -> Vec<Arc<RegisteredLayer>> {
        let mut distinct: Vec<Arc<RegisteredLayer>> = Vec::new();
        for layer in locked(&self.layers).iter().filter_map(Weak::upgrade) {
            let same = |one: &Arc<RegisteredLayer>| {
                one.operation == layer.operation
                    && one.tuner.is_same(&layer.tuner)
                    && one.operations().eq(layer.operations())
            };
            if fits(&layer.operation) && !distinct.iter().any(same) {
                distinct.push(layer);
            }
        }
        distinct
    }
}

impl Device {
    /// Gets ready what these operations will run here. For each these are the algorithms that the
    /// tuner's caches name for any row count, and what a model chooses for usual clouds. Their code
    /// is loaded and has run once, over two voxels. The code of the other layers of these storage
    /// types and of kernel maps is loaded, and the driver asked for the memory of a first frame. On
    /// the host, and inside a graph capture, there is nothing to do.
    ///
    /// What cannot be made ready is no error here: the row counts that would need it may never
    /// come.
    pub fn prepare(&self, tuner: &Tuner, operations: &[Operation]) -> Prepared {
        let start = Instant::now();
        let mut prepared = Prepared::default();
        if self.cuda().is_some() && !self.is_capturing() {
            let wanted: Vec<Wanted<'_>> = operations
                .iter()
                .map(|operation| self.wanted(tuner, operation, &mut prepared))
                .collect();
            // Reading and decompressing code takes processors and no GPU: all of it at once.
            let code = wanted.iter().flat_map(|(operation, algorithms)| {
                algorithms.iter().map(|algorithm| (algorithm.id().clone(), **operation))
            });
            self.compile(&code.collect::<Vec<_>>());
            // A call that needs one of these and cannot have it fails and says so.
            if let Some(cuda) = self.cuda() {
                self.preparations().shared.call_once(|| {
                    _ = cuda.warm_up();
                    _ = warm_up_levels(self);
                });
                for dtype in operations.iter().map(|operation| operation.dtype) {
                    _ = cuda.features(dtype);
                }
            }
            let mut maps = BTreeMap::new();
            for (operation, algorithms) in &wanted {
                self.run_each_once(operation, algorithms, &mut maps, &mut prepared);
            }
            // What was queued is part of the preparation, and a failure of it is met again.
            _ = self.synchronize();
        }
        prepared.elapsed = start.elapsed();
        prepared
    }

    /// The algorithms that an operation may run and that have not run for it yet. Counts the
    /// others.
    fn wanted<'a>(
        &self,
        tuner: &Tuner,
        operation: &'a Operation,
        prepared: &mut Prepared,
    ) -> Wanted<'a> {
        let mut algorithms = tuner.algorithms_for(self, operation);
        let all = algorithms.len();
        let done = locked(&self.preparations().done);
        algorithms.retain(|one| !done.contains(&(one.id().clone(), *operation)));
        prepared.algorithms += all - algorithms.len();
        (operation, algorithms)
    }

    /// Queues algorithms over two neighbouring voxels: code is loaded at its first launch.
    fn run_each_once(
        &self,
        operation: &Operation,
        algorithms: &[Arc<dyn Algorithm>],
        maps: &mut BTreeMap<Geometry, Arc<KernelMap>>,
        prepared: &mut Prepared,
    ) {
        if algorithms.is_empty() {
            return;
        }
        let mut warm_up = WarmUp::new(self, operation, maps).map_err(|error| error.to_string());
        for algorithm in algorithms {
            let key = (algorithm.id().clone(), *operation);
            let ran = warm_up.as_mut().map_err(|error| error.clone()).and_then(|warm_up| {
                warm_up.run(self, operation, &**algorithm).map_err(|error| error.to_string())
            });
            match ran {
                Ok(()) => {
                    prepared.algorithms += 1;
                    locked(&self.preparations().done).insert(key);
                }
                Err(error) => {
                    tracing::debug!(%operation, algorithm = %key.0, error, "not prepared");
                    prepared.failed.push((key.0, error));
                }
            }
        }
    }

    /// Warms up an algorithm that a key resolved to and no cache had named: one that a model chose.
    fn warm_up(&self, algorithm: &Arc<dyn Algorithm>, operation: &Operation) {
        self.warm_up_once(algorithm, operation, &mut Prepared::default());
    }

    fn warm_up_once(
        &self,
        algorithm: &Arc<dyn Algorithm>,
        operation: &Operation,
        prepared: &mut Prepared,
    ) {
        let key = (algorithm.id().clone(), *operation);
        if locked(&self.preparations().done).contains(&key) {
            prepared.algorithms += 1;
        } else if !self.is_capturing() {
            let mut maps = BTreeMap::new();
            self.run_each_once(operation, &[Arc::clone(algorithm)], &mut maps, prepared);
        }
    }

    /// Finds out what layers that are alive will run over the maps of such frames, and loads it.
    pub(crate) fn prepare_for(&self, frames: &[FrameCounts]) -> Prepared {
        let start = Instant::now();
        let mut prepared = Prepared::default();
        if self.cuda().is_none() || self.is_capturing() {
            return prepared;
        }
        let maps: BTreeSet<(Geometry, [usize; 3])> =
            frames.iter().flat_map(FrameCounts::maps).collect();
        for (geometry, [n_in, n_out, pairs]) in maps {
            // A layer that undoes another reads its map the other way.
            for (geometry, n_in, n_out) in
                [(geometry, n_in, n_out), (geometry.with_kind(LayerKind::Inverse), n_out, n_in)]
            {
                let counts = MapCounts { n_in, n_out, pairs };
                for layer in self.preparations().layers_with(|one| one.is_over(&geometry)) {
                    let key = counts.key(layer.operation);
                    if let Ok(algorithm) = layer.tuner.peek(self, &key, false) {
                        self.warm_up_once(&algorithm, &layer.operation, &mut prepared);
                    }
                }
            }
        }
        _ = self.synchronize();
        prepared.elapsed = start.elapsed();
        prepared
    }

    /// Completes a new map with what the layers that are alive will read of it.
    pub(crate) fn prepare_map(&self, map: &KernelMap) {
        if self.cuda().is_none() || map.counts().n_out == 0 {
            return;
        }
        let geometry = map.geometry();
        for layer in self.preparations().layers_with(|operation| operation.is_over(&geometry)) {
            for operation in layer.operations() {
                let key = map.counts().key(operation);
                let made = layer.tuner.peek(self, &key, map.waits()).and_then(|algorithm| {
                    self.warm_up(&algorithm, &operation);
                    algorithm.prepare_map(self, &operation, map)
                });
                if let Err(error) = made {
                    // The call that needs it tries again, and tells.
                    tracing::debug!(%operation, %error, "a kernel map is not complete");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{KernelSize, LayerKind};

    use super::*;

    /// What is prepared is run over a map of its own kind: any other is refused.
    #[test]
    fn every_kind_of_layer_has_a_warm_up() {
        let device = Device::cpu_with_threads(1).unwrap();
        let mut maps = BTreeMap::new();
        for (extent, stride) in [(3, 1), (3, 2), (2, 2), (5, 3)] {
            let kernel = KernelSize::cubic(extent).unwrap();
            for kind in LayerKind::ALL {
                let submanifold = kind == LayerKind::Submanifold;
                if submanifold && (stride != 1 || !kernel.is_centred()) {
                    continue;
                }
                for direction in Direction::ALL {
                    let dtype = DType::Float16;
                    let op = Operation::strided(direction, dtype, 3, 5, kernel, [stride; 3]);
                    let op = op.with_kind(kind);
                    let mut warm_up = WarmUp::new(&device, &op, &mut maps).unwrap();
                    let algorithm = Arc::clone(device.registry().default_for(&op).unwrap());
                    warm_up.run(&device, &op, &*algorithm).unwrap();
                }
            }
        }
        assert_eq!(maps.len(), 4 * 4 + 1);
    }
}
