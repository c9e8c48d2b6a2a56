//! What can go wrong between a source and a result on the GPU.

use std::path::PathBuf;

use crate::binding::cublas::result::CublasError;
use crate::binding::cublas::sys::cublasStatus_t;
use crate::binding::driver::DriverError;
use crate::binding::driver::sys::CUresult;
use voxtune_types::arch::UnsupportedArch;
use voxtune_types::{ComputeCapability, Direction, Voxel};

/// A failure of compilation, device or launch. Each text says what was found and what to do about
/// it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The driver's library cannot be loaded.
    #[error(
        "no CUDA driver: libcuda was not found; install NVIDIA's driver (580 or newer) or use the CPU"
    )]
    NoDriver,
    /// The program cannot call a driver.
    #[error(
        "this program is built without CUDA: build it with voxtune's feature `cuda`, or use the CPU"
    )]
    NotBuilt,
    /// The driver is there, the device is not.
    #[error("no CUDA device {ordinal}: {}", describe_devices(.found))]
    NoDevice {
        /// The device asked for.
        ordinal: usize,
        /// Names of the devices that exist, by ordinal.
        found: Vec<String>,
    },
    /// The device is there, and no kernel runs on its architecture.
    #[error("{name}: {source}")]
    UnsupportedArch {
        /// The device's name.
        name: String,
        /// What it is, and what is needed.
        source: UnsupportedArch,
    },
    /// The driver cannot load what the compiler made.
    #[error(
        "the driver supports CUDA {}.{}, the kernels need {}.{}: update the driver (580 or newer for CUDA 13.0)",
        .found / 1000, .found % 1000 / 10, .needed / 1000, .needed % 1000 / 10
    )]
    DriverTooOld {
        /// What the driver supports, as 1000 · major + 10 · minor.
        found: i32,
        /// What is needed, likewise.
        needed: i32,
    },
    /// A call of the driver failed.
    #[error("{what}: the CUDA driver answered {source}")]
    Driver {
        /// What was being done.
        what: &'static str,
        /// The driver's answer.
        source: DriverError,
    },
    /// An algorithm needs cuBLAS and it cannot be loaded.
    #[error("libcublas was not found: install it, or choose an algorithm other than explicit_gemm")]
    NoCublas,
    /// A call of cuBLAS failed.
    #[error("{what}: cuBLAS answered {source:?}")]
    Cublas {
        /// What was being done.
        what: &'static str,
        /// The library's answer.
        source: CublasError,
    },
    /// An allocation among calls that are being recorded.
    #[error(
        "{bytes} bytes of device memory asked for inside a graph capture: make results before it (such \
         as for `forward_into`), and run the captured calls once without it"
    )]
    AllocationInCapture {
        /// What was asked for.
        bytes: usize,
    },
    /// A capture that the driver has no graph of.
    #[error("the graph capture gave no graph: begin and end it by one call of `capture` alone")]
    NothingCaptured,
    /// Code that takes other parameters than this program passes.
    #[error(
        "{kernel} takes parameters of {found:?} bytes, this program passes {expected:?}: its code is \
         of another version; compile it again, or remove the folder that VOXTUNE_KERNELS names"
    )]
    ParameterSize {
        /// The kernel.
        kernel: &'static str,
        /// Bytes of each parameter that the host passes.
        expected: Vec<usize>,
        /// Bytes of each parameter that the kernel takes.
        found: Vec<usize>,
    },
    /// Rows that lie closer than they are long, or a pitch where rows must be dense.
    #[error(
        "{what}: expected rows at least {channels} elements apart, or dense, found a pitch of {found}"
    )]
    Pitch {
        /// Which operand.
        what: &'static str,
        /// Elements of a row.
        channels: usize,
        /// Elements from one row's start to the next.
        found: usize,
    },
    /// An epilogue where nothing is to follow.
    #[error("an epilogue belongs to a forward product: found one with {direction}; apply it apart")]
    EpilogueOfGradient {
        /// The direction of the launch.
        direction: Direction,
    },
    /// There is no compiler.
    #[error(
        "nvcc was not found in {}; run `voxtune cuda-toolkit` (from `cargo install voxtune-cli`), or set \
         NVCC or CUDA_HOME",
        list(.looked)
    )]
    NvccNotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The compiler is there and does not say its version.
    #[error("{} --version failed: {output}; reinstall it with `voxtune cuda-toolkit`", .path.display())]
    NvccUnusable {
        /// The program.
        path: PathBuf,
        /// What it said.
        output: String,
    },
    /// An instance is in no folder, and there is no compiler to make it.
    #[error(
        "no compiled {instance} for sm_{}{} in {}: make it with `voxtune kernels --arch sm_{}{}` \
         and name the folder in VOXTUNE_KERNELS",
        .capability.major, .capability.minor, .folder.display(), .capability.major, .capability.minor
    )]
    NoKernel {
        /// The instance's name.
        instance: String,
        /// The architecture it is needed for.
        capability: ComputeCapability,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// An instance is in no pack of the program, and in no folder that was named.
    #[error(
        "{instance} for sm_{}{} is not in {packs}: choose another algorithm, build with the feature \
         of this architecture, or make it with `voxtune kernels --arch sm_{}{}` and name the \
         folder in VOXTUNE_KERNELS",
        .capability.major, .capability.minor, .capability.major, .capability.minor
    )]
    NotPacked {
        /// The instance's name.
        instance: String,
        /// The architecture it is needed for.
        capability: ComputeCapability,
        /// The packs that were looked at.
        packs: String,
    },
    /// A pack's code cannot be read.
    #[error("{what} cannot be read from its pack: {reason}")]
    DamagedPack {
        /// The instance's name.
        what: String,
        /// What is wrong with the pack.
        reason: String,
    },
    /// The kernel sources are not those whose hashes `voxtune-cuda` carries.
    #[error(
        "{file} is not the one that voxtune-cuda was built for: run `cargo test -p voxtune-cuda \
         the_hashes_are_of_the_sources`, which writes the hashes anew, and build again; where the \
         packages come from a registry, take all of one version"
    )]
    OtherSources {
        /// The first source that differs.
        file: &'static str,
    },
    /// nvcc needs a host compiler, and that cannot be used.
    #[error("no host compiler for nvcc ({reason}): install g++ or set CXX")]
    HostCompiler {
        /// What `cc` said.
        reason: String,
    },
    /// An instance does not compile.
    #[error("nvcc failed on {instance}:\n{output}")]
    NvccFailed {
        /// The instance's name.
        instance: String,
        /// Everything that nvcc printed.
        output: String,
    },
    /// There is no disassembler.
    #[error(
        "nvdisasm was not found in {}; run `voxtune cuda-toolkit`, or set NVDISASM or CUDA_HOME",
        list(.looked)
    )]
    NvdisasmNotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// Machine code cannot be inspected, so whether it is right is not known.
    #[error("the code of {instance} cannot be inspected: {reason}")]
    Uninspected {
        /// The instance's name.
        instance: String,
        /// What failed, and what to do.
        reason: String,
    },
    /// The compiler has made code that must not run or ship, or a source declares what is not so.
    #[error("refused {instance} for sm_{}{}: {}", .capability.major, .capability.minor, .defects.join("; "))]
    RefusedCode {
        /// The instance's name.
        instance: String,
        /// The architecture that it was compiled for.
        capability: ComputeCapability,
        /// What is wrong with it, and what to do about each.
        defects: Vec<String>,
    },
    /// A file is not the cubin that it should be.
    #[error("{what} is not a usable cubin ({reason}): delete it and compile again")]
    MalformedCubin {
        /// The file or instance.
        what: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The toolkit could not be installed.
    #[error("cannot install the CUDA toolkit: {reason}")]
    ToolkitInstall {
        /// What failed, with the output of the tool that failed.
        reason: String,
    },
    /// An operand has the wrong length.
    #[error("{what}: expected {expected} bytes, found {found}")]
    Length {
        /// The operand.
        what: &'static str,
        /// Bytes that the operation needs.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Memory that begins within an element.
    #[error("{what}: expected an address that is a multiple of {expected}, found {address:#x}")]
    Misaligned {
        /// The operand.
        what: &'static str,
        /// Where it begins.
        address: u64,
        /// Bytes of an element.
        expected: usize,
    },
    /// A count that 32-bit row numbers or the kernels' tables cannot hold.
    #[error("{what} is {found}, more than the {limit} that the kernels support")]
    TooLarge {
        /// The count.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The largest supported value.
        limit: usize,
    },
    /// No layer has this geometry.
    #[error(transparent)]
    Geometry(voxtune_types::GeometryError),
    /// Two rows of a cloud have the same coordinates.
    #[error("voxel {voxel} occurs more than once, again in row {row}: remove duplicates first")]
    DuplicateVoxel {
        /// The coordinates.
        voxel: Voxel,
        /// A row that repeats them.
        row: usize,
    },
    /// The same of a cloud that is gone.
    #[error("two voxels are the same cell: remove duplicates first")]
    DuplicateVoxels,
    /// An algorithm was asked for an operation that it does not compute.
    #[error("{algorithm} does not compute {operation}")]
    NotApplicable {
        /// The algorithm's id.
        algorithm: String,
        /// The operation.
        operation: String,
    },
    /// A launch needs something that the kernel map was not asked to hold.
    #[error("the kernel map holds no {what}: build it before launching")]
    MapLacks {
        /// The missing part.
        what: &'static str,
    },
    /// Something is in host memory, or on another device.
    #[error("{what} is not in the memory of the device that the call runs on")]
    NotOnDevice {
        /// What it is.
        what: &'static str,
    },
    /// Something belongs to another execution context, and can only be used in that.
    #[error(
        "{what} belongs to another stream than the call: make it with the device handle that the call is \
         made with"
    )]
    OtherStream {
        /// What it is.
        what: &'static str,
    },
    /// Another stream's work is needed first, and that stream is being captured.
    #[error(
        "the call has to wait for a stream that a graph is being captured from: end the capture, or make \
         the call before it"
    )]
    BlockedByCapture,
    /// An allocator of the caller's has no memory to give.
    #[error("the allocator gave no {bytes} bytes of device memory: {reason}")]
    Allocator {
        /// What was asked for.
        bytes: usize,
        /// What it said.
        reason: String,
    },
    /// The kernel map belongs to another kernel size than the operation.
    #[error("the kernel map has {found} offsets, the operation {expected}")]
    MapVolume {
        /// Offsets of the operation.
        expected: usize,
        /// Offsets of the map.
        found: usize,
    },
}

impl CudaError {
    /// Whether the device had too little memory.
    #[must_use]
    pub const fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Driver { source, .. } => matches!(source.0, CUresult::CUDA_ERROR_OUT_OF_MEMORY),
            Self::Cublas { source, .. } => {
                matches!(source.0, cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED)
            }
            Self::Allocator { .. } => true,
            _ => false,
        }
    }

    /// Whether the device's context cannot be used any more: every later call of this process fails
    /// likewise. The driver's documentation says so of each of these answers.
    #[must_use]
    pub const fn is_context_lost(&self) -> bool {
        match self {
            Self::Driver { source, .. } => matches!(
                source.0,
                CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
                    | CUresult::CUDA_ERROR_LAUNCH_FAILED
                    | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
                    | CUresult::CUDA_ERROR_ASSERT
                    | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
                    | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
                    | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
                    | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
                    | CUresult::CUDA_ERROR_INVALID_PC
                    | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
                    | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
                    | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
                    | CUresult::CUDA_ERROR_UNKNOWN
            ),
            // cuBLAS does not tell what its kernel did.
            Self::Cublas { source, .. } => {
                matches!(source.0, cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED)
            }
            _ => false,
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "any folder (PATH is empty)".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn describe_devices(names: &[String]) -> String {
    if names.is_empty() {
        return "the driver sees no device; look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use the CPU"
            .to_owned();
    }
    let named: Vec<String> =
        names.iter().enumerate().map(|(i, name)| format!("cuda:{i} {name}")).collect();
    format!("there is {}", named.join(", "))
}

/// The result of everything in this crate.
pub type Result<T, E = CudaError> = std::result::Result<T, E>;

/// Names what was being done when the driver failed.
pub(crate) trait DriverContext<T> {
    fn during(self, what: &'static str) -> Result<T>;
}

impl<T> DriverContext<T> for std::result::Result<T, DriverError> {
    fn during(self, what: &'static str) -> Result<T> {
        self.map_err(|source| CudaError::Driver { what, source })
    }
}

impl<T> DriverContext<T> for std::result::Result<T, CublasError> {
    fn during(self, what: &'static str) -> Result<T> {
        self.map_err(|source| CudaError::Cublas { what, source })
    }
}

/// Names the file on which the system failed.
pub(crate) trait IoContext<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| CudaError::Io { path: path.into(), source })
    }
}
