//! The words that every part of voxtune shares.
//!
//! Nothing here does I/O, knows a device or runs a kernel. Data flows from a layer and a cloud to a
//! [`ShapeKey`], and from there to [`AlgoId`]s that caches store and the registry runs.
//!
//! | idea | type |
//! |---|---|
//! | which product of the convolution | [`Direction`], to match over [`Product`] |
//! | storage type of features and weights | [`DType`] |
//! | what kind of machine | [`Arch`], [`DeviceIdentity`] |
//! | class of a row count | [`VoxelBucket`] |
//! | class of a kernel map's density | [`Density`] |
//! | the layer, without its rows | [`Operation`] |
//! | the layer with its rows: what a cache is keyed by | [`ShapeKey`] |
//! | which kernel, with which parameters | [`AlgoId`] |
//! | which kernels may compete | [`AlgoMode`] |
//! | which rows a layer makes | [`LayerKind`] |
//! | where its rows meet: what a kernel map is built for | [`Geometry`] |
//! | what is done to each element last | [`Activation`] |
//! | what becomes of rows that meet | [`Reduction`], [`Pooling`] |
//! | one cell of a sparse tensor | [`Voxel`] |
//! | a name out of a file or from a caller, fit to be printed | [`printable()`] |
//! | how many elements a matrix has | [`matrix_len`] |
#![forbid(unsafe_code)]

pub mod activation;
pub mod algo;
pub mod arch;
pub mod bucket;
pub mod density;
pub mod direction;
pub mod dtype;
pub mod geometry;
pub mod kernel_size;
pub mod key;
pub mod kind;
pub mod mode;
pub mod operation;
pub mod printable;
pub mod reduction;
pub mod size;
pub mod text;
pub mod voxel;

pub use activation::Activation;
pub use algo::AlgoId;
pub use arch::{Arch, ComputeCapability, CpuIsa, DeviceIdentity};
pub use bucket::VoxelBucket;
pub use density::Density;
pub use direction::{Direction, Product};
pub use dtype::DType;
pub use geometry::{Geometry, GeometryError};
pub use kernel_size::KernelSize;
pub use key::ShapeKey;
pub use kind::{LayerKind, PitchClass};
pub use mode::AlgoMode;
pub use operation::Operation;
pub use printable::{printable, printable_path};
pub use reduction::{Pooling, Reduction};
pub use size::{TooLarge, matrix_len};
pub use voxel::Voxel;
