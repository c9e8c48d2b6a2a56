//! Calls that are recorded once and launched again and again.

use std::fmt;

use crate::binding::driver::CudaGraph;
use crate::binding::driver::sys::CUgraphInstantiate_flags;

use crate::device::CudaDevice;
use crate::error::{CudaError, DriverContext as _, Result};
use crate::execution::Held;

/// Work of a context's stream as a CUDA graph: one launch by the host for all of it.
///
/// # Threads
/// A graph can be moved to another thread, such as one that infers, and be launched and dropped
/// there. No two threads can use one at once: a graph is `Send` and not `Sync`.
///
/// ```
/// fn is_send<T: Send>() {}
/// is_send::<voxtune_cuda::Graph>();
/// ```
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<voxtune_cuda::Graph>();
/// ```
pub struct Graph {
    graph: CudaGraph,
    /// Code, reports, and memory of other contexts that the work uses.
    held: Vec<Held>,
    device: CudaDevice,
}

// SAFETY: what keeps `CudaGraph` from being `Send` are its two raw handles.
// - The driver keeps no state of a graph by thread. "Graph objects are not internally synchronized
//   and must not be accessed concurrently from multiple threads" (CUDA driver API, "Graph object
//   thread safety"). Used by one thread after the other they are sound, and moving a value orders
//   the two.
// - The handles have one owner: `Graph` is not `Clone`, lends no reference to its `CudaGraph`, and
//   is not `Sync`, so `&self` of `launch` stays in the owner's thread.
// - The thread that uses it needs the device's context: `launch` binds it, and so does `drop`.
// - The stream that a launch is queued on is used by other threads too, which the driver
//   synchronises. The context and the stream live as long as the graph, which owns shares of both.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        // The thread that a graph ends in may never have used the device. A context that is gone
        // has taken the graph along: nothing is left to report to.
        if self.device.bind().is_ok() && !self.held.is_empty() {
            // What it used may be freed from now on by streams that know nothing of this one.
            _ = self.device.synchronize();
        }
    }
}

/// A capture that ends however its work does.
struct Capture<'a> {
    device: &'a CudaDevice,
    is_open: bool,
}

impl<'a> Capture<'a> {
    fn begin(device: &'a CudaDevice) -> Result<Self> {
        device.queue().begin_capture()?;
        Ok(Self { device, is_open: true })
    }

    fn end(mut self) -> Result<Graph> {
        self.is_open = false;
        let held = self.device.queue().end_recording();
        let flags = CUgraphInstantiate_flags(0);
        let graph = self.device.stream().end_capture(flags).during("ending a graph capture")?;
        let graph = graph.ok_or(CudaError::NothingCaptured)?;
        // Else the first launch does it, and takes as long as several.
        graph.upload().during("uploading a graph")?;
        Ok(Graph { graph, held, device: self.device.clone() })
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        if self.is_open {
            drop(self.device.queue().end_recording());
            // What went wrong inside is what the caller hears of.
            _ = self.device.stream().end_capture(CUgraphInstantiate_flags(0));
        }
    }
}

impl CudaDevice {
    /// Records what `work` queues on this handle's stream, instead of running it. The work may only
    /// queue: it must not allocate memory, wait, or load code. So everything that it needs has been
    /// made and has run before with this handle. Memory that is dropped meanwhile is released
    /// later.
    ///
    /// # Errors
    /// What the work failed with, [`CudaError::AllocationInCapture`] among it; whatever the driver
    /// fails with.
    pub fn capture<E: From<CudaError>>(
        &self,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<Graph, E> {
        let capture = Capture::begin(self)?;
        work()?;
        Ok(capture.end()?)
    }
}

impl Graph {
    /// Queues all of the recorded work on the stream that it was recorded from, behind what was
    /// queued before.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    ///
    /// # Safety
    /// What the recorded calls read and wrote is still there, at the same place. No tensor among
    /// them has been dropped or reshaped, nor the kernel map, a layer's weights or the code. Their
    /// values may have changed: the work reads those of the launch.
    ///
    /// The caller orders it with other streams: nothing else does. Tensors that it reads and that
    /// another context wrote, or that it writes and another one uses, need [`CudaDevice::wait_for`]
    /// around it.
    pub unsafe fn launch(&self) -> Result<()> {
        self.device.launched();
        self.graph.launch().during("launching a graph")
    }

    /// The device that the work runs on.
    #[must_use]
    pub const fn device(&self) -> &CudaDevice {
        &self.device
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, held) = (&self.device, self.held.len());
        f.debug_struct("Graph").field("device", device).field("held", &held).finish_non_exhaustive()
    }
}
