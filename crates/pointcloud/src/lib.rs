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
//! ```
//! use voxtune_pointcloud::{FileOptions, Generator, generate, load_file, read_points, voxelize};
//!
//! // Exactly as many voxels as asked for, the same on every machine.
//! let cloud = generate(Generator::Surface, 10_000, 1, 0)?;
//! assert_eq!(cloud.len(), 10_000);
//!
//! let path = std::env::temp_dir().join(format!("three-{}.ply", std::process::id()));
//! std::fs::write(
//!     &path,
//!     "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n\
//!      property float z\nend_header\n0 0 0\n0.05 0 0\n1 0 0\n",
//! )?;
//! let points = read_points(&path)?;
//! assert_eq!(points.xyz.len(), 3);
//! // Two of them share a cell of 0.1.
//! assert_eq!(voxelize(&points.xyz, 0.1, None)?.len(), 2);
//! assert_eq!(load_file(&path, &FileOptions::default())?.len(), 2);
//! # std::fs::remove_file(path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
mod testing;

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
