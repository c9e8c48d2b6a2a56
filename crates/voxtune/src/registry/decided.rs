//! The algorithms that decisions resolve to on a device.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The algorithms of a table's decisions, as far as they were asked for. Reading takes no lock.
#[derive(Default)]
pub(super) struct DecidedAlgorithms {
    /// By the number of the table. A process has few; those beyond are not remembered.
    tables: [OnceLock<(u64, Box<[AtomicU32]>)>; 8],
}

/// How a place is written: 0 is not asked for, 1 is that nothing can run.
const NOTHING: u32 = 1;

impl DecidedAlgorithms {
    /// The place of the algorithm that a decision comes to, of a table with so many decisions;
    /// `find` looks for it the first time.
    #[inline]
    pub(super) fn place(
        &self,
        (table, decisions): (u64, usize),
        decision: usize,
        find: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        for slot in &self.tables {
            let make = || (table, (0..decisions).map(|_| AtomicU32::new(0)).collect());
            let (number, places) = slot.get_or_init(make);
            if *number != table {
                continue;
            }
            let Some(written) = places.get(decision) else { break };
            return match written.load(Ordering::Relaxed) {
                0 => {
                    // A thread that looks at the same time finds the same.
                    let place = find();
                    let number = place.map_or(Some(NOTHING), |place| {
                        u32::try_from(place).ok()?.checked_add(NOTHING + 1)
                    });
                    written.store(number.unwrap_or(0), Ordering::Relaxed);
                    place
                }
                NOTHING => None,
                number => Some((number - NOTHING - 1) as usize),
            };
        }
        find()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_of_each_table_is_looked_for_once() {
        let decided = DecidedAlgorithms::default();
        for table in 0..8 {
            let found = |decision: usize| (decision != 2).then_some(decision * 10);
            for decision in 0..5 {
                let place = decided.place((table, 5), decision, || found(decision));
                assert_eq!(place, found(decision));
                let again = decided.place((table, 5), decision, || unreachable!("it is known"));
                assert_eq!(again, found(decision));
            }
        }
        // What has no room is found each time.
        for place in [Some(3), None] {
            assert_eq!(decided.place((8, 5), 0, || place), place);
            assert_eq!(decided.place((0, 5), 5, || place), place);
        }
    }
}
