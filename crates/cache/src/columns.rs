//! Decisions as a file holds them: column by column.

use serde::{Deserialize, Serialize};
use voxtune_types::{Density, Operation, ShapeKey, VoxelBucket};

/// The fields of all decisions, each field by itself, in the order of the decisions. Devices,
/// operations and algorithms are numbers into the tables of their set.
///
/// Columns say each field's name once a file instead of once a decision, and decode into one
/// allocation each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Columns {
    pub(crate) device: Vec<u32>,
    pub(crate) operation: Vec<u32>,
    pub(crate) bucket_in: Vec<VoxelBucket>,
    pub(crate) bucket_out: Vec<VoxelBucket>,
    pub(crate) density: Vec<Density>,
    pub(crate) winner: Vec<u32>,
    pub(crate) runner_up: Vec<Option<u32>>,
    pub(crate) without_libraries: Vec<Option<u32>>,
    /// Where the decision's part of `safe` ends, and the next one's begins.
    pub(crate) safe_end: Vec<u32>,
    /// The safe algorithms of all decisions, one after the other.
    pub(crate) safe: Vec<u32>,
}

/// What a set is sorted by. Numbers ascend as their values do, so this is device, then key.
pub(crate) type SortKey = (u32, u32, VoxelBucket, VoxelBucket, Density);

impl Columns {
    /// How many decisions there are.
    pub(crate) fn len(&self) -> usize {
        self.device.len()
    }

    /// Whether every column but `safe` has an item for every decision, and `safe` is divided up.
    pub(crate) fn are_aligned(&self) -> bool {
        let others = [
            self.operation.len(),
            self.bucket_in.len(),
            self.bucket_out.len(),
            self.density.len(),
            self.winner.len(),
            self.runner_up.len(),
            self.without_libraries.len(),
            self.safe_end.len(),
        ];
        others == [self.len(); 8]
            && self.safe_end.is_sorted()
            && self.safe_end.last().map_or(0, |&end| end as usize) == self.safe.len()
    }

    /// What a decision is sorted by.
    pub(crate) fn sort_key(&self, index: usize) -> SortKey {
        (
            self.device[index],
            self.operation[index],
            self.bucket_in[index],
            self.bucket_out[index],
            self.density[index],
        )
    }

    /// The number of the decision of this key.
    pub(crate) fn find(&self, key: SortKey) -> Option<usize> {
        let mut indices = 0..self.len();
        while let Some(last) = indices.end.checked_sub(1).filter(|last| *last >= indices.start) {
            let middle = indices.start + (last - indices.start) / 2;
            match self.sort_key(middle).cmp(&key) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => indices.start = middle + 1,
                std::cmp::Ordering::Greater => indices.end = middle,
            }
        }
        None
    }

    /// The key of a decision, given the table of operations.
    pub(crate) fn key(&self, index: usize, operations: &[Operation]) -> ShapeKey {
        ShapeKey {
            operation: operations[self.operation[index] as usize],
            bucket_in: self.bucket_in[index],
            bucket_out: self.bucket_out[index],
            density: self.density[index],
        }
    }

    /// The safe algorithms of a decision.
    pub(crate) fn safe(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |previous| self.safe_end[previous]);
        &self.safe[start as usize..self.safe_end[index] as usize]
    }
}
