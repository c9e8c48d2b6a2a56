//! Why points were not made voxels of.

use super::{PointBatches, VoxelGrid};
use crate::ops::OpError;

/// Why points were not made voxels of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PointsError {
    /// An axis of a grid without cells, or with too many.
    #[error(
        "the grid along {axis} goes from {low} to {high} in cells of {size}: expected finite \
         numbers, a size above 0 and 1 to {} cells",
        VoxelGrid::MAX_CELLS
    )]
    Grid {
        /// `x`, `y` or `z`.
        axis: char,
        /// Where it begins.
        low: f32,
        /// Where it ends.
        high: f32,
        /// The size of a cell.
        size: f32,
    },
    /// More cells than 63-bit numbers can name.
    #[error(
        "{samples} samples of {cells:?} cells: expected fewer than 2^63 in all; take a smaller \
         range or larger voxels"
    )]
    TooManyCells {
        /// Samples of the cloud.
        samples: usize,
        /// Cells along x, y and z.
        cells: [u32; 3],
    },
    /// Points without a place.
    #[error("points have {found} columns: expected x, y, z and any further ones")]
    Columns {
        /// Columns given.
        found: usize,
    },
    /// Numbers that are no whole rows, or batch numbers of other points.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// What is too short or too long.
        what: &'static str,
        /// How many were expected.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// More points than rows can be numbered.
    #[error("a cloud of {found} points: expected at most {}", PointBatches::MAX_POINTS)]
    TooManyPoints {
        /// How many there are.
        found: usize,
    },
    /// A batch number that no sample has.
    #[error(
        "point {point} is of batch {found}: expected 0 to {}",
        PointBatches::MAX_SAMPLES - 1
    )]
    Batch {
        /// The point.
        point: usize,
        /// Its batch number.
        found: i32,
    },
    /// More samples than batch numbers.
    #[error("{found} samples: expected at most {}", PointBatches::MAX_SAMPLES)]
    TooManySamples {
        /// How many there are.
        found: usize,
    },
    /// Samples that are mixed where each may have so many voxels.
    #[error(
        "point {point}, of batch {batch}, comes after one of a later batch: the points of a sample \
         must lie together, in the order of batches, where a sample's voxels are limited"
    )]
    Mixed {
        /// The first point that is late.
        point: usize,
        /// Its batch number.
        batch: i32,
    },
    /// A mean of no points.
    #[error("voxels of at most 0 points have no mean: expected at least 1")]
    NoPoints,
    /// The voxels of points cannot be numbered.
    #[error(transparent)]
    Rows(#[from] OpError),
}
