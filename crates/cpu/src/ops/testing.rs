//! Operands and comparisons of this folder's tests.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune_types::DType;

use super::Activation;
use crate::elements::HostBuffer;

pub(super) const ACTIVATIONS: [Activation; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.125 },
    Activation::Gelu,
    Activation::Silu,
    Activation::Sigmoid,
];

/// Numbers in [-2, 2) that are far enough from 0 for finite differences to miss the bends there.
pub(super) fn noise(dtype: DType, len: usize, seed: u64) -> HostBuffer {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..len).map(|_| random.random_range(-2.0..2.0)).collect();
    HostBuffer::from_f32(dtype, &values)
}

pub(super) fn zeros(dtype: DType, len: usize) -> HostBuffer {
    HostBuffer::zeros(dtype, len)
}

/// Half the distance of neighbours at 1, with room for float32 arithmetic before the rounding.
pub(super) fn precision(dtype: DType) -> f64 {
    [1.01 / 2048.0, 1.01 / 256.0, 2e-6][dtype.index()]
}

/// Compares every element with what it should be, by the worst.
pub(super) fn close(found: &HostBuffer, expected: impl IntoIterator<Item = f64>) {
    let (precision, expected): (f64, Vec<f64>) =
        (precision(found.dtype()), expected.into_iter().collect());
    assert_eq!(found.len(), expected.len());
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let typical = (squares / expected.len().max(1) as f64).sqrt();
    for (place, (found, expected)) in found.to_f64().into_iter().zip(expected).enumerate() {
        let error = (found - expected).abs() / expected.abs().max(typical).max(1e-30);
        assert!(error <= precision, "element {place}: expected {expected}, found {found}");
    }
}

/// Compares a gradient with the differences of `sum(grad_y · forward(x))`. All of float32.
pub(super) fn derivative(
    x: &HostBuffer,
    grad_y: &HostBuffer,
    grad_x: &HostBuffer,
    forward: impl Fn(&HostBuffer) -> HostBuffer,
) {
    let (h, values, grad_y) = (1.0 / 256.0_f32, x.to_f32(), grad_y.to_f64());
    let loss = |values: &[f32]| -> f64 {
        let y = forward(&HostBuffer::from_f32(DType::Float32, values)).to_f64();
        y.iter().zip(&grad_y).map(|(y, grad_y)| y * grad_y).sum()
    };
    let differences = (0..values.len()).map(|place| {
        let [mut above, mut below] = [values.clone(), values.clone()];
        above[place] += h;
        below[place] -= h;
        (loss(&above) - loss(&below)) / f64::from(above[place] - below[place])
    });
    let differences: Vec<f64> = differences.collect();
    let largest = differences.iter().fold(1e-3_f64, |most, value| most.max(value.abs()));
    for (place, (found, expected)) in grad_x.to_f64().into_iter().zip(differences).enumerate() {
        let error = (found - expected).abs() / largest;
        assert!(error < 5e-3, "gradient {place}: expected {expected}, found {found}");
    }
}
