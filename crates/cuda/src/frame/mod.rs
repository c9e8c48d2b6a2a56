//! Work that is recorded once, with everything that it uses, and run for one frame after another.
//!
//! | idea | where |
//! |---|---|
//! | recording, and what is recorded | [`FrameContext`], [`FrameGraph`] |
//! | one block for all memory that the work allocates | [`planned`] |
//! | where in the block each allocation lies | [`plan`] |

mod plan;
mod planned;

use std::fmt;
use std::sync::Arc;

use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::graph::Graph;
pub use planned::PlannedBytes;
use planned::{PlannedMemory, planned_context};

/// An execution context for work that is to be recorded. It has a stream of its own, and memory
/// that a run of the work can be planned by.
pub struct FrameContext {
    memory: Arc<PlannedMemory>,
    /// The same stream with the driver's memory.
    plain: CudaDevice,
    device: CudaDevice,
}

impl FrameContext {
    /// A context beside that of a handle.
    ///
    /// # Errors
    /// If the driver has no stream to give.
    pub fn new(base: &CudaDevice) -> Result<Self> {
        let (memory, plain, device) = planned_context(base)?;
        Ok(Self { memory, plain, device })
    }

    /// The handle that the work is to be made with.
    #[must_use]
    pub const fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Records work that allocates what it makes, such as the output of a network.
    ///
    /// It is run twice before: once to make what lasts, such as code and workspaces, and once to
    /// note what it allocates. Each run has to do the same. What the recorded run returns lies in
    /// the graph's memory and has values once the graph has run.
    ///
    /// # Errors
    /// What the work failed with; [`CudaError::AllocationInCapture`] if a run allocates what the
    /// one before did not; whatever the driver fails with.
    pub fn record<R, E: From<CudaError>>(
        &self,
        mut work: impl FnMut() -> std::result::Result<R, E>,
    ) -> std::result::Result<(FrameGraph, R), E> {
        drop(work()?);
        self.memory.note();
        let noted = work()?;
        let bytes = self.memory.plan();
        drop(noted);
        self.device.synchronize()?;
        self.memory.serve(&self.plain)?;
        let mut result = None;
        let recorded = self.device.capture(|| -> std::result::Result<(), E> {
            result = Some(work()?);
            Ok(())
        });
        self.memory.pass();
        let graph = recorded?;
        let result = result.expect("work that was recorded has returned");
        Ok((FrameGraph { graph, bytes }, result))
    }
}

impl fmt::Debug for FrameContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameContext").field("device", &self.device).finish_non_exhaustive()
    }
}

/// A graph with everything that it uses: memory, code, reports.
#[derive(Debug)]
pub struct FrameGraph {
    graph: Graph,
    bytes: PlannedBytes,
}

impl FrameGraph {
    /// Queues the work behind what its context was given before, without a wait.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn launch(&mut self) -> Result<()> {
        // SAFETY: everything that the graph names stays as long as it: the block and what its
        // context had allocated before are its allocator's, which the graph's handle keeps. Memory
        // that was read through buffers, code and reports are held by the graph itself.
        unsafe { self.graph.launch() }
    }

    /// What the work's own memory takes.
    #[must_use]
    pub const fn planned_bytes(&self) -> PlannedBytes {
        self.bytes
    }
}
