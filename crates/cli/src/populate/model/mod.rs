//! `populate --model`: the layers that a network has on a scan, each over its own voxels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use tempfile::TempDir;
use voxtune::{AxisOrder, DType, Device, Geometry, KernelSize, LayerKind, Voxel, Voxels};
use voxtune_models::{Network, NetworkLayer, NetworkStep};
use voxtune_pointcloud::{Source, load_scan};
use voxtune_tune::plan::expand::ScanLayer;
use voxtune_tune::plan::grid::{ChannelPair, Configuration};
use voxtune_tune::plan::groups::Groups;
use voxtune_tune::{Plan, Request};
use voxtune_types::printable_path;

use crate::exit::Failure;
use crate::output;

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

/// A network of a file, as an entry of the `index.json` of fixtures describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNetwork {
    /// Cells along the axes of the scan, from 0 up.
    #[serde(default)]
    spatial_shape: Option<[u32; 3]>,
    layers: Vec<FileLayer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLayer {
    layer: String,
    kernel: [u8; 3],
    #[serde(default = "ones")]
    stride: [u8; 3],
    #[serde(default)]
    padding: [i16; 3],
    #[serde(default = "ones")]
    dilation: [u8; 3],
    #[serde(default)]
    output_padding: [u8; 3],
    /// Of convolutions.
    #[serde(rename = "in", default)]
    c_in: u32,
    #[serde(rename = "out", default)]
    c_out: u32,
    #[serde(default = "one")]
    groups: u32,
    /// Which kernel is fastest does not depend on it.
    #[serde(rename = "bias", default)]
    _bias: bool,
}

const fn ones() -> [u8; 3] {
    [1; 3]
}

const fn one() -> u32 {
    1
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
                Ok(Steps { steps, grid: grid.map(|grid| in_order(network.axes(), grid)) })
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
        let grid = in_order(network.axes(), usual);
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

/// Values along x, y, z in the order of a network's axes.
fn in_order(axes: AxisOrder, [x, y, z]: [u32; 3]) -> [u32; 3] {
    match axes {
        AxisOrder::Xyz => [x, y, z],
        AxisOrder::Zyx => [z, y, x],
    }
}

fn read(path: &Path) -> Result<Steps, String> {
    let bytes = voxtune_files::read_argument(path).map_err(|error| error.to_string())?;
    let is_list = bytes.trim_ascii_start().starts_with(b"[");
    let network = if is_list {
        let layers = serde_json::from_slice(&bytes);
        layers.map(|layers| FileNetwork { spatial_shape: None, layers })
    } else {
        serde_json::from_slice(&bytes)
    };
    let FileNetwork { spatial_shape, layers } = network.map_err(|error| {
        format!(
            "expected a list of layers, or an object of `layers` and `spatial_shape`, as an entry \
             of the index.json of fixtures is: {error}"
        )
    })?;
    let steps = layers.iter().map(FileLayer::checked).collect::<Result<Vec<_>, _>>()?;
    if steps.iter().all(|step| step.convolution.is_none()) {
        return Err("expected convolutions among its layers, found none".to_owned());
    }
    Ok(Steps { steps, grid: spatial_shape })
}

impl FileLayer {
    fn checked(&self) -> Result<Step, String> {
        let Self { ref layer, kernel, stride, padding, dilation, output_padding, .. } = *self;
        let kernel = KernelSize::try_from(kernel).map_err(|error| error.to_string())?;
        let (kind, is_pool) = match &*layer.to_lowercase() {
            "submconv3d" => (LayerKind::Submanifold, false),
            "sparseconv3d" => (LayerKind::Sparse, false),
            "sparseinverseconv3d" => (LayerKind::Inverse, false),
            "sparseconvtranspose3d" => (LayerKind::Transposed, false),
            "maxpool3d" | "sparsemaxpool3d" | "avgpool3d" | "sparseavgpool3d" => {
                (LayerKind::Sparse, true)
            }
            _ => {
                return Err(format!(
                    "layer {layer}: expected SubmConv3d, SparseConv3d, SparseInverseConv3d, \
                     SparseConvTranspose3d, MaxPool3d or AvgPool3d"
                ));
            }
        };
        let geometry = match kind {
            LayerKind::Submanifold => Geometry::submanifold(kernel, dilation),
            _ => {
                let centred = Geometry::centred(kind, kernel, stride);
                Geometry { padding, dilation, output_padding, ..centred }
            }
        };
        geometry.check().map_err(|error| error.to_string())?;
        if output_padding != [0; 3] && kind != LayerKind::Transposed {
            return Err(format!(
                "layer {layer}: output_padding {output_padding:?} is that of SparseConvTranspose3d \
                 alone"
            ));
        }
        let convolution = if is_pool { None } else { Some(self.channels()?) };
        Ok(Step { geometry, convolution })
    }

    fn channels(&self) -> Result<(ChannelPair, u32), String> {
        let Self { c_in, c_out, groups, .. } = *self;
        let most = ChannelPair::MAX;
        if !(1..=most).contains(&c_in) || !(1..=most).contains(&c_out) {
            return Err(format!("{c_in} and {c_out} channels: expected 1 to {most}"));
        }
        if Groups::Number(groups).of(c_in, c_out).is_none() {
            return Err(format!("{c_in} and {c_out} channels do not divide into {groups} groups"));
        }
        Ok((ChannelPair { c_in, c_out }, groups))
    }
}

/// A plan, with the folder of its levels' voxels, which workers read.
pub(super) struct ModelPlan {
    pub(super) plan: Plan,
    /// Removed with the value.
    _levels: TempDir,
}

/// The distinct layers of a network over each scan of the request: strided layers over the voxels
/// that they read, inverse ones over those that they go back to.
pub(super) fn plan_model(
    model: &Model,
    grid: Option<[u32; 3]>,
    dtypes: &[DType],
    request: &Request,
) -> Result<ModelPlan, Failure> {
    let Steps { steps, grid } = model.steps(grid)?;
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let host = Device::cpu().map_err(Failure::failed)?;
    let mut list = Vec::new();
    for source in &request.clouds {
        let Source::File(path) = source else {
            return Err(Failure::usage("--model is measured on scans: name files with --clouds"));
        };
        let scan = load_scan(path, &request.file_options)
            .map_err(|error| Failure::usage(error).at("--clouds"))?;
        let cells = model.turned(scan.voxels);
        let start = match grid.or_else(|| model.usual_grid(&cells)) {
            None => Voxels::new(&host, cells).map_err(Failure::failed)?,
            Some(grid) => Voxels::within(&host, grid, cells).map_err(|error| {
                let path = printable_path(path);
                Failure::usage(format!(
                    "{path}: {error}. Axes are in the order of the network's; --grid names another \
                     shape, in x, y, z"
                ))
            })?,
        };
        let mut levels = Levels { folder: folder.path(), label: source.label(), held: Vec::new() };
        list.extend(measured(&steps, start, dtypes, &mut levels)?);
    }
    let plan = Plan::of_scans(request, &list).map_err(Failure::usage)?;
    Ok(ModelPlan { plan, _levels: folder })
}

/// The convolutions of a network over one scan, each once that has a map of its own: two of one key
/// over the same voxels, with as many rows and pairs, would be one entry of the evidence.
fn measured(
    steps: &[Step],
    start: Voxels,
    dtypes: &[DType],
    levels: &mut Levels<'_>,
) -> Result<Vec<ScanLayer>, Failure> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = start;
    for Step { geometry, convolution } in steps {
        let (outputs, map) = at.outputs_of(geometry).map_err(Failure::failed)?;
        if at.is_empty() || outputs.is_empty() {
            return Err(Failure::usage(format!(
                "the scan leaves nothing for a layer `{geometry}`"
            )));
        }
        let Some((channels, groups)) = *convolution else {
            at = outputs;
            continue;
        };
        let cloud = if geometry.kind == LayerKind::Inverse { &outputs } else { &at };
        let (number, path) = levels.of(cloud)?;
        // An inverse layer's windows are those of the layer that it undoes.
        let (layer, counts) = (map.geometry(), map.counts());
        let key = (number, channels, groups, layer.kind, layer.kernel, layer.stride);
        if seen.insert((key, [counts.n_in, counts.n_out, counts.pairs])) {
            let (voxels, grid) = (cloud.len(), cloud.shape());
            list.extend(dtypes.iter().map(|&dtype| ScanLayer {
                configuration: Configuration { voxels, channels, groups, layer, dtype },
                path: path.clone(),
                grid,
            }));
        }
        at = outputs;
    }
    Ok(list)
}

/// The levels of a scan so far, each in a file.
struct Levels<'a> {
    folder: &'a Path,
    label: String,
    held: Vec<(Voxels, PathBuf)>,
}

impl Levels<'_> {
    fn of(&mut self, voxels: &Voxels) -> Result<(usize, PathBuf), Failure> {
        if let Some(number) = self.held.iter().position(|(held, _)| held.is_same(voxels)) {
            return Ok((number, self.held[number].1.clone()));
        }
        let number = self.held.len();
        let name = match number {
            0 => self.label.clone(),
            level => format!("{}-level{level}", self.label),
        };
        let path = self.folder.join(format!("{name}.npy"));
        let cells = voxels.cells().map_err(Failure::failed)?;
        std::fs::write(&path, npy(cells)).map_err(Failure::failed)?;
        self.held.push((voxels.clone(), path.clone()));
        Ok((number, path))
    }
}

/// A NumPy array of rows of batch, x, y, z (NEP 1, version 1.0).
fn npy(cells: &[Voxel]) -> Vec<u8> {
    const ALIGNMENT: usize = 64;
    let shape = format!("({}, 4)", cells.len());
    let dict = format!("{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}");
    let start = b"\x93NUMPY\x01\x00";
    let unpadded = start.len() + 2 + dict.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    let header = format!("{dict}{}\n", " ".repeat(padding));
    let mut bytes = start.to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    for Voxel { batch, x, y, z } in cells {
        bytes.extend([batch, x, y, z].into_iter().flat_map(|axis| axis.to_le_bytes()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use voxtune::Direction;
    use voxtune_tune::inputs::cloud_setup::CloudSetup;
    use voxtune_tune::{Preset, Request};

    use super::*;

    fn host() -> Device {
        Device::cpu_with_threads(1).unwrap()
    }

    fn steps_of(text: &str) -> Result<Steps, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layers.json");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    /// A plan's configurations with the maps that a worker builds for them.
    fn planned(steps: &Steps, cells: Vec<Voxel>) -> Vec<(Configuration, CloudSetup)> {
        let (host, folder) = (host(), tempfile::tempdir().unwrap());
        let start = match steps.grid {
            None => Voxels::new(&host, cells).unwrap(),
            Some(grid) => Voxels::within(&host, grid, cells).unwrap(),
        };
        let label = "scan".to_owned();
        let mut levels = Levels { folder: folder.path(), label, held: Vec::new() };
        let list = measured(&steps.steps, start, &[DType::Float32], &mut levels).unwrap();
        let plan = Plan::of_scans(&Request::new(Preset::Quick.grid()), &list).unwrap();
        let set_up = plan.configurations.iter().flat_map(|planned| {
            planned.clouds.iter().map(|cloud| {
                let layer = planned.configuration.layer;
                let setup = CloudSetup::new(&host, cloud, layer, 1, 0).unwrap();
                (planned.configuration, setup)
            })
        });
        set_up.collect()
    }

    fn cells() -> Vec<Voxel> {
        let mut cells: Vec<Voxel> =
            (0..60).map(|i| Voxel::new(0, i * 7 % 11, i * 5 % 9, i / 3)).collect();
        // As files of voxels are read.
        cells.sort_unstable();
        cells
    }

    /// The pairs of each offset.
    fn pairs(map: &voxtune::KernelMap) -> Vec<Vec<(u32, u32)>> {
        let (map, volume) = (map.host().unwrap(), map.geometry().kernel.volume());
        let of =
            |offset| map.pair_list(offset).iter().map(|pair| (pair.in_row, pair.out_row)).collect();
        (0..volume).map(of).collect()
    }

    /// Padding and dilation as in the checkpoints of networks, with and without a grid.
    #[test]
    fn layers_are_measured_where_their_rows_meet() {
        for grid in ["null", "[11, 9, 20]"] {
            for layer in [
                r#""SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "padding": [1, 1, 1]"#,
                r#""SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "padding": [0, 1, 1]"#,
                r#""SparseConv3d", "kernel": [3, 1, 1], "stride": [2, 1, 1]"#,
                r#""SparseConv3d", "kernel": [2, 2, 2], "stride": [2, 2, 2]"#,
                r#""SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "dilation": [2, 1, 3]"#,
                r#""SubmConv3d", "kernel": [3, 5, 3], "dilation": [3, 1, 2]"#,
                r#""SparseConvTranspose3d", "kernel": [3, 3, 3], "stride": [2, 1, 2],
                    "padding": [1, 0, 1], "output_padding": [1, 0, 0]"#,
            ] {
                let text = format!(
                    r#"{{"spatial_shape": {grid}, "layers": [{{"layer": {layer}, "in": 4, "out": 8}}]}}"#
                );
                let steps = steps_of(&text).unwrap();
                let geometry = steps.steps[0].geometry;
                let start = match steps.grid {
                    None => Voxels::new(&host(), cells()).unwrap(),
                    Some(grid) => Voxels::within(&host(), grid, cells()).unwrap(),
                };
                let expected = start.outputs_of(&geometry).unwrap().1;
                let found = planned(&steps, cells());
                assert_eq!(found.len(), 1);
                let map = &found[0].1.map;
                assert_eq!(map.counts(), expected.counts(), "{geometry} in {grid}");
                assert_eq!(pairs(map), pairs(&expected), "{geometry} in {grid}");
            }
        }
    }

    /// Two layers of one key are configurations of their own, each with its own pairs.
    #[test]
    fn dilation_padding_and_grid_change_the_maps_that_are_measured() {
        let text = r#"{"spatial_shape": [11, 9, 20], "layers": [
            {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8, "bias": true},
            {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [2, 2, 2], "in": 8, "out": 8},
            {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [3, 1, 1], "in": 8, "out": 8},
            {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [2, 2, 2], "in": 8, "out": 8,
             "groups": 8},
            {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "in": 8, "out": 16},
            {"layer": "SparseInverseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2],
             "in": 16, "out": 8},
            {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2],
             "padding": [1, 1, 1], "in": 8, "out": 16},
            {"layer": "MaxPool3d", "kernel": [2, 2, 2], "stride": [2, 2, 2]},
            {"layer": "SparseConvTranspose3d", "kernel": [2, 2, 2], "stride": [2, 2, 2],
             "in": 16, "out": 8}]}"#;
        let within = steps_of(text).unwrap();
        let without = steps_of(&text.replace("[11, 9, 20]", "null")).unwrap();
        let mut listing = String::new();
        for (title, steps) in [("within 11 x 9 x 20", within), ("without a grid", without)] {
            writeln!(listing, "{title}").unwrap();
            let mut keys = BTreeSet::new();
            for (configuration, setup) in planned(&steps, cells()) {
                let counts = setup.map.counts();
                let key = counts.key(configuration.operation(Direction::Forward));
                let note = if keys.insert(key) { "" } else { " of a key that was there" };
                writeln!(
                    listing,
                    "{configuration}: {} to {} rows, {} pairs{note}",
                    counts.n_in, counts.n_out, counts.pairs
                )
                .unwrap();
            }
        }
        insta::assert_snapshot!(listing);
    }

    #[test]
    fn layers_with_the_same_map_are_measured_once() {
        let layer = r#"{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8}"#;
        let steps = steps_of(&format!("[{layer}, {layer}, {layer}]")).unwrap();
        assert_eq!(planned(&steps, cells()).len(), 1);
    }

    #[test]
    fn a_file_of_layers_is_read_and_what_is_wrong_named() {
        let good = r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 4, "out": 16},
            {"layer": "SparseConv3d", "kernel": [3, 1, 1], "stride": [2, 1, 1], "in": 16, "out": 32}]"#;
        let read = steps_of(good).unwrap();
        assert_eq!(read.steps[1].geometry.to_string(), "k3x1x1 s2x1x1 p0x0x0");
        for (text, words) in [
            (r#"[{"layer": "Conv4d", "kernel": [3, 3, 3], "in": 4, "out": 16}]"#, "Conv4d"),
            (r#"[{"layer": "SubmConv3d", "kernel": [2, 2, 2], "in": 4, "out": 16}]"#, "odd"),
            (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 9], "in": 4, "out": 16}]"#, "9"),
            (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 0, "out": 16}]"#, "channels"),
            (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "out": 16}]"#, "channels"),
            (
                r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 6, "out": 8, "groups": 4}]"#,
                "4 groups",
            ),
            (
                r#"[{"layer": "SparseConv3d", "kernel": [2, 2, 2], "stride": [2, 2, 2],
                     "output_padding": [1, 1, 1], "in": 6, "out": 8}]"#,
                "output_padding",
            ),
            (
                r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [0, 1, 1],
                     "in": 6, "out": 8}]"#,
                "dilation",
            ),
            (r#"{"layer": []}"#, "list of layers"),
            (r#"{"layers": []}"#, "found none"),
            (r#"[{"layer": "MaxPool3d", "kernel": [2, 2, 2]}]"#, "found none"),
            (r#"{"layers": [], "shape": [1, 2, 3]}"#, "spatial_shape"),
        ] {
            let error = steps_of(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    /// Every entry of the fixtures that has a convolution can be measured.
    #[test]
    fn layers_of_fixtures_are_read() {
        let index = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/spconv/index.json");
        // A published crate has no fixtures beside it.
        let Ok(text) = std::fs::read_to_string(index) else { return };
        let entries: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        let is_measured = |entry: &serde_json::Value| {
            let layers = entry.get("layers").and_then(|layers| layers.as_array());
            layers.is_some_and(|layers| layers.iter().any(|layer| layer.get("in").is_some()))
        };
        let of_layers = entries.iter().filter(|(_, entry)| is_measured(entry));
        let mut count = 0;
        for (name, entry) in of_layers {
            let steps = steps_of(&entry.to_string());
            assert!(steps.is_ok(), "{name}: {}", steps.unwrap_err());
            count += 1;
        }
        assert!(count > 10, "{count}");
    }

    #[test]
    fn names_are_networks_and_other_texts_files() {
        assert!(matches!("centerpoint".parse(), Ok(Model::Known(Network::CenterPoint))));
        assert!(matches!("my/layers.json".parse(), Ok(Model::File(_))));
        assert!("centrepoint".parse::<Model>().unwrap_err().contains("spunet"));
    }

    #[test]
    fn detectors_have_their_grid_where_a_scan_fits_it() {
        let model = Model::Known(Network::CenterPoint);
        let cells = |x| model.turned(vec![Voxel::new(0, x, 1439, 40)]);
        assert_eq!(model.usual_grid(&cells(1439)), Some([41, 1440, 1440]));
        assert_eq!(model.usual_grid(&cells(1440)), None);
        assert_eq!(model.usual_grid(&cells(-1)), None);
        assert_eq!(Model::Known(Network::SpUNet).usual_grid(&cells(0)), None);
        let named = model.steps(Some([100, 200, 30])).unwrap();
        assert_eq!(named.grid, Some([30, 200, 100]));
    }

    /// Each layer once a level; the decoder's on the encoder's levels.
    #[test]
    fn layers_are_measured_on_the_levels_that_they_meet() {
        let folder = tempfile::tempdir().unwrap();
        let cells: Vec<Voxel> =
            (0..4_000).map(|i| Voxel::new(0, i / 64, i % 64, (i / 7) % 3)).collect();
        let start = Voxels::new(&host(), cells).unwrap();
        let mut levels =
            Levels { folder: folder.path(), label: "scan".to_owned(), held: Vec::new() };
        let steps = Model::Known(Network::SpUNet).steps(None).unwrap().steps;
        let list = measured(&steps, start.clone(), &[DType::Float16], &mut levels).unwrap();
        assert_eq!(levels.held.len(), 5);
        let of = |name: &str| list.iter().filter(|one| one.path.ends_with(name)).count();
        // Stem, down, up, two convolutions and a projection of the decoder's block, the classes.
        assert_eq!(of("scan.npy"), 7);
        let last = &list[list.len() - 1].configuration;
        assert_eq!((last.voxels, last.channels.c_out), (start.len(), 20));
    }
}
