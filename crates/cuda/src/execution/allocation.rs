//! Memory, and the streams that it must outlive.
//!
//! Memory belongs to one stream, its home, which writes and frees it: what that stream does is in
//! order by itself. Another stream may read it. Its first read since the last write waits for the
//! home's work so far, on the device. Before the home writes or frees, it waits for those readers.
//! What the host has waited for, such as a layer's weights, needs no wait to be read.
//!
//! While a stream records a graph nothing is ordered: nothing runs, and the launch of the graph is
//! ordered instead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::binding::driver::sys::CUstream;

use super::allocator::Allocator;
use super::foreign::{ForeignMemory, Release};
use super::queue::Queue;
use crate::error::{CudaError, Result};

/// A stream, as far as the order of reads and writes needs it.
pub(crate) trait OrderedStream {
    /// The raw stream.
    fn raw(&self) -> CUstream;

    /// Whether what is queued now runs, and is not recorded.
    fn may_wait(&self) -> bool;

    /// Lets this stream wait for what the other one was given so far, if that can be.
    fn wait_for(&self, other: &Self) -> Result<Order>;

    /// Lets the host wait for this stream.
    fn synchronize(&self) -> Result<()>;

    /// Remembers that memory of another stream was read here.
    fn is_read_here(&self);
}

/// What became of waiting for another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The stream waits.
    Waits,
    /// The stream is being captured: nothing runs that could wait.
    Recorded,
    /// The other stream is being captured: to wait for it would be part of its graph.
    Blocked,
}

/// Who is told when memory is not needed any more.
#[derive(Debug)]
pub(crate) enum Owner {
    /// The allocator that made it.
    Allocator(Arc<dyn Allocator>),
    /// The caller that lent it for good.
    Lender,
    /// The owner, which is told.
    Foreign(Release),
}

/// Memory with its owner and its readers.
#[derive(Debug)]
pub(crate) struct Allocation<L = Queue> {
    address: u64,
    len_bytes: usize,
    owner: Owner,
    /// Whether the host has waited for every write.
    is_settled: AtomicBool,
    /// Other streams that have read since the last write.
    readers: Mutex<Vec<Weak<L>>>,
}

impl<L: OrderedStream> Allocation<L> {
    /// Memory of an allocator, at least one byte.
    pub(crate) fn new(allocator: &Arc<dyn Allocator>, len_bytes: usize, home: &L) -> Result<Self> {
        // At least one byte: a buffer of nothing has an address, too.
        let len_bytes = len_bytes.max(1);
        let address = allocator.allocate(len_bytes, home.raw())?;
        Ok(Self::of(address, len_bytes, Owner::Allocator(Arc::clone(allocator))))
    }

    /// Memory of another owner.
    pub(crate) fn foreign(memory: ForeignMemory) -> Self {
        let ForeignMemory { address, len_bytes, release } = memory;
        Self::of(address, len_bytes, release.map_or(Owner::Lender, Owner::Foreign))
    }

    fn of(address: u64, len_bytes: usize, owner: Owner) -> Self {
        let is_settled = AtomicBool::new(false);
        Self { address, len_bytes, owner, is_settled, readers: Mutex::default() }
    }

    /// Where it begins.
    pub(crate) const fn address(&self) -> u64 {
        self.address
    }

    fn readers_now(&self) -> MutexGuard<'_, Vec<Weak<L>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the host has waited for every write.
    pub(crate) fn settle(&self) {
        self.is_settled.store(true, Ordering::Release);
    }

    /// To be called before another stream is given work that reads.
    ///
    /// # Errors
    /// [`CudaError::BlockedByCapture`] where the home is being captured and has not been waited
    /// for.
    pub(crate) fn read_by(&self, home: &L, reader: &Arc<L>) -> Result<()> {
        let mut readers = self.readers_now();
        if readers.iter().any(|known| known.as_ptr() == Arc::as_ptr(reader)) {
            return Ok(());
        }
        if !self.is_settled.load(Ordering::Acquire) {
            match reader.wait_for(home)? {
                Order::Waits => {}
                Order::Recorded => return Ok(()),
                Order::Blocked => return Err(CudaError::BlockedByCapture),
            }
        }
        readers.retain(|known| known.strong_count() > 0);
        readers.push(Arc::downgrade(reader));
        reader.is_read_here();
        Ok(())
    }

    /// To be called before the home is given work that writes.
    ///
    /// # Errors
    /// [`CudaError::BlockedByCapture`] where a reader is being captured.
    pub(crate) fn write_by(&self, home: &L) -> Result<()> {
        self.is_settled.store(false, Ordering::Release);
        match self.wait_for_readers(home)? {
            Order::Waits | Order::Recorded => Ok(()),
            Order::Blocked => Err(CudaError::BlockedByCapture),
        }
    }

    fn wait_for_readers(&self, home: &L) -> Result<Order> {
        let mut readers = self.readers_now();
        while let Some(reader) = readers.last() {
            // A reader that is gone has waited for its work.
            if let Some(reader) = reader.upgrade() {
                let order = home.wait_for(&reader)?;
                if order != Order::Waits {
                    return Ok(order);
                }
            }
            readers.pop();
        }
        Ok(Order::Waits)
    }

    /// A stream that still reads.
    pub(crate) fn reader(&self) -> Option<Arc<L>> {
        self.readers_now().iter().find_map(Weak::upgrade)
    }

    /// Gives memory back to an allocator that serves captures, unless another stream reads it.
    fn release_in_capture(self, home: &L) -> Option<Self> {
        match &self.owner {
            Owner::Allocator(allocator)
                if allocator.serves_captures() && self.readers_now().is_empty() =>
            {
                // SAFETY: this value had the address from this allocator, and is consumed here;
                // all work on it was queued on the home.
                unsafe { allocator.free(self.address, self.len_bytes, home.raw()) };
                None
            }
            _ => Some(self),
        }
    }

    /// Gives the memory back, in order. It is returned where that would become part of a graph.
    pub(crate) fn release(self, home: &L) -> Option<Self> {
        if !home.may_wait() {
            return self.release_in_capture(home);
        }
        // A device that fails to wait has failed for good, and nothing is read any more.
        if self.wait_for_readers(home).is_ok_and(|order| order != Order::Waits) {
            return Some(self);
        }
        match self.owner {
            // SAFETY: this value had the address from this allocator, and is consumed here. The
            // home, where all other work on it was queued, waits for every reader.
            Owner::Allocator(allocator) => unsafe {
                allocator.free(self.address, self.len_bytes, home.raw());
            },
            Owner::Lender => {}
            Owner::Foreign(release) => {
                // Its owner may do anything with it from now on. An error has no reader.
                let _ = home.synchronize();
                drop(release);
            }
        }
        None
    }
}
