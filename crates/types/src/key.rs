//! The key of a cache.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Density, Operation, VoxelBucket};

/// What a decision is stored under, below the device it was measured on.
///
/// | in the key | because |
/// |---|---|
/// | the [`Operation`] | it decides which algorithms apply |
/// | classes of the row counts | small clouds do not fill the machine |
/// | class of the density | masks, waste and locality follow from it |
///
/// Not in the key: weights' values, row order, batch size, memory addresses. No algorithm's result
/// depends on them, and their effect on speed is left to the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeKey {
    /// The layer and direction.
    pub operation: Operation,
    /// Class of the number of input rows.
    pub bucket_in: VoxelBucket,
    /// Class of the number of output rows.
    pub bucket_out: VoxelBucket,
    /// Class of the mean pairs per output row.
    pub density: Density,
}

impl ShapeKey {
    /// The key of an operation over a kernel map with these counts.
    #[must_use]
    pub const fn new(operation: Operation, n_in: usize, n_out: usize, pairs: usize) -> Self {
        Self {
            operation,
            bucket_in: VoxelBucket::of(n_in),
            bucket_out: VoxelBucket::of(n_out),
            density: Density::of(pairs, n_out),
        }
    }
}

impl fmt::Display for ShapeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.bucket_out)?;
        if self.bucket_in != self.bucket_out {
            write!(f, " (in {})", self.bucket_in)?;
        }
        write!(f, " density {}", self.density)
    }
}
