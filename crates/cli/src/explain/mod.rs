//! `explain`: why a layer runs what it runs, with or without its device.

mod report;
mod text;

use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use voxtune::{
    Arch, DType, Device, DeviceChoice, DeviceIdentity, Direction, Geometry, KernelSize, LayerKind,
    MapCounts, Registry, ShapeKey, Tuner, modes_of_process, user_folder,
};
use voxtune_pointcloud::Generator;
use voxtune_tune::inputs::planned_cloud::PlannedCloud;
use voxtune_tune::plan::grid::{ChannelPair, Configuration, Stride};
use voxtune_tune::plan::groups::Groups;
use voxtune_tune::plan::kernels::expected_counts;

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, must_exist};
use crate::layers::{check_kernels, kernel_size, layer_kind};
use crate::output;
use crate::texts;
use report::Report;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    /// Rows that the layer reads; those that an inverse one makes
    #[arg(long, value_name = "N", num_args = 1.., required = true, value_parser = rows())]
    num_voxels: Vec<u32>,
    /// Rows of the other side of a layer that is not submanifold [default: an estimate]
    #[arg(long, value_name = "N", value_parser = rows())]
    other_side: Option<u32>,
    /// Kind of the layers: submanifold, sparse (strided), inverse or transposed
    #[arg(long, value_name = "KIND", default_value_t = LayerKind::Submanifold, value_parser = layer_kind)]
    kind: LayerKind,
    /// Stride of layers that are not submanifold: a number, or one for each axis such as 2,1,1
    /// [default: 2]
    #[arg(long, value_name = "S")]
    stride: Option<Stride>,
    /// Channel pairs of the layers
    #[arg(long, value_name = "C_in,C_out", num_args = 1.., required = true)]
    channels: Vec<ChannelPair>,
    /// Groups of these channels: a number, or depthwise. Pairs that do not divide into them are
    /// left out
    #[arg(long, value_name = "G", default_value_t = Groups::ONE)]
    groups: Groups,
    /// Kernel sizes: 1, 3 or 5; of other kinds than submanifold 1 to 5, also one for each axis such
    /// as 3,1,1
    #[arg(long, value_name = "K", num_args = 1.., default_value = "3", value_parser = kernel_size)]
    kernel_sizes: Vec<KernelSize>,
    /// Storage types: float16, bfloat16, float32
    #[arg(long, value_name = "DTYPE", num_args = 1.., default_values_t = [DType::Float16])]
    dtypes: Vec<DType>,
    /// Directions: forward, dgrad, wgrad
    #[arg(long, value_name = "DIRECTION", num_args = 1.., default_values_t = Direction::ALL)]
    directions: Vec<Direction>,
    /// Mean pairs of an output row [default: what a uniform cloud of 15 % occupancy has]
    #[arg(long, value_name = "PAIRS", value_parser = density)]
    density: Option<f64>,
    /// Device to explain for, if it is here: auto (the first GPU, else the CPU), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto, conflicts_with = "arch")]
    device: DeviceChoice,
    /// Architecture to explain for instead, such as sm_90, whether or not such a device is here: a
    /// CPU's, or a GPU's from sm_80 on
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Name of the device of that architecture, or a part of the name of one in the caches
    /// [default: the first in the caches]
    #[arg(long, value_name = "TEXT", requires = "arch", value_parser = texts::text)]
    device_name: Option<String>,
    /// SMs or threads of a device that the caches do not hold
    #[arg(long, value_name = "N", requires = "arch", default_value_t = 0)]
    units: u32,
    /// Leave the decisions in the binary out
    #[arg(long)]
    no_embedded: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

pub(crate) fn run(arguments: &ExplainArguments) -> Result<Exit, Failure> {
    let keys = arguments.keys()?;
    let folder = arguments.folder()?;
    let user = user_folder(|name| std::env::var_os(name)).ok();
    let modes = modes_of_process(user.as_deref()).map_err(Failure::usage)?;
    let mut builder = Tuner::builder().modes(modes);
    if let Some(folder) = folder {
        // As a program looks at it: what others can write to does not count.
        let is_users = user.as_ref() == Some(&folder);
        builder = if is_users { builder.user_folder(folder) } else { builder.folder(folder) };
    }
    if !arguments.no_embedded {
        builder = builder.embedded();
    }
    let tuner = builder.build();
    for warning in tuner.warnings() {
        output::complain("warning", warning);
    }
    let (identity, registry) = arguments.place(&tuner)?;
    let explanations = keys.iter().map(|key| tuner.explain_at(&identity, &registry, key));
    if arguments.json {
        output::json(&explanations.map(|one| Report::from(&one)).collect::<Vec<_>>())?;
    } else {
        explanations.for_each(|one| output::print(&text::render(&one)));
    }
    Ok(Exit::Success)
}

impl ExplainArguments {
    /// The folder that stands above the embedded decisions; none where there is neither a workspace
    /// nor a user folder.
    fn folder(&self) -> Result<Option<PathBuf>, Failure> {
        let named = self.folder.out.is_some() || self.folder.user;
        match self.folder.resolve() {
            Ok(folder) => {
                self.folder.out.as_deref().map_or(Ok(()), must_exist)?;
                Ok(Some(folder))
            }
            Err(failure) if named => Err(failure),
            Err(_) => Ok(None),
        }
    }

    fn keys(&self) -> Result<Vec<ShapeKey>, Failure> {
        let Self { kind, stride, other_side, .. } = *self;
        if kind == LayerKind::Submanifold && (stride.is_some() || other_side.is_some()) {
            return Err(Failure::usage(
                "--stride and --other-side are those of other kinds than submanifold: add --kind",
            ));
        }
        check_kernels(&[kind], &self.kernel_sizes)?;
        let Stride(stride) = stride.unwrap_or(Stride([2; 3]));
        let mut keys = Vec::new();
        for &kernel in &self.kernel_sizes {
            let layer = Geometry::centred(kind, kernel, stride);
            for &voxels in &self.num_voxels {
                let counts = self.counts(layer, voxels as usize);
                for &channels in &self.channels {
                    let Some(groups) = self.groups.of(channels.c_in, channels.c_out) else {
                        continue;
                    };
                    for &dtype in &self.dtypes {
                        let voxels = voxels as usize;
                        let one = Configuration { voxels, channels, groups, layer, dtype };
                        let key = |&direction| counts.key(one.operation(direction));
                        keys.extend(self.directions.iter().map(key));
                    }
                }
            }
        }
        Ok(keys)
    }

    /// Rows and pairs of a layer over so many voxels, as far as they are not given those of a
    /// uniform cloud.
    fn counts(&self, layer: Geometry, voxels: usize) -> MapCounts {
        let other_side = self.other_side.map(|rows| rows as usize);
        let cloud = PlannedCloud::Generated { generator: Generator::Uniform, voxels };
        let estimate = expected_counts(&cloud, layer);
        let (n_in, n_out) = match layer.kind {
            LayerKind::Inverse => (other_side.unwrap_or(estimate.n_in), estimate.n_out),
            _ => (estimate.n_in, other_side.unwrap_or(estimate.n_out)),
        };
        let pairs = |density: f64| (n_out as f64 * density).round() as usize;
        let pairs = match (self.density, layer.kind) {
            (Some(density), _) => pairs(density),
            (None, LayerKind::Submanifold) => pairs(uniform_density(layer.kernel)),
            (None, _) => estimate.pairs,
        };
        MapCounts { n_in, n_out, pairs }
    }

    /// The device, and the algorithms that it has or would have.
    fn place(&self, tuner: &Tuner) -> Result<(DeviceIdentity, Registry), Failure> {
        let Some(arch) = self.arch else {
            let (device, note) = Device::open(self.device)
                .map_err(|error| Failure::no_device(error).at("--device"))?;
            if let Some(why) = note {
                output::status("Note", why);
            }
            return Ok((device.identity().clone(), device.registry().clone()));
        };
        let arch = arch.supported().map_err(|error| Failure::usage(error).at("--arch"))?;
        let text = self.device_name.as_deref().unwrap_or_default().to_lowercase();
        let known = tuner
            .devices()
            .find(|device| device.arch == arch && device.name.to_lowercase().contains(&text));
        let identity = known.cloned().unwrap_or_else(|| DeviceIdentity {
            arch,
            name: self.device_name.clone().unwrap_or_else(|| "unknown device".to_owned()),
            units: self.units,
        });
        let registry = Registry::of_device(&identity);
        Ok((identity, registry))
    }
}

/// Mean pairs of a row that meets itself and each other place with the occupancy of the generated
/// uniform cloud.
fn uniform_density(kernel: KernelSize) -> f64 {
    const OCCUPANCY: f64 = 0.15;
    ((kernel.volume() - 1) as f64).mul_add(OCCUPANCY, 1.0)
}

fn rows() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn density(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(pairs) if (0.0..=343.0).contains(&pairs) => Ok(pairs),
        _ => Err("expected a number of pairs between 0 and 343".to_owned()),
    }
}
