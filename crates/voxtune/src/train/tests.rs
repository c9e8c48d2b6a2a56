//! Gradients against differences, steps against their formulas.

use std::collections::BTreeMap;

use voxtune_types::{DType, Voxel};

use super::{LossScale, Optimizer};
use crate::layers::{
    AvgPool3d, BatchNorm, LayerNorm, Linear, Module, Residual, Sequential, Skip, SparseConv3d,
    SparseInverseConv3d, SparseTensor, SubmConv3d, Tape,
};
use crate::noise::value;
use crate::{Activation, Device, Gradients, Noise, Tensor, Tuner, Voxels};

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64).map(|index| value(Noise::Uniform, seed, index)).collect()
}

/// Every kind of module that has parameters, and those without that have a gradient.
fn network(device: &Device) -> Sequential {
    let tuner = Tuner::empty;
    let conv = |c_in, c_out, seed| {
        SubmConv3d::builder(c_in, c_out).seed(seed).bias(&vec![0.1; c_out as usize]).tuner(tuner())
    };
    let norm = |width: usize| {
        let [gamma, beta] = [3, 4].map(|seed| numbers(width, seed));
        let gamma: Vec<f32> = gamma.iter().map(|one| 1.0 + 0.3 * one).collect();
        BatchNorm::new(device, &gamma, &beta, &vec![0.0; width], &vec![1.0; width], 1e-3).unwrap()
    };
    let down = SparseConv3d::builder(3, 4).kernel(2).stride(2).seed(5).tuner(tuner());
    let up = SparseInverseConv3d::builder(4, 2).kernel(2).seed(6).tuner(tuner());
    let body = Sequential::new()
        .then(down.build(device).unwrap())
        .then(norm(4))
        .then(Activation::Silu)
        .then(Sequential::new())
        .then(up.build(device).unwrap());
    let own = Sequential::new().then(conv(5, 3, 7).build(device).unwrap()).then(norm(3));
    let shortcut = Sequential::new().then(conv(5, 3, 8).kernel(1).build(device).unwrap());
    let plain = Sequential::new().then(conv(3, 3, 9).groups(3).build(device).unwrap());
    let linear =
        Linear::new(device, DType::Float32, 3, 4, &numbers(12, 10), Some(&[0.1, 0.2, 0.3, 0.4]));
    Sequential::new()
        .then(conv(2, 3, 1).build(device).unwrap())
        .then(norm(3))
        .then(Activation::Silu)
        .then(Skip::new(body))
        .then(Residual::new(own, Activation::Silu).with_shortcut(shortcut))
        .then(Residual::new(plain, Activation::Identity))
        .then(AvgPool3d::builder(2).build().unwrap())
        .then(linear.unwrap())
        .then(LayerNorm::new(device, &[1.0, 0.5, 1.5, 1.0], &[0.1; 4], 1e-3).unwrap())
}

fn input(device: &Device, rows: &[f32]) -> SparseTensor {
    let cells = (0..40).map(|i| Voxel::new(i % 2, i / 8, i / 2 % 4, i % 3)).collect::<Vec<_>>();
    let distinct: std::collections::BTreeSet<_> =
        cells.iter().map(|one| (one.batch, one.x, one.y, one.z)).collect();
    let cells = distinct.into_iter().map(|(batch, x, y, z)| Voxel::new(batch, x, y, z)).collect();
    let voxels = Voxels::new(device, cells).unwrap();
    let rows = &rows[..2 * voxels.len()];
    let features = Tensor::from_f32(device, DType::Float32, voxels.len(), 2, rows).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

/// A sum of the outputs, each with a factor of its own.
fn loss(network: &mut Sequential, input: &SparseTensor, tape: &mut Tape) -> (f64, Tensor) {
    let output = network.forward_on_tape(input, tape).unwrap();
    let values = output.features().to_f32().unwrap();
    let factors = numbers(values.len(), 20);
    let pairs = values.iter().zip(&factors);
    let loss = pairs.map(|(value, factor)| f64::from(*value) * f64::from(*factor)).sum();
    let (rows, channels) = (output.features().rows(), output.features().channels());
    let device = input.voxels().device();
    (loss, Tensor::from_f32(device, DType::Float32, rows, channels, &factors).unwrap())
}

/// The gradient that differences give.
fn difference(mut of: impl FnMut(f32) -> f64) -> f64 {
    let step = 1.0 / 256.0;
    let mut wide = |step: f32| (of(step) - of(-step)) / (2.0 * f64::from(step));
    // Richardson's extrapolation takes the second-order error away.
    (4.0 * wide(step) - wide(2.0 * step)) / 3.0
}

#[test]
fn gradients_are_those_of_differences() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut network = network(&device);
    let rows = numbers(80, 30);
    let whole = input(&device, &rows);
    let mut tape = Tape::new();
    let (_, of_output) = loss(&mut network, &whole, &mut tape);
    let gradients = tape.backward(&network, &of_output).unwrap();
    let parameters = network.parameters().unwrap();
    let trained: Vec<&(String, Vec<f32>)> =
        parameters.iter().filter(|(name, _)| !name.contains("running")).collect();
    assert_eq!(gradients.names().count(), trained.len());
    for (name, values) in trained {
        let found = gradients.get(name).unwrap().unwrap_or_else(|| panic!("no gradient of {name}"));
        assert_eq!(found.len(), values.len(), "{name}");
        let largest = found.iter().fold(0.1_f32, |most, one| most.max(one.abs()));
        for place in (0..values.len()).step_by(values.len().div_ceil(7)) {
            let expected = difference(|step| {
                let mut moved = values.clone();
                moved[place] += step;
                network.set_parameter(name, &moved).unwrap();
                loss(&mut network, &whole, &mut Tape::new()).0
            });
            network.set_parameter(name, values).unwrap();
            let error = (f64::from(found[place]) - expected).abs();
            assert!(
                error < 2e-3 * f64::from(largest),
                "{name}[{place}]: {} and {expected}",
                found[place]
            );
        }
    }
    let of_input = gradients.input().unwrap().to_f32().unwrap();
    for place in (0..of_input.len()).step_by(5) {
        let expected = difference(|step| {
            let mut moved = rows.clone();
            moved[place] += step;
            loss(&mut network, &input(&device, &moved), &mut Tape::new()).0
        });
        assert!((f64::from(of_input[place]) - expected).abs() < 5e-3, "input {place}");
    }
}

#[test]
fn a_tape_of_another_pass_is_an_error() {
    let device = Device::cpu_with_threads(1).unwrap();
    let (mut network, whole) = (network(&device), input(&device, &numbers(80, 30)));
    let mut tape = Tape::new();
    let (_, of_output) = loss(&mut network, &whole, &mut tape);
    let mut twice = Tape::new();
    loss(&mut network, &whole, &mut twice);
    loss(&mut network, &whole, &mut twice);
    assert!(Tape::new().backward(&network, &of_output).is_err());
    assert!(twice.backward(&network, &of_output).is_err());
    let other = Sequential::new().then(Activation::Silu);
    assert!(tape.backward(&other, &of_output).is_err());
    // Fused networks have no backward pass.
    network.fuse().unwrap();
    let error = network.forward_on_tape(&whole, &mut Tape::new()).unwrap_err().to_string();
    assert!(error.contains("before it is fused"), "{error}");
}

/// Gradients of these values, by a module that has such.
fn gradients_of(module: &Sequential, device: &Device, values: &[f32]) -> Gradients {
    // The gradient of a linear layer's bias is that of its output.
    let mut tape = Tape::new();
    let voxels = Voxels::new(device, vec![Voxel::new(0, 0, 0, 0)]).unwrap();
    let zeros = Tensor::zeros(device, DType::Float32, 1, 1).unwrap();
    let input = SparseTensor::new(voxels, zeros).unwrap();
    let mut copy = linear(device, values.len());
    copy.forward_on_tape(&input, &mut tape).unwrap();
    let rows = Tensor::from_f32(device, DType::Float32, 1, values.len(), values).unwrap();
    tape.backward(module, &rows).unwrap()
}

fn linear(device: &Device, width: usize) -> Sequential {
    let start: Vec<f32> = (0..width).map(|i| 1.0 - i as f32).collect();
    let layer =
        Linear::new(device, DType::Float32, 1, width, &vec![0.0; width], Some(&start)).unwrap();
    Sequential::new().then(layer)
}

fn bias(module: &Sequential) -> Vec<f32> {
    let all: BTreeMap<String, Vec<f32>> = module.parameters().unwrap().into_iter().collect();
    all["0.bias"].clone()
}

#[test]
fn steps_are_those_of_their_formulas() {
    let device = Device::cpu_with_threads(1).unwrap();
    let steps = [[0.5, -2.0, 0.0], [1.5, 0.25, -0.125], [-0.5, 4.0, 1.0], [0.0, 0.0, 3.0]];
    let (rate, decay, momentum) = (0.1_f64, 0.05_f64, 0.9_f64);
    // As PyTorch's documentation writes them, in float64.
    let mut expected = [1.0, 0.0, -1.0_f64];
    let mut velocity = [0.0_f64; 3];
    let mut module = linear(&device, 3);
    let mut optimizer = Optimizer::sgd(0.1).momentum(0.9).weight_decay(0.05);
    for (number, step) in steps.iter().enumerate() {
        for i in 0..3 {
            let gradient = f64::from(step[i]) + decay * expected[i];
            velocity[i] = if number == 0 { gradient } else { momentum * velocity[i] + gradient };
            expected[i] -= rate * velocity[i];
        }
        let gradients = gradients_of(&module, &device, step);
        optimizer.step(&mut module, &gradients).unwrap();
        for (found, expected) in bias(&module).iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} and {expected}");
        }
    }
    let mut expected = [1.0, 0.0, -1.0_f64];
    let (mut mean, mut square) = ([0.0_f64; 3], [0.0_f64; 3]);
    let mut module = linear(&device, 3);
    let mut optimizer = Optimizer::adam_w(0.1).weight_decay(0.05);
    for (number, step) in steps.iter().enumerate() {
        for i in 0..3 {
            let gradient = f64::from(step[i]);
            expected[i] -= rate * decay * expected[i];
            mean[i] = 0.9 * mean[i] + 0.1 * gradient;
            square[i] = 0.999 * square[i] + 0.001 * gradient * gradient;
            let count = number as i32 + 1;
            let (m, v) =
                (mean[i] / (1.0 - 0.9_f64.powi(count)), square[i] / (1.0 - 0.999_f64.powi(count)));
            expected[i] -= rate * m / (v.sqrt() + 1e-8);
        }
        let gradients = gradients_of(&module, &device, step);
        optimizer.step(&mut module, &gradients).unwrap();
        for (found, expected) in bias(&module).iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} and {expected}");
        }
    }
    let gradients = gradients_of(&linear(&device, 2), &device, &[1.0, 1.0]);
    assert!(optimizer.step(&mut module, &gradients).is_err());
}

/// Steps of a tenth of what float16 can tell apart.
#[test]
fn small_steps_of_sixteen_bits_add_up() {
    let device = Device::cpu_with_threads(1).unwrap();
    let layer = Linear::new(&device, DType::Float16, 1, 1, &[1.0], None).unwrap();
    let mut module = Sequential::new().then(layer);
    let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)]).unwrap();
    let one = || Tensor::from_f32(&device, DType::Float16, 1, 1, &[1.0]).unwrap();
    let input = SparseTensor::new(voxels, one()).unwrap();
    let (mut optimizer, mut tape) = (Optimizer::sgd(1e-4), Tape::new());
    for _ in 0..100 {
        module.forward_on_tape(&input, &mut tape).unwrap();
        let gradients = tape.backward(&module, &one()).unwrap();
        optimizer.step(&mut module, &gradients).unwrap();
    }
    let stored = module.parameters().unwrap()[0].1[0];
    assert!((stored - 0.99).abs() < 5e-4, "{stored}");
    let exact = optimizer.parameters().next().unwrap().1[0];
    assert!((exact - 0.99).abs() < 1e-5, "{exact}");
}

#[test]
fn the_factor_of_the_loss_follows_overflows() {
    let device = Device::cpu_with_threads(1).unwrap();
    let module = linear(&device, 2);
    let mut scale = LossScale::from(8.0, 2);
    let mut good = gradients_of(&module, &device, &[8.0, -4.0]);
    assert!(scale.unscale(&mut good).unwrap());
    assert_eq!(good.get("0.bias").unwrap(), Some(&[1.0, -0.5][..]));
    assert_eq!(scale.factor(), 8.0);
    assert!(scale.unscale(&mut good).unwrap());
    assert_eq!(scale.factor(), 16.0);
    let mut bad = gradients_of(&module, &device, &[f32::INFINITY, 1.0]);
    assert!(!scale.unscale(&mut bad).unwrap());
    assert_eq!(scale.factor(), 8.0);
    let mut bad = gradients_of(&module, &device, &[f32::NAN, 1.0]);
    assert!(!scale.unscale(&mut bad).unwrap());
    assert_eq!(scale.factor(), 4.0);
    // Parts of a batch add up.
    let mut sum = gradients_of(&module, &device, &[1.0, 2.0]);
    sum.accumulate(&gradients_of(&module, &device, &[0.5, 0.25])).unwrap();
    assert_eq!(sum.get("0.bias").unwrap(), Some(&[1.5, 2.25][..]));
}

/// No voxels, one voxel, and a level in the middle that comes out empty: numbers stay numbers, in
/// both passes and in the running statistics.
#[test]
fn inputs_with_next_to_nothing_are_trained_on() {
    let device = Device::cpu_with_threads(1).unwrap();
    let cell = Voxel::new(0, 0, 0, 0);
    for (cells, shape) in [(vec![], None), (vec![cell], None), (vec![cell], Some([1; 3]))] {
        let mut network = network(&device);
        let rows = cells.len();
        let voxels = match shape {
            None => Voxels::new(&device, cells).unwrap(),
            Some(shape) => Voxels::within(&device, shape, cells).unwrap(),
        };
        let features = Tensor::from_f32(&device, DType::Float32, rows, 2, &numbers(2 * rows, 1));
        let input = SparseTensor::new(voxels, features.unwrap()).unwrap();
        let mut tape = Tape::new();
        let (loss, of_output) = loss(&mut network, &input, &mut tape);
        assert!(loss.is_finite());
        let gradients = tape.backward(&network, &of_output).unwrap();
        assert!(gradients.are_finite().unwrap(), "{rows} rows in {shape:?}");
        for (name, values) in network.parameters().unwrap() {
            assert!(values.iter().all(|value| value.is_finite()), "{name} of {rows} in {shape:?}");
        }
        network.fuse().unwrap();
        let values = network.forward(&input).unwrap().features().to_f32().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
    }
}
