//! Sparse 3-D convolution that starts at full speed.
//!
//! Which kernel is fastest for a layer depends on voxel count, density, channels, storage type and
//! device. voxtune measured that beforehand and carries the answers: a layer's first call runs the
//! kernel that won, and nothing is tuned while a program runs.
//!
//! ```
//! use voxtune::{DType, Device, SparseTensor, SubmConv3d, Tensor, Voxel, Voxels, WeightLayout};
//!
//! let device = Device::cpu()?;
//! let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1), Voxel::new(0, 5, 5, 5)];
//! let voxels = Voxels::new(&device, cells)?;
//! let features = Tensor::from_f32(&device, DType::Float32, 3, 4, &[1.0; 12])?;
//! let weights = [0.5; 27 * 4 * 8];
//! let layer = SubmConv3d::builder(4, 8).weights(WeightLayout::Rsck, &weights).build(&device)?;
//! let output = layer.forward(&SparseTensor::new(voxels, features)?)?;
//! assert_eq!(output.features().to_f32()?[..8], [4.0; 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | concept | type |
//! |---|---|
//! | a processor that runs kernels | [`Device`] |
//! | occupied cells, with their kernel maps | [`Voxels`] |
//! | how many a network's levels are expected to have | [`ExpectedCounts`] |
//! | rows of channels on a device | [`Tensor`] |
//! | both | [`SparseTensor`] |
//! | points, and the voxels that they lie in | [`PointCloud`], [`VoxelGrid`], [`Voxelization`] |
//! | convolutions | [`SubmConv3d`], [`SparseConv3d`], [`SparseInverseConv3d`] |
//! | | [`SparseConvTranspose3d`] |
//! | other layers | [`BatchNorm`], [`LayerNorm`], [`Linear`], [`Activation`] |
//! | pools | [`MaxPool3d`], [`AvgPool3d`], [`GlobalPool`] |
//! | networks of layers | [`Module`], [`Sequential`], [`Residual`], [`Skip`] |
//! | what follows a convolution in the same kernel | [`Epilogue`], [`Sequential::fuse`] |
//! | what networks do beside convolutions | [`ops`] |
//! | the training step | [`train`], [`Tape`], [`Gradients`] |
//! | a network as one graph a frame | [`CompiledNetwork`], [`FrameProfile`] |
//! | calls recorded once, launched often | [`Graph`] |
//! | streams, allocators and memory of other libraries | [`cuda`], [`Device::with_stream`] |
//! | every algorithm of a device | [`Registry`] |
//! | what a call is expected to take, and takes at least | [`cost`] |
//! | which of them to run, and why | [`Tuner`], [`Resolution`], [`Grade`], [`Explanation`] |
//! | what to do where no cache knows | [`MissPolicy`], [`MissJournal`] |
#![forbid(unsafe_code)]

mod compiled;
pub mod cost;
pub mod cuda;
mod device;
mod epilogue;
mod error;
mod folder;
#[doc(hidden)]
pub mod inspection;
mod kernel_map;
mod layers;
mod noise;
pub mod ops;
mod points;
mod reference;
mod registry;
mod resolve_cache;
mod tensor;
pub mod train;
mod tuner;
mod voxels;

pub use compiled::{CapacityClass, CompiledNetwork, FrameOutput, FrameProfile, ProfileError};
pub use cost::{Basis, Estimate};
pub use device::{
    BackgroundCompile, Device, DeviceChoice, DeviceError, KernelSource, L2State,
    MalformedDeviceChoice, Sample,
};
pub use epilogue::Epilogue;
pub use error::ConvError;
pub use folder::{FOLDER_VARIABLES, NoUserFolder, Untrusted, user_folder};
pub use kernel_map::{KernelMap, MapCounts};
pub use layers::{
    Average, AvgPool3d, Axes, BatchNorm, BatchStatistics, Conv, ConvBuilder, ConvGradients,
    ConvKind, GlobalPool, Gradients, Inverse, LayerNorm, Linear, MaxPool3d, Maximum, Module,
    Pointwise, Pool, PoolBuilder, PoolKind, Prepared, Residual, Sequential, Skip, Sparse,
    SparseConv3d, SparseConvTranspose3d, SparseInverseConv3d, SparseTensor, SubmConv3d,
    Submanifold, Tape, Transposed, WeightLayout,
};
pub use ops::Activation;
pub use points::{AxisOrder, PointCloud, PointVoxels, VoxelGrid, Voxelization};
pub use reference::Reference;
pub use registry::{Algorithm, Launch, Registry, is_known_algorithm, known_algorithms};
pub use tensor::{Tensor, TensorColumns};
pub use tuner::{
    ExplainedChoice, Explanation, Grade, GradeKind, MeasuredWorkload, Miss, MissJournal,
    MissPolicy, PinError, Resolution, SkipReason, SkippedGrade, Source, TuneError, TuneOnMiss,
    Tuner, TunerBuilder, TunerError, modes_of_process, read_modes,
};
pub use voxels::{ExpectedCounts, Voxels};
pub use voxtune_cache::{KernelHash, Requirement};
pub use voxtune_caches::EmbeddedFile;
pub use voxtune_cuda::{Graph, MapPart, MemoryUse, Noise};
pub use voxtune_types::{
    AlgoId, AlgoMode, Arch, DType, Density, DeviceIdentity, Direction, Geometry, GeometryError,
    KernelSize, LayerKind, Operation, PitchClass, ShapeKey, TooLarge, Voxel, VoxelBucket,
};

/// The decision files that the build script of the calling package has listed with
/// `voxtune_embed::caches`, for [`TunerBuilder::files`].
///
/// ```ignore
/// let tuner = Tuner::builder().files(voxtune::embed_caches!()).embedded().build();
/// ```
#[macro_export]
macro_rules! embed_caches {
    () => {
        include!(concat!(env!("OUT_DIR"), "/voxtune_caches.rs"))
    };
}

/// The kernel packs that the build script of the calling package has listed with
/// `voxtune_embed::caches`, for [`TunerBuilder::packs`].
///
/// ```ignore
/// let tuner = Tuner::builder().packs(voxtune::embed_packs!()).embedded().build();
/// let (device, note) = tuner.open_device(DeviceChoice::Auto)?;
/// ```
#[macro_export]
macro_rules! embed_packs {
    () => {
        include!(concat!(env!("OUT_DIR"), "/voxtune_packs.rs"))
    };
}

/// The programs of both READMEs and of the guide compile and run when pasted whole.
#[cfg(doctest)]
mod readmes {
    #[doc = include_str!("../../../docs/guide/tune-your-own.md")]
    struct TuneYourOwn;
    #[doc = include_str!("../../../README.md")]
    struct OfTheRepository;
    #[doc = include_str!("../README.md")]
    struct OfThePackage;
}
