//! voxtune on NVIDIA GPUs: opening devices, building kernel maps, loading compiled kernels and
//! launching convolutions.
//!
//! | idea | type |
//! |---|---|
//! | a kernel family with its parameters | [`Instance`] |
//! | instances as cubins, and their compiler | [`Compiled`], [`KernelCompiler`] |
//! | a device with a stream, and its memory | [`CudaDevice`], [`DeviceBuffer`] |
//! | streams and memory of others | [`CallersStream`], [`Allocator`], [`ForeignMemory`] |
//! | time on it | [`EventTimer`], [`CacheFlush`], [`Probe`] |
//! | voxels on it | [`Cloud`] |
//! | the voxels of a strided or transposed layer | [`OutputsBuilder`] |
//! | voxels of points | [`PointsBuilder`] |
//! | voxels by hash | [`VoxelIndex`] |
//! | which rows meet | [`MapBuilder`], [`StridedMapBuilder`], [`DeviceKernelMap`], [`RowOrder`] |
//! | what can compute an operation | [`Algorithm`], [`algorithms`], [`default_algorithm`] |
//! | an algorithm ready to launch | [`Prepared`], [`Operands`], [`Epilogue`] |
//! | calls recorded once, launched often | [`Graph`] |
//! | a frame recorded with all that it uses | [`FrameContext`], [`FrameGraph`] |
//! | whether a result is right | [`Verifier`] |
//! | operands made on the device | [`NoiseFill`] |
//! | what layers do beside convolutions | [`ops`] |
//!
//! Building needs nothing of CUDA; running needs a driver. Every library is loaded when first used,
//! after asking whether it is there: without one, calls answer with a [`CudaError`] that names the
//! remedy.
//!
//! This is one of two crates with `unsafe` code: calls of the driver, of cuBLAS, and launches,
//! whose arguments no compiler checks. Each such place says why it holds.

mod binding;
mod buffer;
mod code;
mod device;

mod blocking_kernel;
mod error;
mod execution;
mod families;
mod frame;
mod gpu;
mod graph;
mod instance;
mod library;
mod loaded;
mod map;
pub mod model;
mod module;
mod noise;
pub mod ops;
mod points;
mod row_count;
mod timer;
mod verify;
mod workspace;

pub use binding::CUstream;
pub use blocking_kernel::BlockingKernel;
pub use buffer::{DeviceBuffer, DeviceElement, DeviceSlice, DeviceSliceMut};
pub use code::{
    Code, Compiled, CompilerId, DECLARATION, KernelCompiler, file_name, find_compiled, hash_fields,
    hash_of_files, instance_args, is_declaration, source_hash, source_hash_of,
};
pub use device::CudaDevice;
pub use error::{CudaError, Result};
pub use execution::{Allocator, CallersStream, ForeignMemory, MemoryUse};
pub use families::{
    Algorithm, Cublas, Epilogue, Matrix, MatrixMut, Operands, Prepared, algorithm, algorithms,
    default_algorithm, fallback_algorithm,
};
pub use frame::{FrameContext, FrameGraph, PlannedBytes};
pub use gpu::{Memory, devices};
pub use graph::Graph;
pub use instance::Instance;
pub use map::{
    Beside, Cloud, DeviceKernelMap, LevelPlan, MapBuilder, MapCounts, MapPart, MapPlan, MapReport,
    NetworkMapBuilder, NetworkMaps, NetworkPlan, OutputCounts, Outputs, OutputsBuilder,
    OutputsReport, PlanItem, RowOrder, StridedMapBuilder, TilePlan, VoxelIndex,
};
pub use noise::{Noise, NoiseFill};
pub use points::{
    DevicePointBatches, DevicePoints, PointGrid, PointLimits, PointVoxels, PointsBuilder,
    SamplesReport, StrayRow,
};
pub use timer::{CacheFlush, EventTimer, Probe};
pub use verify::{Verifier, result_dtype};
pub use workspace::Workspace;
