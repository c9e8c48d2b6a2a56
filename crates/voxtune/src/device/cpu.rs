//! The host as a device: a pool with a fixed number of threads.

use rayon::{ThreadPool, ThreadPoolBuilder};
use voxtune_types::DeviceIdentity;

use super::{DeviceError, memory};

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

    pub(super) fn free_memory_bytes() -> u64 {
        memory::available_bytes()
    }
}
