//! Where allocations of known lifetimes lie in one block of memory.

/// Every address is a multiple of so many bytes, as those of an allocator are.
const ALIGNMENT: usize = 256;

/// An allocation, and when it was made and given back: positions in one order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lifetime {
    len_bytes: usize,
    begin: usize,
    /// `usize::MAX` of what is never given back.
    end: usize,
}

impl Lifetime {
    /// Whether both are there at some time.
    const fn meets(&self, other: &Self) -> bool {
        self.begin < other.end && other.begin < self.end
    }
}

/// Allocations as they were made, to be planned.
#[derive(Debug, Default)]
pub(super) struct Notes {
    lifetimes: Vec<Lifetime>,
    /// Those that are there now, by address.
    live: Vec<(u64, usize)>,
    time: usize,
}

impl Notes {
    /// An allocation of so many bytes, known by its address until it is given back.
    pub(super) fn allocated(&mut self, address: u64, len_bytes: usize) {
        self.live.push((address, self.lifetimes.len()));
        self.lifetimes.push(Lifetime { len_bytes, begin: self.time, end: usize::MAX });
        self.time += 1;
    }

    /// It is given back. An allocation that was not noted is not planned either.
    pub(super) fn freed(&mut self, address: u64) {
        if let Some(at) = self.live.iter().position(|(live, _)| *live == address) {
            let (_, number) = self.live.swap_remove(at);
            self.lifetimes[number].end = self.time;
            self.time += 1;
        }
    }
}

/// A place in one block for each allocation, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryPlan {
    places: Vec<Allotment>,
    len_bytes: usize,
}

/// Where an allocation lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allotment {
    pub(super) len_bytes: usize,
    pub(super) offset: usize,
}

impl MemoryPlan {
    /// Plans the largest first, each at the lowest place that nothing has which is there at the
    /// same time. This is "greedy by size" of Pisarchyk and Lee, "Efficient Memory Management for
    /// Deep Neural Net Inference" (2020).
    pub(super) fn new(notes: &Notes) -> Self {
        let lifetimes = &notes.lifetimes;
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&number| std::cmp::Reverse(lifetimes[number].len_bytes));
        let mut places = vec![Allotment { len_bytes: 0, offset: 0 }; lifetimes.len()];
        // Those that are placed, by their offsets.
        let mut placed: Vec<usize> = Vec::with_capacity(lifetimes.len());
        for number in order {
            let lifetime = lifetimes[number];
            let mut offset = 0;
            for &other in placed.iter().filter(|&&other| lifetimes[other].meets(&lifetime)) {
                if places[other].offset >= offset + lifetime.len_bytes {
                    break;
                }
                offset = offset.max(end_of(places[other]));
            }
            places[number] = Allotment { len_bytes: lifetime.len_bytes, offset };
            let at = placed.partition_point(|&other| places[other].offset <= offset);
            placed.insert(at, number);
        }
        let len_bytes = places.iter().copied().map(end_of).max().unwrap_or(0);
        Self { places, len_bytes }
    }

    /// The place of an allocation by its number.
    pub(super) fn place(&self, number: usize) -> Option<Allotment> {
        self.places.get(number).copied()
    }

    /// Length of the block.
    pub(super) const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Length of all allocations together, as if none shared its place.
    pub(super) fn unshared_bytes(&self) -> usize {
        self.places.iter().map(|place| place.len_bytes.next_multiple_of(ALIGNMENT)).sum()
    }
}

const fn end_of(place: Allotment) -> usize {
    (place.offset + place.len_bytes).next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Allocations by length, each of which may give back an earlier one first.
    fn noted(steps: &[(usize, Option<usize>)]) -> Notes {
        let mut notes = Notes::default();
        for (number, (len_bytes, freed)) in steps.iter().enumerate() {
            if let Some(freed) = freed {
                notes.freed(*freed as u64);
            }
            notes.allocated(number as u64, *len_bytes);
        }
        notes
    }

    #[test]
    fn layers_one_behind_the_other_take_two_buffers() {
        // Each layer allocates its output; then its input is given back.
        let layers: Vec<_> = (0..10_usize).map(|at| (1_024, at.checked_sub(2))).collect();
        let plan = MemoryPlan::new(&noted(&layers));
        assert_eq!(plan.len_bytes(), 2 * 1_024);
        assert_eq!(plan.unshared_bytes(), 10 * 1_024);
    }

    #[test]
    fn nothing_takes_no_memory() {
        let plan = MemoryPlan::new(&Notes::default());
        assert_eq!((plan.len_bytes(), plan.place(0)), (0, None));
    }

    #[test]
    fn an_address_that_is_used_again_is_another_allocation() {
        let mut notes = Notes::default();
        for _ in 0..3 {
            notes.allocated(7, 100);
            notes.freed(7);
        }
        notes.freed(99);
        assert_eq!(MemoryPlan::new(&notes).len_bytes(), ALIGNMENT);
    }

    proptest! {
        #[test]
        fn what_is_there_at_once_never_overlaps(
            steps in prop::collection::vec((0_usize..5_000, prop::option::of(0_usize..40)), 0..60),
        ) {
            let notes = noted(&steps);
            let plan = MemoryPlan::new(&notes);
            let all: Vec<_> = notes.lifetimes.iter().zip(&plan.places).collect();
            let mut most = 0;
            for (at, (lifetime, place)) in all.iter().enumerate() {
                prop_assert_eq!(place.len_bytes, lifetime.len_bytes);
                prop_assert!(place.offset.is_multiple_of(ALIGNMENT));
                prop_assert!(place.offset + place.len_bytes <= plan.len_bytes());
                for (other, other_place) in &all[..at] {
                    let apart = place.offset + place.len_bytes <= other_place.offset
                        || other_place.offset + other_place.len_bytes <= place.offset;
                    prop_assert!(apart || !lifetime.meets(other));
                }
                let now = all.iter().filter(|(other, _)| other.meets(lifetime));
                most = most.max(now.map(|(other, _)| other.len_bytes).max().unwrap_or(0));
            }
            prop_assert!(plan.len_bytes() >= most && plan.len_bytes() <= plan.unshared_bytes());
        }
    }
}
