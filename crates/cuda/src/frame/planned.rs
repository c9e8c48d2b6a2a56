//! Memory of a recorded frame: one block, planned by an earlier run of the same work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::binding::driver::sys::CUstream;

use super::plan::{MemoryPlan, Notes};
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::execution::Allocator;

/// An allocator whose calls are noted in one run and answered from one block in the next. That is
/// inside a capture, where the driver has no memory to give.
///
/// Memory that was there before the capture stays until the last buffer is gone, even if it is
/// given back: the graph may name it.
#[derive(Debug)]
pub(super) struct PlannedMemory {
    /// Where memory comes from outside captures.
    base: Arc<dyn Allocator>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    plan: MemoryPlan,
    /// What the graph's calls are answered from.
    block: Option<DeviceBuffer>,
    /// Addresses of the other allocator's that are in use.
    live: BTreeSet<u64>,
    /// Those that the graph may name.
    named: BTreeSet<u64>,
    /// Those of them that were given back, with their length.
    kept: Vec<(u64, usize)>,
}

#[derive(Debug, Default)]
enum Mode {
    /// Memory is the other allocator's.
    #[default]
    Passing,
    /// And calls are noted.
    Noting(Notes),
    /// Memory is the block's: the next allocation is the one of this number.
    Serving { next: usize },
}

/// What a recorded frame's memory takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannedBytes {
    /// Of the block.
    pub planned: usize,
    /// Of all its allocations, if none shared its place with another.
    pub unshared: usize,
}

impl PlannedMemory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes every call from now on.
    pub(super) fn note(&self) {
        self.state().mode = Mode::Noting(Notes::default());
    }

    /// Plans what was noted. What is there now is taken to stay for ever.
    pub(super) fn plan(&self) -> PlannedBytes {
        let mut state = self.state();
        if let Mode::Noting(notes) = std::mem::take(&mut state.mode) {
            state.plan = MemoryPlan::new(&notes);
        }
        let plan = &state.plan;
        PlannedBytes { planned: plan.len_bytes(), unshared: plan.unshared_bytes() }
    }

    /// Answers by the plan from now on. The block belongs to a handle of the same stream whose
    /// memory is the other allocator's.
    pub(super) fn serve(&self, plain: &CudaDevice) -> Result<()> {
        let mut state = self.state();
        state.block = Some(DeviceBuffer::alloc(plain, state.plan.len_bytes())?);
        state.named = state.live.clone();
        state.mode = Mode::Serving { next: 0 };
        Ok(())
    }

    /// Memory is the other allocator's again.
    pub(super) fn pass(&self) {
        self.state().mode = Mode::Passing;
    }
}

impl State {
    fn is_of_block(&self, address: u64) -> bool {
        self.block.as_ref().is_some_and(|block| {
            let begin = block.as_ref().address();
            (begin..begin + block.len_bytes() as u64).contains(&address)
        })
    }
}

// SAFETY: outside a capture the other allocator answers, which keeps the promise. Memory that a
// graph may name is not handed out again, from when it is given back until the end. Inside,
// allocations have places of one block, aligned to 256 bytes. No two that are there at once share a
// place: the same calls in the same order were noted before, and any other is refused.
unsafe impl Allocator for PlannedMemory {
    fn allocate(&self, len_bytes: usize, stream: CUstream) -> Result<u64> {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Mode::Serving { next } = &mut state.mode {
            let place = state.plan.place(*next).filter(|place| place.len_bytes == len_bytes);
            *next += 1;
            let (Some(place), Some(block)) = (place, &state.block) else {
                return Err(CudaError::AllocationInCapture { bytes: len_bytes });
            };
            return Ok(block.as_ref().address() + place.offset as u64);
        }
        let address = self.base.allocate(len_bytes, stream)?;
        state.live.insert(address);
        if let Mode::Noting(notes) = &mut state.mode {
            notes.allocated(address, len_bytes);
        }
        Ok(address)
    }

    unsafe fn free(&self, address: u64, len_bytes: usize, stream: CUstream) {
        let mut state = self.state();
        if state.is_of_block(address) {
            return;
        }
        if let Mode::Noting(notes) = &mut state.mode {
            notes.freed(address);
        }
        state.live.remove(&address);
        match state.named.contains(&address) {
            true => state.kept.push((address, len_bytes)),
            // SAFETY: the caller's promise.
            false => unsafe { self.base.free(address, len_bytes, stream) },
        }
    }

    fn serves_captures(&self) -> bool {
        matches!(self.state().mode, Mode::Serving { .. })
    }
}

/// Gives back what was kept, when the last buffer is gone: the block last of all.
impl Drop for PlannedMemory {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(block) = &state.block else { return };
        let device = block.device();
        if device.bind().is_err() {
            return;
        }
        for (address, len_bytes) in std::mem::take(&mut state.kept) {
            // SAFETY: it came from there, on the stream of the block's handle. Since it was given
            // back only graphs have used it, which are queued on that stream, too.
            unsafe { self.base.free(address, len_bytes, device.raw_stream()) };
        }
    }
}

/// The allocator of a further context, the context's stream with the memory of a handle, and the
/// context itself.
pub(super) fn planned_context(
    base: &CudaDevice,
) -> Result<(Arc<PlannedMemory>, CudaDevice, CudaDevice)> {
    let plain = base.with_new_stream()?;
    let (base, state) = (Arc::clone(plain.allocator()), Mutex::default());
    let memory = Arc::new(PlannedMemory { base, state });
    let device = plain.with_counted_allocator(Arc::<PlannedMemory>::clone(&memory));
    Ok((memory, plain, device))
}
