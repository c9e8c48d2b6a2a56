//! Segments a scan: a class for each voxel, as a cloud of coloured points.
//!
//! ```text
//! cargo run --release -p voxtune-models --example segment -- \
//!     [SCAN] [--checkpoint FILE] [--compare]
//! ```
//!
//! Without a checkpoint it loads what `overfit` has written. Each voxel's features are those that
//! `overfit` trains with, 1 in every channel. Frames are timed from the coordinates in the host's
//! memory to the end of the device's work, with fresh maps each.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows its results")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use voxtune::{
    DType, Device, DeviceChoice, Direction, ExpectedCounts, SparseTensor, Voxel, Voxels,
};
use voxtune_models::{Checkpoint, LoadOptions, SpUNet};

use common::cloud::CloudArguments;
use common::input_channels::input_channels;
use common::outcome::{Anything, exit_code};
use common::ply::Vertex;
use common::times::Times;
use common::{device, graph, palette, ply, report, segmentation};

mod common {
    pub(crate) mod cloud;
    pub(crate) mod device;
    pub(crate) mod graph;
    pub(crate) mod input_channels;
    pub(crate) mod outcome;
    pub(crate) mod palette;
    pub(crate) mod ply;
    pub(crate) mod report;
    pub(crate) mod segmentation;
    pub(crate) mod times;
}

/// Segments a scan and writes it in colours
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    cloud: CloudArguments,
    /// SpUNet's tensors, a safetensors file; what `overfit` has written if not given
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Where the coloured points are written
    #[arg(long, default_value = "segmented.ply")]
    out: PathBuf,
    /// Write the points as text
    #[arg(long)]
    ascii: bool,
    /// Device: auto, cpu or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Storage of features and weights: float32, float16 or bfloat16
    #[arg(long, default_value_t = DType::Float16)]
    dtype: DType,
    /// Compare the scores with those of float32
    #[arg(long)]
    compare: bool,
    /// Run frames as one CUDA graph each, too
    #[arg(long)]
    graph: bool,
    /// Frames behind the first
    #[arg(long, default_value_t = 20)]
    frames: usize,
}

fn main() -> ExitCode {
    exit_code(segment(&Arguments::parse()))
}

fn segment(arguments: &Arguments) -> Result<(), Anything> {
    let Arguments { dtype, frames, ref cloud, ref out, .. } = *arguments;
    let (path, checkpoint) = checkpoint(arguments.checkpoint.as_deref())?;
    let device = device::open(arguments.device)?;
    let cells = cloud.load()?;
    let segmenter = Segmenter::new(&device, dtype, &checkpoint)?;
    let Segmenter { network, fusions, .. } = &segmenter;
    println!("{:<12}{network:?}, {dtype}, {fusions} fusions, of {}", "network", path.display());

    let (mut times, mut last) = (Vec::new(), None);
    for _ in 0..=frames {
        let (output, elapsed, waits) = segmenter.frame(&cells)?;
        times.push(elapsed);
        last = Some((output, waits));
    }
    let (output, waits) = last.ok_or("no frame has run")?;
    let scores = output.features();
    println!("{:<12}{}, {waits} waits of the host in the last", "frames", Times::of(&times)?);
    report::print_algorithms(network, Direction::Forward, true);
    if arguments.compare {
        compare(&segmenter, &checkpoint, &cells, &scores.to_f32()?)?;
    }

    let classes = segmentation::predictions(scores)?;
    print_classes(&classes, scores.channels());
    let vertex = |(cell, class): (&Voxel, u32)| {
        let centre = |place: i32| (place as f32 + 0.5) * cloud.voxel_size;
        Vertex { xyz: [cell.x, cell.y, cell.z].map(centre), colour: palette::colour(class) }
    };
    ply::write(out, cells.iter().zip(classes).map(vertex).collect(), arguments.ascii)?;
    println!("{:<12}{}, {} coloured points", "written", out.display(), cells.len());
    if arguments.graph { segmenter.run_graphs(&cells, frames) } else { Ok(()) }
}

/// The checkpoint that is asked for, or else overfit's.
fn checkpoint(asked: Option<&Path>) -> Result<(&Path, Checkpoint), Anything> {
    let path = asked.unwrap_or(Path::new(segmentation::CHECKPOINT));
    if asked.is_none() && !path.exists() {
        return Err(format!(
            "no {} here: `cargo run --release -p voxtune-models --example overfit` makes it, and \
             `--checkpoint` names another",
            path.display()
        )
        .into());
    }
    Ok((path, Checkpoint::read(path)?))
}

/// A network that segments one cloud after another.
struct Segmenter {
    device: Device,
    dtype: DType,
    c_in: usize,
    network: SpUNet,
    /// Layers that do the work of what followed them.
    fusions: usize,
    /// So that no frame but the first waits for the device.
    expected: ExpectedCounts,
}

impl Segmenter {
    fn new(device: &Device, dtype: DType, checkpoint: &Checkpoint) -> Result<Self, Anything> {
        let options = LoadOptions::new().dtype(dtype);
        let mut network = SpUNet::from_checkpoint(device, checkpoint, &options)?;
        let c_in = input_channels(&network)?;
        let fusions = network.fuse()?.len();
        let (device, expected) = (device.clone(), ExpectedCounts::new());
        Ok(Self { device, dtype, c_in, network, fusions, expected })
    }

    /// The scores of each voxel, how long the network took, and how often the host waited
    /// meanwhile. The time is from voxels on the device to the end of the work.
    fn frame(&self, cells: &[Voxel]) -> Result<(SparseTensor, Duration, u64), Anything> {
        let Self { device, dtype, c_in, network, expected, .. } = self;
        let voxels = Voxels::new(device, cells.to_vec())?.expecting(expected);
        let input = segmentation::input(voxels, *dtype, *c_in)?;
        device.synchronize()?;
        let (start, waits) = (Instant::now(), device.waits());
        let output = network.forward(&input)?;
        let waits = device.waits() - waits;
        device.synchronize()?;
        let elapsed = start.elapsed();
        // Reading a result tells of a level that had too little room.
        output.features().count()?;
        Ok((output, elapsed, waits))
    }

    /// Frames of the same voxels as graphs.
    fn run_graphs(self, cells: &[Voxel], frames: usize) -> Result<(), Anything> {
        let Self { device, dtype, c_in, network, .. } = self;
        let input = || -> Result<SparseTensor, Anything> {
            let voxels = Voxels::new(&device, cells.to_vec())?;
            Ok(segmentation::input(voxels, dtype, c_in)?)
        };
        let profile = network.profile([input()?])?;
        graph::print_frames(&device, network.compile(&device, profile), frames, input)
    }
}

/// Prints how far scores are from those of float32.
fn compare(
    segmenter: &Segmenter,
    checkpoint: &Checkpoint,
    cells: &[Voxel],
    scores: &[f32],
) -> Result<(), Anything> {
    let exact = Segmenter::new(&segmenter.device, DType::Float32, checkpoint)?;
    let exact = exact.frame(cells)?.0.features().to_f32()?;
    let least = exact.iter().copied().fold(f32::INFINITY, f32::min);
    let most = exact.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = f64::from(most - least);
    let differences =
        || exact.iter().zip(scores).map(|(one, other)| f64::from((one - other).abs()));
    let mean = differences().sum::<f64>() / exact.len() as f64;
    let largest = differences().fold(0.0, f64::max);
    let [mean, largest] = [mean, largest].map(|difference| 100.0 * difference / range);
    println!(
        "{:<12}{} against float32: mean {mean:.4} % of the scores' range, {range:.2}, largest {largest:.4} %",
        "difference", segmenter.dtype
    );
    Ok(())
}

/// Prints how many voxels are of which class, and in which colour.
fn print_classes(classes: &[u32], count: usize) {
    for class in 0..count as u32 {
        let voxels = classes.iter().filter(|one| **one == class).count();
        let [red, green, blue] = palette::colour(class);
        println!("{:>11} class {class}, #{red:02x}{green:02x}{blue:02x}", voxels);
    }
}
