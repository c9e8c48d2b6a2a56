//! Handles of devices, that work is handed to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::binding::driver::CudaStream;
use crate::binding::driver::sys;
use voxtune_types::{ComputeCapability, DeviceIdentity};

use crate::error::{CudaError, DriverContext as _, Result};
use crate::execution::{
    Allocator, CallersStream, MemoryUse, OrderedStream as _, Queue, StreamOrdered, Tallied,
};
use crate::gpu::{Gpu, Memory};

/// A handle of an open device and of an execution context on it: a stream, and where memory comes
/// from. Clones share both. Further contexts share the device: what it is, and the code that is
/// loaded.
///
/// What is made with a handle works in its context: buffers are written and freed there, kernels
/// are queued there, a [`Workspace`](crate::Workspace) serves launches there. Kernels of another
/// context may read a buffer, which orders the two on the device. See [`Self::wait_for`] for what
/// is not ordered by itself.
#[derive(Clone)]
pub struct CudaDevice {
    context: Arc<ExecutionContext>,
}

struct ExecutionContext {
    gpu: Arc<Gpu>,
    queue: Arc<Queue>,
    allocator: Arc<dyn Allocator>,
    /// How often the host has waited for the stream.
    waits: AtomicU64,
    /// How many calls have queued work on the stream.
    launches: AtomicU64,
}

impl CudaDevice {
    /// Opens a device and makes a stream on it.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::NoDevice`] with the devices that exist,
    /// [`CudaError::UnsupportedArch`], [`CudaError::DriverTooOld`].
    pub fn open(ordinal: usize) -> Result<Self> {
        let gpu = Gpu::open(ordinal)?;
        let queue = Queue::new(&gpu.context)?;
        let allocator = Tallied::new(Arc::new(StreamOrdered), Arc::clone(&gpu.tally));
        Ok(Self::of(Arc::new(gpu), Arc::new(queue), Arc::new(allocator)))
    }

    fn of(gpu: Arc<Gpu>, queue: Arc<Queue>, allocator: Arc<dyn Allocator>) -> Self {
        let (waits, launches) = (AtomicU64::new(0), AtomicU64::new(0));
        let context = ExecutionContext { gpu, queue, allocator, waits, launches };
        Self { context: Arc::new(context) }
    }

    /// This device with a stream of its own, and memory from where this handle has it.
    ///
    /// # Errors
    /// If the driver has no stream to give.
    pub fn with_new_stream(&self) -> Result<Self> {
        let ExecutionContext { gpu, allocator, .. } = &*self.context;
        let queue = Queue::new(&gpu.context)?;
        Ok(Self::of(Arc::clone(gpu), Arc::new(queue), Arc::clone(allocator)))
    }

    /// This device with a stream of the caller's, and memory from where this handle has it.
    #[must_use]
    pub fn with_stream(&self, stream: CallersStream) -> Self {
        let ExecutionContext { gpu, allocator, .. } = &*self.context;
        let queue = Queue::callers(&gpu.context, stream);
        Self::of(Arc::clone(gpu), Arc::new(queue), Arc::clone(allocator))
    }

    /// This device and this handle's stream, with memory from elsewhere.
    #[must_use]
    pub fn with_allocator(&self, allocator: Arc<dyn Allocator>) -> Self {
        let tally = Arc::clone(&self.gpu().tally);
        self.with_counted_allocator(Arc::new(Tallied::new(allocator, tally)))
    }

    /// The same with an allocator whose memory is counted already.
    pub(crate) fn with_counted_allocator(&self, allocator: Arc<dyn Allocator>) -> Self {
        let ExecutionContext { gpu, queue, .. } = &*self.context;
        Self::of(Arc::clone(gpu), Arc::clone(queue), allocator)
    }

    /// Lets what is queued here from now on wait for what was queued there so far. The host waits
    /// for nothing.
    ///
    /// Reading a buffer of another context needs no call of this. The launch that reads it first
    /// does as much, and the buffer's own context waits before it writes or frees it. Launches of a
    /// [`Graph`](crate::Graph) are not seen by that, nor is what others do with
    /// [`ForeignMemory`](crate::ForeignMemory). Inside a capture it makes this handle's work part
    /// of the other one's graph, until that waits for this.
    ///
    /// # Errors
    /// [`CudaError::NotOnDevice`] if the other one is a handle of another device; whatever the
    /// driver fails with.
    pub fn wait_for(&self, other: &Self) -> Result<()> {
        self.expect_same_device("the other stream", other)?;
        if self.shares_stream(other) {
            return Ok(());
        }
        self.bind()?;
        self.queue().join(other.queue())
    }

    /// Whether work of both handles is queued on one stream, and so in order.
    #[must_use]
    pub fn shares_stream(&self, other: &Self) -> bool {
        let same = || self.queue().raw() == other.queue().raw();
        Arc::ptr_eq(&self.context, &other.context) || (same() && self.ordinal() == other.ordinal())
    }

    fn ordinal(&self) -> usize {
        self.gpu().context.ordinal()
    }

    /// Refuses what is on another device.
    pub(crate) fn expect_same_device(&self, what: &'static str, other: &Self) -> Result<()> {
        if self.ordinal() == other.ordinal() {
            return Ok(());
        }
        Err(CudaError::NotOnDevice { what })
    }

    /// Refuses an address that the driver does not know as one of this device.
    pub(crate) fn expect_own_address(&self, what: &'static str, address: u64) -> Result<()> {
        self.bind()?;
        let mut ordinal = -1_i32;
        // SAFETY: the attribute is an int; of an address that is not the driver's it says so.
        let answer = unsafe {
            sys::cuPointerGetAttribute(
                (&raw mut ordinal).cast(),
                sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                address,
            )
        };
        match answer.result() {
            Ok(()) if usize::try_from(ordinal) == Ok(self.ordinal()) => Ok(()),
            Err(error) if error.0 != sys::CUresult::CUDA_ERROR_INVALID_VALUE => {
                Err(error).during("asking whose memory it is")
            }
            _ => Err(CudaError::NotOnDevice { what }),
        }
    }

    /// Refuses what belongs to another stream, and can only be used on that.
    pub(crate) fn expect_same_stream(&self, what: &'static str, other: &Self) -> Result<()> {
        if self.shares_stream(other) {
            return Ok(());
        }
        self.expect_same_device(what, other)?;
        Err(CudaError::OtherStream { what })
    }

    /// What measurements on this device are valid for.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.gpu().identity
    }

    /// The device's compute capability.
    #[must_use]
    pub fn capability(&self) -> ComputeCapability {
        self.gpu().capability
    }

    /// The newest CUDA that the driver supports, as 1000 · major + 10 · minor.
    #[must_use]
    pub fn driver_version(&self) -> i32 {
        self.gpu().driver_version
    }

    /// Size of the L2 cache.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn l2_bytes(&self) -> usize {
        self.gpu().l2_bytes
    }

    /// Most shared memory that a block may have.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn shared_bytes_a_block(&self) -> usize {
        self.gpu().shared_bytes_a_block
    }

    /// Memory as it is now.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn memory(&self) -> Result<Memory> {
        self.gpu().memory()
    }

    /// What this library has taken of the device's memory, in all contexts.
    #[must_use]
    pub fn memory_use(&self) -> MemoryUse {
        self.gpu().tally.read()
    }

    /// Lets [`MemoryUse::peak_bytes`] begin at what is taken now.
    pub fn reset_peak_memory(&self) {
        self.gpu().tally.reset_peak();
    }

    /// Lets the allocator ask ahead for so much memory ([`Allocator::warm_up`]), which
    /// [`Self::memory_use`] does not count.
    ///
    /// # Units
    /// Bytes.
    ///
    /// # Errors
    /// What an allocation fails with. Later ones are as they would have been.
    pub fn warm_up_memory(&self, len_bytes: usize) -> Result<()> {
        self.bind()?;
        self.context.allocator.warm_up(len_bytes, self.raw_stream())
    }

    /// Waits for all work of this handle's stream, and reports what failed in it.
    ///
    /// # Errors
    /// If earlier work failed; the context is then unusable.
    pub fn synchronize(&self) -> Result<()> {
        self.waited();
        self.queue().synchronize()
    }

    /// How often the host has waited for this handle's stream: to know a count, to read a result,
    /// or because it was told to.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.context.waits.load(Ordering::Relaxed)
    }

    /// Notes that the host waits.
    pub(crate) fn waited(&self) {
        self.context.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls have queued work on this handle's stream: kernels, products of cuBLAS,
    /// copies, fills, and whole graphs, each of them one. What becomes part of a graph counts, too.
    #[must_use]
    pub fn launches(&self) -> u64 {
        self.context.launches.load(Ordering::Relaxed)
    }

    /// Notes that work is queued.
    pub(crate) fn launched(&self) {
        self.context.launches.fetch_add(1, Ordering::Relaxed);
    }

    /// cudarc's stream, for sharing with other users of cudarc.
    #[cfg_attr(not(feature = "driver"), doc(hidden))]
    #[must_use]
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.queue().stream()
    }

    /// Whether work queued now becomes part of a graph instead of running.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn is_capturing(&self) -> Result<bool> {
        self.queue().is_capturing()
    }

    /// Whether a graph may have been captured at any time: graphs may then hold the addresses of
    /// buffers. Of a caller's stream it is not known, and the answer is yes.
    #[must_use]
    pub fn has_captured(&self) -> bool {
        self.queue().has_captured()
    }

    /// What all contexts of the device share.
    pub(crate) fn gpu(&self) -> &Arc<Gpu> {
        &self.context.gpu
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.context.queue
    }

    /// Where memory comes from.
    pub(crate) fn allocator(&self) -> &Arc<dyn Allocator> {
        &self.context.allocator
    }

    /// Makes the device current in this thread.
    pub(crate) fn bind(&self) -> Result<()> {
        self.gpu().bind()
    }

    /// The raw stream that work is queued on now.
    pub(crate) fn raw_stream(&self) -> sys::CUstream {
        self.queue().current()
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaDevice({})", self.gpu().identity)
    }
}
