//! Operands of a checked product: random, exact or one-hot, and of any alignment.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune::inspection::tensor;
use voxtune::{ConvError, Device, KernelMap, Tensor};
use voxtune_cpu::HostBuffer;
use voxtune_cuda::{CudaDevice, DeviceBuffer, DeviceElement, result_dtype};
use voxtune_tune::inputs::operands::Operands;
use voxtune_tune::verify::problem::Problem;
use voxtune_types::{DType, Direction, Operation, Product};

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Uniform in [-1, 1), rounded to the storage type.
    Random,
    /// -1, 0 or 1: every sum is exact in every storage type, whatever the order.
    Exact,
    /// Random features, and weights that are the identity at one offset and zero at all others. So
    /// each row of the result is a copy of one row or zero, to the bit.
    OneHot {
        /// The offset whose weights are not zero.
        offset: usize,
    },
}

/// Longest stretch of distinct values; a prime, so that no row length divides it.
const PERIOD: usize = 1_000_003;

/// Random values in float64, exactly as stored.
pub(super) fn random(dtype: DType, len: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
    HostBuffer::from_f32(dtype, &values).to_f64()
}

fn small_integers(len: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| f64::from(rng.random_range(-1_i32..=1))).collect()
}

/// Weights `(volume, c_in / groups, c_out)`: ones where both channels are equal, at one offset.
fn one_hot(op: &Operation, offset: usize) -> Vec<f64> {
    let (own_in, own_out) = op.group_channels();
    let (own_in, own_out, c_out) = (own_in as usize, own_out as usize, op.c_out as usize);
    let mut weights = vec![0.0; op.weight_len()];
    let slice = &mut weights[offset * own_in * c_out..(offset + 1) * own_in * c_out];
    for (channel, row) in slice.chunks_exact_mut(c_out).enumerate() {
        for (column, weight) in row.iter_mut().enumerate() {
            let is_equal = column / own_out * own_in + channel == column;
            *weight = f64::from(u8::from(is_equal));
        }
    }
    weights
}

/// Rows, channels and storage type of a tensor, and the elements by which it is off the alignment
/// of its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) dtype: DType,
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) shift: usize,
}

impl Shape {
    const fn len(self) -> usize {
        self.rows * self.channels
    }
}

/// A tensor of these values, repeated until it is full.
fn repeating(device: &CudaDevice, shape: Shape, values: &[f64]) -> Result<Tensor, ConvError> {
    let Shape { dtype, rows, channels, shift } = shape;
    let buffer = filled(device, dtype, shape.len(), shift, values)?;
    tensor(part(&buffer, shift * dtype.bytes()), dtype, rows, channels)
}

/// Memory with these values from an element on, repeated until it is full.
fn filled(
    device: &CudaDevice,
    dtype: DType,
    len: usize,
    shift: usize,
    values: &[f64],
) -> voxtune_cuda::Result<DeviceBuffer> {
    let mut buffer = poisoned(device, dtype, shift + len)?;
    let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    match HostBuffer::from_f32(dtype, &narrow) {
        HostBuffer::Float16(values) => repeat(&mut buffer, shift, &values)?,
        HostBuffer::BFloat16(values) => repeat(&mut buffer, shift, &values)?,
        HostBuffer::Float32(values) => repeat(&mut buffer, shift, &values)?,
    }
    Ok(buffer)
}

/// Memory of random values, of which only the first million are drawn.
pub(crate) fn random_buffer(
    device: &CudaDevice,
    dtype: DType,
    len: usize,
    seed: u64,
) -> voxtune_cuda::Result<DeviceBuffer> {
    filled(device, dtype, len, 0, &random(dtype, len.min(PERIOD), seed))
}

/// Bytes of ones: not a number in every storage type.
fn poisoned(device: &CudaDevice, dtype: DType, len: usize) -> voxtune_cuda::Result<DeviceBuffer> {
    let mut buffer = DeviceBuffer::alloc(device, len * dtype.bytes())?;
    buffer.fill(0xff)?;
    Ok(buffer)
}

/// A buffer from a byte on.
fn part(buffer: &DeviceBuffer, begin: usize) -> DeviceBuffer {
    buffer.part_of(begin..buffer.len_bytes()).expect("the shift lies in its buffer")
}

fn repeat<T: DeviceElement>(
    buffer: &mut DeviceBuffer,
    shift: usize,
    values: &[T],
) -> voxtune_cuda::Result<()> {
    let len = buffer.len_bytes() / size_of::<T>() - shift;
    for at in (0..len).step_by(values.len().max(1)) {
        let stretch = &values[..values.len().min(len - at)];
        buffer.upload((shift + at) * size_of::<T>(), stretch)?;
    }
    Ok(())
}

/// Random values, of which only the first million are drawn.
pub(super) fn random_tensor(
    device: &CudaDevice,
    shape: Shape,
    seed: u64,
) -> Result<Tensor, ConvError> {
    repeating(device, shape, &random(shape.dtype, shape.len().min(PERIOD), seed))
}

/// -1, 0 or 1.
pub(super) fn integers_tensor(
    device: &CudaDevice,
    shape: Shape,
    seed: u64,
) -> Result<Tensor, ConvError> {
    repeating(device, shape, &small_integers(shape.len(), seed))
}

/// Rows and channels of the operands and the result of a product.
fn shapes(op: &Operation, n_in: usize, n_out: usize) -> [[usize; 2]; 3] {
    let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
    let (inputs, outputs) = ([n_in, c_in], [n_out, c_out]);
    let weights = [op.weight_rows(), c_out];
    match op.direction.product() {
        Product::Forward => [inputs, weights, outputs],
        Product::Dgrad => [outputs, weights, inputs],
        Product::Wgrad => [inputs, outputs, weights],
    }
}

/// Elements of the operands and the result of a product over a map.
pub(super) fn lengths(op: &Operation, map: &KernelMap) -> [usize; 3] {
    shapes(op, map.n_in(), map.n_out()).map(|[rows, channels]| rows * channels)
}

/// Operands of a product over a map, each of them `shift` elements off the alignment of its memory.
pub(super) fn operands(
    device: &CudaDevice,
    op: &Operation,
    map: &KernelMap,
    fill: Fill,
    shift: usize,
    seed: u64,
) -> Result<Operands, ConvError> {
    let shape = |[rows, channels]: [usize; 2], dtype| Shape { dtype, rows, channels, shift };
    let [first, second, result] = shapes(op, map.n_in(), map.n_out());
    let (first, second) = (shape(first, op.dtype), shape(second, op.dtype));
    let result = shape(result, result_dtype(op));
    let seeds = [seed * 2, seed * 2 + 1];
    let (a, b) = match fill {
        Fill::Random => {
            (random_tensor(device, first, seeds[0])?, random_tensor(device, second, seeds[1])?)
        }
        Fill::Exact => {
            (integers_tensor(device, first, seeds[0])?, integers_tensor(device, second, seeds[1])?)
        }
        Fill::OneHot { offset } => {
            debug_assert!(op.direction != Direction::Wgrad, "wgrad has no weights");
            let weights = repeating(device, second, &one_hot(op, offset))?;
            (random_tensor(device, first, seeds[0])?, weights)
        }
    };
    let Shape { dtype, rows, channels, shift } = result;
    let memory = poisoned(device, dtype, shift + result.len())?;
    let out = tensor(part(&memory, shift * dtype.bytes()), dtype, rows, channels)?;
    Ok(Operands { a, b, out })
}

/// Operands with the result that is right.
pub(super) fn problem(
    device: &Device,
    op: &Operation,
    map: &KernelMap,
    fill: Fill,
    operands: Operands,
) -> Result<Problem, ConvError> {
    match fill {
        Fill::Random => Problem::random(device, op, map, operands),
        Fill::Exact | Fill::OneHot { .. } => Problem::exact(device, op, map, operands),
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    #[test]
    fn values_are_what_the_storage_type_holds() {
        for dtype in DType::ALL {
            let values = random(dtype, 1_000, 3);
            assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
            let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            assert_eq!(HostBuffer::from_f32(dtype, &narrow).to_f64(), values, "{dtype}");
        }
        assert!(small_integers(100, 1).iter().all(|value| [-1.0, 0.0, 1.0].contains(value)));
    }

    #[test]
    fn one_hot_weights_are_the_identity_at_one_offset() {
        let kernel = KernelSize::submanifold(3).unwrap();
        let op = Operation::submanifold(Direction::Forward, DType::Float16, 3, 5, kernel);
        let weights = one_hot(&op, 13);
        let ones: Vec<usize> = weights
            .iter()
            .enumerate()
            .filter(|(_, value)| **value == 1.0)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(ones, [13 * 15, 13 * 15 + 6, 13 * 15 + 12]);
        assert_eq!(weights.iter().sum::<f64>(), 3.0);
        assert_eq!(weights.len(), 27 * 15);
        let depthwise = Operation { c_out: 3, ..op }.with_groups(3);
        let weights = one_hot(&depthwise, 1);
        assert_eq!(weights[..9], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }
}
