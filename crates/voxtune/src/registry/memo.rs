//! A memo table.

use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::sync::OnceLock;

use rustc_hash::FxBuildHasher;

/// A map that grows and never forgets. Reading takes no lock; what was asked before is answered
/// without allocation.
///
/// Slots lie in levels, each twice as large as the one before. A key has a few slots at each level
/// and is in the first that was free, so a search ends at a free one.
pub(super) struct MemoTable<K, V> {
    levels: [Level<K, V>; LEVELS],
}

type Slot<K, V> = OnceLock<(K, V)>;
type Level<K, V> = OnceLock<Box<[Slot<K, V>]>>;

/// Levels of up to 64 Ki slots: what does not fit any more is computed each time. The first has
/// room for the questions of a network, so that one window answers most of them.
const LEVELS: usize = 8;
const FIRST_LEVEL_SLOTS: usize = 512;
/// Slots of a key at a level.
const REACH: usize = 8;

impl<K, V> fmt::Debug for MemoTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoTable").finish_non_exhaustive()
    }
}

impl<K, V> Default for MemoTable<K, V> {
    fn default() -> Self {
        Self { levels: std::array::from_fn(|_| OnceLock::new()) }
    }
}

impl<K: Hash + Eq, V: Copy> MemoTable<K, V> {
    /// What was remembered of a key, else what is computed now.
    #[inline]
    pub(super) fn get_or(&self, key: K, compute: impl FnOnce() -> V) -> V {
        let hash = FxBuildHasher.hash_one(&key);
        for level in &self.levels {
            let Some(slots) = level.get() else { break };
            for slot in window(slots, hash) {
                match slot.get() {
                    Some((known, value)) if *known == key => return *value,
                    Some(_) => {}
                    None => return self.remember(key, hash, compute),
                }
            }
        }
        self.remember(key, hash, compute)
    }

    #[cold]
    fn remember(&self, key: K, hash: u64, compute: impl FnOnce() -> V) -> V {
        let value = compute();
        let mut entry = (key, value);
        for (number, level) in self.levels.iter().enumerate() {
            let make = || (0..FIRST_LEVEL_SLOTS << number).map(|_| OnceLock::new()).collect();
            for slot in window(level.get_or_init(make), hash) {
                match slot.set(entry) {
                    Ok(()) => return value,
                    // Somebody else was first, maybe with the same question.
                    Err(refused) => entry = refused,
                }
                if slot.get().is_some_and(|(known, _)| *known == entry.0) {
                    return value;
                }
            }
        }
        value
    }
}

/// The slots of a hash at a level: neighbours, so that the processor fetches them together.
#[inline]
fn window<T>(slots: &[T], hash: u64) -> &[T] {
    // The upper half, which this hash mixes best; levels are powers of two of at least `REACH`.
    let windows = slots.len() / REACH;
    let first = ((hash >> 32) as usize & (windows - 1)) * REACH;
    &slots[first..first + REACH]
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn everything_is_computed_once() {
        let (memo, computed) = (MemoTable::default(), AtomicUsize::new(0));
        for _ in 0..2 {
            for key in 0..20_000_u64 {
                let value = memo.get_or(key, || {
                    computed.fetch_add(1, Ordering::Relaxed);
                    key * 3
                });
                assert_eq!(value, key * 3);
            }
        }
        assert_eq!(computed.into_inner(), 20_000);
    }

    #[test]
    fn threads_remember_one_value_for_a_key() {
        let memo = MemoTable::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let memo = &memo;
                scope.spawn(move || {
                    for number in 0..10_000 {
                        let key = (number * (thread + 1)) % 5_000;
                        assert_eq!(memo.get_or(key, || key + 1), key + 1);
                    }
                });
            }
        });
        // Whoever came second at a slot has left no second entry.
        let held = memo.levels.iter().filter_map(OnceLock::get).flatten();
        let mut keys: Vec<u64> = held.filter_map(|slot| Some(slot.get()?.0)).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
        assert_eq!(keys.len(), 5_000);
    }

    /// Keys of one hash have only their slots at each level; the rest is computed and still right.
    #[test]
    fn what_does_not_fit_is_computed() {
        #[derive(PartialEq, Eq)]
        struct Same(usize);
        impl Hash for Same {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                state.write_u8(7);
            }
        }
        let memo = MemoTable::default();
        for key in (0..2 * LEVELS * REACH).chain(0..2 * LEVELS * REACH) {
            assert_eq!(memo.get_or(Same(key), || key), key);
        }
    }
}
