//! What every `bench` is told: device, clouds, storage types, and where results go.

use std::path::{Path, PathBuf};

use voxtune::{DType, Device, DeviceChoice, DeviceError, KernelSource};
use voxtune_bench::bench::peers::MalformedPeers;
use voxtune_bench::cuda_kernels::CudaKernels;
use voxtune_types::printable_path;

use crate::exit::Failure;
use crate::json_file::JsonFile;
use crate::kernel_folders::KernelFolders;
use crate::measured_clouds::CloudArguments;
use crate::numbers::positive;
use crate::output;

/// Voxels of a generated cloud that names no count.
pub(crate) const DEFAULT_VOXELS: usize = 130_000;

/// Arguments of layers and networks alike.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchSetup {
    #[command(flatten)]
    pub(crate) clouds: CloudArguments,
    /// Storage types [default: float16 on a GPU, float32 on a CPU]
    #[arg(long, value_name = "DTYPE", num_args = 1..)]
    pub(crate) dtypes: Option<Vec<DType>>,
    /// Times of other libraries to print ratios to: JSON lines with peer, cloud, cin, cout, dtype,
    /// fwd_kernel_ms and train_kernel_ms. With --model they have peer, net, cloud, ms, kernel_ms
    /// and step_ms
    #[arg(long, value_name = "FILE")]
    pub(crate) peers: Option<PathBuf>,
    /// Device to measure: auto (the first GPU, else the CPU), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Worker threads of the CPU [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    #[command(flatten)]
    pub(crate) json: JsonFile,
    #[command(flatten)]
    pub(crate) kernels: KernelFolders,
}

impl BenchSetup {
    /// The device, with kernels from there.
    pub(crate) fn open_device(&self, kernels: &KernelSource) -> Result<Device, Failure> {
        let opened = Device::open_with(self.device, kernels);
        let (device, why_no_gpu) = opened.map_err(|error| match error {
            DeviceError::NotFound { .. } => Failure::no_device(error).at("--device"),
            other => Failure::failed(other),
        })?;
        if let Some(why) = why_no_gpu {
            output::status("Note", why);
        }
        match self.threads {
            Some(threads) if !device.identity().arch.is_cuda() => {
                Device::cpu_with_threads(threads).map_err(Failure::failed)
            }
            _ => Ok(device),
        }
    }

    /// What is reached beside the registry of a GPU.
    pub(crate) fn open_kernels(&self, device: &Device) -> Result<Option<CudaKernels>, Failure> {
        if !device.identity().arch.is_cuda() {
            return Ok(None);
        }
        let ordinal = match self.device {
            DeviceChoice::Cuda(ordinal) => ordinal,
            DeviceChoice::Auto | DeviceChoice::Cpu => 0,
        };
        let (folder, toolkit) = (self.kernels.kernels(), self.kernels.toolkit());
        let kernels = CudaKernels::open(ordinal, &folder, &toolkit);
        kernels.map(Some).map_err(Failure::failed)
    }
}

/// A file of other libraries' times.
pub(crate) fn read_peers<P>(
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<P, MalformedPeers>,
) -> Result<P, Failure> {
    let name = printable_path(path);
    let bytes = voxtune_files::read_argument(path)
        .map_err(|error| Failure::usage(format!("--peers: cannot read {name}: {error}")))?;
    parse(&bytes).map_err(|error| Failure::usage(format!("--peers: {name}: {error}")))
}
