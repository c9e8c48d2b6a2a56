//! Points on a device, and the voxels that they lie in.

mod cloud;
mod voxels;

pub use cloud::PointCloud;
pub use voxels::PointVoxels;
pub use voxtune_cpu::points::{AxisOrder, VoxelGrid, Voxelization};

#[cfg(test)]
mod tests;
