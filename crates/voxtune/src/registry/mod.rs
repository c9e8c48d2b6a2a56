//! Every algorithm of a device: the one way to run a kernel.
//!
//! The tuner measures what [`Registry::run`] does, and the layers call nothing else.

mod cpu;
pub(crate) mod cuda;
mod launch;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use voxtune_cache::{KernelHash, Requirement};
use voxtune_cuda::model::LearnedModel;
use voxtune_types::{AlgoId, AlgoMode, Arch, DeviceIdentity, Operation, ShapeKey};

use crate::cost::{self, Contender, choose, choose_named, worth_measuring};
use crate::device::CudaBackend;
use crate::resolve_cache::{PlaceQuestion, ResolveCache};
use crate::{Basis, ConvError, Device, Estimate, KernelMap, KernelSource, MapCounts};
pub use launch::Launch;

/// A kernel with its parameters.
pub trait Algorithm: Send + Sync {
    /// The permanent name.
    fn id(&self) -> &AlgoId;

    /// Whether it can compute this operation at all: a kernel that is neither in a pack nor can be
    /// compiled cannot.
    fn applies(&self, operation: &Operation) -> bool;

    /// Whether its geometry suits this operation over such a map.
    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool;

    /// How long a model expects a call to take; `None` where no model describes it. Who has no
    /// model is never left out of a race for its cost, and never chosen by one.
    fn estimate(&self, _operation: &Operation, _counts: MapCounts) -> Option<Estimate> {
        None
    }

    /// Whether a model may choose it where nothing was measured, and so nothing verified.
    fn is_safe_unverified(&self, _operation: &Operation) -> bool {
        true
    }

    /// Whether it is what runs where nothing was measured. One applicable algorithm says yes.
    fn is_default(&self, operation: &Operation) -> bool;

    /// Whether a call waits until the device has counted the map's pairs. Where a frame waits for
    /// nothing, such an algorithm does not run.
    fn waits_for_counts(&self, _operation: &Operation) -> bool {
        false
    }

    /// Scratch memory of a call beyond operands and map.
    ///
    /// # Units
    /// Bytes.
    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64;

    /// Identity of the code that runs: a measurement holds for this code only.
    ///
    /// # Errors
    /// If the code is to be compiled first, and is not.
    fn kernel_hash(&self, device: &Device, operation: &Operation) -> Result<KernelHash, ConvError>;

    /// The library beyond the driver that it needs.
    fn requires(&self) -> Option<Requirement> {
        None
    }

    /// Whether what it [requires](Self::requires) is there.
    fn is_available(&self) -> bool {
        true
    }

    /// Makes the parts of a map that a run over it reads and that are made at their first use, and
    /// the room for its results in between.
    ///
    /// # Errors
    /// If the device fails.
    fn prepare_map(
        &self,
        _device: &Device,
        _operation: &Operation,
        _map: &KernelMap,
    ) -> Result<(), ConvError> {
        Ok(())
    }

    /// Computes the result.
    ///
    /// # Errors
    /// If operands do not fit the operation or the kernel fails.
    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError>;
}

impl fmt::Debug for dyn Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// Who is expected to be this much faster than all that near keys offer runs, although it is none of
/// them.
const FREE_GAIN: f64 = 1.05;

/// The algorithms of a device, in a fixed order.
#[derive(Clone)]
pub struct Registry {
    algorithms: Vec<Arc<dyn Algorithm>>,
    /// What was found about them: a GPU's, where they are on one.
    resolve_cache: Arc<ResolveCache>,
    /// Where the first algorithm of a name is.
    places: HashMap<AlgoId, usize, FxBuildHasher>,
    /// Names the default of an operation, where that need not be asked of each algorithm.
    default: Option<fn(&Operation) -> &'static AlgoId>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({} algorithms)", self.algorithms.len())
    }
}

impl Registry {
    /// The algorithms of the host.
    #[must_use]
    pub fn cpu() -> Self {
        let default = |operation: &Operation| voxtune_cpu::default_algorithm(operation).id();
        Self { default: Some(default), ..Self::new(cpu::algorithms()) }
    }

    /// The algorithms of a GPU.
    pub(crate) fn cuda(backend: &CudaBackend) -> Self {
        let resolve_cache = Arc::clone(backend.store().resolve_cache());
        Self { resolve_cache, ..Self::with_cuda_default(cuda::algorithms(backend)) }
    }

    fn with_cuda_default(algorithms: Vec<Arc<dyn Algorithm>>) -> Self {
        let default = |operation: &Operation| voxtune_cuda::default_algorithm(operation).id();
        Self { default: Some(default), ..Self::new(algorithms) }
    }

    /// What a device of this identity would have with every optional library and every kernel,
    /// whether or not there is one: for looking at caches, not for running. On a GPU below
    /// [`ComputeCapability::LEAST`](voxtune_types::ComputeCapability::LEAST) none of them applies.
    #[must_use]
    pub fn of_device(device: &DeviceIdentity) -> Self {
        Self::of_device_with(device, None, Self::learned(device))
    }

    /// [`Self::of_device`] with the kernels of a source alone, if one is given, and with what a
    /// model of cost has learned of the architecture.
    #[must_use]
    pub fn of_device_with(
        device: &DeviceIdentity,
        kernels: Option<&KernelSource>,
        learned: Option<&LearnedModel>,
    ) -> Self {
        match device.arch {
            Arch::Cuda(capability) => {
                Self::with_cuda_default(cuda::absent(capability, device.units, kernels, learned))
            }
            Arch::Cpu(_) => Self::cpu(),
        }
    }

    /// What the model of cost that ships has learned of a device's architecture, if anything.
    #[must_use]
    pub fn learned(device: &DeviceIdentity) -> Option<&'static LearnedModel> {
        match device.arch {
            Arch::Cuda(capability) => cost::learned(capability),
            Arch::Cpu(_) => None,
        }
    }

    /// A registry of these algorithms. Of several with one name the first is found.
    #[must_use]
    pub fn new(algorithms: Vec<Arc<dyn Algorithm>>) -> Self {
        let mut places = HashMap::default();
        for (place, algorithm) in algorithms.iter().enumerate() {
            places.entry(algorithm.id().clone()).or_insert(place);
        }
        Self { algorithms, resolve_cache: Arc::default(), places, default: None }
    }

    /// All algorithms.
    pub fn algorithms(&self) -> impl Iterator<Item = &Arc<dyn Algorithm>> + Clone {
        self.algorithms.iter()
    }

    /// The algorithm of this name, if it can run the operation here and now.
    #[must_use]
    pub fn usable(&self, id: &AlgoId, operation: &Operation) -> Option<&Arc<dyn Algorithm>> {
        let place = *self.places.get(id)?;
        self.is_usable(place, operation).then(|| &self.algorithms[place])
    }

    /// The first of a decision's names that can run the operation here and now. Remembered by the
    /// decision's number in a table, which has a number itself.
    #[inline]
    pub(crate) fn decided<'n, N: Iterator<Item = &'n AlgoId>>(
        &self,
        table: u64,
        decision: usize,
        operation: &Operation,
        names: impl FnOnce() -> N,
    ) -> Option<&Arc<dyn Algorithm>> {
        let usable = |id: &AlgoId| {
            let place = *self.places.get(id)?;
            self.is_usable(place, operation).then_some(place)
        };
        let asked = PlaceQuestion::Decided(table, decision);
        let place = self.resolve_cache.place(asked, || names().find_map(usable))?;
        self.algorithms.get(place)
    }

    /// What a key runs of which only near ones were measured: of the names that these offer the
    /// first that can run here, unless what was learned finds another one faster. Remembered by the
    /// table's number and the key.
    pub(crate) fn guessed<'n, N: Iterator<Item = &'n AlgoId>>(
        &self,
        table: u64,
        key: &ShapeKey,
        names: impl Fn() -> N,
    ) -> Option<&Arc<dyn Algorithm>> {
        let place = self.resolve_cache.place(PlaceQuestion::Guessed(table, *key), || {
            let operation = &key.operation;
            let usable = || {
                names().filter_map(|id| {
                    let place = *self.places.get(id)?;
                    self.is_usable(place, operation).then_some(place)
                })
            };
            let first = usable().next()?;
            let counts = MapCounts::typical(key);
            let learned_ns = |place: usize| {
                let estimate = self.algorithms[place].estimate(operation, counts)?;
                (estimate.basis == Basis::Learned).then_some(estimate.time_ns)
            };
            let Some(first_ns) = learned_ns(first) else { return Some(first) };
            let timed = |place: usize| Some((place, learned_ns(place)?));
            let fastest = |a: (usize, f64), b: (usize, f64)| if b.1 < a.1 { b } else { a };
            let offered = usable().filter_map(timed);
            let offered = offered.fold((first, first_ns), fastest);
            let free = self.modelled_for(key).and_then(|algorithm| {
                timed(self.algorithms.iter().position(|one| Arc::ptr_eq(one, algorithm))?)
            });
            let faster = free.filter(|free| free.1 * FREE_GAIN < offered.1);
            Some(faster.unwrap_or(offered).0)
        });
        place.map(|place| &self.algorithms[place])
    }

    /// The algorithm of this name, if it can run a key's operation here. For the name of a family,
    /// the first of these that exists, remembered by key:
    ///
    /// 1. what the model finds clearly faster than the default, among the family's usable
    ///    algorithms
    /// 2. the default, if it is one of them
    /// 3. among those whose geometry suits the operation, the fastest by the model, or the first
    /// 4. the first
    pub(crate) fn suited(&self, name: &AlgoId, key: &ShapeKey) -> Option<&Arc<dyn Algorithm>> {
        if self.places.contains_key(name) {
            return self.usable(name, &key.operation);
        }
        let of_family = |one: &Arc<dyn Algorithm>| one.id().family() == name.as_str();
        let first = self.algorithms.iter().position(of_family)?;
        let place = self.resolve_cache.place(PlaceQuestion::Suited(*key, first), || {
            let (operation, counts) = (&key.operation, MapCounts::typical(key));
            let usable: Vec<&Arc<dyn Algorithm>> = (first..self.algorithms.len())
                .filter(|place| of_family(&self.algorithms[*place]))
                .filter(|place| self.is_usable(*place, operation))
                .map(|place| &self.algorithms[place])
                .collect();
            let suited = choose_named(&usable, operation, counts)?;
            self.algorithms.iter().position(|algorithm| Arc::ptr_eq(algorithm, suited))
        });
        place.map(|place| &self.algorithms[place])
    }

    /// Whether the algorithm at a place can run the operation here and now. Asked once of it: on a
    /// GPU it takes a look for the kernel.
    fn is_usable(&self, place: usize, operation: &Operation) -> bool {
        let usable = self.resolve_cache.place(PlaceQuestion::Usable(*operation, place), || {
            let algorithm = &self.algorithms[place];
            (algorithm.applies(operation) && algorithm.is_available()).then_some(place)
        });
        usable.is_some()
    }

    /// What runs where nothing was measured: the default, else what is expected to matter for a map
    /// of usual size, else anything that needs no optional library.
    #[must_use]
    pub fn default_for(&self, operation: &Operation) -> Option<&Arc<dyn Algorithm>> {
        let named = self.default.and_then(|default| self.usable(default(operation), operation));
        named.or_else(|| self.find_default(operation))
    }

    fn find_default(&self, operation: &Operation) -> Option<&Arc<dyn Algorithm>> {
        const USUAL: MapCounts = MapCounts { n_in: 100_000, n_out: 100_000, pairs: 800_000 };
        let runs = |algorithm: &&Arc<dyn Algorithm>| {
            algorithm.applies(operation) && algorithm.is_available()
        };
        let default = self.algorithms.iter().find(|one| one.is_default(operation) && runs(one));
        let others = || self.algorithms.iter().filter(|one| one.requires().is_none());
        let expected = || others().filter(|one| one.in_auto_pool(operation, USUAL)).find(runs);
        default.or_else(expected).or_else(|| others().find(runs))
    }

    /// What a model finds clearly faster than the default for a key that nothing was measured for,
    /// of what the device has the code of; `None` where it does not, or says nothing. Remembered by
    /// key.
    #[must_use]
    pub fn modelled_for(&self, key: &ShapeKey) -> Option<&Arc<dyn Algorithm>> {
        let place = self.resolve_cache.place(PlaceQuestion::Modelled(*key), || {
            let counts = MapCounts::typical(key);
            let operation = &key.operation;
            let default = self.default_for(operation)?;
            if !self.tells_default(operation)(&**default) {
                return None;
            }
            let fastest = choose(self.algorithms.iter(), operation, counts, &**default)?;
            self.algorithms.iter().position(|algorithm| Arc::ptr_eq(algorithm, fastest))
        });
        place.map(|place| &self.algorithms[place])
    }

    /// The algorithms that may compete for an operation under a mode. For `trimmed`, those whose
    /// geometry suits the operation; for `auto`, these without those that a model of cost finds
    /// dominated. The default is always among them, since every winner is compared with it.
    #[must_use]
    pub fn pool(
        &self,
        mode: &AlgoMode,
        operation: &Operation,
        counts: MapCounts,
    ) -> Vec<Arc<dyn Algorithm>> {
        let is_default = self.tells_default(operation);
        let admitted = |algorithm: &&Arc<dyn Algorithm>| {
            let admitted = match mode {
                AlgoMode::Auto | AlgoMode::Trimmed => {
                    algorithm.in_auto_pool(operation, counts) || is_default(&***algorithm)
                }
                AlgoMode::All => true,
                AlgoMode::Named(_) => mode.admits(algorithm.id()),
            };
            algorithm.applies(operation) && algorithm.is_available() && admitted
        };
        let pool = self.algorithms.iter().filter(admitted).cloned().collect();
        if *mode != AlgoMode::Auto {
            return pool;
        }
        without_dominated(pool, |algorithm| Contender {
            family: algorithm.id().family(),
            is_default: is_default(algorithm),
            estimate: algorithm.estimate(operation, counts),
        })
    }

    /// Says whether an algorithm is the default of an operation. To ask each for itself has each
    /// compare all tiles of a family.
    fn tells_default(&self, operation: &Operation) -> impl Fn(&dyn Algorithm) -> bool {
        let named = self.default.map(|default| default(operation));
        move |algorithm| {
            named.map_or_else(|| algorithm.is_default(operation), |id| algorithm.id() == id)
        }
    }

    /// Whether any algorithm can run the operation here and now.
    #[must_use]
    pub fn can_run(&self, operation: &Operation) -> bool {
        // The first of these asks one algorithm, as a rule.
        self.default_for(operation).is_some()
            || (0..self.algorithms.len()).any(|place| self.is_usable(place, operation))
    }

    /// Runs an algorithm: what layers call and what the tuner measures.
    ///
    /// # Errors
    /// If map or operands do not fit the operation, or the kernel fails.
    pub fn run(
        &self,
        algorithm: &dyn Algorithm,
        device: &Device,
        launch: Launch<'_>,
    ) -> Result<(), ConvError> {
        launch.check()?;
        algorithm.run(device, launch)
    }
}

/// A pool without those that take too long by a model of cost.
fn without_dominated(
    mut pool: Vec<Arc<dyn Algorithm>>,
    contender: impl for<'a> Fn(&'a dyn Algorithm) -> Contender<'a>,
) -> Vec<Arc<dyn Algorithm>> {
    let contenders: Vec<Contender<'_>> = pool.iter().map(|one| contender(&**one)).collect();
    let mut stays = worth_measuring(&contenders).into_iter();
    pool.retain(|_| stays.next().unwrap_or(true));
    pool
}

/// The ids of every algorithm of every backend, whether or not its device is present.
#[must_use]
pub fn known_algorithms() -> Vec<AlgoId> {
    let cpu = voxtune_cpu::algorithms().iter().map(|algorithm| algorithm.id().clone());
    let cuda = voxtune_cuda::algorithms().iter().map(|algorithm| algorithm.id().clone());
    let mut all: Vec<AlgoId> = cpu.chain(cuda).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a name is that of a family or of an algorithm of any backend.
#[must_use]
pub fn is_known_algorithm(name: &AlgoId) -> bool {
    known_algorithms().iter().any(|id| id == name || id.family() == name.as_str())
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, Direction, KernelSize};

    use super::*;
    use crate::{Grade, MissPolicy, Tuner};

    /// What never runs, and takes a modelled time.
    struct Modelled {
        id: AlgoId,
        time_ns: Option<f64>,
        has_code: bool,
        is_default: bool,
    }

    impl Algorithm for Modelled {
        fn id(&self) -> &AlgoId {
            &self.id
        }

        fn applies(&self, _operation: &Operation) -> bool {
            self.has_code
        }

        fn in_auto_pool(&self, _operation: &Operation, _counts: MapCounts) -> bool {
            true
        }

        fn estimate(&self, _operation: &Operation, _counts: MapCounts) -> Option<Estimate> {
            self.time_ns.map(|time_ns| Estimate { time_ns, basis: Basis::Fitted })
        }

        fn is_default(&self, _operation: &Operation) -> bool {
            self.is_default
        }

        fn workspace_bytes(&self, _operation: &Operation, _map: &KernelMap) -> u64 {
            0
        }

        fn kernel_hash(&self, _: &Device, _: &Operation) -> Result<KernelHash, ConvError> {
            Ok(KernelHash::new(1))
        }

        fn run(&self, _device: &Device, _launch: Launch<'_>) -> Result<(), ConvError> {
            unreachable!("nothing is run here")
        }
    }

    /// The default takes 100 ns by model.
    fn device(others: &[(&str, Option<f64>, bool)]) -> Device {
        let mut all = vec![("default", Some(100.0), true)];
        all.extend(others);
        let algorithms = all.into_iter().map(|(name, time_ns, has_code)| {
            let id = name.parse().unwrap();
            let is_default = name == "default";
            Arc::new(Modelled { id, time_ns, has_code, is_default }) as Arc<dyn Algorithm>
        });
        Device::cpu_with_registry(1, Registry::new(algorithms.collect())).unwrap()
    }

    fn key() -> ShapeKey {
        let kernel = KernelSize::submanifold(3).unwrap();
        let op = Operation::submanifold(Direction::Forward, DType::Float16, 8, 8, kernel);
        ShapeKey::new(op, 1000, 1000, 5000)
    }

    fn resolved(others: &[(&str, Option<f64>, bool)]) -> (String, Grade) {
        let device = device(others);
        let first = Tuner::empty().resolve(&device, &key()).unwrap();
        let again = Tuner::empty().resolve(&device, &key()).unwrap();
        assert_eq!(
            (first.algorithm().id(), first.grade()),
            (again.algorithm().id(), again.grade())
        );
        (first.algorithm().id().to_string(), first.grade().clone())
    }

    #[test]
    fn a_model_chooses_what_is_clearly_faster_and_there() {
        let answer = |name: &str, grade| (name.to_owned(), grade);
        assert_eq!(resolved(&[("a", Some(95.0), true)]), answer("default", Grade::Default));
        assert_eq!(resolved(&[("a", Some(50.0), true)]), answer("a", Grade::Model));
        assert_eq!(
            resolved(&[("a", Some(50.0), false), ("b", Some(60.0), true)]),
            answer("b", Grade::Model)
        );
        assert_eq!(resolved(&[("a", None, true)]), answer("default", Grade::Default));
    }

    #[test]
    fn f15_a_gpu_below_the_least_gets_a_reason_and_no_default() {
        let device = |arch| DeviceIdentity { arch, name: "Tesla V100".to_owned(), units: 80 };
        let old = device(Arch::sm(7, 0));
        let registry = Registry::of_device(&old);
        assert!(registry.algorithms().all(|one| !one.applies(&key().operation)));
        assert!(registry.default_for(&key().operation).is_none());
        let answer = Tuner::empty().explain_at(&old, &registry, &key()).answer.unwrap_err();
        assert!(answer.contains("sm_70") && answer.contains("sm_80 or later"), "{answer}");
        let least = device(Arch::sm(8, 0));
        let registry = Registry::of_device(&least);
        assert!(Tuner::empty().explain_at(&least, &registry, &key()).answer.is_ok());
    }

    #[test]
    fn a_model_is_no_cache() {
        let device = device(&[("a", Some(50.0), true)]);
        let strict = Tuner::builder().policy(MissPolicy::Fail).build();
        assert!(matches!(strict.resolve(&device, &key()), Err(ConvError::Miss { .. })));
    }
}
