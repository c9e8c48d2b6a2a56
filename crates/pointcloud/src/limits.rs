//! What is the most and the least of what errors name.

/// The most voxels that a generated cloud may hold, over all batches.
pub const MAX_VOXELS: usize = 2_000_000;

/// The fewest float32 numbers in a row of a `.bin` scan.
pub(crate) const MIN_COLUMNS: usize = 3;

/// The most float32 numbers in a row of a `.bin` scan.
pub(crate) const MAX_COLUMNS: usize = 64;
