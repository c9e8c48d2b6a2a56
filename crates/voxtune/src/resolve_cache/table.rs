//! A memo table.

use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::sync::OnceLock;

use rustc_hash::FxBuildHasher;

/// A map that grows and never changes an entry. Reading takes no lock and allocates nothing.
///
/// Slots lie in levels, each twice as large as the one before. A key has a few slots at each level
/// and is in the first that was free, so a search ends at a free one.
pub(super) struct MemoTable<K, V> {
    levels: [Level<K, V>; LEVELS],
}

type Slot<K, V> = OnceLock<Entry<K, V>>;
type Level<K, V> = OnceLock<Box<[Slot<K, V>]>>;

/// The hash tells other keys apart without a look at them. So a search reads a few lines of the
/// cache, though keys and values may be large.
struct Entry<K, V> {
    hash: u64,
    content: Box<(K, V)>,
}

impl<K: Eq, V> Entry<K, V> {
    #[inline]
    fn is_of(&self, hash: u64, key: &K) -> bool {
        self.hash == hash && self.content.0 == *key
    }
}

/// Levels of up to 64 Ki slots: what does not fit any more is forgotten. The first has
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

impl<K: Hash + Eq, V> MemoTable<K, V> {
    /// What is remembered of a key.
    #[inline]
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let hash = FxBuildHasher.hash_one(key);
        for level in &self.levels {
            for slot in window(level.get()?, hash) {
                let entry = slot.get()?;
                if entry.is_of(hash, key) {
                    return Some(&entry.content.1);
                }
            }
        }
        None
    }

    /// Remembers a value of a key, unless there is one already, or no room.
    pub(super) fn insert(&self, key: K, value: V) {
        let hash = FxBuildHasher.hash_one(&key);
        let mut entry = Entry { hash, content: Box::new((key, value)) };
        for (number, level) in self.levels.iter().enumerate() {
            let make = || (0..FIRST_LEVEL_SLOTS << number).map(|_| OnceLock::new()).collect();
            for slot in window(level.get_or_init(make), hash) {
                match slot.set(entry) {
                    Ok(()) => return,
                    // Another thread was first, maybe with the same key.
                    Err(refused) => entry = refused,
                }
                if slot.get().is_some_and(|known| known.is_of(hash, &entry.content.0)) {
                    return;
                }
            }
        }
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
    use super::*;

    #[test]
    fn everything_is_remembered() {
        let memo = MemoTable::default();
        for key in 0..20_000_u64 {
            assert_eq!(memo.get(&key), None);
            memo.insert(key, key * 3);
            memo.insert(key, 0);
        }
        for key in 0..20_000 {
            assert_eq!(memo.get(&key), Some(&(key * 3)));
        }
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
                        memo.insert(key, key + 1);
                        assert_eq!(memo.get(&key), Some(&(key + 1)));
                    }
                });
            }
        });
        // A thread that came second at a slot has left no second entry.
        let held = memo.levels.iter().filter_map(OnceLock::get).flatten();
        let mut keys: Vec<u64> = held.filter_map(|slot| Some(slot.get()?.content.0)).collect();
        keys.sort_unstable();
        assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
        assert_eq!(keys.len(), 5_000);
    }

    /// Keys of one hash have only their slots at each level; the rest has no room.
    #[test]
    fn what_does_not_fit_is_forgotten() {
        #[derive(PartialEq, Eq)]
        struct Same(usize);
        impl Hash for Same {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                state.write_u8(7);
            }
        }
        let memo = MemoTable::default();
        for key in (0..2 * LEVELS * REACH).chain(0..2 * LEVELS * REACH) {
            memo.insert(Same(key), key);
            let held = (key < LEVELS * REACH).then_some(&key);
            assert_eq!(memo.get(&Same(key)), held);
        }
    }
}
