//! The flags of populate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use voxtune::{Arch, DType, DeviceChoice, KernelSize, L2State, LayerKind};
use voxtune_pointcloud::{Columns, Crop, FileOptions, MAX_VOXELS, Source};
use voxtune_tune::Preset;
use voxtune_tune::plan::expand::PlanError;
use voxtune_tune::plan::grid::{ChannelPair, Configuration, GridOverrides, Stride};
use voxtune_tune::plan::groups::Groups;
use voxtune_tune::plan::partition::PartitionChoice;
use voxtune_tune::plan::shape_file::{Shapes, Tolerance};
use voxtune_tune::race::Policy;
use voxtune_tune::{DeviceSpec, Gpus, Plan, Protocol, Remeasure, Request};
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoId, AlgoMode, Direction};

use crate::exit::Failure;
use crate::folder::FolderArguments;
use crate::json_file::JsonFile;
use crate::kernel_folders::KernelFolders;
use crate::layers::{check_kernels, kernel_size, layer_kind};
use crate::numbers::{grid, positive};
use crate::output_file::OutputFile;
use crate::populate::charges::Charges;
use crate::populate::model::Model;
use crate::texts::source;

/// The flags that make up a grid.
const GRID: [&str; 8] =
    ["preset", "num_voxels", "channels", "groups", "kinds", "strides", "kernel_sizes", "dtypes"];

/// The flags that say which layers are measured instead of a model's.
const MODEL_CONFLICTS: [&str; 9] = [
    "preset",
    "num_voxels",
    "channels",
    "groups",
    "kinds",
    "strides",
    "kernel_sizes",
    "shapes",
    "from_misses",
];

/// Arguments of `populate`.
#[derive(Debug, clap::Args)]
pub struct PopulateArguments {
    /// What to measure. Grids: default (364 configurations), quick (6) and script (296, those of
    /// WarpConvNet's script). Layers of networks: lidar (44, of CenterPoint, SECOND and BEVFusion)
    /// and unet (109, of MinkUNet34C and SpUNet). Several, such as lidar,unet, measure each
    /// configuration once
    #[arg(long, value_name = "PRESET", num_args = 1.., value_delimiter = ',', default_values_t = [Preset::Default])]
    preset: Vec<Preset>,
    /// Voxel counts instead of the preset's; counts with the same ceil(log2 N) are merged
    #[arg(long, value_name = "N", num_args = 1.., value_parser = voxel_count, allow_negative_numbers = true)]
    num_voxels: Option<Vec<usize>>,
    /// Channel pairs instead of the preset's
    #[arg(long, value_name = "C_in,C_out", num_args = 1..)]
    channels: Option<Vec<ChannelPair>>,
    /// Groups of these channels: a number, or depthwise, of as many outputs as inputs. Channels
    /// that do not divide into groups have no layer of so many [default: 1]
    #[arg(long, value_name = "G", num_args = 1..)]
    groups: Option<Vec<Groups>>,
    /// Kinds of layers instead of the preset's: submanifold, sparse (strided), inverse, transposed
    #[arg(long, value_name = "KIND", num_args = 1.., value_parser = layer_kind)]
    kinds: Option<Vec<LayerKind>>,
    /// Strides of layers that are not submanifold: a number, or one for each axis such as 2,1,1
    /// [default: 2]
    #[arg(long, value_name = "S", num_args = 1..)]
    strides: Option<Vec<Stride>>,
    /// Kernel sizes instead of the preset's: 1 to 5, or one for each axis such as 3,1,1.
    /// Submanifold layers have those of 1, 3 and 5
    #[arg(long, value_name = "K", num_args = 1.., value_parser = kernel_size)]
    kernel_sizes: Option<Vec<KernelSize>>,
    /// Storage types instead of the preset's: float16, bfloat16, float32
    #[arg(long, value_name = "DTYPE", num_args = 1..)]
    dtypes: Option<Vec<DType>>,
    /// Measure the shapes that a file names instead of a grid. It has lines such as `voxels=126000
    /// channels=32,64 kind=sparse kernel=3 stride=2 dtype=float16 direction=forward`, or is a JSON
    /// array of objects with these fields, or a WarpConvNet benchmark_cache_generic.msgpack, whose
    /// keys are measured
    #[arg(long, value_name = "FILE", conflicts_with_all = GRID)]
    shapes: Option<PathBuf>,
    /// Measure what a program has missed, out of the journal that it wrote (VOXTUNE_MISS_JOURNAL)
    #[arg(long, value_name = "FILE", conflicts_with_all = GRID, conflicts_with = "shapes")]
    from_misses: Option<PathBuf>,
    /// Measure the layers that a network has on the scans of --clouds. Networks: centerpoint,
    /// second, bevfusion, spunet, minkunet, spconv-bench, trellis, or a JSON file of layers such as
    /// those in the index.json of fixtures. Each layer runs over the voxels that it really meets,
    /// with its own padding and dilation
    #[arg(long, value_name = "NAME|FILE", requires = "clouds", conflicts_with_all = MODEL_CONFLICTS)]
    model: Option<Model>,
    /// File for what the levels of --model have over the scans: a profile, from which a program's
    /// first frame knows what to expect, and a compiled network its room. Its frames are of the
    /// first of --dtypes
    #[arg(long, value_name = "FILE", requires = "model")]
    profile: Option<PathBuf>,
    /// Cells along x, y, z where the levels of --model end [default: the spatial_shape of a file;
    /// 1440,1440,41 for detectors whose scan fits; else nowhere]
    #[arg(long, value_name = "X,Y,Z", value_parser = grid, requires = "model")]
    grid: Option<[u32; 3]>,
    /// Algorithms that compete: auto, trimmed, all, a family, an id, or a list such as `[a,b]`.
    /// Auto is those that a model of cost expects to matter. Trimmed is all whose geometry suits
    /// the layer [default: what WARPCONVNET_{FWD,DGRAD,WGRAD,BWD}_ALGO_MODE say, else auto; with
    /// the preset script, trimmed]
    #[arg(long, value_name = "MODE")]
    algo_mode: Option<AlgoMode>,
    /// Remove what the folder holds of this device before anything is measured; other devices'
    /// results stay
    #[arg(long, conflicts_with_all = ["resume", "top_up", "partition"])]
    clear_cache: bool,
    /// Measure the forward pass only
    #[arg(long, conflicts_with = "backward_only")]
    forward_only: bool,
    /// Measure the gradients of features and weights only
    #[arg(long)]
    backward_only: bool,
    /// Leave a GPU's L2 cache as a run of the same algorithm right before left it,
    /// instead of emptying it before every sample. What is measured so is kept apart, and decides
    /// only where nothing was measured cold
    #[arg(long)]
    warm: bool,
    /// Samples in each generated cloud
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = positive)]
    batch_size: usize,
    /// List the configurations without running them
    #[arg(long)]
    dry_run: bool,
    /// Skip what has valid evidence for every algorithm asked for
    #[arg(long)]
    resume: bool,
    /// Measure only algorithms without valid evidence, such as those whose kernels have changed, in
    /// one race with the stored leaders
    #[arg(long, conflicts_with = "resume")]
    top_up: bool,
    /// Give quarantined algorithms another chance
    #[arg(long)]
    retry_quarantined: bool,
    /// Run algorithms in this process: one that crashes or hangs ends the run
    #[arg(long)]
    no_isolation: bool,
    /// Seconds that an algorithm gets at least before it counts as hung; large layers get more
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = time_limit)]
    time_limit: Duration,
    /// Device to measure: auto (the first GPU, else the CPU), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// GPUs of this host that share the work, each with a process of its own: all, or numbers such
    /// as 0,1. They must be of one kind
    #[arg(long, value_name = "LIST", conflicts_with_all = ["device", "no_isolation"])]
    gpus: Option<Gpus>,
    /// Clouds to measure on: uniform, surface, thick, or scan files (.npy, .npz, .bin, .ply, .pcd).
    /// Voxel counts of files take the place of the grid's [default: uniform and surface; quick:
    /// uniform; lidar and unet: surface and thick]
    #[arg(long, alias = "cloud", value_name = "CLOUD", num_args = 1.., value_parser = source())]
    clouds: Option<Vec<Source>>,
    /// Edge of a voxel for scan files, in their unit
    #[arg(long, value_name = "SIZE", default_value_t = FileOptions::default().cell_size, value_parser = cell_size, allow_negative_numbers = true)]
    voxel_size: f32,
    /// Part of scan files to keep, half open
    #[arg(long, value_name = "X0,Y0,Z0,X1,Y1,Z1", allow_hyphen_values = true)]
    crop: Option<Crop>,
    /// Float32 numbers in a row of .bin scans, x, y, z first [default: 4 as in KITTI, in .pcd.bin
    /// files 5 as in nuScenes]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    columns: Option<Columns>,
    /// Soft time limit of one key on one cloud, in seconds. The minimum of samples and the
    /// confirmation rounds of a stored winner are taken even beyond it [default: 3 on a CPU, 0.1 on
    /// a GPU]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    budget: Option<Duration>,
    /// Give every algorithm the same number of samples, however slow: the oracle that regret is
    /// measured against
    #[arg(long, conflicts_with = "budget")]
    exhaustive: bool,
    /// Algorithms, by their ids or families, that compete beside those of the mode wherever they
    /// can run
    #[arg(long, value_name = "ID", num_args = 1..)]
    also: Vec<AlgoId>,
    /// Charge algorithms for what they read beyond a kernel map: rows in an order, plans of tiles,
    /// pair lists. Each is timed as a frame makes it, and the layers over a map share it. With
    /// model, those of --model are charged, with always, all, with never, none
    #[arg(long, value_name = "WHEN", default_value = "model", hide_possible_values = true)]
    charges: Charges,
    /// Worker threads of the CPU; caches tell numbers of threads apart [default: all]
    #[arg(long, value_name = "N", value_parser = thread_count)]
    threads: Option<usize>,
    /// The part of the work that falls to this machine, such as slice:1/4, or env to ask the
    /// scheduler. Env reads VOXTUNE_PARTITION_INDEX (from 0) and _TOTAL, JOB_COMPLETION_INDEX
    /// (Kubernetes) and VOXTUNE_PARTITION_TOTAL, or the variables of a Slurm array
    #[arg(long, value_name = "PART")]
    partition: Option<PartitionChoice>,
    /// Add the raw samples of every race to a file of JSON lines, for regret
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Seed of clouds and values
    #[arg(long, value_name = "SEED", default_value_t = 0, allow_negative_numbers = true)]
    seed: u64,
    #[command(flatten)]
    json: JsonFile,
    #[command(flatten)]
    folder: FolderArguments,
    #[command(flatten)]
    kernels: KernelFolders,
}

impl PopulateArguments {
    pub(super) const fn algo_mode(&self) -> Option<&AlgoMode> {
        self.algo_mode.as_ref()
    }

    pub(crate) const fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    pub(super) const fn clears_cache(&self) -> bool {
        self.clear_cache
    }

    /// The modes of directions for which neither the flag nor the environment names one.
    pub(super) fn unnamed_modes(&self) -> AlgoModes {
        unnamed_modes(&self.preset)
    }

    /// Whether a device is named, so that even a dry run must find it.
    pub(super) fn demands_a_device(&self) -> bool {
        self.device != DeviceChoice::Auto || self.gpus.is_some()
    }

    pub(super) const fn json(&self) -> &JsonFile {
        &self.json
    }

    /// The file for a model's profile, if one is asked for.
    pub(super) fn profile(&self) -> Result<Option<OutputFile>, Failure> {
        let path = self.profile.as_deref();
        path.map(|path| OutputFile::checked("--profile", path)).transpose()
    }

    pub(super) const fn folder(&self) -> &FolderArguments {
        &self.folder
    }

    pub(super) const fn partition(&self) -> Option<PartitionChoice> {
        self.partition
    }

    /// The shapes that a file names, if one is given.
    pub(super) fn shapes(&self) -> Result<Option<Shapes>, Failure> {
        let file = match (&self.shapes, &self.from_misses) {
            (Some(shapes), _) => Some(("--shapes", shapes, Tolerance::None)),
            (None, misses) => {
                misses.as_ref().map(|misses| ("--from-misses", misses, Tolerance::Lines))
            }
        };
        let read = |(flag, path, tolerance): (_, &PathBuf, _)| {
            Shapes::read(path, tolerance).map_err(|error| Failure::usage(error).at(flag))
        };
        file.map(read).transpose()
    }

    /// Refuses kernels that no layer of the kinds asked for has.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let kinds = self.kinds.as_deref().unwrap_or(&[LayerKind::Submanifold]);
        check_kernels(kinds, self.kernel_sizes.as_deref().unwrap_or_default())
    }

    /// The plan of the presets, each configuration once.
    pub(super) fn plan(&self, request: &Request) -> Result<Plan, PlanError> {
        let plan = |&preset: &Preset| {
            let (grid, clouds) = (preset.grid().with(self.overrides()), self.clouds_of(preset));
            let request = Request { grid, clouds, ..request.clone() };
            match self.list(preset) {
                Some(list) => Plan::of_list(&request, &list),
                None => Plan::new(&request),
            }
        };
        match &self.preset[..] {
            [preset] => plan(preset),
            presets => Ok(Plan::joined(presets.iter().map(plan).collect::<Result<Vec<_>, _>>()?)),
        }
    }

    /// The clouds that a preset is measured on.
    fn clouds_of(&self, preset: Preset) -> Vec<Source> {
        let usual = || preset.clouds().iter().copied().map(Source::Generated).collect();
        self.clouds.clone().unwrap_or_else(usual)
    }

    /// The configurations of a preset that is a list, unless axes of a grid replace it.
    fn list(&self, preset: Preset) -> Option<Vec<Configuration>> {
        let Self { num_voxels, channels, groups, kernel_sizes, kinds, strides, dtypes, .. } = self;
        let is_grid = num_voxels.is_some()
            || channels.is_some()
            || groups.is_some()
            || kernel_sizes.is_some()
            || kinds.is_some()
            || strides.is_some();
        let list = preset.list().filter(|_| !is_grid)?;
        let Some(dtypes) = dtypes else { return Some(list) };
        let of =
            |one: Configuration| dtypes.iter().map(move |&dtype| Configuration { dtype, ..one });
        Some(list.into_iter().flat_map(of).collect())
    }

    /// The network whose layers are measured, and in which storage types.
    pub(super) fn model(&self) -> Option<(&Model, Vec<DType>)> {
        let dtypes = self.dtypes.clone().unwrap_or_else(|| vec![DType::Float16]);
        self.model.as_ref().map(|model| (model, dtypes))
    }

    /// Where the levels of a model end, if that is given.
    pub(super) const fn grid(&self) -> Option<[u32; 3]> {
        self.grid
    }

    pub(super) fn samples(&self) -> Option<&Path> {
        self.samples.as_deref()
    }

    pub(super) const fn is_isolated(&self) -> bool {
        !self.no_isolation
    }

    pub(super) const fn gpus(&self) -> Option<&Gpus> {
        self.gpus.as_ref()
    }

    pub(super) fn device(&self) -> DeviceSpec {
        self.spec(self.device)
    }

    pub(super) fn spec(&self, choice: DeviceChoice) -> DeviceSpec {
        DeviceSpec {
            choice,
            threads: self.threads,
            kernels: Some(self.kernels.kernels()),
            toolkit: Some(self.kernels.toolkit()),
            ..DeviceSpec::default()
        }
    }

    pub(super) fn budget(&self, arch: Arch) -> Duration {
        if self.exhaustive {
            return Duration::MAX;
        }
        self.budget.unwrap_or_else(|| Policy::usual_budget(arch))
    }

    pub(super) const fn is_warm(&self) -> bool {
        self.warm
    }

    fn overrides(&self) -> GridOverrides {
        GridOverrides {
            voxels: self.num_voxels.clone(),
            channels: self.channels.clone(),
            groups: self.groups.clone(),
            kernels: self.kernel_sizes.clone(),
            kinds: self.kinds.clone(),
            strides: self.strides.clone(),
            dtypes: self.dtypes.clone(),
        }
    }

    /// What is asked for; its grid and clouds are those of the first preset.
    pub(super) fn request(&self, modes: AlgoModes) -> Request {
        let preset = self.preset.first().copied().unwrap_or_default();
        Request {
            grid: preset.grid().with(self.overrides()),
            clouds: self.clouds_of(preset),
            file_options: FileOptions {
                cell_size: self.voxel_size,
                crop: self.crop,
                columns: self.columns,
            },
            protocol: Protocol {
                batch_size: self.batch_size,
                seed: self.seed,
                directions: self.directions(),
                modes,
                also: self.also.clone(),
                charges: self.charges.are_weighed(self.model.is_some()),
                budget: Duration::ZERO,
                l2_state: L2State::Cold,
                time_limit: self.time_limit,
            },
            remeasure: self.remeasure(),
            retry_quarantined: self.retry_quarantined,
        }
    }

    /// Whether what has valid evidence is passed over.
    pub(super) fn skips_evidence(&self) -> bool {
        self.remeasure() != Remeasure::All
    }

    const fn remeasure(&self) -> Remeasure {
        if self.resume {
            Remeasure::Incomplete
        } else if self.top_up {
            Remeasure::New
        } else {
            Remeasure::All
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

/// The modes of presets where none is named: the broadest that one of the presets asks for.
pub(crate) fn unnamed_modes(presets: &[Preset]) -> AlgoModes {
    let broadest = presets.iter().map(|preset| preset.mode());
    AlgoModes::uniform(broadest.max_by_key(|mode| *mode != AlgoMode::Auto).unwrap_or_default())
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

fn time_limit(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}
