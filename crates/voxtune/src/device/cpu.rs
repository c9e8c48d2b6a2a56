//! The host as a device: a pool with a fixed number of threads.

use rayon::{ThreadPool, ThreadPoolBuilder};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use voxtune_types::DeviceIdentity;

use super::DeviceError;

pub(super) struct CpuBackend {
    pool: ThreadPool,
    identity: DeviceIdentity,
}

impl CpuBackend {
    pub(super) fn new(threads: usize) -> Result<Self, DeviceError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("voxtune-{index}"))
            .build()
            .map_err(|error| DeviceError::Threads { threads, detail: error.to_string() })?;
        Ok(Self { pool, identity: voxtune_cpu::identity(threads) })
    }

    pub(super) const fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    pub(super) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Available memory of the machine, or what its control group leaves, whichever is less.
    /// Everything, where the system does not say.
    pub(super) fn free_memory_bytes() -> u64 {
        let memory = MemoryRefreshKind::nothing().with_ram();
        let Ok(system) = System::new_with_specifics(RefreshKind::nothing().with_memory(memory))
        else {
            return u64::MAX;
        };
        let available = match system.available_memory() {
            0 => u64::MAX,
            bytes => bytes,
        };
        system.cgroup_limits().map_or(available, |limits| available.min(limits.free_memory))
    }
}
