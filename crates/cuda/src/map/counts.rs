//! Counts that the device makes and the host reads when it first needs them.

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::binding::driver::{result, sys};

use super::MAX_VOLUME;
use crate::device::CudaDevice;
use crate::error::{DriverContext as _, Result};

/// How many rows and pairs a map has: what launches and workspaces are sized by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapCounts {
    /// Input rows.
    pub n_in: usize,
    /// Output rows.
    pub n_out: usize,
    /// Pairs of each offset.
    pub pairs: Vec<usize>,
}

impl MapCounts {
    /// Pairs in all.
    #[must_use]
    pub fn total_pairs(&self) -> usize {
        self.pairs.iter().sum()
    }

    /// Pairs of the offset that has most.
    #[must_use]
    pub fn largest_offset(&self) -> usize {
        self.pairs.iter().copied().max().unwrap_or(0)
    }

    /// The pair lists that are not empty: offset, first pair, number of pairs.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let with_first = self.pairs.iter().enumerate().scan(0, |end, (offset, &pairs)| {
            let first = *end;
            *end += pairs;
            Some((offset, first, pairs))
        });
        with_first.filter(|(.., pairs)| *pairs > 0)
    }
}

/// Words of the longest report, a map's pairs of each offset.
const REPORT_WORDS: usize = MAX_VOLUME;

/// Pages that are locked at once: locking memory takes as long as building a map, however much it
/// is.
const PAGES_AT_ONCE: usize = 32;

/// Page-locked memory of some pages.
struct PageBlock {
    device: CudaDevice,
    words: NonNull<i32>,
}

// SAFETY: page-locked memory is valid from every thread.
unsafe impl Send for PageBlock {}
// SAFETY: the block itself is not read or written; each page of it is one owner's.
unsafe impl Sync for PageBlock {}

impl PageBlock {
    fn new(device: &CudaDevice) -> Result<Self> {
        device.bind()?;
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        let len = PAGES_AT_ONCE * REPORT_WORDS;
        // SAFETY: the memory is read only after it has been written, below and by kernels.
        let words = unsafe { result::malloc_host(len * size_of::<i32>(), flags) }
            .during("allocating page-locked memory")?;
        let words = NonNull::new(words.cast()).expect("the driver returns memory or an error");
        // SAFETY: there are as many words, and they have no other owner.
        unsafe { std::ptr::write_bytes::<i32>(words.as_ptr(), 0, len) };
        Ok(Self { device: device.clone(), words })
    }
}

impl Drop for PageBlock {
    fn drop(&mut self) {
        if self.device.bind().is_ok() {
            // SAFETY: allocated in `new`, and released here alone, after the last page; the device
            // is idle first, since a kernel may not have written yet. Errors have no reader.
            unsafe {
                let _ = self.device.synchronize();
                let _ = result::free_host(self.words.as_ptr().cast::<c_void>());
            }
        }
    }
}

/// Page-locked words that a kernel writes, with an event that says when.
struct Page {
    device: CudaDevice,
    words: NonNull<i32>,
    written: sys::CUevent,
    /// Holds the words.
    _block: Arc<PageBlock>,
}

// SAFETY: page-locked memory is valid from every thread, an event handle is a name that the driver
// takes from any, and a page has one owner.
unsafe impl Send for Page {}
// SAFETY: through a shared page the words are only read, after waiting for their writer.
unsafe impl Sync for Page {}

impl Page {
    /// Some new pages.
    fn several(device: &CudaDevice) -> Result<Vec<Self>> {
        let block = Arc::new(PageBlock::new(device)?);
        (0..PAGES_AT_ONCE)
            .map(|page| {
                let written = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
                    .during("creating an event")?;
                // SAFETY: the block has as many pages.
                let words = unsafe { block.words.add(page * REPORT_WORDS) };
                Ok(Self { device: device.clone(), words, written, _block: Arc::clone(&block) })
            })
            .collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.device.bind().is_ok() {
            // SAFETY: made with the page, and released here alone. An error has no reader.
            let _ = unsafe { result::event::destroy(self.written) };
        }
    }
}

/// Pages that no report uses now.
#[derive(Clone)]
pub(crate) struct ReportPages {
    device: CudaDevice,
    free: Arc<Mutex<Vec<Page>>>,
}

impl ReportPages {
    pub(crate) fn new(device: &CudaDevice) -> Self {
        Self { device: device.clone(), free: Arc::default() }
    }

    /// A report to be written by work that is queued next.
    pub(crate) fn take(&self) -> Result<Report> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.is_empty() {
            free.extend(Page::several(&self.device)?);
        }
        let page = free.pop().expect("some pages were made");
        drop(free);
        Ok(Report {
            page: Some(Arc::new(page)),
            writer: AtomicU8::new(UNWRITTEN),
            pages: self.clone(),
        })
    }
}

impl fmt::Debug for ReportPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportPages").finish_non_exhaustive()
    }
}

/// What writes a report. Nothing writes one of no rows.
const UNWRITTEN: u8 = 0;
/// A kernel that was queued before the page's event.
const KERNEL: u8 = 1;
/// A kernel of a graph, whenever that runs: its stream says when.
const GRAPH: u8 = 2;

/// What a build tells the host.
pub(crate) struct Report {
    /// Returned to the pool on release, which is ordered: the next report is written on the same
    /// stream and read after its own event. A page that a graph writes stays the graph's.
    page: Option<Arc<Page>>,
    writer: AtomicU8,
    pages: ReportPages,
}

impl Report {
    fn page(&self) -> &Arc<Page> {
        self.page.as_ref().expect("a report has its page until it is dropped")
    }

    fn writer(&self) -> u8 {
        self.writer.load(Ordering::Acquire)
    }

    /// Where the kernel writes.
    pub(crate) fn address(&self) -> u64 {
        self.page().words.as_ptr() as u64
    }

    /// Says that the kernel which writes the report has been queued, or recorded.
    pub(crate) fn queued(&self) -> Result<()> {
        let Page { device, written, .. } = &**self.page();
        if device.queue().is_recording() {
            device.queue().hold(|| Arc::<Page>::clone(self.page()));
            self.writer.store(GRAPH, Ordering::Release);
            return Ok(());
        }
        device.bind()?;
        // SAFETY: event and stream belong to the current context.
        unsafe { result::event::record(*written, device.raw_stream()) }
            .during("recording an event")?;
        self.writer.store(KERNEL, Ordering::Release);
        Ok(())
    }

    fn is_ready(&self) -> Result<bool> {
        let Page { device, written, .. } = &**self.page();
        let answer = match self.writer() {
            UNWRITTEN => return Ok(true),
            KERNEL => {
                device.bind()?;
                // SAFETY: the event lives as long as the page.
                unsafe { result::event::query(*written) }
            }
            _ => {
                device.bind()?;
                // SAFETY: the stream lives as long as the handle.
                unsafe { sys::cuStreamQuery(device.raw_stream()) }.result()
            }
        };
        match answer {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            answer => answer.during("asking whether a kernel has reported").map(|()| true),
        }
    }

    /// The first words of the report, after waiting for the kernel that writes it. Zeros where no
    /// kernel does.
    pub(crate) fn wait(&self, len: usize) -> Result<Vec<i32>> {
        // What is there already is not waited for.
        if !self.is_ready()? {
            let Page { device, written, .. } = &**self.page();
            if self.writer() == KERNEL {
                device.waited();
                // SAFETY: the event lives as long as the page.
                unsafe { result::event::synchronize(*written) }.during("waiting for a count")?;
            } else {
                device.synchronize()?;
            }
        }
        Ok(self.words(len))
    }

    /// The same if the kernel has written it, without waiting.
    pub(crate) fn try_read(&self, len: usize) -> Result<Option<Vec<i32>>> {
        Ok(if self.is_ready()? { Some(self.words(len)) } else { None })
    }

    /// The first words, once the kernel that writes them has ended.
    fn words(&self, len: usize) -> Vec<i32> {
        assert!(len <= REPORT_WORDS, "a report has {REPORT_WORDS} words and not {len}");
        if self.writer() == UNWRITTEN {
            return vec![0; len];
        }
        // SAFETY: the page holds this many words, all of them initialised when it was made. The
        // kernel that wrote them has ended, and the next run of its graph is queued by whoever
        // reads them now.
        unsafe { std::slice::from_raw_parts(self.page().words.as_ptr(), len) }.to_vec()
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // A page that a graph holds goes with the graph.
        if let Some(page) = self.page.take().and_then(Arc::into_inner) {
            self.pages.free.lock().unwrap_or_else(PoisonError::into_inner).push(page);
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_each_other() {
        let counts = MapCounts { n_in: 9, n_out: 9, pairs: vec![3, 0, 5] };
        assert!(counts.lists().eq([(0, 0, 3), (2, 3, 5)]));
        assert_eq!((counts.total_pairs(), counts.largest_offset()), (8, 5));
    }
}
