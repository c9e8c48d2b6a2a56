//! Where a context's memory comes from.

use std::fmt;

use crate::binding::driver::result;
use crate::binding::driver::sys::CUstream;

use crate::error::{DriverContext as _, Result};

/// Gives a context its memory: results, kernel maps, workspaces. Ours is the driver's pool. One of
/// the caller's lets another library's pool, such as PyTorch's, own every byte.
///
/// Both calls are made with the device's context current in the thread; while the stream is being
/// captured only if it [serves](Self::serves_captures) captures.
///
/// # Safety
/// What [`allocate`](Self::allocate) returns is memory of the device that its context is of,
/// aligned to 256 bytes and as long as was asked for. Until [`free`](Self::free) it has no other
/// owner, in the order of the stream: work queued on the stream from now on may use it.
pub unsafe trait Allocator: fmt::Debug + Send + Sync {
    /// Memory of at least one byte, by its address on the device.
    ///
    /// # Units
    /// Bytes.
    ///
    /// # Errors
    /// [`CudaError::Allocator`](crate::CudaError::Allocator), or what the driver fails with.
    fn allocate(&self, len_bytes: usize, stream: CUstream) -> Result<u64>;

    /// Takes memory back. A failure is not reported.
    ///
    /// # Safety
    /// This allocator gave the address for this length and this stream, and has not had it back.
    /// What uses the memory was queued on the stream before, or the stream waits for it.
    unsafe fn free(&self, address: u64, len_bytes: usize, stream: CUstream);

    /// Asks ahead for so much memory that the first allocations find it here. Others than ours need
    /// do nothing.
    ///
    /// # Units
    /// Bytes.
    ///
    /// # Errors
    /// What an allocation fails with. Nothing is lost then but the time of the first ones.
    fn warm_up(&self, _len_bytes: usize, _stream: CUstream) -> Result<()> {
        Ok(())
    }

    /// Whether it can be called now that the stream is being captured. Its memory is then there
    /// whenever the graph runs. No allocator need do that.
    fn serves_captures(&self) -> bool {
        false
    }
}

/// The driver's pool: memory is taken and given back in the order of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamOrdered;

// SAFETY: the driver aligns to 256 bytes at least, and orders both calls with the stream.
unsafe impl Allocator for StreamOrdered {
    fn allocate(&self, len_bytes: usize, stream: CUstream) -> Result<u64> {
        // SAFETY: the caller made the stream's context current.
        unsafe { result::malloc_async(stream, len_bytes) }.during("allocating device memory")
    }

    unsafe fn free(&self, address: u64, _len_bytes: usize, stream: CUstream) {
        // SAFETY: the caller's promise. An error has no reader.
        let _ = unsafe { result::free_async(address, stream) };
    }

    /// The driver's pool keeps what was freed.
    fn warm_up(&self, len_bytes: usize, stream: CUstream) -> Result<()> {
        let address = self.allocate(len_bytes, stream)?;
        // SAFETY: just allocated for this stream, and nothing uses it.
        unsafe { self.free(address, len_bytes, stream) };
        Ok(())
    }
}
