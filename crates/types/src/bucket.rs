//! Classes of row counts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a row count `n`: `⌈log₂ n⌉`, so bucket `b` holds `2^(b-1) < n ≤ 2^b`.
///
/// This is the only place where a count becomes a class. The grid, the key, the command line and
/// the documentation all call [`VoxelBucket::of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct VoxelBucket(u8);

/// A number past the buckets of the counts that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no bucket: expected 0 to {max}", max = usize::BITS - 1)]
pub struct NoSuchBucket(pub u8);

impl TryFrom<u8> for VoxelBucket {
    type Error = NoSuchBucket;

    fn try_from(index: u8) -> Result<Self, Self::Error> {
        Self::from_index(index).ok_or(NoSuchBucket(index))
    }
}

impl From<VoxelBucket> for u8 {
    fn from(bucket: VoxelBucket) -> Self {
        bucket.0
    }
}

impl VoxelBucket {
    /// The bucket of a row count. Zero rows fall into bucket 0, as one row does.
    #[must_use]
    pub const fn of(rows: usize) -> Self {
        if rows <= 1 {
            return Self(0);
        }
        // ⌈log₂ n⌉ is the number of bits of n - 1. No memory has more rows than the last bucket.
        let index = usize::BITS - (rows - 1).leading_zeros();
        let last = usize::BITS - 1;
        Self((if index < last { index } else { last }) as u8)
    }

    /// The bucket's number, `⌈log₂ n⌉`.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }

    /// The bucket of this number; `None` past the counts that a machine word can hold.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        if (index as u32) < usize::BITS { Some(Self(index)) } else { None }
    }

    /// The least row count of this bucket, `2^(b-1) + 1`; 0 of the first.
    #[must_use]
    pub const fn min_rows(self) -> usize {
        if self.0 == 0 { 0 } else { (1 << (self.0 - 1)) + 1 }
    }

    /// Whether a row count of this bucket is its least or its largest.
    #[must_use]
    pub const fn is_edge(self, rows: usize) -> bool {
        rows == self.min_rows() || rows == self.max_rows()
    }

    /// The largest row count of this bucket, `2^b`.
    #[must_use]
    pub const fn max_rows(self) -> usize {
        1 << self.0
    }

    /// How many buckets lie between the two: 0 for the same, 1 for neighbours.
    #[must_use]
    pub const fn distance(self, other: Self) -> u8 {
        self.0.abs_diff(other.0)
    }
}

impl fmt::Display for VoxelBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("2^{}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_close_their_bucket() {
        for (rows, bucket) in
            [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1 << 17, 17), ((1 << 17) + 1, 18)]
        {
            assert_eq!(VoxelBucket::of(rows).index(), bucket, "{rows}");
        }
    }

    #[test]
    fn the_default_counts_fall_into_seven_buckets() {
        let buckets = [30_000, 65_000, 130_000, 260_000, 500_000, 1_000_000, 2_000_000]
            .map(|rows| VoxelBucket::of(rows).index());
        assert_eq!(buckets, [15, 16, 17, 18, 19, 20, 21]);
    }

    #[test]
    fn n07_every_count_has_a_bucket() {
        for rows in [1 << 63, (1 << 63) + 1, usize::MAX] {
            assert_eq!(VoxelBucket::of(rows).max_rows(), 1 << 63);
        }
    }

    #[test]
    fn numbers_past_a_machine_word_are_refused() {
        assert_eq!(VoxelBucket::try_from(63), Ok(VoxelBucket(63)));
        assert_eq!(VoxelBucket::try_from(64), Err(NoSuchBucket(64)));
    }

    /// Where buckets begin and end: between such counts nothing changes.
    #[test]
    fn agrees_with_the_definition() {
        let around = |power: u32| [-1, 0, 1].map(|step| (1_i64 << power) + step);
        for rows in (1..=40).flat_map(around).filter(|rows| *rows >= 2) {
            let rows = rows as usize;
            let bucket = VoxelBucket::of(rows);
            assert!(rows <= bucket.max_rows(), "{rows}");
            assert!(rows > bucket.max_rows() / 2, "{rows}");
            let neighbours = [rows - 1, rows + 1].map(VoxelBucket::of);
            assert_eq!(bucket.is_edge(rows), neighbours != [bucket; 2], "{rows}");
            assert!(bucket.min_rows() <= rows, "{rows}");
        }
    }
}
