//! `populate --model`: the layers that a network has on a scan, each over its own voxels, and what
//! its levels have there.

mod file;
mod levels;
pub(super) mod profile;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tempfile::TempDir;
use voxtune::{DType, Device, Geometry, KernelMap, LayerKind, Voxel, Voxels};
use voxtune_models::{Network, NetworkLayer, NetworkStep};
use voxtune_pointcloud::{Source, load_scan};
use voxtune_tune::inputs::readers::Readers;
use voxtune_tune::plan::expand::ScanLayer;
use voxtune_tune::plan::grid::{ChannelPair, Configuration};
use voxtune_tune::{Plan, Request};
use voxtune_types::printable_path;

use crate::exit::Failure;
use crate::output;
use file::read;
use levels::Levels;
use profile::Walk;

/// The argument of `--model`.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// One whose layers are known.
    Known(Network),
    /// One that a file describes.
    File(PathBuf),
}

impl FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(network) => Ok(Self::Known(network)),
            Err(_) if text.contains(['.', '/']) => Ok(Self::File(PathBuf::from(text))),
            Err(error) => Err(format!("{error}, or a file such as layers.json")),
        }
    }
}

/// A network: its steps, one behind the other.
#[derive(Debug)]
struct Steps {
    steps: Vec<Step>,
    /// Where levels end, in the order of the network's axes.
    grid: Option<[u32; 3]>,
}

/// A step of a network that changes channels or voxels.
#[derive(Debug)]
struct Step {
    /// Where its rows meet.
    geometry: Geometry,
    /// Channels of a convolution and their groups; nothing of a pool, which is not measured.
    convolution: Option<(ChannelPair, u32)>,
}

impl From<NetworkStep> for Step {
    fn from(step: NetworkStep) -> Self {
        match step {
            NetworkStep::Convolution(NetworkLayer { geometry, c_in, c_out }) => {
                Self { geometry, convolution: Some((ChannelPair { c_in, c_out }, 1)) }
            }
            NetworkStep::Pool(geometry) => Self { geometry, convolution: None },
        }
    }
}

impl Model {
    /// The network, within a grid of the command line, which is x, y, z, or one of its own.
    fn steps(&self, grid: Option<[u32; 3]>) -> Result<Steps, Failure> {
        match self {
            Self::Known(network) => {
                let steps = network.steps().into_iter().map(Step::from).collect();
                Ok(Steps { steps, grid: grid.map(|grid| network.turned_shape(grid)) })
            }
            Self::File(path) => {
                let named = |why| Failure::usage(format!("{}: {why}", printable_path(path)));
                let steps = read(path).map_err(named)?;
                Ok(Steps { grid: grid.or(steps.grid), ..steps })
            }
        }
    }

    /// The cells of a scan in the order of the network's axes; a file's are those of the scan.
    fn turned(&self, cells: Vec<Voxel>) -> Vec<Voxel> {
        match self {
            Self::Known(network) => cells.into_iter().map(|cell| network.turned(cell)).collect(),
            Self::File(_) => cells,
        }
    }

    /// The grid that the network usually has, if the cells lie in it.
    fn usual_grid(&self, cells: &[Voxel]) -> Option<[u32; 3]> {
        let Self::Known(network) = self else { return None };
        let usual = network.usual_grid()?;
        let grid = network.turned_shape(usual);
        let fits = |cell: &Voxel| {
            let at = [cell.x, cell.y, cell.z].into_iter().zip(grid);
            at.into_iter().all(|(at, size)| u32::try_from(at).is_ok_and(|at| at < size))
        };
        if cells.iter().all(fits) {
            return Some(grid);
        }
        let [x, y, z] = usual;
        let text = format!(
            "the scan does not fit the usual grid of {network}, {x} x {y} x {z}: levels end \
             nowhere, unless --grid says where"
        );
        output::status("Note", text);
        None
    }
}

/// A plan, with the folder of its levels' voxels, which workers read.
pub(super) struct ModelPlan {
    pub(super) plan: Plan,
    /// What a profile is made of.
    pub(super) walk: Walk,
    /// Removed with the value.
    _levels: TempDir,
}

/// The distinct layers of a network over each scan of the request. A strided layer is measured over
/// the voxels that it reads, an inverse one over those that it goes back to.
pub(super) fn plan_model(
    model: &Model,
    grid: Option<[u32; 3]>,
    dtypes: &[DType],
    request: &Request,
) -> Result<ModelPlan, Failure> {
    let Steps { steps, grid } = model.steps(grid)?;
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let host = Device::cpu().map_err(Failure::failed)?;
    let (mut list, mut inputs) = (Vec::new(), Vec::new());
    for source in &request.clouds {
        let Source::File(path) = source else {
            return Err(Failure::usage("--model is measured on scans: name files with --clouds"));
        };
        let scan = load_scan(path, &request.file_options)
            .map_err(|error| Failure::usage(error).at("--clouds"))?;
        let cells = model.turned(scan.voxels);
        let start = match grid.or_else(|| model.usual_grid(&cells)) {
            None => Voxels::new(&host, cells.clone()).map_err(Failure::failed)?,
            Some(grid) => Voxels::within(&host, grid, cells.clone()).map_err(|error| {
                let path = printable_path(path);
                Failure::usage(format!(
                    "{path}: {error}. Axes are in the order of the network's; --grid names another \
                     shape, in x, y, z"
                ))
            })?,
        };
        inputs.push((start.shape(), cells));
        let mut levels = Levels { folder: folder.path(), label: source.label(), held: Vec::new() };
        list.extend(measured(&steps, start, dtypes, &mut levels)?);
    }
    let plan = Plan::of_scans(request, &list).map_err(Failure::usage)?;
    let dtype = dtypes.first().copied().unwrap_or(DType::Float16);
    let network = match model {
        Model::Known(network) => Some(*network),
        Model::File(_) => None,
    };
    Ok(ModelPlan { plan, walk: Walk { network, steps, dtype, inputs }, _levels: folder })
}

/// A convolution that a walk through a network has met.
struct Met {
    map: Arc<KernelMap>,
    /// The voxels that it is measured over.
    cloud: Voxels,
    channels: ChannelPair,
    groups: u32,
}

/// The convolutions of a network over some voxels, in their order.
fn met(steps: &[Step], start: Voxels) -> Result<Vec<Met>, Failure> {
    let mut all = Vec::new();
    let mut at = start;
    for Step { geometry, convolution } in steps {
        let (outputs, map) = at.outputs_of(geometry).map_err(Failure::failed)?;
        if at.is_empty() || outputs.is_empty() {
            return Err(Failure::usage(format!(
                "the scan leaves nothing for a layer `{geometry}`"
            )));
        }
        if let Some((channels, groups)) = *convolution {
            let cloud = if geometry.kind == LayerKind::Inverse { &outputs } else { &at };
            all.push(Met { map, cloud: cloud.clone(), channels, groups });
        }
        at = outputs;
    }
    Ok(all)
}

impl Met {
    /// How many of a network's convolutions share what is made of its map.
    fn readers(&self, all: &[Self]) -> Readers {
        let over_it = || all.iter().filter(|one| Arc::ptr_eq(&one.map, &self.map));
        let is_alike = |one: &&Self| (one.channels, one.groups) == (self.channels, self.groups);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Readers {
            layers: count(over_it().count()),
            alike: count(over_it().filter(is_alike).count()),
        }
    }
}

/// The convolutions of a network over one scan, each once that has a map of its own. Two of one key
/// over the same voxels, with as many rows and pairs, would be one entry.
fn measured(
    steps: &[Step],
    start: Voxels,
    dtypes: &[DType],
    levels: &mut Levels<'_>,
) -> Result<Vec<ScanLayer>, Failure> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    let all = met(steps, start)?;
    for one in &all {
        let &Met { ref map, ref cloud, channels, groups } = one;
        let (number, path) = levels.of(cloud)?;
        // An inverse layer's windows are those of the layer that it undoes.
        let (layer, counts) = (map.geometry(), map.counts());
        let key = (number, channels, groups, layer.kind, layer.kernel, layer.stride);
        if seen.insert((key, [counts.n_in, counts.n_out, counts.pairs])) {
            let (voxels, grid) = (cloud.len(), cloud.shape());
            let readers = one.readers(&all);
            list.extend(dtypes.iter().map(|&dtype| ScanLayer {
                configuration: Configuration { voxels, channels, groups, layer, dtype },
                path: path.clone(),
                grid,
                readers,
            }));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
