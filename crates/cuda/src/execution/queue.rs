//! Streams: what orders a context's work.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::binding::driver::sys::{CUstream, CUstreamCaptureMode, CUstreamCaptureStatus};
use crate::binding::driver::{CudaContext, CudaEvent, CudaStream};

use super::allocation::{Allocation, Order, OrderedStream};
use crate::error::{DriverContext as _, Result};

/// A stream of another library, such as PyTorch's current one.
#[derive(Clone, Copy, Debug)]
pub struct CallersStream {
    raw: CUstream,
}

// SAFETY: a stream handle is a name that the driver takes from any thread.
unsafe impl Send for CallersStream {}
// SAFETY: as above; nothing here changes it.
unsafe impl Sync for CallersStream {}

impl CallersStream {
    /// Names a stream. Null is the legacy default stream, which cannot be captured.
    ///
    /// # Safety
    /// It is a stream of the primary context of the device that it is given to, and not the default
    /// stream of each thread. It lives as long as the device handles that are made with it, and
    /// what is made with those: tensors, layers, graphs.
    #[must_use]
    pub const unsafe fn new(raw: CUstream) -> Self {
        Self { raw }
    }
}

/// What a graph uses and must not lose: memory, code, pages.
pub(crate) type Held = Arc<dyn Any + Send + Sync>;

/// A stream, with what must wait until its work is not recorded.
pub(crate) struct Queue {
    stream: Arc<CudaStream>,
    is_callers: bool,
    /// Held while a capture begins, and while another stream takes its place in this one.
    order: Mutex<()>,
    has_captured: AtomicBool,
    /// Whether a capture of ours is open.
    is_recording: AtomicBool,
    /// What that has used so far.
    held: Mutex<Vec<Held>>,
    /// Whether memory of another stream was read here: its owner relies on this one to end in
    /// order.
    has_read_others: AtomicBool,
    /// Memory that was dropped while its release would have become part of a graph.
    retired: Mutex<Vec<Allocation>>,
    /// For work of a recording that need not wait for what is queued behind it.
    side: OnceLock<Arc<CudaStream>>,
    /// Whether work is queued there now.
    is_beside: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn of(stream: Arc<CudaStream>, is_callers: bool) -> Self {
        Self {
            stream,
            is_callers,
            order: Mutex::default(),
            has_captured: AtomicBool::new(false),
            is_recording: AtomicBool::new(false),
            held: Mutex::default(),
            has_read_others: AtomicBool::new(false),
            retired: Mutex::default(),
            side: OnceLock::new(),
            is_beside: AtomicBool::new(false),
        }
    }

    /// A stream of our own, which no other stream waits for unasked.
    pub(crate) fn new(context: &Arc<CudaContext>) -> Result<Self> {
        Ok(Self::of(context.new_stream().during("creating a stream")?, false))
    }

    /// The caller's stream.
    pub(crate) fn callers(context: &Arc<CudaContext>, stream: CallersStream) -> Self {
        // SAFETY: the caller that named the stream promised that it is this context's and outlives
        // this.
        Self::of(unsafe { context.wrap_borrowed_stream(stream.raw) }, true)
    }

    pub(crate) const fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Whether work queued now becomes part of a graph instead of running.
    pub(crate) fn is_capturing(&self) -> Result<bool> {
        let status = self.stream.capture_status().during("asking whether a graph is captured")?;
        Ok(status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// Whether graphs may hold addresses. A caller's stream may be recorded elsewhere, too, without
    /// notice.
    pub(crate) fn has_captured(&self) -> bool {
        self.is_callers || self.has_captured.load(Ordering::Acquire)
    }

    /// From now on work becomes part of a graph.
    pub(crate) fn begin_capture(&self) -> Result<()> {
        let _order = locked(&self.order);
        // Calls of this thread that cannot be recorded, such as waiting, then fail instead of
        // spoiling the graph. Other threads may do as they like with other streams.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).during("beginning a graph capture")?;
        self.has_captured.store(true, Ordering::Release);
        locked(&self.held).clear();
        self.is_recording.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether a capture of ours is open.
    pub(crate) fn is_recording(&self) -> bool {
        self.is_recording.load(Ordering::Acquire)
    }

    /// Keeps what a graph that is being recorded uses for as long as the graph.
    pub(crate) fn hold(&self, used: impl FnOnce() -> Held) {
        if self.is_recording() {
            locked(&self.held).push(used());
        }
    }

    /// A capture of ours is over: what it has used, each thing once.
    pub(crate) fn end_recording(&self) -> Vec<Held> {
        self.is_recording.store(false, Ordering::Release);
        let mut held = std::mem::take(&mut *locked(&self.held));
        held.sort_by_key(|one| Arc::as_ptr(one).addr());
        held.dedup_by_key(|one| Arc::as_ptr(one).addr());
        held
    }

    /// Where work is queued now.
    pub(crate) fn current(&self) -> CUstream {
        match self.side.get() {
            Some(side) if self.is_beside.load(Ordering::Acquire) => side.cu_stream(),
            _ => self.raw(),
        }
    }

    /// Queues work that what is queued behind it need not wait for, until it
    /// [waits](Self::wait_beside) for what was [marked](Self::mark_beside). That is so in a
    /// recording, where one thread queues all of it; elsewhere it is queued like any other.
    ///
    /// Memory that it uses must stay until then.
    pub(crate) fn beside<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let side = match self.side.get() {
            Some(side) => side,
            None => {
                let made = self.stream.context().new_stream().during("creating a stream")?;
                self.side.get_or_init(|| made)
            }
        };
        if !self.is_recording() {
            return work();
        }
        side.join(&self.stream).during("forking a graph")?;
        self.is_beside.store(true, Ordering::Release);
        let result = work();
        self.is_beside.store(false, Ordering::Release);
        result
    }

    /// What was queued beside so far; `None` where nothing is beside.
    pub(crate) fn mark_beside(&self) -> Result<Option<CudaEvent>> {
        match self.side.get() {
            Some(side) if self.is_beside.load(Ordering::Acquire) => {
                side.record_event(None).during("marking a branch of a graph").map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Lets what is queued from now on wait for what was marked.
    pub(crate) fn wait_beside(&self, mark: &CudaEvent) -> Result<()> {
        self.stream.wait(mark).during("joining a branch of a graph")
    }

    /// Lets what is queued from now on wait for what another stream was given so far. The host
    /// waits for nothing. Where the other one is being captured, this one then is, too.
    pub(crate) fn join(&self, other: &Self) -> Result<()> {
        if other.is_capturing()? {
            self.has_captured.store(true, Ordering::Release);
        }
        self.stream.join(&other.stream).during("waiting for another stream")
    }

    /// Gives memory back, or keeps it until that is possible.
    pub(crate) fn release(&self, memory: Allocation) {
        if let Some(kept) = memory.release(self) {
            locked(&self.retired).push(kept);
        }
    }

    /// Gives back what was kept.
    pub(crate) fn release_retired(&self) {
        let retired = std::mem::take(&mut *locked(&self.retired));
        retired.into_iter().for_each(|memory| self.release(memory));
    }
}

impl OrderedStream for Queue {
    fn raw(&self) -> CUstream {
        self.stream.cu_stream()
    }

    fn may_wait(&self) -> bool {
        self.is_capturing().is_ok_and(|captures| !captures)
    }

    fn wait_for(&self, other: &Self) -> Result<Order> {
        let _order = locked(&other.order);
        if !self.may_wait() {
            return Ok(Order::Recorded);
        }
        if !other.may_wait() {
            return Ok(Order::Blocked);
        }
        self.join(other)?;
        Ok(Order::Waits)
    }

    fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().during("waiting for the device")
    }

    fn is_read_here(&self) {
        self.has_read_others.store(true, Ordering::Release);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let retired = std::mem::take(&mut *locked(&self.retired));
        if !retired.is_empty() || self.has_read_others.load(Ordering::Acquire) {
            // What was read here may be freed from now on. A context that is gone has no work.
            let _ = self.synchronize();
        }
        for memory in retired {
            // What a stream that is being captured has read is handed over to that stream.
            if let Some(kept) = memory.release(self)
                && let Some(reader) = kept.reader()
            {
                locked(&reader.retired).push(kept);
            }
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("stream", &self.raw()).finish_non_exhaustive()
    }
}
