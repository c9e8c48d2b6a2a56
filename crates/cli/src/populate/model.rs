//! `populate --model`: the layers that a network has on a scan, each over its own voxels.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use tempfile::TempDir;
use voxtune::{DType, Device, Geometry, KernelSize, LayerKind, Voxel, Voxels};
use voxtune_models::{Network, NetworkLayer, NetworkStep};
use voxtune_pointcloud::{Source, load_scan};
use voxtune_tune::plan::grid::{ChannelPair, Configuration, LayerShape};
use voxtune_tune::{Plan, Request};
use voxtune_types::printable_path;

use crate::exit::Failure;

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

/// A layer of a file, as `index.json` of fixtures describes it.
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
    #[serde(rename = "in")]
    c_in: u32,
    #[serde(rename = "out")]
    c_out: u32,
}

const fn ones() -> [u8; 3] {
    [1; 3]
}

impl Model {
    fn steps(&self) -> Result<Vec<NetworkStep>, Failure> {
        match self {
            Self::Known(network) => Ok(network.steps()),
            Self::File(path) => {
                let layers = read(path);
                let named = |why| Failure::usage(format!("{}: {why}", printable_path(path)));
                Ok(layers.map_err(named)?.into_iter().map(NetworkStep::Convolution).collect())
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
}

fn read(path: &Path) -> Result<Vec<NetworkLayer>, String> {
    let bytes = voxtune_files::read_argument(path).map_err(|error| error.to_string())?;
    let layers: Vec<FileLayer> = serde_json::from_slice(&bytes).map_err(|error| {
        format!("expected a list of layers, as in the index.json of fixtures: {error}")
    })?;
    layers.into_iter().map(FileLayer::checked).collect()
}

impl FileLayer {
    fn checked(self) -> Result<NetworkLayer, String> {
        let Self { layer, kernel, stride, padding, dilation, c_in, c_out } = self;
        let kernel = KernelSize::try_from(kernel).map_err(|error| error.to_string())?;
        let kind = match &*layer.to_lowercase() {
            "submconv3d" => LayerKind::Submanifold,
            "sparseconv3d" => LayerKind::Sparse,
            "sparseinverseconv3d" => LayerKind::Inverse,
            "sparseconvtranspose3d" => LayerKind::Transposed,
            _ => {
                return Err(format!(
                    "layer {layer}: expected SubmConv3d, SparseConv3d, SparseInverseConv3d or \
                     SparseConvTranspose3d"
                ));
            }
        };
        let most = ChannelPair::MAX;
        if !(1..=most).contains(&c_in) || !(1..=most).contains(&c_out) {
            return Err(format!("{c_in} and {c_out} channels: expected 1 to {most}"));
        }
        let geometry = match kind {
            LayerKind::Submanifold => Geometry::submanifold(kernel, dilation),
            _ => {
                Geometry { padding, dilation, ..Geometry::strided(kernel, stride).with_kind(kind) }
            }
        };
        geometry.check().map_err(|error| error.to_string())?;
        Ok(NetworkLayer { geometry, c_in, c_out })
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
    dtypes: &[DType],
    request: &Request,
) -> Result<ModelPlan, Failure> {
    let steps = model.steps()?;
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let host = Device::cpu().map_err(Failure::failed)?;
    let mut list = Vec::new();
    for source in &request.clouds {
        let Source::File(path) = source else {
            return Err(Failure::usage("--model is measured on scans: name files with --clouds"));
        };
        let scan = load_scan(path, &request.file_options).map_err(Failure::usage)?;
        let start = Voxels::new(&host, model.turned(scan.voxels)).map_err(Failure::failed)?;
        let mut levels = Levels { folder: folder.path(), label: source.label(), held: Vec::new() };
        list.extend(measured(&steps, start, dtypes, &mut levels)?);
    }
    let plan = Plan::of_scans(request, &list).map_err(Failure::usage)?;
    Ok(ModelPlan { plan, _levels: folder })
}

fn measured(
    steps: &[NetworkStep],
    start: Voxels,
    dtypes: &[DType],
    levels: &mut Levels<'_>,
) -> Result<Vec<(Configuration, PathBuf)>, Failure> {
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    let mut at = start;
    for step in steps {
        let (outputs, _) = at.outputs_of(step.geometry()).map_err(Failure::failed)?;
        let NetworkStep::Convolution(NetworkLayer { geometry, c_in, c_out }) = step else {
            at = outputs;
            continue;
        };
        let cloud = if geometry.kind == LayerKind::Inverse { &outputs } else { &at };
        if cloud.is_empty() {
            return Err(Failure::usage(format!(
                "the scan leaves nothing for a layer `{geometry}`"
            )));
        }
        let (number, path) = levels.of(cloud, shift(geometry))?;
        let Geometry { kind, kernel, stride, .. } = *geometry;
        let channels = ChannelPair { c_in: *c_in, c_out: *c_out };
        let layer = LayerShape { kind, kernel, stride };
        if seen.insert((number, channels, layer)) {
            let voxels = cloud.len();
            let of = |&dtype| {
                (Configuration { voxels, channels, groups: 1, layer, dtype }, path.clone())
            };
            list.extend(dtypes.iter().map(of));
        }
        at = outputs;
    }
    Ok(list)
}

/// How far voxels are moved for a layer of other padding than that of the layers which are
/// measured, whose windows are centred: rows then meet as in the network.
///
/// Fine cell f and coarse cell c meet where `f + padding = c · stride + r`, so that padding is a
/// translation of the fine cells.
fn shift(geometry: &Geometry) -> [i32; 3] {
    if geometry.kind == LayerKind::Submanifold {
        return [0; 3];
    }
    let centred = Geometry::strided(geometry.kernel, geometry.stride).padding;
    std::array::from_fn(|axis| i32::from(geometry.padding[axis]) - i32::from(centred[axis]))
}

/// The levels of a scan so far, each in a file for every translation.
struct Levels<'a> {
    folder: &'a Path,
    label: String,
    held: Vec<(Voxels, [i32; 3], PathBuf)>,
}

impl Levels<'_> {
    fn of(&mut self, voxels: &Voxels, by: [i32; 3]) -> Result<(usize, PathBuf), Failure> {
        let is_held =
            |(held, moved, _): &(Voxels, [i32; 3], PathBuf)| held.is_same(voxels) && *moved == by;
        if let Some(number) = self.held.iter().position(is_held) {
            return Ok((number, self.held[number].2.clone()));
        }
        let number = self.held.len();
        let name = match number {
            0 => self.label.clone(),
            level => format!("{}-level{level}", self.label),
        };
        let path = self.folder.join(format!("{name}.npy"));
        let cells = voxels.cells().map_err(Failure::failed)?;
        let [x, y, z] = by;
        let moved: Option<Vec<Voxel>> = cells
            .iter()
            .map(|cell| {
                let at = (cell.x.checked_add(x)?, cell.y.checked_add(y)?, cell.z.checked_add(z)?);
                Some(Voxel::new(cell.batch, at.0, at.1, at.2))
            })
            .collect();
        let moved = moved.ok_or_else(|| Failure::usage("a voxel lies at the end of 32 bits"))?;
        std::fs::write(&path, npy(&moved)).map_err(Failure::failed)?;
        self.held.push((voxels.clone(), by, path.clone()));
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
    use voxtune::KernelMap;
    use voxtune_pointcloud::FileOptions;

    use super::*;

    /// Padding that is not centred, as in the checkpoints of networks.
    #[test]
    fn layers_are_measured_where_their_rows_meet() {
        let host = Device::cpu_with_threads(1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cells: Vec<Voxel> =
            (0..60).map(|i| Voxel::new(0, i * 7 % 11, i * 5 % 9, i / 3)).collect();
        let start = Voxels::new(&host, cells).unwrap();
        let mut levels =
            Levels { folder: folder.path(), label: "scan".to_owned(), held: Vec::new() };
        for (extents, stride, padding) in [
            ([3, 3, 3], [2, 2, 2], [1, 1, 1]),
            ([3, 3, 3], [2, 2, 2], [0, 1, 1]),
            ([3, 1, 1], [2, 1, 1], [0, 0, 0]),
            ([2, 2, 2], [2, 2, 2], [0, 0, 0]),
        ] {
            let kernel = KernelSize::try_from(extents).unwrap();
            let geometry = Geometry { padding, ..Geometry::strided(kernel, stride) };
            let (_, map) = start.outputs_of(&geometry).unwrap();
            let (_, path) = levels.of(&start, shift(&geometry)).unwrap();
            let moved = load_scan(&path, &FileOptions::default()).unwrap().voxels;
            let moved = Voxels::new(&host, moved).unwrap();
            let (_, measured) = moved.outputs_of(&Geometry::strided(kernel, stride)).unwrap();
            let pairs = |map: &KernelMap| {
                let map = map.host().unwrap();
                (0..kernel.volume()).map(|offset| map.pair_list(offset).len()).collect::<Vec<_>>()
            };
            assert_eq!(map.counts(), measured.counts(), "{geometry}");
            assert_eq!(pairs(&map), pairs(&measured), "{geometry}");
        }
    }

    #[test]
    fn a_file_of_layers_is_read_and_what_is_wrong_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layers.json");
        let layers = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let good = r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 4, "out": 16},
            {"layer": "SparseConv3d", "kernel": [3, 1, 1], "stride": [2, 1, 1], "in": 16, "out": 32}]"#;
        let read = layers(good).unwrap();
        assert_eq!(read[1].geometry.to_string(), "k3x1x1 s2x1x1 p0x0x0");
        for (text, words) in [
            (r#"[{"layer": "Conv4d", "kernel": [3, 3, 3], "in": 4, "out": 16}]"#, "Conv4d"),
            (r#"[{"layer": "SubmConv3d", "kernel": [2, 2, 2], "in": 4, "out": 16}]"#, "odd"),
            (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 9], "in": 4, "out": 16}]"#, "9"),
            (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 0, "out": 16}]"#, "channels"),
            (r#"{"layers": []}"#, "list of layers"),
        ] {
            let error = layers(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn names_are_networks_and_other_texts_files() {
        assert!(matches!("centerpoint".parse(), Ok(Model::Known(Network::CenterPoint))));
        assert!(matches!("my/layers.json".parse(), Ok(Model::File(_))));
        assert!("centrepoint".parse::<Model>().unwrap_err().contains("spunet"));
    }

    /// Each layer once a level; the decoder's on the encoder's levels.
    #[test]
    fn layers_are_measured_on_the_levels_that_they_meet() {
        let folder = tempfile::tempdir().unwrap();
        let host = Device::cpu_with_threads(1).unwrap();
        let cells: Vec<Voxel> =
            (0..4_000).map(|i| Voxel::new(0, i / 64, i % 64, (i / 7) % 3)).collect();
        let start = Voxels::new(&host, cells).unwrap();
        let mut levels =
            Levels { folder: folder.path(), label: "scan".to_owned(), held: Vec::new() };
        let steps = Network::SpUNet.steps();
        let list = measured(&steps, start.clone(), &[DType::Float16], &mut levels).unwrap();
        assert_eq!(levels.held.len(), 5);
        let of = |name: &str| list.iter().filter(|(_, path)| path.ends_with(name)).count();
        // Stem, down, up, two convolutions and a projection of the decoder's block, the classes.
        assert_eq!(of("scan.npy"), 7);
        let last = &list[list.len() - 1].0;
        assert_eq!((last.voxels, last.channels.c_out), (start.len(), 20));
    }
}
