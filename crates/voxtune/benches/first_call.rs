//! What a network's first frame waits for on a GPU: `cargo bench -p voxtune --bench first_call`.
//!
//! Prints how long the context takes, and how long preparing the layers of a MinkUNet takes once
//! there is one. For each layer it prints the call in the first frame beside the median of later
//! ones, each frame over a kernel map of its own. The median of calls repeated back to back, whose
//! operands lie in the cache, stands beside both. All of it in float16, over a generated surface. A
//! process has one first frame, so that these are medians over several processes. Kernels come from
//! the packs in the program, or first from the folder that `VOXTUNE_KERNELS` names. Without a GPU
//! it says so.
#![expect(clippy::print_stdout, reason = "the output is the point")]

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Parser;
use voxtune::{
    ConvError, DType, Device, DeviceChoice, Direction, KernelSize, Operation, Resolution,
    SparseTensor, SubmConv3d, Tensor, Tuner, Voxel, Voxels, WeightLayout,
};
use voxtune_pointcloud::{Generator, generate};

/// The distinct submanifold layers of a MinkUNet34C on three channels with 20 classes, joined
/// inputs of the decoder included: Choy et al. 2019, arXiv 1904.08755.
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

/// What a first call may take, in steady calls.
const ALLOWED: f64 = 1.5;

/// What a network's first frame waits for on a GPU.
#[derive(Parser)]
struct Arguments {
    /// Processes, one after the other: each has one first frame
    #[arg(long, default_value_t = 9)]
    processes: usize,
    /// Be one of these processes
    #[arg(long, hide = true)]
    one: bool,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.one {
        return one_process();
    }
    let mut frames = Vec::new();
    for number in 0..arguments.processes {
        let output = Command::new(std::env::current_exe()?).arg("--one").output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let (calls, remarks): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with(CALLS));
        if number == 0 || calls.is_empty() {
            println!("{}", remarks.join("\n"));
        }
        if calls.is_empty() {
            return Ok(());
        }
        frames.push(calls.into_iter().map(Calls::parse).collect::<Result<Vec<_>, _>>()?);
    }
    print_summary(&frames);
    Ok(())
}

/// A first frame and later ones.
fn one_process() -> Result<(), Box<dyn Error>> {
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
        SubmConv3d::builder(c_in, c_out)
            .kernel(kernel)
            .dtype(DType::Float16)
            .weights(WeightLayout::Rsck, &weights)
            .tuner(tuner.clone())
            .build(&device)
    });
    let layers = layers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let cells = generate(Generator::Surface, ROWS, 1, 7)?;
    let mut frames = Vec::new();
    for _ in 0..FRAMES {
        frames.push(run_frame(&device, &layers, cells.clone())?);
    }
    let (first, later) = frames.split_first().ok_or("there are no frames")?;
    let map = median(later.iter().map(|frame| millis(frame.map)));
    println!("map      first {:.3} ms, later {map:.3} ms", millis(first.map));
    for number in 0..layers.len() {
        let of_layer: Vec<&Call> = frames.iter().map(|frame| &frame.calls[number]).collect();
        print_calls(&of_layer);
    }
    Ok(())
}

/// Prepares the network's operations in these directions. The second time something is already
/// there.
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
    repeated_ms: f64,
}

/// A kernel map, complete for the layers, and every layer over it.
struct Frame {
    map: Duration,
    calls: Vec<Call>,
}

/// What a line begins with that holds a layer's calls.
const CALLS: &str = "calls ";

/// A layer's calls in one process, as it tells them to the one that started it.
struct Calls {
    algorithm: String,
    /// In the first frame and each later one.
    frames_ms: Vec<f64>,
    repeated_ms: f64,
}

fn print_calls(calls: &[&Call]) {
    let repeated = median(calls.iter().map(|call| call.repeated_ms));
    let frames: Vec<String> = calls.iter().map(|call| millis(call.took).to_string()).collect();
    let (id, grade) = (calls[0].resolution.algorithm().id(), calls[0].resolution.grade());
    println!("{CALLS}{repeated} {} {id} [{grade}]", frames.join(","));
}

impl Calls {
    fn parse(line: &str) -> Result<Self, Box<dyn Error>> {
        let mut words = line[CALLS.len()..].splitn(3, ' ');
        let mut word = || words.next().ok_or("a line of calls ends early");
        let repeated_ms = word()?.parse()?;
        let frames_ms = word()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { algorithm: word()?.to_owned(), frames_ms, repeated_ms })
    }

    fn first_ms(&self) -> f64 {
        self.frames_ms[0]
    }

    /// The median of later frames.
    fn later_ms(&self) -> f64 {
        median(self.frames_ms[1..].iter().copied())
    }
}

/// Medians over the processes, layer by layer. Beside them how many single calls took longer than
/// allowed, in first frames and in later ones: what delays both alike is not the first frame's.
fn print_summary(processes: &[Vec<Calls>]) {
    let mut worst: f64 = 0.0;
    let (mut late_first, mut late_later) = (0, 0);
    for (number, (c_in, c_out)) in MINK_UNET.iter().enumerate() {
        let of_layer: Vec<&Calls> = processes.iter().map(|calls| &calls[number]).collect();
        let over = |time: fn(&Calls) -> f64| median(of_layer.iter().map(|calls| time(calls)));
        let [first, later] = [over(Calls::first_ms), over(Calls::later_ms)];
        let repeated = over(|calls| calls.repeated_ms);
        let ratios = of_layer.iter().map(|calls| calls.first_ms() / calls.later_ms());
        let (ratio, largest) = (median(ratios.clone()), ratios.fold(0.0, f64::max));
        worst = worst.max(ratio);
        for calls in &of_layer {
            let is_late = |ms: &&f64| **ms > calls.later_ms() * ALLOWED;
            late_first += usize::from(is_late(&&calls.first_ms()));
            late_later += calls.frames_ms[1..].iter().filter(is_late).count();
        }
        println!(
            "  {c_in:>3}→{c_out:<3} first frame {first:>7.3} ms, later ones {later:>7.3} ms, ratio {ratio:>5.2} (largest {largest:.2}), repeated {repeated:>7.3} ms  {}",
            of_layer[0].algorithm
        );
    }
    let firsts = processes.len() * MINK_UNET.len();
    let laters = firsts * (FRAMES - 1);
    println!("largest ratio {worst:.2}, each the median of {} processes", processes.len());
    println!(
        "calls beyond {ALLOWED} times the median of later ones: {late_first} of {firsts} in first frames, {late_later} of {laters} in later ones"
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
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
    let repeated_ms = median(repeated.into_iter().map(millis));
    Ok(Call { resolution, took, repeated_ms })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
