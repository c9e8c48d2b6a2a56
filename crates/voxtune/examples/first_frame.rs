//! A scan through a four-layer network: what the first frame costs, and what the tenth.
//!
//! ```text
//! cargo run --release --example first_frame -- SCAN [--voxel-size 0.1] [--crop X0,Y0,Z0,X1,Y1,Z1]
//! ```
//!
//! The network encodes the position of each voxel in 32 channels and convolves it as 32→32, 32→32,
//! (both joined) 64→128, 128→256, in float16. The program prints what loading the decisions and
//! preparing the layers take. For each layer it then prints the algorithm that ran, how it was
//! found, and its call in the first frame beside the median of later ones. Each frame has a kernel
//! map of its own. The last column is the median of calls repeated back to back, whose operands lie
//! in the cache. Nothing is tuned here: the algorithms come from the embedded cache.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows its results")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use voxtune::{
    DType, Device, DeviceChoice, Direction, KernelSize, Operation, Resolution, SparseTensor,
    SubmConv3d, Tensor, Tuner, Voxel, Voxels, WeightLayout,
};
use voxtune_pointcloud::{Crop, FileOptions, load_file};

/// A scan through a four-layer network.
#[derive(Parser)]
struct Arguments {
    /// The scan: .npy, .npz, .bin, .ply or .pcd
    scan: PathBuf,
    /// Edge of a voxel, in the scan's unit
    #[arg(long, default_value_t = 0.1)]
    voxel_size: f32,
    /// Part of the scan to keep, half open
    #[arg(long, allow_hyphen_values = true)]
    crop: Option<Crop>,
    /// Device: auto, cpu or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
}

const REPEATED_CALLS: usize = 10;
const FRAMES: usize = 8;

fn main() -> ExitCode {
    match first_frame(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn first_frame(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let tuner = Tuner::global()?;
    println!("tuner   ready in {:.3} ms", millis(start.elapsed()));
    for warning in tuner.warnings() {
        eprintln!("warning: {warning}");
    }
    let options = FileOptions {
        cell_size: arguments.voxel_size,
        crop: arguments.crop,
        ..FileOptions::default()
    };
    let cells = load_file(&arguments.scan, &options)?;
    let (device, note) = Device::open(arguments.device)?;
    if let Some(note) = note {
        println!("{note}");
    }
    println!("device  {}", device.identity());
    let start = Instant::now();
    let layers = [(32, 32), (32, 32), (64, 128), (128, 256)]
        .map(|(c_in, c_out)| layer(&device, c_in, c_out));
    let layers = layers.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!("layers  built and prepared in {:.3} ms", millis(start.elapsed()));
    // They are ready already: what it takes to find that out.
    let operations: Vec<_> = layers.iter().map(|layer| *layer.operation()).collect();
    let prepared = device.prepare(tuner, &operations);
    println!(
        "again   {} algorithms in {:.3} ms, {} cannot be prepared",
        prepared.algorithms,
        millis(prepared.elapsed),
        prepared.failed.len()
    );
    for (id, error) in &prepared.failed {
        println!("        {id}: {error}");
    }
    let mut calls: Vec<Vec<Call>> = layers.iter().map(|_| Vec::new()).collect();
    for number in 1..=FRAMES {
        for (of_layer, call) in calls.iter_mut().zip(frame(&device, &layers, &cells, number)?) {
            of_layer.push(call);
        }
    }
    for (layer, calls) in layers.iter().zip(&calls) {
        print_calls(layer, calls);
    }
    Ok(())
}

/// How a layer ran in a frame.
struct Call {
    resolution: Resolution,
    took: Duration,
    /// The same again and again.
    repeated: Duration,
}

fn print_calls(layer: &SubmConv3d, calls: &[Call]) {
    let Operation { c_in, c_out, .. } = *layer.operation();
    let (first, later) = calls.split_first().expect("there are frames");
    let steady = median(later.iter().map(|call| call.took));
    let repeated = median(later.iter().map(|call| call.repeated));
    println!(
        "layer   {c_in:>3}→{c_out:<3}  first frame {:>7.3} ms  later ones {:>7.3} ms  ratio {:>4.2}  repeated {:>7.3} ms  {} [{}]",
        millis(first.took),
        millis(steady),
        first.took.as_secs_f64() / steady.as_secs_f64(),
        millis(repeated),
        first.resolution.algorithm().id(),
        first.resolution.grade()
    );
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// One frame on a kernel map of its own.
fn frame(
    device: &Device,
    layers: &[SubmConv3d],
    cells: &[Voxel],
    number: usize,
) -> Result<Vec<Call>, Box<dyn Error>> {
    let encoded = encode(cells);
    let voxels = Voxels::new(device, cells.to_vec())?;
    let start = Instant::now();
    let map = voxels.kernel_map(KernelSize::submanifold(3)?)?;
    device.synchronize()?;
    let (counts, took) = (map.counts(), start.elapsed());
    let rows = voxels.len();
    let mut calls = Vec::new();
    let mut run = |layer, input: &[f32]| -> Result<Vec<f32>, Box<dyn Error>> {
        let (call, output) = run(device, &voxels, layer, input)?;
        calls.push(call);
        Ok(output)
    };
    let first = relu(&run(&layers[0], &encoded)?);
    let second = relu(&run(&layers[1], &first)?);
    let third = relu(&run(&layers[2], &join(rows, &first, &second))?);
    let fourth = run(&layers[3], &third)?;
    let mean = fourth.iter().map(|value| f64::from(value.abs())).sum::<f64>() / fourth.len() as f64;
    println!(
        "frame   {number}: {rows} voxels, {:.2} mean neighbours, kernel map {:.3} ms, output ({rows}, 256), mean \
         magnitude {mean:.4}",
        counts.pairs as f64 / counts.n_out as f64,
        millis(took)
    );
    Ok(calls)
}

fn layer(device: &Device, c_in: u32, c_out: u32) -> Result<SubmConv3d, Box<dyn Error>> {
    let kernel = KernelSize::submanifold(3)?;
    Ok(SubmConv3d::builder(c_in, c_out)
        .kernel(kernel)
        .dtype(DType::Float16)
        .weights(WeightLayout::Rsck, &weights(c_in, c_out))
        .build(device)?)
}

/// Runs a layer and returns its output.
fn run(
    device: &Device,
    voxels: &Voxels,
    layer: &SubmConv3d,
    input: &[f32],
) -> Result<(Call, Vec<f32>), Box<dyn Error>> {
    let Operation { c_in, c_out, .. } = *layer.operation();
    let (rows, channels) = (voxels.len(), c_in as usize);
    let features = Tensor::from_f32(device, DType::Float16, rows, channels, input)?;
    let input = SparseTensor::new(voxels.clone(), features)?;
    let mut output = Tensor::zeros(device, DType::Float16, rows, c_out as usize)?;
    device.synchronize()?;
    let mut call = || -> Result<Duration, voxtune::ConvError> {
        let start = Instant::now();
        layer.forward_into(&input, &mut output)?;
        device.synchronize()?;
        Ok(start.elapsed())
    };
    let took = call()?;
    let repeated = (0..REPEATED_CALLS).map(|_| call()).collect::<Result<Vec<_>, _>>()?;
    let repeated = median(repeated.into_iter());
    let resolution = layer.resolve(Direction::Forward, voxels)?;
    Ok((Call { resolution, took, repeated }, output.to_f32()?))
}

/// Sines and cosines of the position at four scales, three axes and an offset: 24 channels, then
/// the height above the lowest voxel and constants.
fn encode(cells: &[Voxel]) -> Vec<f32> {
    let lowest = cells.iter().map(|cell| cell.z).min().unwrap_or(0);
    let mut features = Vec::with_capacity(cells.len() * 32);
    for cell in cells {
        for axis in [cell.x, cell.y, cell.z] {
            for scale in [4.0, 16.0, 64.0, 256.0] {
                let angle = axis as f32 / scale;
                features.extend([angle.sin(), angle.cos()]);
            }
        }
        features.extend([(cell.z - lowest) as f32 / 64.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }
    features
}

/// Weights that keep the magnitude of the features, from a small linear congruential generator.
fn weights(c_in: u32, c_out: u32) -> Vec<f32> {
    let scale = (6.0 / (27.0 * c_in as f32)).sqrt();
    let mut state = 1_u32;
    (0..27 * c_in * c_out)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

fn relu(features: &[f32]) -> Vec<f32> {
    features.iter().map(|value| value.max(0.0)).collect()
}

fn join(rows: usize, left: &[f32], right: &[f32]) -> Vec<f32> {
    let (left_channels, right_channels) = (left.len() / rows, right.len() / rows);
    left.chunks_exact(left_channels)
        .zip(right.chunks_exact(right_channels))
        .flat_map(|(left, right)| left.iter().chain(right))
        .copied()
        .collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
