//! Why an operation on features was refused.

use voxtune_types::{DType, Voxel};

/// Why an operation was refused. Nothing has been written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// A buffer is too short or too long.
    #[error("{operand} holds {found} elements: expected {expected}")]
    WrongLength {
        /// Which buffer.
        operand: &'static str,
        /// Elements that the shape asks for.
        expected: u128,
        /// Elements that were given.
        found: usize,
    },
    /// A buffer is of another storage type.
    #[error("{operand} is stored as {found}: expected {expected}")]
    WrongDType {
        /// Which buffer.
        operand: &'static str,
        /// Type of the result.
        expected: DType,
        /// Type that was given.
        found: DType,
    },
    /// A row names a group that there is not.
    #[error("row {row} names group {found}: expected one below {groups}, or -1 for none")]
    NoSuchGroup {
        /// The row.
        row: usize,
        /// What it names.
        found: i32,
        /// How many groups there are.
        groups: usize,
    },
    /// More rows or groups than 32-bit numbers can name.
    #[error("{what} are {found}: expected at most {}", i32::MAX)]
    TooMany {
        /// What is too many.
        what: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A voxel that lies in no cell of a dense grid.
    #[error(
        "row {row} is {voxel}, outside the dense grid of {batches} samples of {shape:?} cells: \
         expected coordinates from 0 up to those, exclusive"
    )]
    Outside {
        /// The row.
        row: usize,
        /// Where it is.
        voxel: Voxel,
        /// Samples of the grid.
        batches: usize,
        /// Cells along each axis.
        shape: [usize; 3],
    },
}
