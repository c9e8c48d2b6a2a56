//! Runs CenterPoint's backbone over a LiDAR frame, down to a bird's-eye view as an image.
//!
//! ```text
//! cargo run --release -p voxtune-models --example detect_backbone -- [SCAN] [--checkpoint FILE]
//! ```
//!
//! Points become voxels on the device, by the grid of CenterPoint's nuScenes networks unless
//! another is given. An integer array holds voxels already, `x, y, z` or with `--zyx` as spconv has
//! them; their features are 1. A frame is timed from voxels on the device to the view, with fresh
//! maps. The input is timed beside it, from points on the device or voxels in the host's memory.
//!
//! Without a checkpoint weights are random, and the image shows where the network sees something
//! but no objects.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows its results")]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use voxtune::{
    AxisOrder, DType, Device, DeviceChoice, Direction, ExpectedCounts, PointCloud, SparseTensor,
    Tensor, Voxel, VoxelGrid, Voxelization, Voxels, ops,
};
use voxtune_models::{CenterPointBackbone, Checkpoint, Network};
use voxtune_pointcloud::{Contents, Crop, Source, generate, read_contents};

use common::heat_map::HeatMap;
use common::input_channels::input_channels;
use common::outcome::{Anything, exit_code};
use common::times::Times;
use common::{device, graph, report};

mod common {
    pub(crate) mod device;
    pub(crate) mod graph;
    pub(crate) mod heat_map;
    pub(crate) mod input_channels;
    pub(crate) mod outcome;
    pub(crate) mod report;
    pub(crate) mod times;
}

/// Runs CenterPoint's backbone and draws its view
#[derive(Parser)]
struct Arguments {
    /// A scan file (.npy, .npz, .bin, .ply or .pcd), or the name of a generated cloud: uniform,
    /// surface or thick
    #[arg(
        value_name = "SCAN",
        default_value = "surface",
        value_parser = OsStringValueParser::new().try_map(|text: OsString| Source::try_from(&*text))
    )]
    source: Source,
    /// How many voxels to generate
    #[arg(long, default_value_t = 20_000)]
    voxels: usize,
    /// Columns of an integer array are z, y, x
    #[arg(long)]
    zyx: bool,
    /// The part of the scan that becomes voxels
    #[arg(long, value_name = "X0,Y0,Z0,X1,Y1,Z1", default_value = "-54,-54,-5,54,54,3")]
    #[arg(allow_hyphen_values = true)]
    range: Crop,
    /// Edges of a voxel
    #[arg(long, value_name = "X,Y,Z", value_delimiter = ',', default_value = "0.075,0.075,0.2")]
    voxel_size: Vec<f32>,
    /// The network's tensors, a safetensors file; random ones if not given
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Where the view is written
    #[arg(long, default_value = "bev.png")]
    out: PathBuf,
    /// Pixels along the edge of a cell of the view
    #[arg(long, default_value_t = 4)]
    scale: usize,
    /// Device: auto, cpu or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Storage of features and weights: float32, float16 or bfloat16
    #[arg(long, default_value_t = DType::Float16)]
    dtype: DType,
    /// Run frames as one CUDA graph each, too
    #[arg(long)]
    graph: bool,
    /// Frames behind the first
    #[arg(long, default_value_t = 20)]
    frames: usize,
}

/// How often levels of the network halve the grid along x and y.
const HALVINGS: u32 = 3;

/// Cells along z of CenterPoint's grids. Of fewer than 25 its last layers leave nothing.
const HEIGHT: u32 = 41;

fn main() -> ExitCode {
    exit_code(detect_backbone(&Arguments::parse()))
}

fn detect_backbone(arguments: &Arguments) -> Result<(), Anything> {
    let Arguments { dtype, frames, scale, ref out, .. } = *arguments;
    let device = device::open(arguments.device)?;
    let (checkpoint, origin) = match &arguments.checkpoint {
        Some(path) => (Checkpoint::read(path)?, format!("of {}", path.display())),
        None => {
            let random = Network::CenterPoint.random_checkpoint(None, 0)?;
            (random, "random weights".to_owned())
        }
    };
    let mut network = CenterPointBackbone::new(&device, dtype, &checkpoint)?;
    let c_in = input_channels(&network)?;
    let fusions = network.fuse()?.len();
    println!("{:<12}{network:?}, {dtype}, {fusions} fusions, {origin}", "network");
    let scan = Scan::load(&device, arguments, c_in)?;
    println!("{:<12}{scan} in a grid of {:?}", "scan", scan.shape()?);

    let expected = ExpectedCounts::new();
    let (mut inputs, mut times, mut last) = (Vec::new(), Vec::new(), None);
    for _ in 0..=frames {
        device.synchronize()?;
        let start = Instant::now();
        let input = scan.input(&device, Some(&expected), dtype)?;
        device.synchronize()?;
        inputs.push(start.elapsed());
        let (start, waits) = (Instant::now(), device.waits());
        let view = network.forward_bev(&input, 1)?;
        let waits = device.waits() - waits;
        device.synchronize()?;
        times.push(start.elapsed());
        // Reading a result tells of a level that had too little room.
        view.count()?;
        last = Some((view, input.voxels().len(), waits));
    }
    let (view, voxels, waits) = last.ok_or("no frame has run")?;
    println!("{:<12}{}, to {voxels} voxels", "input", Times::of(&inputs)?);
    println!("{:<12}{}, {waits} waits of the host in the last", "frames", Times::of(&times)?);
    report::print_algorithms(&network, Direction::Forward, true);

    let [_, height, width] = scan.shape()?.map(|cells| cells.div_ceil(1 << HALVINGS) as usize);
    let map = HeatMap::of(&view.to_f32()?, [height, width])?;
    let channels = view.rows() * view.channels() / (height * width);
    println!(
        "{:<12}{channels} channels of {height} x {width} cells, {} with features",
        "view",
        map.occupied()
    );
    map.write(out, scale)?;
    println!("{:<12}{}", "written", out.display());
    if !arguments.graph {
        return Ok(());
    }
    let input = || scan.input(&device, None, dtype);
    let profile = network.profile([input()?])?;
    graph::print_frames(&device, network.compile_bev(&device, profile, 1), frames, input)
}

/// What the frames are of.
enum Scan {
    /// Points on the device, and the cells that they lie in.
    Points { cloud: PointCloud, grid: VoxelGrid },
    /// Voxels of z, y and x, each 1 in so many channels.
    Voxels { cells: Vec<Voxel>, c_in: usize },
}

impl Scan {
    fn load(device: &Device, arguments: &Arguments, c_in: usize) -> Result<Self, Anything> {
        let Arguments { source, voxels, zyx, .. } = arguments;
        let contents = match source {
            Source::Generated(generator) => Contents::Voxels(generate(*generator, *voxels, 1, 0)?),
            Source::File(path) => read_contents(path, None)?,
        };
        match contents {
            Contents::Points(points) => Self::of_points(device, arguments, &points.xyz, c_in),
            Contents::Voxels(cells) => {
                let turned = |cell| if *zyx { cell } else { Network::CenterPoint.turned(cell) };
                let cells = cells.into_iter().map(turned).collect();
                Ok(Self::Voxels { cells, c_in })
            }
        }
    }

    /// Points of x, y, z; further columns that the network reads, such as intensity, are 0.
    fn of_points(
        device: &Device,
        arguments: &Arguments,
        points: &[[f64; 3]],
        c_in: usize,
    ) -> Result<Self, Anything> {
        let Arguments { range, voxel_size, .. } = arguments;
        let &[x, y, z] = &**voxel_size else {
            return Err(format!("expected 3 edges of a voxel, found {}", voxel_size.len()).into());
        };
        let [low, high] = [range.min, range.max].map(|end| end.map(|bound| bound as f32));
        // As the network's authors have it: (batch, z, y, x), and a cell more along z.
        let grid = VoxelGrid::new(low, high, [x, y, z])
            .with_order(AxisOrder::Zyx)
            .with_spare_cells([0, 0, 1]);
        let row = |point: &[f64; 3]| {
            let known = point.map(|coordinate| coordinate as f32);
            known.into_iter().chain(std::iter::repeat(0.0)).take(c_in)
        };
        let rows: Vec<f32> = points.iter().flat_map(row).collect();
        Ok(Self::Points { cloud: PointCloud::from_f32(device, c_in, &rows)?, grid })
    }

    /// The grid along z, y and x.
    fn shape(&self) -> Result<[u32; 3], Anything> {
        let cells = match self {
            Self::Points { grid, .. } => return Ok(grid.shape()?),
            Self::Voxels { cells, .. } => cells,
        };
        let extent = |axis: fn(&Voxel) -> i32| {
            u32::try_from(cells.iter().map(axis).max().unwrap_or(0)).unwrap_or(0) + 1
        };
        Ok([extent(|cell| cell.x).max(HEIGHT), extent(|cell| cell.y), extent(|cell| cell.z)])
    }

    /// Voxels on the device, as a frame begins.
    fn input(
        &self,
        device: &Device,
        expected: Option<&ExpectedCounts>,
        dtype: DType,
    ) -> Result<SparseTensor, Anything> {
        let (voxels, features) = match self {
            Self::Points { cloud, grid } => {
                let hard = Voxelization::Hard { max_points: 10, max_voxels: Some(160_000) };
                let found = cloud.voxelize(grid, hard)?.into_tensor();
                if found.voxels().is_empty() {
                    return Err("no point lies in the range: give another `--range`".into());
                }
                (found.voxels().clone(), ops::cast(device, found.features(), dtype)?)
            }
            Self::Voxels { cells, c_in } => {
                let voxels = Voxels::within(device, self.shape()?, cells.clone())?;
                (voxels, Tensor::from_fn(device, dtype, cells.len(), *c_in, |_| 1.0)?)
            }
        };
        let voxels = expected.map_or_else(|| voxels.clone(), |expected| voxels.expecting(expected));
        Ok(SparseTensor::new(voxels, features)?)
    }
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Points { cloud, .. } => write!(f, "{} points", cloud.len()),
            Self::Voxels { cells, .. } => write!(f, "{} voxels", cells.len()),
        }
    }
}
