//! Voxel clouds: exact generators, readers of real scans, voxelisation.
