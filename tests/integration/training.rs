//! Training passes: gradients of 16 bits and of GPUs beside the host's in float32.

use std::collections::BTreeMap;

use voxtune::train::cross_entropy;
use voxtune::{
    Activation, BatchNorm, ConvError, DType, Device, Linear, Module, Noise, Residual, Sequential,
    Skip, SparseConv3d, SparseInverseConv3d, SparseTensor, SubmConv3d, Tape, Tensor, Voxels,
};
use voxtune_pointcloud::{Generator, generate};

use crate::needs::open_gpu;

/// Scores of each voxel.
const CLASSES: usize = 8;
/// For the pairs of the two maps of the input's level, which nobody has counted, and for the number
/// of voxels of the level below.
const MOST_WAITS: u64 = 3;
/// On the loss, a power of two: rounding does not see it.
const FACTOR: f32 = 1024.0;

#[test]
fn gradients_of_sixteen_bits_are_near() {
    gradients_are_near(&Device::cpu().unwrap(), &[DType::Float16, DType::BFloat16]);
}

#[test]
#[ignore = "needs a GPU"]
fn gradients_are_those_of_the_host_on_a_gpu() {
    gradients_are_near(&open_gpu().unwrap(), &DType::ALL);
}

#[test]
#[ignore = "needs a GPU"]
fn a_pass_waits_for_its_levels_alone_on_a_gpu() {
    a_pass_waits_for_its_levels_alone(&open_gpu().unwrap());
}

/// A level of a U-Net, with every module that has parameters. Its activations are smooth: where a
/// ReLU's input is near 0, rounding decides whether a gradient passes.
fn network(device: &Device, dtype: DType) -> Result<Sequential, ConvError> {
    let subm =
        |c_in, c_out, seed| SubmConv3d::builder(c_in, c_out).dtype(dtype).seed(seed).build(device);
    let norm = |channels| BatchNorm::untrained(device, channels, 1e-3);
    let block = |width, seed| -> Result<Sequential, ConvError> {
        let body = Sequential::new().then(subm(width, width, seed)?).then(norm(width)?);
        let body = body.then(Activation::Silu).then(subm(width, width, seed + 1)?);
        Ok(body.then(norm(width)?))
    };
    let down = SparseConv3d::builder(16, 24).dtype(dtype).kernel(2).stride(2).seed(3);
    let up = SparseInverseConv3d::builder(24, 16).dtype(dtype).kernel(2).seed(4);
    let below = Sequential::new().then(down.build(device)?).then(norm(24)?).then(Activation::Silu);
    let below = below.then(Residual::new(block(24, 5)?, Activation::Silu));
    let below = below.then(up.build(device)?).then(norm(16)?).then(Activation::Silu);
    let wide = SubmConv3d::builder(32, 32).dtype(dtype).kernel(1).seed(7).build(device)?;
    let shortcut = Sequential::new().then(wide).then(norm(32)?);
    let join = Residual::new(block(32, 8)?, Activation::Silu).with_shortcut(shortcut);
    let weights: Vec<f32> = (0..32 * CLASSES).map(|i| (i * 7 % 13) as f32 / 30.0 - 0.2).collect();
    let head = Linear::new(device, dtype, 32, CLASSES, &weights, Some(&[0.1; CLASSES]))?;
    let stem = Sequential::new().then(subm(4, 16, 1)?).then(norm(16)?).then(Activation::Silu);
    Ok(stem.then(Skip::new(below)).then(join).then(head))
}

fn input(device: &Device, dtype: DType) -> SparseTensor {
    let cells = generate(Generator::Surface, 3_000, 1, 1).unwrap();
    let features = Tensor::noise(device, dtype, cells.len(), 4, Noise::Uniform, 2).unwrap();
    SparseTensor::new(Voxels::new(device, cells).unwrap(), features).unwrap()
}

/// The gradients of a pass, and the running statistics that it leaves, by name.
fn pass(device: &Device, dtype: DType) -> BTreeMap<String, Vec<f32>> {
    let (mut network, mut tape) = (network(device, dtype).unwrap(), Tape::new());
    let output = network.forward_on_tape(&input(device, dtype), &mut tape).unwrap();
    let labels: Vec<_> = (0..output.features().rows()).map(|row| Some(row as u32 % 8)).collect();
    let (_, gradient) = cross_entropy(device, output.features(), &labels, FACTOR).unwrap();
    let mut gradients = tape.backward(&network, &gradient).unwrap();
    gradients.scale(1.0 / FACTOR).unwrap();
    let statistics = network.parameters().unwrap().into_iter();
    let statistics = statistics.filter(|(name, _)| name.contains("running"));
    let of = |(name, values): (&str, Result<&[f32], ConvError>)| {
        (name.to_owned(), values.unwrap().to_vec())
    };
    gradients.iter().map(of).chain(statistics).collect()
}

fn gradients_are_near(device: &Device, dtypes: &[DType]) {
    let expected = pass(&Device::cpu().unwrap(), DType::Float32);
    assert_eq!(expected.len(), 9 + 2 * 8 + 2 * 8 + 1);
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    };
    for &dtype in dtypes {
        let tolerance = match dtype {
            DType::Float16 => 0.01,
            DType::BFloat16 => 0.08,
            _ => 1e-4,
        };
        let found = pass(device, dtype);
        assert!(found.keys().eq(expected.keys()), "{dtype}");
        for (name, expected) in &expected {
            let both = || found[name].iter().zip(expected);
            let off = norm(&mut both().map(|(one, other)| one - other));
            let size = norm(&mut expected.iter().copied());
            assert!(off <= tolerance * size, "{dtype} {name}: {off:.3e} of {size:.3e}");
        }
    }
}

/// Gradients and statistics stay on the device until somebody asks.
fn a_pass_waits_for_its_levels_alone(device: &Device) {
    let dtype = DType::Float16;
    let (mut network, mut tape) = (network(device, dtype).unwrap(), Tape::new());
    for number in 0..3 {
        let input = input(device, dtype);
        let gradient = Tensor::zeros(device, dtype, input.voxels().len(), CLASSES).unwrap();
        device.synchronize().unwrap();
        let before = device.waits();
        network.forward_on_tape(&input, &mut tape).unwrap();
        let forward = device.waits() - before;
        // The first pass brings running statistics to the device.
        let most = if number == 0 { u64::MAX } else { MOST_WAITS };
        assert!(forward <= most, "pass {number}: {forward} waits of the host");
        let gradients = tape.backward(&network, &gradient).unwrap();
        let backward = device.waits() - before - forward;
        assert_eq!(backward, 0, "pass {number}");
        assert!(gradients.are_finite().unwrap() && device.waits() > before + forward);
    }
}
