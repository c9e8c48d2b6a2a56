//! After which call a map is read no more.

use std::collections::BTreeMap;

use voxtune_cuda::{DeviceKernelMap, RowOrder, TilePlan};

use super::levels::MapKey;
use crate::KernelMap;

/// How a map was read.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadAs {
    pub(super) orders: Vec<RowOrder>,
    pub(super) plans: Vec<TilePlan>,
}

impl ReadAs {
    /// How one was read so far.
    pub(super) fn of(map: &KernelMap) -> Self {
        let read =
            |map: &DeviceKernelMap| Self { orders: map.orders_read(), plans: map.plans_read() };
        map.cuda().map_or_else(Self::default, read)
    }
}

/// Maps that are not expected to be read again.
#[derive(Default)]
pub(super) struct Left {
    /// What is read for the last time by what runs now.
    pub(super) last: Option<MapKey>,
    /// What was given back, and how it was read.
    pub(super) before: Vec<(MapKey, ReadAs)>,
}

/// How often maps are asked for.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) so_far: BTreeMap<MapKey, usize>,
    /// Where an earlier run of the same calls has counted them.
    pub(super) expected: BTreeMap<MapKey, usize>,
}

impl Calls {
    /// Counts a call, and says whether it was the last that is expected.
    pub(super) fn is_last(&mut self, key: MapKey) -> bool {
        let so_far = self.so_far.entry(key).or_default();
        *so_far += 1;
        self.expected.get(&key) == Some(so_far)
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{Geometry, KernelSize};

    use super::*;

    #[test]
    fn the_last_of_the_calls_that_are_expected_is_known() {
        let within = Geometry::submanifold(KernelSize::cubic(3).unwrap(), [1; 3]);
        let (counted, other) = ((0, 0, within), (1, 1, within));
        let mut calls = Calls::default();
        calls.expected.insert(counted, 2);
        assert!(!calls.is_last(counted) && !calls.is_last(other));
        assert!(calls.is_last(counted));
        // A call that was not expected makes the map anew, and it stays.
        assert!(!calls.is_last(counted));
        assert_eq!((calls.so_far[&counted], calls.so_far[&other]), (3, 1));
    }
}
