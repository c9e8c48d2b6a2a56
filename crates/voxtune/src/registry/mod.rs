//! Every algorithm of a device: the one way to run a kernel.
//!
//! The tuner measures what [`Registry::run`] does, and the layers call nothing else.

mod algorithm;
mod choice;
mod cpu;
pub(crate) mod cuda;
mod launch;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use voxtune_cuda::model::LearnedModel;
use voxtune_types::{AlgoId, AlgoMode, Arch, DeviceIdentity, Operation};

use crate::cost::{self, Contender, worth_measuring};
use crate::device::CudaBackend;
use crate::resolve_cache::{PlaceKey, ResolveCache};
use crate::{ConvError, Device, KernelSource, MapCounts};
pub use algorithm::Algorithm;
pub use launch::Launch;

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
    /// whether or not there is one. It is for looking at caches, not for running. On a GPU below
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

    /// What the model of cost has learned of a device's architecture, if anything: of the user's
    /// own evidence, where the [user's folder](crate::user_folder) has a `.model`, else as it
    /// ships.
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

    /// Whether the algorithm at a place can run the operation here and now. Asked once of it: on a
    /// GPU it takes a look for the kernel.
    fn is_usable(&self, place: usize, operation: &Operation) -> bool {
        let usable = self.resolve_cache.place(PlaceKey::Usable(*operation, place), || {
            let algorithm = &self.algorithms[place];
            (algorithm.applies(operation) && algorithm.is_available()).then_some(place)
        });
        usable.is_some()
    }

    /// What runs where nothing was measured. That is the default, else what is expected to matter
    /// for a map of usual size, else anything that needs no optional library.
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
