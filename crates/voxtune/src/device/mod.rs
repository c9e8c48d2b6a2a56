//! Processors that run kernels.

mod choice;
mod cpu;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use voxtune_shape::{DeviceIdentity, KernelSize, Voxel};

pub use choice::{DeviceChoice, MalformedDeviceChoice};

use crate::{ConvError, KernelMap, Registry};
use cpu::CpuBackend;

/// A device that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The demanded device does not exist.
    #[error("no device {asked}: this machine has {}", existing.join(", "))]
    NotFound {
        /// What was asked for.
        asked: DeviceChoice,
        /// What there is, such as `cpu`.
        existing: Vec<String>,
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

/// One timed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long the device was busy.
    pub elapsed_ns: u64,
    /// The device's clock meanwhile, where it can be read.
    pub clock_mhz: Option<u32>,
}

/// A processor with its memory and its algorithms. Cloning shares it.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

struct Inner {
    backend: CpuBackend,
    registry: Registry,
}

impl Device {
    /// The device asked for. For [`DeviceChoice::Auto`] the second value says why it is not a GPU,
    /// where it is not.
    ///
    /// # Errors
    /// If a demanded device does not exist.
    pub fn open(choice: DeviceChoice) -> Result<(Self, Option<String>), DeviceError> {
        match choice {
            DeviceChoice::Cpu => Ok((Self::cpu()?, None)),
            DeviceChoice::Auto => {
                let why = "no CUDA device is in use: this build has the CPU backend only";
                Ok((Self::cpu()?, Some(why.to_owned())))
            }
            DeviceChoice::Cuda(_) => {
                Err(DeviceError::NotFound { asked: choice, existing: vec!["cpu".to_owned()] })
            }
        }
    }

    /// The host, with a worker thread for each processor that this process may use.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn cpu() -> Result<Self, DeviceError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::cpu_with_threads(threads)
    }

    /// The host, with this many worker threads. The number is part of the device's identity: what
    /// was measured with two threads is a guess for sixteen.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn cpu_with_threads(threads: usize) -> Result<Self, DeviceError> {
        Self::cpu_with_registry(threads, Registry::cpu())
    }

    /// The host with algorithms of the caller's choosing, which need not be right or fast: for
    /// trying out algorithms, and for testing tools that must withstand bad ones.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn cpu_with_registry(threads: usize, registry: Registry) -> Result<Self, DeviceError> {
        let backend = CpuBackend::new(threads.max(1))?;
        Ok(Self { inner: Arc::new(Inner { backend, registry }) })
    }

    /// What measurements on this device are valid for.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        self.inner.backend.identity()
    }

    /// Every algorithm of this device.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Driver and toolkit that measurements on this device depend on; empty where there is none.
    #[must_use]
    pub fn driver_and_toolkit(&self) -> (String, String) {
        (String::new(), String::new())
    }

    /// Memory that a new allocation can have without being killed or swapped.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn free_memory_bytes(&self) -> u64 {
        CpuBackend::free_memory_bytes()
    }

    /// Waits until everything handed to this device is done. On the host that is always so.
    ///
    /// # Errors
    /// If something that was handed over failed.
    pub const fn synchronize(&self) -> Result<(), ConvError> {
        Ok(())
    }

    /// Runs host work on this device's worker threads.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.inner.backend.install(work)
    }

    /// Runs work on this device and says how long the device took for it, without the time that a
    /// GPU's host spends on handing it over.
    ///
    /// # Errors
    /// If the work fails.
    pub fn time(&self, work: impl FnOnce() -> Result<(), ConvError>) -> Result<Sample, ConvError> {
        let start = Instant::now();
        work()?;
        let elapsed_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(Sample { elapsed_ns, clock_mhz: None })
    }

    pub(crate) fn build_kernel_map(
        &self,
        cells: &[Voxel],
        kernel: KernelSize,
    ) -> Result<KernelMap, ConvError> {
        let map = self.install(|| voxtune_cpu::KernelMap::submanifold(cells, kernel))?;
        Ok(KernelMap::from_host(map))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(self.identity()).finish()
    }
}
