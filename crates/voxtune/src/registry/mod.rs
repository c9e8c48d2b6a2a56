//! Every algorithm of a device: the one way to run a kernel.
//!
//! The tuner measures what [`Registry::run`] does, and the layers call nothing else.

mod cpu;
mod cuda;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use voxtune_cache::{KernelHash, Requirement};
use voxtune_shape::{AlgoId, AlgoMode, Arch, ComputeCapability, Operation};

use crate::device::CudaBackend;
use crate::{ConvError, Device, KernelMap, MapCounts, Tensor};

/// One call: an operation over a kernel map, with its operands.
///
/// # Shapes
/// | direction | `a` | `b` | `out` |
/// |---|---|---|---|
/// | forward | features `(n_in, c_in)` | weights `(volume · c_in, c_out)` | `(n_out, c_out)` |
/// | dgrad | gradient `(n_out, c_out)` | weights `(volume · c_in, c_out)` | `(n_in, c_in)` |
/// | wgrad | features `(n_in, c_in)` | gradient `(n_out, c_out)` | float32 `(volume · c_in, c_out)` |
#[derive(Debug)]
pub struct Launch<'a> {
    /// What to compute.
    pub operation: &'a Operation,
    /// Which rows meet.
    pub map: &'a KernelMap,
    /// First operand.
    pub a: &'a Tensor,
    /// Second operand.
    pub b: &'a Tensor,
    /// Result, overwritten entirely.
    pub out: &'a mut Tensor,
}

/// A kernel with its parameters.
pub trait Algorithm: Send + Sync {
    /// The permanent name.
    fn id(&self) -> &AlgoId;

    /// Whether it can compute this operation at all.
    fn applies(&self, operation: &Operation) -> bool;

    /// Whether a model of cost expects it to matter for this operation over such a map.
    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool;

    /// Whether it is what runs where nothing was measured. One applicable algorithm says yes.
    fn is_default(&self, operation: &Operation) -> bool;

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

/// The algorithms of a device, in a fixed order.
#[derive(Clone, Debug)]
pub struct Registry {
    algorithms: Vec<Arc<dyn Algorithm>>,
    /// Where the first algorithm of a name is.
    places: HashMap<AlgoId, usize, FxBuildHasher>,
    /// Names the default of an operation, where that need not be asked of each algorithm.
    default: Option<fn(&Operation) -> &'static AlgoId>,
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
        Self::of_gpu(backend.device().capability(), backend.has_cublas())
    }

    fn of_gpu(capability: ComputeCapability, has_cublas: bool) -> Self {
        let default = |operation: &Operation| voxtune_cuda::default_algorithm(operation).id();
        Self { default: Some(default), ..Self::new(cuda::algorithms(capability, has_cublas)) }
    }

    /// What a device of this architecture would have with every optional library, whether or not
    /// there is one: for looking at caches, not for running.
    #[must_use]
    pub fn of_arch(arch: Arch) -> Self {
        match arch {
            Arch::Cuda(capability) => Self::of_gpu(capability, true),
            Arch::Cpu(_) => Self::cpu(),
        }
    }

    /// A registry of these algorithms. Of several with one name the first is found.
    #[must_use]
    pub fn new(algorithms: Vec<Arc<dyn Algorithm>>) -> Self {
        let mut places = HashMap::default();
        for (place, algorithm) in algorithms.iter().enumerate() {
            places.entry(algorithm.id().clone()).or_insert(place);
        }
        Self { algorithms, places, default: None }
    }

    /// All algorithms.
    pub fn algorithms(&self) -> impl Iterator<Item = &Arc<dyn Algorithm>> {
        self.algorithms.iter()
    }

    /// The algorithm of this name, if it can run the operation here and now.
    #[must_use]
    pub fn usable(&self, id: &AlgoId, operation: &Operation) -> Option<&Arc<dyn Algorithm>> {
        let algorithm = &self.algorithms[*self.places.get(id)?];
        (algorithm.applies(operation) && algorithm.is_available()).then_some(algorithm)
    }

    /// What runs where nothing was measured.
    #[must_use]
    pub fn default_for(&self, operation: &Operation) -> Option<&Arc<dyn Algorithm>> {
        let named = self.default.and_then(|default| self.usable(default(operation), operation));
        named.or_else(|| self.find_default(operation))
    }

    fn find_default(&self, operation: &Operation) -> Option<&Arc<dyn Algorithm>> {
        self.algorithms.iter().find(|algorithm| {
            algorithm.applies(operation)
                && algorithm.is_default(operation)
                && algorithm.is_available()
        })
    }

    /// The algorithms that may compete for an operation under a mode. The default is always among
    /// those of `auto`, since every winner is compared with it.
    #[must_use]
    pub fn pool(
        &self,
        mode: &AlgoMode,
        operation: &Operation,
        counts: MapCounts,
    ) -> Vec<Arc<dyn Algorithm>> {
        self.algorithms
            .iter()
            .filter(|algorithm| {
                let admitted = match mode {
                    AlgoMode::Auto => {
                        algorithm.in_auto_pool(operation, counts) || algorithm.is_default(operation)
                    }
                    AlgoMode::All => true,
                    AlgoMode::Named(_) => mode.admits(algorithm.id()),
                };
                algorithm.applies(operation) && algorithm.is_available() && admitted
            })
            .cloned()
            .collect()
    }

    /// Runs an algorithm: what layers call and what the tuner measures.
    ///
    /// # Errors
    /// If operands do not fit the operation or the kernel fails.
    pub fn run(
        &self,
        algorithm: &dyn Algorithm,
        device: &Device,
        launch: Launch<'_>,
    ) -> Result<(), ConvError> {
        algorithm.run(device, launch)
    }
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
