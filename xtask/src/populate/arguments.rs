//! The flags of populate.

use std::time::Duration;

use voxtune::{Arch, DType, Device, DeviceChoice, DeviceError, KernelSize};
use voxtune_cloud::{Crop, FileOptions, Generator, MAX_VOXELS, Source};
use voxtune_shape::grid::{ChannelPair, GridOverrides};
use voxtune_shape::mode::AlgoModes;
use voxtune_shape::{AlgoMode, Direction, Preset};
use voxtune_tune::Request;

use crate::folder::FolderArguments;
use crate::kernel_folders::KernelFolders;

/// Arguments of `populate`.
#[derive(Debug, clap::Args)]
pub struct PopulateArguments {
    /// Grid to start from: default (364 configurations) or quick (6)
    #[arg(long, value_name = "PRESET", default_value_t = Preset::Default)]
    preset: Preset,
    /// Voxel counts instead of the preset's; counts with the same ceil(log2 N) are merged
    #[arg(long, value_name = "N", num_args = 1.., value_parser = voxel_count)]
    num_voxels: Option<Vec<usize>>,
    /// Channel pairs instead of the preset's
    #[arg(long, value_name = "C_in,C_out", num_args = 1..)]
    channels: Option<Vec<ChannelPair>>,
    /// Kernel sizes instead of the preset's: 1, 3 or 5
    #[arg(long, value_name = "K", num_args = 1.., value_parser = kernel_size)]
    kernel_sizes: Option<Vec<KernelSize>>,
    /// Storage types instead of the preset's: float16, bfloat16, float32
    #[arg(long, value_name = "DTYPE", num_args = 1..)]
    dtypes: Option<Vec<DType>>,
    /// Algorithms that compete: auto, all, a family, an id, or a list such as `[a,b]` [default: auto,
    /// or what WARPCONVNET_{FWD,DGRAD,WGRAD,BWD}_ALGO_MODE say]
    #[arg(long, value_name = "MODE")]
    algo_mode: Option<AlgoMode>,
    /// Measure the forward pass only
    #[arg(long, conflicts_with = "backward_only")]
    forward_only: bool,
    /// Measure the gradients of features and weights only
    #[arg(long)]
    backward_only: bool,
    /// Samples in each generated cloud
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = positive)]
    batch_size: usize,
    /// List the configurations without running them
    #[arg(long)]
    dry_run: bool,
    /// Skip what has valid evidence for every algorithm asked for
    #[arg(long)]
    resume: bool,
    /// Device to measure: auto (the first GPU, else the CPU), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Clouds to measure on: uniform, surface, or scan files (.npy, .npz, .bin, .ply, .pcd), whose
    /// voxel counts take the place of the grid's [default: uniform and surface; quick: uniform]
    #[arg(long, value_name = "CLOUD", num_args = 1..)]
    clouds: Option<Vec<Source>>,
    /// Edge of a voxel for scan files, in their unit
    #[arg(long, value_name = "SIZE", default_value_t = FileOptions::default().cell_size, value_parser = cell_size)]
    voxel_size: f32,
    /// Part of scan files to keep, half open
    #[arg(long, value_name = "X0,Y0,Z0,X1,Y1,Z1", allow_hyphen_values = true)]
    crop: Option<Crop>,
    /// Seconds that one key may take on one cloud, beyond one sample of each algorithm and three
    /// of the leader [default: 6 on a CPU, 1 on a GPU]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    budget: Option<Duration>,
    /// Worker threads of the CPU; caches tell numbers of threads apart [default: all]
    #[arg(long, value_name = "N", value_parser = thread_count)]
    threads: Option<usize>,
    /// Seed of clouds and values
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    folder: FolderArguments,
    #[command(flatten)]
    kernels: KernelFolders,
}

impl PopulateArguments {
    pub(super) const fn algo_mode(&self) -> Option<&AlgoMode> {
        self.algo_mode.as_ref()
    }

    pub(super) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Whether a device is named, so that even a dry run must find it.
    pub(super) fn demands_a_device(&self) -> bool {
        self.device != DeviceChoice::Auto
    }

    pub(super) const fn folder(&self) -> &FolderArguments {
        &self.folder
    }

    pub(super) fn open_device(&self) -> Result<(Device, Option<String>), DeviceError> {
        let (device, why) = Device::open_with(self.device, &self.kernels.source())?;
        match self.threads {
            Some(threads) if !device.identity().arch.is_cuda() => {
                Ok((Device::cpu_with_threads(threads)?, why))
            }
            _ => Ok((device, why)),
        }
    }

    pub(super) fn budget(&self, arch: Arch) -> Duration {
        self.budget.unwrap_or_else(|| Duration::from_secs(if arch.is_cuda() { 1 } else { 6 }))
    }

    pub(super) fn request(&self, modes: AlgoModes) -> Request {
        let overrides = GridOverrides {
            voxels: self.num_voxels.clone(),
            channels: self.channels.clone(),
            kernels: self.kernel_sizes.clone(),
            dtypes: self.dtypes.clone(),
        };
        let generators: &[Generator] = match self.preset {
            Preset::Default => &Generator::ALL,
            Preset::Quick => &[Generator::Uniform],
        };
        let clouds = self.clouds.clone();
        Request {
            grid: self.preset.grid().with(overrides),
            clouds: clouds
                .unwrap_or_else(|| generators.iter().copied().map(Source::Generated).collect()),
            file_options: FileOptions { cell_size: self.voxel_size, crop: self.crop },
            batch_size: self.batch_size,
            seed: self.seed,
            directions: self.directions(),
            modes,
            budget: Duration::ZERO,
            resume: self.resume,
        }
    }

    fn directions(&self) -> Vec<Direction> {
        if self.forward_only {
            vec![Direction::Forward]
        } else if self.backward_only {
            vec![Direction::Dgrad, Direction::Wgrad]
        } else {
            Direction::ALL.to_vec()
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn thread_count(text: &str) -> Result<usize, String> {
    /// More than any machine has, and few enough to start.
    const MAX: usize = 1024;
    match text.parse() {
        Ok(count) if (1..=MAX).contains(&count) => Ok(count),
        _ => Err(format!("expected a number of threads between 1 and {MAX}")),
    }
}

fn voxel_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_VOXELS).contains(&count) => Ok(count),
        _ => Err(format!("expected a voxel count between 1 and {MAX_VOXELS}")),
    }
}

fn kernel_size(text: &str) -> Result<KernelSize, String> {
    let extent = text.parse().map_err(|_| "expected 1, 3 or 5".to_owned())?;
    KernelSize::submanifold(extent).map_err(|error| error.to_string())
}

fn cell_size(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(size) if size > 0.0 && f32::is_finite(size) => Ok(size),
        _ => Err("expected a size above 0".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    number
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds of at least 0".to_owned())
}
