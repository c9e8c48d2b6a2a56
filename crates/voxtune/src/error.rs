//! What can go wrong in a call.

use std::borrow::Cow;

use voxtune_cuda::CudaError;
use voxtune_types::{Arch, DType, DeviceIdentity, Geometry, Operation, ShapeKey, TooLarge, Voxel};

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
    /// A frame whose level has more voxels than it had room for.
    #[error(
        "the outputs of layer {level} are {needed} voxels, and the frame had room for {capacity}: \
             its results are wrong; run it again, there is room now (a compiled network: by \
             `run_or_grow`)"
    )]
    Overflow {
        /// The layer that made the level.
        level: Geometry,
        /// Voxels that there are, at least.
        needed: usize,
        /// Voxels that there was room for.
        capacity: usize,
    },
    /// A level of a compiled network that no frame of its profile had.
    #[error(
        "no frame of the profile had outputs of layer {level}: make the profile of frames that run \
         through the very network that is compiled"
    )]
    NotInProfile {
        /// The layer that makes the level.
        level: Geometry,
    },
    /// A profile of no frames.
    #[error(
        "a profile needs at least one frame: give it clouds like those that the network will see"
    )]
    EmptyProfile,
    /// A frame of another kind than those of the profile.
    #[error(
        "a compiled network takes frames of {expected}, as those of its profile, and was given one \
         of {found}"
    )]
    OtherFrame {
        /// What the profile's frames are.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Cells that every frame of a compiled network overwrites.
    #[error(
        "a compiled network makes these cells anew in each frame, so none can be lent: copy them by \
         `Voxels::read_cells`"
    )]
    Repeated,
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
    /// A function that was to write columns of a tensor gave them other memory.
    #[error(
        "columns to write were replaced: expected values in the tensor that the function was \
         given, found another one in its place; write with `_into` functions, `write_f32` or \
         `fill_noise`, and leave its shape"
    )]
    ColumnsReplaced,
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
    #[error(
        "{what}: expected {expected}, found {found}; round it with `Tensor::from_f32(device, \
         DType::{expected:?}, rows, channels, &tensor.to_f32()?)`, or make the layer of {found}"
    )]
    DType {
        /// Which operand.
        what: &'static str,
        /// Storage type of the layer.
        expected: DType,
        /// Storage type of the tensor.
        found: DType,
    },
    /// A tensor of more bytes than an allocation can have.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A tensor that the host has no memory for.
    #[error(
        "the host has no memory for {rows} rows of {channels} channels in {dtype}: make the tensor \
         smaller, or free some"
    )]
    NoMemory {
        /// Storage type.
        dtype: DType,
        /// Rows asked for.
        rows: usize,
        /// Channels asked for.
        channels: usize,
    },
    /// A layer with more weights than an allocation can have.
    #[error(
        "the weights of {operation} are more than memory can hold: found {} in and {} out \
         channels; look for a count that has wrapped",
        operation.c_in, operation.c_out
    )]
    TooManyWeights {
        /// The layer.
        operation: Operation,
    },
    /// A statistic or parameter that a batch normalisation cannot have.
    #[error(
        "{what} of a batch normalisation: expected {expected}, found {found} for channel {channel}"
    )]
    BatchNorm {
        /// Which of the slices.
        what: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: f32,
        /// Of which channel.
        channel: usize,
    },
    /// An epsilon that a batch normalisation cannot have.
    #[error(
        "epsilon of a batch normalisation: expected a finite number of at least 0, found {found}"
    )]
    Epsilon {
        /// What it is.
        found: f32,
    },
    /// A kernel map of another kind of layer than the operation.
    #[error(
        "the kernel map is one of layers `{map}`, and {operation} needs one of `{}`: take that of \
         `Voxels::outputs_of` for the layer's geometry",
        operation.typical_geometry()
    )]
    WrongMap {
        /// What was to be computed.
        operation: Operation,
        /// What the map was built for.
        map: Geometry,
    },
    /// Voxels outside the grid that they were said to be in.
    #[error(
        "row {row}, the voxel {voxel}, lies outside the shape {} x {} x {}: crop the cloud first, or \
         give the grid's extent in the order of the coordinates",
        shape[0], shape[1], shape[2]
    )]
    OutsideShape {
        /// The first row outside.
        row: usize,
        /// Its voxel.
        voxel: Voxel,
        /// Cells along each axis.
        shape: [u32; 3],
    },
    /// A dense grid of voxels that are in none.
    #[error("the voxels have no shape, which a dense tensor needs: make them by `Voxels::within`")]
    NoShape,
    /// An inverse layer over voxels that no such layer made.
    #[error(
        "a layer `{inverse}` goes back to the inputs of a sparse layer of the same kernel and \
         stride, and {} made these voxels: run it on that layer's outputs",
        made_by.map_or_else(|| "no layer".to_owned(), |by| format!("one of `{by}`"))
    )]
    NothingToUndo {
        /// The inverse layer.
        inverse: Geometry,
        /// What made the voxels.
        made_by: Option<Geometry>,
    },
    /// A layer that names a map which is not its own.
    #[error(
        "the layer {layer} names its map `{name}`, {}",
        named.map_or_else(
            || "which no layer before it has: an inverse layer goes back along the layer of its name".to_owned(),
            |named| format!("which is that of a layer {named} between other voxels or of another geometry: give it a name of its own"),
        )
    )]
    MapName {
        /// The name.
        name: String,
        /// The layer.
        layer: Geometry,
        /// The layer whose map has the name.
        named: Option<Geometry>,
    },
    /// A layer whose outputs are the caller's, without them.
    #[error("a layer of given outputs needs them: take its map from `Voxels::map_to`")]
    NoOutputsGiven,
    /// Tensors over different voxels in one sum or concatenation.
    #[error(
        "{what} needs tensors over the same voxels, found {first} and {other} rows of different \
         ones: bring one to the other's voxels by a layer first"
    )]
    OtherVoxels {
        /// What was to be done.
        what: &'static str,
        /// Rows of the first tensor.
        first: usize,
        /// Rows of the other.
        other: usize,
    },
    /// A layer that cannot be built as described.
    #[error("{layer}: {problem}")]
    Layer {
        /// Which layer, as described.
        layer: String,
        /// What is wrong, what was expected.
        problem: String,
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
    #[error("{device} has no algorithm for {operation}: {}", why_none(device, operation))]
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
    /// An operation on features refused what it was given.
    #[error(transparent)]
    Features(#[from] voxtune_cpu::ops::OpError),
    /// No voxels could be made of points.
    #[error(transparent)]
    Points(#[from] voxtune_cpu::points::PointsError),
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
    /// Streams, device memory or allocators where there are none.
    #[error(
        "{what} belong to GPUs, and {device} is none: open one, such as by `DeviceChoice::Cuda(0)`"
    )]
    NotOfAGpu {
        /// What was handed over.
        what: &'static str,
        /// Where.
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
        match self {
            Self::Cuda(error) => error.is_out_of_memory(),
            Self::TooLarge(_) | Self::NoMemory { .. } => true,
            _ => false,
        }
    }

    /// Whether the device cannot be used any more by this process: a kernel went astray, and every
    /// later call fails likewise.
    #[must_use]
    pub const fn is_device_lost(&self) -> bool {
        matches!(self, Self::Cuda(error) if error.is_context_lost())
    }
}

/// Why no algorithm of a device computes an operation, and what repairs it.
fn why_none(device: &DeviceIdentity, operation: &Operation) -> Cow<'static, str> {
    if let Err(why) = device.arch.supported() {
        return why.to_string().into();
    }
    let on_gpu = matches!(device.arch, Arch::Cuda(_));
    let volume = operation.kernel.volume();
    let why = match operation {
        Operation { c_in: 0, .. } | Operation { c_out: 0, .. } => "a layer needs channels",
        Operation { groups, .. } if *groups != 1 => {
            "channel groups are not computed; make a layer for each group"
        }
        _ if on_gpu && volume > voxtune_cuda::MapBuilder::MAX_VOLUME => {
            "a map of a GPU holds at most 125 offsets; layers cut larger kernels into slices"
        }
        _ if on_gpu => {
            "none of its kernels can be had, or the channels are more than 2^20 or their product \
             more than 2^26; build with the feature of this architecture, or name a folder in \
             VOXTUNE_KERNELS"
        }
        _ => "use a registry that has one",
    };
    why.into()
}
