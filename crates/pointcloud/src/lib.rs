//! Voxel clouds: exact generators, readers of real scans, voxelisation.
//!
//! | want | have |
//! |---|---|
//! | a cloud with exactly n voxels | [`generate()`] with a [`Generator`] |
//! | the cloud that a command line names | [`Source`] |
//! | the points of a scan file | [`read_points`]; [`read_contents`] where it may hold voxels |
//! | cells of points | [`voxelize()`] with an optional [`Crop`] |
//! | voxels of a scan file, in one step | [`load_file`]; [`load_scan`] with what is doubtful |
//!
//! Every cloud comes out distinct and sorted by batch, x, y, z, and is the same on every platform
//! and with every number of threads.
#![forbid(unsafe_code)]

pub mod columns;
pub mod crop;
pub mod error;
pub mod generate;
pub mod points;
pub mod read;
pub mod source;
pub mod voxelize;
pub mod warning;

mod bin;
mod bin_doubt;
mod contents;
mod header_lines;
mod limits;
mod lzf;
mod npy;
mod npz;
mod number;
mod pcd;
mod pcd_header;
mod ply;
mod ply_header;
mod precision;
mod random;
mod scalar;
mod surface;
mod thick;
mod tile;
mod uniform;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod malformed_tests;
#[cfg(test)]
mod neighbours;

pub use columns::Columns;
pub use contents::Contents;
pub use crop::Crop;
pub use error::CloudError;
pub use generate::{Generator, generate};
pub use limits::MAX_VOXELS;
pub use points::Points;
pub use read::{read_contents, read_points, read_points_in};
pub use source::{FileOptions, Scan, Source, load_file, load_scan, load_scan_in_order};
pub use voxelize::voxelize;
pub use warning::ScanWarning;
