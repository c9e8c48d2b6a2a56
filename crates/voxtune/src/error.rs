//! What can go wrong in a call.

use voxtune_cuda::CudaError;
use voxtune_types::{DType, DeviceIdentity, Operation, ShapeKey};

/// A call that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvError {
    /// A slice or tensor whose length does not follow from the shape.
    #[error("{what}: expected {expected} elements, found {found}")]
    Length {
        /// Which operand.
        what: &'static str,
        /// The length that the shape asks for.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// A tensor with the wrong number of channels.
    #[error("{what}: expected {expected} channels, found {found}")]
    Channels {
        /// Which operand.
        what: &'static str,
        /// Channels of the layer.
        expected: usize,
        /// Channels of the tensor.
        found: usize,
    },
    /// A tensor whose rows are not those of the voxels.
    #[error("{what}: expected {expected} rows, one for each voxel, found {found}")]
    Rows {
        /// Which operand.
        what: &'static str,
        /// Number of voxels.
        expected: usize,
        /// Rows of the tensor.
        found: usize,
    },
    /// A tensor of another storage type than the layer.
    #[error("{what}: expected {expected}, found {found}; convert it with `Tensor::from_f32`")]
    DType {
        /// Which operand.
        what: &'static str,
        /// Storage type of the layer.
        expected: DType,
        /// Storage type of the tensor.
        found: DType,
    },
    /// A layer without channels.
    #[error("a layer needs channels: found {c_in} in, {c_out} out")]
    NoChannels {
        /// Input channels given.
        c_in: u32,
        /// Output channels given.
        c_out: u32,
    },
    /// No kernel of the device can compute the operation.
    #[error("{device} has no algorithm for {operation}")]
    NoAlgorithm {
        /// Where it was to run.
        device: DeviceIdentity,
        /// What was to be computed.
        operation: Operation,
    },
    /// The algorithms that the choice is restricted to cannot run.
    #[error(
        "{} is restricted to {names} (by the program, WARPCONVNET_*_ALGO_MODE or the file algo-modes in \
         the user's folder), which {device} has not for {operation}: lift that, or name an algorithm \
         of this device (`voxtune inspect` lists those measured)",
        operation.direction
    )]
    Pinned {
        /// The names.
        names: String,
        /// Where it was to run.
        device: DeviceIdentity,
        /// What was to be computed.
        operation: Operation,
    },
    /// The policy forbids a guess and no cache answers.
    #[error(
        "no cache holds {key} for {device}: populate it with `voxtune populate` (from `cargo install \
         voxtune-cli`), or choose `MissPolicy::BestGrade`"
    )]
    Miss {
        /// Where it was to run.
        device: DeviceIdentity,
        /// What was looked up.
        key: ShapeKey,
    },
    /// The kernel map could not be built.
    #[error(transparent)]
    KernelMap(#[from] voxtune_cpu::KernelMapError),
    /// The host backend refused the call.
    #[error(transparent)]
    Cpu(#[from] voxtune_cpu::RunError),
    /// The GPU backend refused the call, or failed in it.
    #[error(transparent)]
    Cuda(#[from] CudaError),
    /// A tensor, map or algorithm of one device in a call on another.
    #[error("{algorithm} was given to {device}, which is not its device")]
    WrongDevice {
        /// Which algorithm.
        algorithm: String,
        /// Where it was to run.
        device: DeviceIdentity,
    },
    /// A graph was to be recorded where there are none.
    #[error("graphs are recorded on GPUs, and {device} is none: run the work itself there")]
    NoGraphs {
        /// Where it was to be recorded.
        device: DeviceIdentity,
    },
    /// The device could not be opened.
    #[error(transparent)]
    Device(#[from] crate::DeviceError),
    /// A variable or a file that decides on algorithms is malformed.
    #[error(transparent)]
    Mode(#[from] crate::PinError),
    /// A kernel failed for a reason of its own.
    #[error("{algorithm} failed: {detail}")]
    Launch {
        /// Which algorithm.
        algorithm: String,
        /// What it reported.
        detail: String,
    },
}

impl ConvError {
    /// Whether a kernel's code could not be made, rather than run.
    #[must_use]
    pub const fn is_compilation(&self) -> bool {
        matches!(
            self,
            Self::Cuda(
                CudaError::NvccFailed { .. }
                    | CudaError::NoKernel { .. }
                    | CudaError::NotPacked { .. }
            )
        )
    }

    /// Whether the device had too little memory.
    #[must_use]
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Cuda(error) if error.is_out_of_memory())
    }

    /// Whether the device cannot be used any more by this process: a kernel went astray, and every
    /// later call fails likewise.
    #[must_use]
    pub const fn is_device_lost(&self) -> bool {
        matches!(self, Self::Cuda(error) if error.is_context_lost())
    }
}
