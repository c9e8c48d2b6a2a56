//! Tables of values that a file stores once.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;

/// Numbers for the distinct values of a file. Numbers ascend as the values do, so that sorting by
/// number sorts by value.
pub(crate) struct Interner<'a, T> {
    sorted: Vec<&'a T>,
    numbers: HashMap<&'a T, u32, FxBuildHasher>,
}

impl<'a, T: Ord + Hash + Clone> Interner<'a, T> {
    /// Numbers the distinct ones of these values.
    pub(crate) fn new(values: impl Iterator<Item = &'a T>) -> Self {
        let mut numbers: HashMap<&T, u32, FxBuildHasher> = values.map(|value| (value, 0)).collect();
        let mut sorted: Vec<&T> = numbers.keys().copied().collect();
        sorted.sort_unstable();
        for (number, value) in (0..).zip(&sorted) {
            numbers.insert(value, number);
        }
        Self { sorted, numbers }
    }

    /// The number of one of the values that the table was made from.
    pub(crate) fn number(&self, value: &T) -> u32 {
        self.numbers[value]
    }

    /// The distinct values where they lie, sorted.
    pub(crate) fn into_refs(self) -> Vec<&'a T> {
        self.sorted
    }

    /// The distinct values, sorted.
    pub(crate) fn into_table(self) -> Vec<T> {
        self.sorted.into_iter().cloned().collect()
    }
}
