//! What a network's first frame waits for on a GPU: `cargo bench -p voxtune --bench first_call`.
//!
//! Prints how long the context takes, how long preparing the layers of a MinkUNet takes once there is one, and
//! for each layer its call in the first frame beside that in the median of later ones, each frame over a kernel
//! map of its own, and the median of calls repeated back to back, whose operands lie in the cache. All of it in
//! float16, over a generated surface. Kernels come from the packs in the program, or first from the
//! folder that `VOXTUNE_KERNELS` names. Without a GPU it says so.
#![expect(clippy::print_stdout, reason = "the output is the point")]

use std::time::{Duration, Instant};

use voxtune::{
    ConvError, DType, Device, DeviceChoice, Direction, KernelSize, Operation, Resolution,
    SparseTensor, SubmConv3d, Tensor, Tuner, Voxel, Voxels,
};
use voxtune_cloud::{Generator, generate};

/// The distinct submanifold layers of a MinkUNet34C on three channels with 20 classes, joined inputs of the
/// decoder included: Choy et al. 2019, arXiv 1904.08755.
const MINK_UNET: [(u32, u32); 13] = [
    (3, 32),
    (32, 32),
    (32, 64),
    (64, 64),
    (64, 128),
    (128, 128),
    (128, 256),
    (256, 256),
    (384, 256),
    (192, 128),
    (128, 96),
    (96, 96),
    (96, 20),
];

const ROWS: usize = 120_000;
const FRAMES: usize = 8;
const REPEATED_CALLS: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let device = match Device::open(DeviceChoice::Cuda(0)) {
        Ok((device, _)) => device,
        Err(error) => {
            println!("nothing to measure: {error}");
            return Ok(());
        }
    };
    println!("device   {}, opened in {:.1} ms", device.identity(), millis(start.elapsed()));
    let tuner = Tuner::builder().embedded().build();
    prepare(&device, &tuner, &[Direction::Forward]);
    prepare(&device, &tuner, &Direction::ALL);

    let kernel = KernelSize::submanifold(3)?;
    let layers = MINK_UNET.map(|(c_in, c_out)| {
        let weights = vec![0.01; kernel.volume() * (c_in * c_out) as usize];
        SubmConv3d::with_tuner(
            &device,
            tuner.clone(),
            c_in,
            c_out,
            kernel,
            DType::Float16,
            &weights,
        )
    });
    let layers = layers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let cells = generate(Generator::Surface, ROWS, 1, 7)?;
    let mut frames = Vec::new();
    for _ in 0..FRAMES {
        frames.push(run_frame(&device, &layers, cells.clone())?);
    }
    print_frames(&layers, &frames);
    Ok(())
}

/// Prepares the network's operations in these directions. The second time something is already there.
fn prepare(device: &Device, tuner: &Tuner, directions: &[Direction]) {
    let kernel = KernelSize::submanifold(3).expect("3 is odd");
    let operations: Vec<Operation> = directions
        .iter()
        .flat_map(|direction| {
            MINK_UNET.map(|(c_in, c_out)| {
                Operation::submanifold(*direction, DType::Float16, c_in, c_out, kernel)
            })
        })
        .collect();
    let prepared = device.prepare(tuner, &operations);
    println!(
        "prepare  {} operations, {} algorithms, {} failed: {:.2} ms",
        operations.len(),
        prepared.algorithms,
        prepared.failed.len(),
        millis(prepared.elapsed)
    );
}

/// How a layer ran in a frame.
struct Call {
    resolution: Resolution,
    took: Duration,
    /// The same again and again.
    repeated: Duration,
}

/// A kernel map, complete for the layers, and every layer over it.
struct Frame {
    map: Duration,
    calls: Vec<Call>,
}

fn print_frames(layers: &[SubmConv3d], frames: &[Frame]) {
    let (first, later) = frames.split_first().expect("there are frames");
    let map = median(later.iter().map(|frame| frame.map));
    println!("map      first {:.3} ms, later {:.3} ms", millis(first.map), millis(map));
    let mut worst: f64 = 0.0;
    for (number, layer) in layers.iter().enumerate() {
        let Operation { c_in, c_out, .. } = *layer.operation();
        let call = &first.calls[number];
        let steady = median(later.iter().map(|frame| frame.calls[number].took));
        let repeated = median(later.iter().map(|frame| frame.calls[number].repeated));
        let ratio = call.took.as_secs_f64() / steady.as_secs_f64();
        worst = worst.max(ratio);
        println!(
            "  {c_in:>3}→{c_out:<3} first frame {:>7.3} ms, later ones {:>7.3} ms, ratio {ratio:>5.2}, repeated {:>7.3} ms  {} [{}]",
            millis(call.took),
            millis(steady),
            millis(repeated),
            call.resolution.algorithm().id(),
            call.resolution.grade()
        );
    }
    println!("largest ratio {worst:.2}");
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn run_frame(
    device: &Device,
    layers: &[SubmConv3d],
    cells: Vec<Voxel>,
) -> Result<Frame, ConvError> {
    let voxels = Voxels::new(device, cells)?;
    let start = Instant::now();
    voxels.kernel_map(KernelSize::submanifold(3).expect("3 is odd"))?;
    device.synchronize()?;
    let map = start.elapsed();
    let calls = layers.iter().map(|layer| run_layer(device, layer, &voxels));
    Ok(Frame { map, calls: calls.collect::<Result<_, _>>()? })
}

/// A call of a layer over these voxels, until the GPU is done, and repetitions.
fn run_layer(device: &Device, layer: &SubmConv3d, voxels: &Voxels) -> Result<Call, ConvError> {
    let Operation { c_in, c_out, .. } = *layer.operation();
    let features = Tensor::zeros(device, DType::Float16, ROWS, c_in as usize)?;
    let input = SparseTensor::new(voxels.clone(), features)?;
    let mut output = Tensor::zeros(device, DType::Float16, ROWS, c_out as usize)?;
    device.synchronize()?;
    let mut call = || -> Result<Duration, ConvError> {
        let start = Instant::now();
        layer.forward_into(&input, &mut output)?;
        device.synchronize()?;
        Ok(start.elapsed())
    };
    let took = call()?;
    let repeated = (0..REPEATED_CALLS).map(|_| call()).collect::<Result<Vec<_>, _>>()?;
    let resolution = layer.resolve(Direction::Forward, voxels)?;
    Ok(Call { resolution, took, repeated: median(repeated.into_iter()) })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
