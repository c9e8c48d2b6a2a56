//! How much memory is taken, counted where it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::binding::driver::sys::CUstream;

use super::allocator::Allocator;
use crate::error::Result;

/// Memory that all contexts of a device have of their allocators, as it was asked for. What the
/// driver and cuBLAS take for themselves, and foreign memory, are not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes that are taken now.
    pub current_bytes: u64,
    /// The most that were taken at once, since the device was opened or the peak was reset.
    pub peak_bytes: u64,
}

/// The bytes that are taken, and the most that were.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    current_bytes: AtomicU64,
    peak_bytes: AtomicU64,
}

impl Tally {
    pub(crate) fn read(&self) -> MemoryUse {
        let current_bytes = self.current_bytes.load(Ordering::Relaxed);
        let peak_bytes = self.peak_bytes.load(Ordering::Relaxed).max(current_bytes);
        MemoryUse { current_bytes, peak_bytes }
    }

    /// From now on the peak is of what is taken now and later.
    pub(crate) fn reset_peak(&self) {
        self.peak_bytes.store(self.current_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn add(&self, len_bytes: usize) {
        let before = self.current_bytes.fetch_add(len_bytes as u64, Ordering::Relaxed);
        self.peak_bytes.fetch_max(before + len_bytes as u64, Ordering::Relaxed);
    }

    fn remove(&self, len_bytes: usize) {
        self.current_bytes.fetch_sub(len_bytes as u64, Ordering::Relaxed);
    }
}

/// An allocator whose memory is counted.
#[derive(Debug)]
pub(crate) struct Tallied {
    of: Arc<dyn Allocator>,
    tally: Arc<Tally>,
}

impl Tallied {
    pub(crate) const fn new(of: Arc<dyn Allocator>, tally: Arc<Tally>) -> Self {
        Self { of, tally }
    }
}

// SAFETY: both calls are the other allocator's, which keeps the promise.
unsafe impl Allocator for Tallied {
    fn allocate(&self, len_bytes: usize, stream: CUstream) -> Result<u64> {
        let address = self.of.allocate(len_bytes, stream)?;
        self.tally.add(len_bytes);
        Ok(address)
    }

    unsafe fn free(&self, address: u64, len_bytes: usize, stream: CUstream) {
        // SAFETY: the caller's promise: the other allocator gave the address, through this one.
        unsafe { self.of.free(address, len_bytes, stream) };
        self.tally.remove(len_bytes);
    }

    fn warm_up(&self, len_bytes: usize, stream: CUstream) -> Result<()> {
        self.of.warm_up(len_bytes, stream)
    }
}
