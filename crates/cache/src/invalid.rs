//! What no cache may hold.

use voxtune_types::{Density, Operation, ShapeKey, VoxelBucket};

/// A measurement that cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// A summary that no samples can have.
    #[error(
        "a timing of {samples} samples with median {median_ns} ns and minimum {min_ns} ns: \
         expected at least one sample, a median of at least 1 ns and no smaller than the minimum"
    )]
    Timing {
        /// The timing's median.
        median_ns: u64,
        /// The timing's minimum.
        min_ns: u64,
        /// The timing's number of samples.
        samples: u32,
    },
    /// An error that no verified result can have.
    #[error("a verification error of {0}: expected a finite number from 0 up")]
    MaxError(f64),
    /// A share of more than there is.
    #[error("a charge of {share_ns} ns for what takes {made_ns} ns to make: expected at most that")]
    Charge {
        /// What it takes to make it.
        made_ns: u64,
        /// What the layer is charged.
        share_ns: u64,
    },
    /// Ends of an interval that are out of order, not positive or not finite.
    #[error("a ratio of {median} in {low} to {high}: expected finite 0 < low ≤ median ≤ high")]
    Interval {
        /// Lower end.
        low: f64,
        /// Best estimate.
        median: f64,
        /// Upper end.
        high: f64,
    },
    /// A key that no layer can have.
    #[error("a key with {field} {found}: expected {expected}")]
    Key {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u32,
        /// What it may be.
        expected: &'static str,
    },
}

/// The most channels or groups that a stored key may have, so that sizes computed from it fit a
/// machine word.
const MAX_CHANNELS: u32 = 1 << 20;

/// Whether some layer can have this key.
pub(crate) fn check_key(key: &ShapeKey) -> Result<(), InvalidRecord> {
    check_operation(&key.operation)?;
    check_classes(key.bucket_in, key.bucket_out, key.density)
}

/// Whether some layer can have this operation.
pub(crate) fn check_operation(operation: &Operation) -> Result<(), InvalidRecord> {
    for (field, found) in
        [("c_in", operation.c_in), ("c_out", operation.c_out), ("groups", operation.groups)]
    {
        if !(1..=MAX_CHANNELS).contains(&found) {
            return Err(InvalidRecord::Key { field, found, expected: "1 to 1048576" });
        }
    }
    if operation.stride.contains(&0) {
        return Err(InvalidRecord::Key { field: "stride", found: 0, expected: "at least 1" });
    }
    Ok(())
}

/// Whether these classes exist.
pub(crate) fn check_classes(
    bucket_in: VoxelBucket,
    bucket_out: VoxelBucket,
    density: Density,
) -> Result<(), InvalidRecord> {
    for (field, bucket) in [("bucket_in", bucket_in), ("bucket_out", bucket_out)] {
        if VoxelBucket::from_index(bucket.index()).is_none() {
            let found = bucket.index().into();
            return Err(InvalidRecord::Key { field, found, expected: "0 to 63" });
        }
    }
    if Density::from_index(density.index()).is_none() {
        let found = density.index().into();
        return Err(InvalidRecord::Key { field: "density", found, expected: "0 to 15" });
    }
    Ok(())
}
