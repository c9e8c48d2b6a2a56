//! What a network's first frame waits for on a GPU: `cargo bench -p voxtune --bench first_call`.
//!
//! Prints how long the context takes, how long preparing the layers of a MinkUNet takes once there is one, and
//! for each layer the first call over a new kernel map beside the median of the steady ones. All three in
//! float16, over a generated surface. Kernels come from the packs in the program, or first from the
//! folder that `VOXTUNE_KERNELS` names. Without a GPU it says so.
#![expect(clippy::print_stdout, reason = "the output is the point")]

use std::time::{Duration, Instant};

use voxtune::{
    ConvError, DType, Device, DeviceChoice, Direction, KernelSize, Operation, SparseTensor,
    SubmConv3d, Tensor, Tuner, Voxel, Voxels,
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
const FRAMES: usize = 3;
const STEADY_CALLS: usize = 20;

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
    for frame in 1..=FRAMES {
        println!("frame {frame}: {ROWS} voxels");
        run_frame(&device, &layers, cells.clone())?;
    }
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

/// Every layer over a kernel map of this frame's own.
fn run_frame(device: &Device, layers: &[SubmConv3d], cells: Vec<Voxel>) -> Result<(), ConvError> {
    let voxels = Voxels::new(device, cells)?;
    let start = Instant::now();
    voxels.kernel_map(KernelSize::submanifold(3).expect("3 is odd"))?;
    device.synchronize()?;
    println!("  kernel map, complete for the layers: {:.3} ms", millis(start.elapsed()));
    let mut worst: f64 = 0.0;
    for layer in layers {
        let Operation { c_in, c_out, .. } = *layer.operation();
        let (first, steady) = first_and_steady(device, layer, &voxels)?;
        let ratio = first.as_secs_f64() / steady.as_secs_f64();
        worst = worst.max(ratio);
        let resolution = layer.resolve(Direction::Forward, &voxels)?;
        println!(
            "  {c_in:>3}→{c_out:<3} first {:>7.3} ms, steady {:>7.3} ms, ratio {ratio:>5.2}  {} [{}]",
            millis(first),
            millis(steady),
            resolution.algorithm().id(),
            resolution.grade()
        );
    }
    println!("  largest ratio {worst:.2}");
    Ok(())
}

/// The first call of a layer over these voxels and the median of later ones, each until the GPU is done.
fn first_and_steady(
    device: &Device,
    layer: &SubmConv3d,
    voxels: &Voxels,
) -> Result<(Duration, Duration), ConvError> {
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
    let first = call()?;
    let mut steady = (0..STEADY_CALLS).map(|_| call()).collect::<Result<Vec<_>, _>>()?;
    steady.sort_unstable();
    Ok((first, steady[STEADY_CALLS / 2]))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
