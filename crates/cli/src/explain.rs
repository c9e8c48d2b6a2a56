//! `explain`: why a layer runs what it runs, with or without its device.

use std::path::PathBuf;

use voxtune::{
    Arch, DType, Device, DeviceChoice, DeviceIdentity, Direction, KernelSize, Operation, Registry,
    ShapeKey, Tuner, modes_of_process, user_folder,
};
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, must_exist};
use crate::output;
use crate::texts::text;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArguments {
    /// Rows of the layer's input and output
    #[arg(long, value_name = "N", num_args = 1.., required = true, value_parser = clap::value_parser!(u32).range(1..))]
    num_voxels: Vec<u32>,
    /// Channel pairs of the layers
    #[arg(long, value_name = "C_in,C_out", num_args = 1.., required = true)]
    channels: Vec<ChannelPair>,
    /// Groups of these channels: a number, or depthwise. Pairs that do not divide into them are
    /// left out
    #[arg(long, value_name = "G", default_value_t = Groups::ONE)]
    groups: Groups,
    /// Kernel sizes: 1, 3 or 5
    #[arg(long, value_name = "K", num_args = 1.., default_values_t = [3])]
    kernel_sizes: Vec<u32>,
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
    #[arg(long, value_name = "TEXT", requires = "arch", value_parser = text)]
    device_name: Option<String>,
    /// SMs or threads of a device that the caches do not hold
    #[arg(long, value_name = "N", requires = "arch", default_value_t = 0)]
    units: u32,
    /// Leave the decisions in the binary out
    #[arg(long)]
    no_embedded: bool,
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
    for key in &keys {
        let explanation = tuner.explain_at(&identity, &registry, key);
        output::result(&explanation);
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
        let mut keys = Vec::new();
        for &extent in &self.kernel_sizes {
            let kernel = KernelSize::submanifold(extent).map_err(Failure::usage)?;
            let density = self.density.unwrap_or_else(|| uniform_density(kernel));
            for &voxels in &self.num_voxels {
                let rows = voxels as usize;
                let pairs = (rows as f64 * density).round() as usize;
                for ChannelPair { c_in, c_out } in self.channels.iter().copied() {
                    let Some(groups) = self.groups.of(c_in, c_out) else { continue };
                    for &dtype in &self.dtypes {
                        keys.extend(self.directions.iter().map(|&direction| {
                            let operation =
                                Operation::submanifold(direction, dtype, c_in, c_out, kernel)
                                    .with_groups(groups);
                            ShapeKey::new(operation, rows, rows, pairs)
                        }));
                    }
                }
            }
        }
        Ok(keys)
    }

    /// The device, and the algorithms that it has or would have.
    fn place(&self, tuner: &Tuner) -> Result<(DeviceIdentity, Registry), Failure> {
        let Some(arch) = self.arch else {
            let (device, note) = Device::open(self.device).map_err(Failure::no_device)?;
            if let Some(why) = note {
                output::status("Note", why);
            }
            return Ok((device.identity().clone(), device.registry().clone()));
        };
        let arch = arch.supported().map_err(Failure::usage)?;
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

fn density(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(pairs) if (0.0..=343.0).contains(&pairs) => Ok(pairs),
        _ => Err("expected a number of pairs between 0 and 343".to_owned()),
    }
}
