//! A blocking kernel: holds the device until the host has queued what is timed.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::binding::driver::{result, sys};

use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{DriverContext as _, Result};
use crate::module::{Grid, Kernel, LoadedInstance, arguments};

/// How long the kernel blocks at most unless told otherwise. Queued work may wait for the device,
/// as a first run does, and would otherwise wait for ever.
const LIMIT: Duration = Duration::from_millis(2);

/// A blocking kernel: work queued behind it starts when the host releases it.
///
/// Between two events lies what the device does, and what it waits for. A host that is slow to
/// queue a kernel of 30 us makes 50 of it. Behind a blocking kernel everything is queued before the
/// device begins.
#[derive(Debug)]
pub struct BlockingKernel {
    device: CudaDevice,
    wait_for_word: Kernel,
    word: HostWord,
    ticket: u32,
    blocked_until: Option<Instant>,
}

impl BlockingKernel {
    /// Loads the kernel of the compiled [`crate::Instance::probe`]; nothing is blocked yet.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        Ok(Self {
            device: device.clone(),
            wait_for_word: loaded.kernel("wait_for_word")?,
            word: HostWord::new(device)?,
            ticket: 0,
            blocked_until: None,
        })
    }

    /// Queues the kernel: work behind it starts with [`Self::unblock`], or after two milliseconds.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn block(&mut self) -> Result<()> {
        self.block_for(LIMIT)
    }

    /// [`Self::block`] for as long as a limit, for work that takes the host long to queue.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn block_for(&mut self, limit: Duration) -> Result<()> {
        self.ticket = self.ticket.wrapping_add(1);
        let word = self.word.address(&self.device)?;
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let grid = Grid { blocks: [1, 1], threads: 1, shared_bytes: 0 };
        self.blocked_until = Some(Instant::now() + limit);
        // SAFETY: (const u32*, u32, u64); the word lives as long as this value, which waits for the
        // device before it goes.
        unsafe { self.wait_for_word.launch(grid, arguments![word, self.ticket, limit_ns]) }
    }

    /// Releases the device. Whether it was still blocked: otherwise it may have begun before
    /// everything was queued.
    pub fn unblock(&mut self) -> bool {
        self.word.as_atomic().store(self.ticket, Ordering::Release);
        self.blocked_until.take().is_some_and(|until| Instant::now() < until)
    }
}

impl Drop for BlockingKernel {
    fn drop(&mut self) {
        // The kernel reads the word, so it must end before the word is freed.
        self.unblock();
        let _ = self.device.synchronize();
    }
}

/// A word of the host's memory that the device reads where it lies.
#[derive(Debug)]
struct HostWord {
    device: CudaDevice,
    word: NonNull<AtomicU32>,
}

// SAFETY: the word is an atomic that this value alone owns.
unsafe impl Send for HostWord {}

impl HostWord {
    fn new(device: &CudaDevice) -> Result<Self> {
        device.bind()?;
        // SAFETY: the driver checks size and flags.
        let memory =
            unsafe { result::malloc_host(size_of::<AtomicU32>(), sys::CU_MEMHOSTALLOC_DEVICEMAP) };
        let memory = memory.during("allocating page-locked memory")?.cast::<AtomicU32>();
        let word = NonNull::new(memory).expect("the driver allocates or fails");
        // SAFETY: the memory is a page or more of the caller's own, aligned to it.
        unsafe { word.write(AtomicU32::new(0)) };
        Ok(Self { device: device.clone(), word })
    }

    fn as_atomic(&self) -> &AtomicU32 {
        // SAFETY: written in `new` and freed in `drop` alone.
        unsafe { self.word.as_ref() }
    }

    /// Where the device sees it.
    fn address(&self, device: &CudaDevice) -> Result<u64> {
        device.bind()?;
        let mut address = 0;
        // SAFETY: the memory was allocated for the device to map.
        unsafe {
            sys::cuMemHostGetDevicePointer_v2(&raw mut address, self.word.as_ptr().cast(), 0)
        }
        .result()
        .during("mapping page-locked memory")?;
        Ok(address)
    }
}

impl Drop for HostWord {
    fn drop(&mut self) {
        if self.device.bind().is_ok() {
            // SAFETY: allocated in `new`, freed here alone. An error has no reader.
            let _ = unsafe { result::free_host(self.word.as_ptr().cast()) };
        }
    }
}
