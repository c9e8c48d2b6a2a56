//! Points to voxels: the cells of a fixed grid that points lie in, and the mean of each cell's
//! points.
//!
//! Cells are numbered in the order of their first points, as spconv and OpenPCDet number them. A
//! grid begins where its range begins, so that all clouds share it. Sums are float64 and run in the
//! order of the points: results are the same bits on any number of threads.
//!
//! | idea | where |
//! |---|---|
//! | the grid, its cells and the order of its axes | [`VoxelGrid`] |
//! | the sample of each point | [`PointBatches`] |
//! | which points a voxel's mean is of, and how many voxels there may be | [`Voxelization`] |
//! | the voxels, the means, and the voxel of each point | [`voxelize()`] |

mod batches;
mod error;
mod grid;
mod voxelize;

pub use batches::PointBatches;
pub use error::PointsError;
pub use grid::{AxisOrder, VoxelGrid};
pub use voxelize::{Points, Voxelization, Voxelized, voxelize};

#[cfg(test)]
mod tests;
