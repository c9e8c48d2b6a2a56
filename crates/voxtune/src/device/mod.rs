//! Processors that run kernels.

mod choice;
mod compile_ahead;
mod context;
mod cpu;
mod cuda;
mod kernels;
mod memory;
mod packs;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use voxtune_cuda::{CudaError, Graph, MemoryUse};
use voxtune_types::{AlgoId, DeviceIdentity, Operation};

pub use choice::{DeviceChoice, MalformedDeviceChoice};
pub use compile_ahead::BackgroundCompile;
pub(crate) use cuda::CudaBackend;
pub use kernels::KernelSource;
pub(crate) use kernels::KernelStore;

use crate::layers::Preparations;
use crate::{ConvError, Registry};
use compile_ahead::CompileProgress;
use cpu::CpuBackend;

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The demanded device does not exist.
    #[error("no device {asked} ({why}): this machine has {}", existing.join(", "))]
    NotFound {
        /// What was asked for.
        asked: DeviceChoice,
        /// Why it cannot be had.
        why: String,
        /// What there is, such as `cpu`.
        existing: Vec<String>,
    },
    /// The device is there and cannot be used: an old driver, no kernels, no compiler.
    #[error("{asked} cannot be used: {why}")]
    Unusable {
        /// What was asked for.
        asked: DeviceChoice,
        /// What is missing, and what repairs it.
        why: String,
    },
    /// A number of threads that no host has.
    #[error(
        "{threads} worker threads: expected 1 to {max}; `Device::cpu` takes as many as the machine \
         has processors",
        max = Device::MAX_THREADS
    )]
    ThreadCount {
        /// How many were asked for.
        threads: usize,
    },
    /// The worker threads of the host could not be started.
    #[error("failed to start {threads} worker threads: {detail}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        detail: String,
    },
}

/// What a GPU's L2 cache holds when a timed run begins. Between the layers of a network it is
/// something of both: what the layer before wrote, and nothing of the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum L2State {
    /// Nothing of use.
    #[default]
    Cold,
    /// What a run of the same work has left there.
    Hot,
}

/// One timed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long the device was busy.
    pub elapsed_ns: u64,
    /// The device's clock meanwhile, where it can be read.
    pub clock_mhz: Option<u32>,
    /// Whether the device began before all work was handed over. It may have waited for the host in
    /// between, as in a first run that loads code.
    pub host_was_late: bool,
}

/// A processor with its memory and its algorithms, and the execution context that work is handed
/// to: of a GPU, a stream. Cloning shares all of it.
///
/// [`Self::with_new_stream`] and its like make handles of further contexts, whose work runs side by
/// side. They share the processor, its [registry](Self::registry), the code that is loaded and what
/// was prepared. Each has its own stream, and on it workspaces, counters and reports.
///
/// # Contexts
/// A call runs in the context of the handle that it is made with. A layer runs in that of its
/// input: the handle that the input's [`Voxels`](crate::Voxels) were made with.
///
/// | what | where it can be used |
/// |---|---|
/// | layers, their weights, [`Epilogue`](crate::Epilogue)s | in every context of the device |
/// | a [`Tensor`](crate::Tensor) | read in every context, in order; written in its own |
/// | [`Voxels`](crate::Voxels), a [`KernelMap`](crate::KernelMap), a [`Graph`] | in their own |
///
/// Voxels, maps and graphs of another context are refused.
///
/// The first call elsewhere that reads a tensor waits, on the device, for the context that wrote
/// it. That context waits for its readers before it overwrites or frees the tensor. What no call
/// shows, launches of graphs and what others do with memory that they share, [`Self::wait_for`]
/// orders.
///
/// ```
/// use voxtune::Device;
///
/// // The first GPU, else the CPU; the note says why it is not a GPU.
/// let (device, note) = Device::open("auto".parse()?)?;
/// println!("{} {}", device.identity(), note.unwrap_or_default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct Inner {
    cpu: Arc<CpuBackend>,
    cuda: Option<Arc<CudaBackend>>,
    registry: Arc<Registry>,
    preparations: Arc<Preparations>,
}

impl Inner {
    fn new(cpu: Arc<CpuBackend>, cuda: Option<Arc<CudaBackend>>, registry: Registry) -> Arc<Self> {
        let registry = Arc::new(registry);
        Arc::new(Self { cpu, cuda, registry, preparations: Arc::default() })
    }
}

impl Device {
    /// The most worker threads that a host can be given: more than any has processors.
    pub const MAX_THREADS: usize = 1024;

    /// The device asked for, a GPU with the kernels that [`KernelSource::from_env`] finds. For
    /// [`DeviceChoice::Auto`] the second value says why it is not a GPU, where it is not.
    ///
    /// ```
    /// use voxtune::{Device, DeviceChoice};
    ///
    /// let (device, why) = Device::open(DeviceChoice::Auto)?;
    /// if let Some(why) = why {
    ///     eprintln!("on {}, since {why}", device.identity());
    /// }
    /// // A demanded GPU is an error where it is not.
    /// assert!(Device::open("cuda:4000".parse()?).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a demanded device does not exist or cannot be used.
    pub fn open(choice: DeviceChoice) -> Result<(Self, Option<String>), DeviceError> {
        Self::open_with(choice, &KernelSource::from_env())
    }

    /// [`Self::open`] with kernels of the caller's choosing.
    ///
    /// # Errors
    /// If a demanded device does not exist or cannot be used.
    pub fn open_with(
        choice: DeviceChoice,
        kernels: &KernelSource,
    ) -> Result<(Self, Option<String>), DeviceError> {
        match choice {
            DeviceChoice::Cpu => Ok((Self::cpu()?, None)),
            DeviceChoice::Cuda(ordinal) => Ok((Self::cuda_with(ordinal, kernels)?, None)),
            DeviceChoice::Auto => match Self::cuda_with(0, kernels) {
                Ok(device) => Ok((device, None)),
                Err(DeviceError::NotFound { why, .. } | DeviceError::Unusable { why, .. }) => {
                    Ok((Self::cpu()?, Some(format!("using the CPU: {why}"))))
                }
                Err(error) => Err(error),
            },
        }
    }

    fn cuda_with(ordinal: u32, kernels: &KernelSource) -> Result<Self, DeviceError> {
        let asked = DeviceChoice::Cuda(ordinal);
        let cuda = CudaBackend::open(ordinal, kernels.clone()).map_err(|error| {
            let why = error.to_string();
            match error {
                CudaError::NoDriver | CudaError::NotBuilt | CudaError::NoDevice { .. } => {
                    DeviceError::NotFound { asked, why, existing: existing_devices() }
                }
                _ => DeviceError::Unusable { asked, why },
            }
        })?;
        let cpu = Arc::new(CpuBackend::new(all_threads())?);
        let registry = Registry::cuda(&cuda);
        Ok(Self { inner: Inner::new(cpu, Some(Arc::new(cuda)), registry) })
    }

    /// The host, with a worker thread for each processor that this process may use.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn cpu() -> Result<Self, DeviceError> {
        Self::cpu_with_threads(all_threads())
    }

    /// The host, with this many worker threads. The number is part of the device's identity: what
    /// was measured with two threads is a guess for sixteen.
    ///
    /// # Errors
    /// If they are not 1 to [`Self::MAX_THREADS`], or cannot be started.
    pub fn cpu_with_threads(threads: usize) -> Result<Self, DeviceError> {
        Self::cpu_with_registry(threads, Registry::cpu())
    }

    /// The host with algorithms of the caller's choosing, which need not be right or fast. It
    /// serves to try out algorithms, and to test tools that must withstand bad ones.
    ///
    /// # Errors
    /// If the threads are not 1 to [`Self::MAX_THREADS`], or cannot be started.
    pub fn cpu_with_registry(threads: usize, registry: Registry) -> Result<Self, DeviceError> {
        if !(1..=Self::MAX_THREADS).contains(&threads) {
            return Err(DeviceError::ThreadCount { threads });
        }
        let cpu = Arc::new(CpuBackend::new(threads)?);
        Ok(Self { inner: Inner::new(cpu, None, registry) })
    }

    /// This very device, its context and memory, with algorithms of the caller's choosing, which
    /// may be wrappers of those that it has.
    #[must_use]
    pub fn with_registry(&self, registry: Registry) -> Self {
        let Inner { cpu, cuda, .. } = &*self.inner;
        Self { inner: Inner::new(Arc::clone(cpu), cuda.clone(), registry) }
    }

    /// What measurements on this device are valid for.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        match &self.inner.cuda {
            Some(cuda) => cuda.identity(),
            None => self.inner.cpu.identity(),
        }
    }

    /// Every algorithm of this device.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Driver and toolkit that measurements on this device depend on; empty where there is none.
    #[must_use]
    pub fn driver_and_toolkit(&self) -> (String, String) {
        self.cuda().map(CudaBackend::driver_and_toolkit).unwrap_or_default()
    }

    /// Memory that a new allocation can have without being killed or swapped.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn free_memory_bytes(&self) -> u64 {
        match &self.inner.cuda {
            Some(cuda) => cuda.free_memory_bytes(),
            None => CpuBackend::free_memory_bytes(),
        }
    }

    /// Waits until everything handed to this handle's context is done. On the host that is always
    /// so.
    ///
    /// # Errors
    /// If something that was handed over failed.
    pub fn synchronize(&self) -> Result<(), ConvError> {
        match &self.inner.cuda {
            Some(cuda) => Ok(cuda.device().synchronize()?),
            None => Ok(()),
        }
    }

    /// How often the host has waited for this device: to know a count, to read a result, or because
    /// it was told to. On the host it never has.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.inner.cuda.as_ref().map_or(0, |cuda| cuda.device().waits())
    }

    /// How many calls have queued work on this handle's stream: kernels, products of cuBLAS,
    /// copies, fills, and whole graphs, each of them one. On the host there are none.
    #[must_use]
    pub fn launches(&self) -> u64 {
        self.inner.cuda.as_ref().map_or(0, |cuda| cuda.device().launches())
    }

    /// What this library has taken of a GPU's memory, in all contexts of this device, now and at
    /// most. `None` on the host, where it is not counted.
    #[must_use]
    pub fn memory_use(&self) -> Option<MemoryUse> {
        self.inner.cuda.as_ref().map(|cuda| cuda.device().memory_use())
    }

    /// Lets [`MemoryUse::peak_bytes`] begin at what is taken now.
    pub fn reset_peak_memory(&self) {
        if let Some(cuda) = &self.inner.cuda {
            cuda.device().reset_peak_memory();
        }
    }

    /// Runs host work on this device's worker threads.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.inner.cpu.install(work)
    }

    /// Has the code of some algorithms compiled, in parallel, so that nothing waits for it later.
    /// Failures are met again, one by one, by the calls that use what failed. Code that is part of
    /// the program is ready as it is.
    pub fn compile(&self, wanted: &[(AlgoId, Operation)]) {
        if let Some(cuda) = &self.inner.cuda {
            let known = wanted
                .iter()
                .filter_map(|(id, operation)| Some((voxtune_cuda::algorithm(id)?, *operation)));
            cuda.compile(&known.collect::<Vec<_>>(), all_threads(), &CompileProgress::default());
        }
    }

    /// [`Self::compile`] in threads of its own, in the order of the list, while the device is used
    /// for other things. A call that needs code that is not there yet waits for it, or compiles it
    /// at once. Two processors are left to others. Ends with the value that is returned.
    #[must_use]
    pub fn compile_ahead(&self, wanted: Vec<(AlgoId, Operation)>) -> BackgroundCompile {
        let progress = Arc::new(CompileProgress::default());
        let Some(cuda) = &self.inner.cuda else { return BackgroundCompile::new(progress) };
        let (cuda, ours) = (Arc::clone(cuda), Arc::clone(&progress));
        let work = move || {
            let known = wanted
                .iter()
                .filter_map(|(id, operation)| Some((voxtune_cuda::algorithm(id)?, *operation)));
            let jobs = all_threads().saturating_sub(2).max(1);
            cuda.compile(&known.collect::<Vec<_>>(), jobs, &ours);
        };
        // Without a thread everything is compiled when it is needed.
        let _ = std::thread::Builder::new().name("voxtune-compile".to_owned()).spawn(work);
        BackgroundCompile::new(progress)
    }

    /// How long calls have waited so far for code to be read or compiled.
    #[must_use]
    pub fn waited_for_kernels(&self) -> Duration {
        self.cuda().map_or(Duration::ZERO, CudaBackend::waited_for_kernels)
    }

    /// Runs work on this device and says how long the device took for it. By the L2 state that is
    /// asked for, a GPU's cache is emptied before, outside the timed window, or the work is run
    /// once before. The host's time for handing work over is hidden. On a CPU the state changes
    /// nothing.
    ///
    /// # Errors
    /// If the work fails.
    pub fn time(
        &self,
        l2_state: L2State,
        work: impl FnMut() -> Result<(), ConvError>,
    ) -> Result<Sample, ConvError> {
        if let Some(cuda) = &self.inner.cuda {
            return cuda.time(l2_state, work);
        }
        let elapsed_ns = u64::try_from(time_on_host(work)?.as_nanos()).unwrap_or(u64::MAX);
        Ok(Sample { elapsed_ns, clock_mhz: None, host_was_late: false })
    }

    /// Runs work that takes the host as long as `limit` to hand over, such as a whole frame. Says
    /// how long a GPU took for it, the host's time hidden as in [`Self::time`]. L2 is left as it
    /// is. Work that waits for the GPU waits until the limit first, and then the host was late.
    ///
    /// # Errors
    /// If the work fails.
    pub fn time_whole(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<(), ConvError>,
    ) -> Result<Sample, ConvError> {
        if let Some(cuda) = &self.inner.cuda {
            return cuda.time_whole(limit, work);
        }
        let elapsed_ns = u64::try_from(time_on_host(work)?.as_nanos()).unwrap_or(u64::MAX);
        Ok(Sample { elapsed_ns, clock_mhz: None, host_was_late: false })
    }

    /// Runs work on this device and says how long a GPU took from its first launch to the end of
    /// its last. Gaps in which it waited for the host are included.
    ///
    /// # Errors
    /// If the work fails.
    pub fn span(
        &self,
        work: impl FnOnce() -> Result<(), ConvError>,
    ) -> Result<Duration, ConvError> {
        match &self.inner.cuda {
            Some(cuda) => cuda.span(work),
            None => time_on_host(work),
        }
    }

    /// Whether work that is handed over now becomes part of a graph instead of running. What cannot
    /// be asked counts as not capturing.
    #[must_use]
    pub fn is_capturing(&self) -> bool {
        self.cuda().is_some_and(|cuda| cuda.device().is_capturing().unwrap_or(false))
    }

    /// Records what `work` hands to this device, a GPU, instead of running it, so that one call of
    /// [`Graph::launch`] does all of it again. The work may only queue what has run before: results
    /// go to tensors that are there, as in
    /// [`SubmConv3d::forward_into`](crate::SubmConv3d::forward_into). Nothing is tuned inside.
    ///
    /// # Errors
    /// What the work failed with; if this device is no GPU, or what was called cannot be recorded.
    pub fn capture(
        &self,
        work: impl FnOnce() -> Result<(), ConvError>,
    ) -> Result<Graph, ConvError> {
        let no_graphs = || ConvError::NoGraphs { device: self.identity().clone() };
        let cuda = self.cuda().ok_or_else(no_graphs)?;
        cuda.device().capture(work)
    }

    /// Offsets of a kernel map that the device can have: more are computed in parts.
    #[must_use]
    pub fn most_offsets(&self) -> usize {
        match self.cuda() {
            Some(_) => voxtune_cuda::MapBuilder::MAX_VOLUME,
            None => usize::MAX,
        }
    }

    pub(crate) fn preparations(&self) -> &Preparations {
        &self.inner.preparations
    }

    pub(crate) fn cuda(&self) -> Option<&CudaBackend> {
        self.inner.cuda.as_deref()
    }
}

fn time_on_host(work: impl FnOnce() -> Result<(), ConvError>) -> Result<Duration, ConvError> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(Device::MAX_THREADS)
}

/// The devices that [`Device::open`] takes, as it takes them.
fn existing_devices() -> Vec<String> {
    let cuda = voxtune_cuda::devices().unwrap_or_default();
    let named =
        cuda.iter().enumerate().map(|(ordinal, one)| format!("cuda:{ordinal} ({})", one.name));
    std::iter::once("cpu".to_owned()).chain(named).collect()
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(self.identity()).finish()
    }
}
