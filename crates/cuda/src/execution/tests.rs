//! Which stream waits for which, and what is freed when, with streams that only note it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::binding::driver::sys::CUstream;

use super::allocation::{Allocation, Order, OrderedStream};
use super::{Allocator, ForeignMemory, MemoryUse, Tallied, Tally};
use crate::error::{CudaError, Result};

/// A stream that notes what it was told.
#[derive(Debug)]
struct Noted {
    name: usize,
    is_captured: Mutex<bool>,
    /// The names of those that it waits for; its own where the host waits for it.
    waits: Mutex<Vec<usize>>,
}

impl Noted {
    fn new(name: usize) -> Arc<Self> {
        Arc::new(Self { name, is_captured: Mutex::default(), waits: Mutex::default() })
    }

    fn set_captured(&self, is_captured: bool) {
        *self.is_captured.lock().unwrap() = is_captured;
    }

    fn take_waits(&self) -> Vec<usize> {
        std::mem::take(&mut *self.waits.lock().unwrap())
    }
}

impl OrderedStream for Noted {
    fn raw(&self) -> CUstream {
        std::ptr::without_provenance_mut(self.name)
    }

    fn may_wait(&self) -> bool {
        !*self.is_captured.lock().unwrap()
    }

    fn wait_for(&self, other: &Self) -> Result<Order> {
        Ok(match (self.may_wait(), other.may_wait()) {
            (false, _) => Order::Recorded,
            (true, false) => Order::Blocked,
            (true, true) => {
                self.waits.lock().unwrap().push(other.name);
                Order::Waits
            }
        })
    }

    fn synchronize(&self) -> Result<()> {
        self.waits.lock().unwrap().push(self.name);
        Ok(())
    }

    fn is_read_here(&self) {}
}

/// Hands out addresses, and refuses to have one back that it did not hand out so.
#[derive(Debug, Default)]
struct Counted {
    live: Mutex<Vec<(u64, usize, usize)>>,
    given: AtomicUsize,
}

// SAFETY: nobody uses the memory, which is none.
unsafe impl Allocator for Counted {
    fn allocate(&self, len_bytes: usize, stream: CUstream) -> Result<u64> {
        if len_bytes > 1 << 40 {
            return Err(CudaError::Allocator { bytes: len_bytes, reason: "full".to_owned() });
        }
        let address = 256 * (1 + self.given.fetch_add(1, Ordering::Relaxed)) as u64;
        self.live.lock().unwrap().push((address, len_bytes, stream.addr()));
        Ok(address)
    }

    unsafe fn free(&self, address: u64, len_bytes: usize, stream: CUstream) {
        let mut live = self.live.lock().unwrap();
        let of = (address, len_bytes, stream.addr());
        let place = live.iter().position(|one| *one == of).expect("handed out as it comes back");
        live.remove(place);
    }
}

/// An allocator with memory of it, whose home is the stream 1, and a reader.
struct Fixture {
    counted: Arc<Counted>,
    home: Arc<Noted>,
    reader: Arc<Noted>,
    memory: Allocation<Noted>,
}

impl Fixture {
    fn new() -> Self {
        let (counted, home, reader) = (Arc::<Counted>::default(), Noted::new(1), Noted::new(2));
        let allocator: Arc<dyn Allocator> = counted.clone();
        let memory = Allocation::new(&allocator, 640, &*home).unwrap();
        Self { counted, home, reader, memory }
    }

    fn live(&self) -> usize {
        self.counted.live.lock().unwrap().len()
    }
}

#[test]
fn what_is_taken_is_counted_with_its_peak() {
    let (home, tally) = (Noted::new(1), Arc::<Tally>::default());
    let counted: Arc<dyn Allocator> = Arc::<Counted>::default();
    let allocator: Arc<dyn Allocator> = Arc::new(Tallied::new(counted, Arc::clone(&tally)));
    let taken = |len_bytes| Allocation::<Noted>::new(&allocator, len_bytes, &*home).unwrap();
    let used = |current_bytes, peak_bytes| MemoryUse { current_bytes, peak_bytes };

    let first = taken(640);
    assert_eq!(tally.read(), used(640, 640));
    let second = taken(100);
    first.release(&*home);
    assert_eq!(tally.read(), used(100, 740));
    tally.reset_peak();
    assert_eq!(tally.read(), used(100, 100));
    // What cannot be had is not taken.
    assert!(Allocation::<Noted>::new(&allocator, 1 << 41, &*home).is_err());
    // Memory that a graph may still use stays taken.
    home.set_captured(true);
    let kept = second.release(&*home).unwrap();
    assert_eq!(tally.read(), used(100, 100));
    home.set_captured(false);
    assert!(kept.release(&*home).is_none());
    assert_eq!(tally.read(), used(0, 100));
}

#[test]
fn memory_goes_back_to_who_made_it() {
    let Fixture { counted, home, memory, .. } = Fixture::new();
    let other: Arc<dyn Allocator> = Arc::<Counted>::default();
    let elsewhere = Allocation::new(&other, 0, &*home).unwrap();
    assert_eq!(*counted.live.lock().unwrap(), [(256, 640, 1)]);
    assert!(elsewhere.release(&home).is_none());
    assert_eq!(counted.live.lock().unwrap().len(), 1);
    assert!(memory.release(&home).is_none());
    assert!(counted.live.lock().unwrap().is_empty());
    // In the order of the stream: nobody waits.
    assert!(home.take_waits().is_empty());
    let refused = Allocation::new(&other, usize::MAX, &*home).unwrap_err();
    assert!(refused.is_out_of_memory() && refused.to_string().contains("full"), "{refused}");
}

#[test]
fn a_reader_waits_for_the_writer_once() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        fixture.memory.read_by(&fixture.home, &fixture.reader).unwrap();
    }
    assert_eq!(fixture.reader.take_waits(), [1]);
    // The next write waits for the reader, and has to be waited for again.
    fixture.memory.write_by(&fixture.home).unwrap();
    fixture.memory.write_by(&fixture.home).unwrap();
    assert_eq!(fixture.home.take_waits(), [2]);
    fixture.memory.read_by(&fixture.home, &fixture.reader).unwrap();
    assert_eq!(fixture.reader.take_waits(), [1]);
}

/// Such as a layer's weights: streams that read them do not wait for each other.
#[test]
fn what_the_host_has_waited_for_is_read_at_once() {
    let fixture = Fixture::new();
    let another = Noted::new(3);
    fixture.memory.settle();
    for reader in [&fixture.reader, &another] {
        fixture.memory.read_by(&fixture.home, reader).unwrap();
        assert!(reader.take_waits().is_empty());
    }
    // They are waited for before the memory is given away.
    assert!(fixture.live() == 1 && fixture.memory.release(&fixture.home).is_none());
    let mut waits = fixture.home.take_waits();
    waits.sort_unstable();
    assert_eq!(waits, [2, 3]);
    assert!(fixture.counted.live.lock().unwrap().is_empty());
}

#[test]
fn a_stream_that_is_gone_is_not_waited_for() {
    let Fixture { counted, home, reader, memory } = Fixture::new();
    memory.read_by(&home, &reader).unwrap();
    drop(reader);
    assert!(memory.release(&home).is_none() && counted.live.lock().unwrap().is_empty());
    assert!(home.take_waits().is_empty());
}

#[test]
fn nothing_is_freed_into_a_graph() {
    let Fixture { counted, home, reader, mut memory } = Fixture::new();
    memory.read_by(&home, &reader).unwrap();
    for captured in [&home, &reader] {
        captured.set_captured(true);
        memory = memory.release(&home).expect("kept while a stream is captured");
        assert_eq!(counted.live.lock().unwrap().len(), 1);
        captured.set_captured(false);
    }
    assert!(memory.reader().is_some_and(|reader| reader.name == 2));
    assert!(memory.release(&home).is_none() && counted.live.lock().unwrap().is_empty());
    assert_eq!(home.take_waits(), [2]);
}

#[test]
fn what_a_capture_keeps_from_waiting_is_refused() {
    let fixture = Fixture::new();
    // What is recorded does not run; launching it orders it.
    fixture.reader.set_captured(true);
    fixture.memory.read_by(&fixture.home, &fixture.reader).unwrap();
    fixture.reader.set_captured(false);
    // Nor does it count as a read: the first one that runs waits.
    fixture.home.set_captured(true);
    let refused = fixture.memory.read_by(&fixture.home, &fixture.reader);
    assert!(matches!(refused, Err(CudaError::BlockedByCapture)), "{refused:?}");
    fixture.home.set_captured(false);
    fixture.memory.read_by(&fixture.home, &fixture.reader).unwrap();
    assert_eq!(fixture.reader.take_waits(), [1]);
    fixture.reader.set_captured(true);
    let refused = fixture.memory.write_by(&fixture.home);
    assert!(matches!(refused, Err(CudaError::BlockedByCapture)), "{refused:?}");
}

/// The owner is told once, after the device, and at once where nothing was made of the memory.
#[test]
fn an_owner_of_foreign_memory_is_told_once() {
    let (home, told) = (Noted::new(1), Arc::<AtomicUsize>::default());
    let foreign = || {
        let told = Arc::clone(&told);
        // SAFETY: nobody uses the memory, which is none.
        unsafe { ForeignMemory::new(512, 64, move || _ = told.fetch_add(1, Ordering::Relaxed)) }
    };
    let memory = Allocation::<Noted>::foreign(foreign());
    home.set_captured(true);
    let memory = memory.release(&home).expect("kept while the stream is captured");
    assert_eq!(told.load(Ordering::Relaxed), 0);
    home.set_captured(false);
    assert!(memory.release(&home).is_none());
    assert_eq!((told.load(Ordering::Relaxed), home.take_waits()), (1, vec![1]));
    drop(foreign());
    assert_eq!(told.load(Ordering::Relaxed), 2);
    // SAFETY: as above.
    let borrowed = Allocation::<Noted>::foreign(unsafe { ForeignMemory::borrowed(512, 64) });
    assert!(borrowed.release(&home).is_none() && home.take_waits().is_empty());
}
