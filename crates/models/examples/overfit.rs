//! Fits a U-Net to one scene: everything that a training step takes, and whether it is right.
//!
//! ```text
//! cargo run --release -p voxtune-models --example overfit -- \
//!     [SCAN] [--device cuda:0] [--dtype float16]
//! ```
//!
//! Every voxel's features are the same, so its class, which follows from its neighbours and its
//! place, can only be learnt through convolutions of every level. The program prints the accuracy
//! of the network that it writes, with its running statistics, as `segment` reads it. It fails, and
//! writes nothing, if that is not above 99 %.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows its results")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use voxtune::train::{LossScale, Optimizer, cross_entropy};
use voxtune::{DType, DeviceChoice, Direction, Module, SparseTensor, Tape, Voxels};
use voxtune_models::{Checkpoint, LoadOptions, SpUNet};

use common::cloud::CloudArguments;
use common::labels::{CLASSES, labels};
use common::outcome::{Anything, exit_code};
use common::spunet::UnetShape;
use common::times::Times;
use common::{device, report, segmentation};

mod common {
    pub(crate) mod cloud;
    pub(crate) mod device;
    pub(crate) mod labels;
    pub(crate) mod outcome;
    pub(crate) mod report;
    pub(crate) mod segmentation;
    pub(crate) mod spunet;
    pub(crate) mod times;
    pub(crate) mod weights;
}

/// Fits a U-Net to one scene and writes it
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    cloud: CloudArguments,
    /// Device: auto, cpu or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Storage of features and weights: float32, float16 or bfloat16
    #[arg(long, default_value_t = DType::Float32)]
    dtype: DType,
    /// Train the network at its authors' widths: for a GPU
    #[arg(long)]
    full: bool,
    /// Steps, each over the whole scene [default: 100, with --full 200]
    #[arg(long)]
    steps: Option<usize>,
    /// Of the first step; it falls to 0 in a line [default: 0.02, with --full 0.003]
    #[arg(long)]
    learning_rate: Option<f32>,
    /// List the algorithm of each layer
    #[arg(long)]
    layers: bool,
    /// Where the network is written
    #[arg(long, default_value = segmentation::CHECKPOINT)]
    out: PathBuf,
}

/// Input channels: as many as LiDAR networks have.
const C_IN: usize = 4;

/// What has to be exceeded.
const ACCURACY: f64 = 0.99;

/// Of a scene.
const LEAST_CLASSES: usize = 8;

impl Arguments {
    fn steps(&self) -> usize {
        self.steps.unwrap_or(if self.full { 200 } else { 100 })
    }

    fn learning_rate(&self) -> f32 {
        self.learning_rate.unwrap_or(if self.full { 0.003 } else { 0.02 })
    }
}

fn main() -> ExitCode {
    exit_code(overfit(&Arguments::parse()))
}

fn overfit(arguments: &Arguments) -> Result<(), Anything> {
    let device = device::open(arguments.device)?;
    let cells = arguments.cloud.load()?;
    let scene = Scene {
        labels: labels(&cells),
        input: segmentation::input(Voxels::new(&device, cells)?, arguments.dtype, C_IN)?,
    };
    scene.describe()?;
    let shape = if arguments.full { UnetShape::FULL } else { UnetShape::SMALL };
    let untrained = shape.random_checkpoint(C_IN, CLASSES, 0)?;
    let options = LoadOptions::new().dtype(arguments.dtype);
    let mut network = SpUNet::from_checkpoint(&device, &untrained, &options)?;
    println!("{:<12}{network:?}, {}, random weights", "network", arguments.dtype);

    let trained = train(&mut network, &scene, arguments)?;
    for direction in Direction::ALL {
        report::print_algorithms(&network, direction, arguments.layers);
    }
    // As a program that loads the file has it: with the running statistics, fused.
    let mut loaded =
        SpUNet::from_checkpoint(&device, &Checkpoint::from_safetensors(&trained)?, &options)?;
    loaded.fuse()?;
    let accuracy = scene.accuracy(&loaded.forward(&scene.input)?)?;
    println!("{:<12}{:.2} % of voxels, in evaluation mode", "accuracy", 100.0 * accuracy);
    if accuracy <= ACCURACY {
        let steps = arguments.steps();
        return Err(format!(
            "expected an accuracy above {ACCURACY}, found {accuracy:.4} after {steps} steps: \
             nothing is written; try more `--steps` or another `--learning-rate`"
        )
        .into());
    }
    std::fs::write(&arguments.out, &trained)
        .map_err(|error| format!("cannot write {}: {error}", arguments.out.display()))?;
    println!("{:<12}{}", "written", arguments.out.display());
    Ok(())
}

/// What is learnt.
struct Scene {
    input: SparseTensor,
    labels: Vec<u32>,
}

impl Scene {
    /// Prints how far a network gets that sees each voxel by itself.
    fn describe(&self) -> Result<(), Anything> {
        let mut counts = [0; CLASSES];
        self.labels.iter().for_each(|label| counts[*label as usize] += 1);
        let present = counts.iter().filter(|count| **count > 0).count();
        let share = 100.0 * f64::from(*counts.iter().max().unwrap_or(&0));
        let share = share / self.labels.len().max(1) as f64;
        println!("{:<12}{present}, {share:.1} % of voxels are of the largest", "classes");
        if present < LEAST_CLASSES {
            return Err(format!("expected a scene of {LEAST_CLASSES} classes or more").into());
        }
        Ok(())
    }

    fn accuracy(&self, output: &SparseTensor) -> Result<f64, Anything> {
        let predictions = segmentation::predictions(output.features())?;
        let right = predictions.iter().zip(&self.labels).filter(|(one, other)| one == other);
        Ok(right.count() as f64 / self.labels.len().max(1) as f64)
    }
}

/// Trains a network; what it then is as a safetensors file.
fn train(network: &mut SpUNet, scene: &Scene, arguments: &Arguments) -> Result<Vec<u8>, Anything> {
    let Arguments { dtype, .. } = *arguments;
    let (steps, learning_rate) = (arguments.steps(), arguments.learning_rate());
    let device = scene.input.voxels().device();
    let labels: Vec<Option<u32>> = scene.labels.iter().copied().map(Some).collect();
    let mut optimizer = Optimizer::adam_w(learning_rate);
    let mut scale = match dtype {
        DType::Float16 => LossScale::dynamic(),
        _ => LossScale::from(1.0, u32::MAX),
    };
    let (mut tape, mut times, mut skipped) = (Tape::new(), Vec::new(), 0);
    for step in 0..steps {
        let start = Instant::now();
        optimizer.set_learning_rate(learning_rate * (steps - step) as f32 / steps as f32);
        let output = network.forward_on_tape(&scene.input, &mut tape)?;
        let (loss, gradient) = cross_entropy(device, output.features(), &labels, scale.factor())?;
        let mut gradients = tape.backward(network, &gradient)?;
        match scale.unscale(&mut gradients)? {
            true => optimizer.step(network, &gradients)?,
            false => skipped += 1,
        }
        device.synchronize()?;
        times.push(start.elapsed());
        if step == 0 || (step + 1) % (steps / 10).max(1) == 0 {
            let (number, accuracy) = (step + 1, 100.0 * scene.accuracy(&output)?);
            println!("{:<12}{number}: loss {loss:.4}, {accuracy:.2} % in training mode", "step");
        }
    }
    println!("{:<12}{}, {skipped} of {steps} skipped", "steps", Times::of(&times)?);
    Ok(network.to_checkpoint(Some(&optimizer))?.to_safetensors()?)
}
