//! Operands of a checked product: random, exact or one-hot, and of any alignment.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune_cpu::HostBuffer;
use voxtune_cuda::{
    CudaDevice, DeviceBuffer, DeviceElement, DeviceSlice, Epilogue, MapCounts, Matrix, MatrixMut,
    Operands, Result, result_dtype,
};
use voxtune_types::{DType, Direction, Operation};

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Uniform in [-1, 1), rounded to the storage type.
    Random,
    /// -1, 0 or 1: every sum is exact in every storage type, whatever the order.
    Exact,
    /// Random features, and weights that are the identity at one offset and zero at all others:
    /// each row of the result is a copy of one row or zero, to the bit.
    OneHot {
        /// The offset whose weights are not zero.
        offset: usize,
    },
}

impl Fill {
    /// The largest error that is no defect.
    pub(super) const fn tolerance(self, dtype: DType) -> f64 {
        match self {
            Self::Random => dtype.tolerance(),
            Self::Exact | Self::OneHot { .. } => 0.0,
        }
    }
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

/// A buffer of values that starts some elements into its allocation.
#[derive(Debug)]
pub(crate) struct CheckTensor {
    buffer: DeviceBuffer,
    shift_bytes: usize,
    len_bytes: usize,
}

impl CheckTensor {
    /// These values, repeated until `len` elements are full.
    fn repeating(
        device: &CudaDevice,
        dtype: DType,
        values: &[f64],
        len: usize,
        shift: usize,
    ) -> Result<Self> {
        let mut tensor = Self::poisoned(device, dtype, len, shift)?;
        let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        match HostBuffer::from_f32(dtype, &narrow) {
            HostBuffer::Float16(values) => tensor.repeat(&values, len)?,
            HostBuffer::BFloat16(values) => tensor.repeat(&values, len)?,
            HostBuffer::Float32(values) => tensor.repeat(&values, len)?,
        }
        Ok(tensor)
    }

    fn repeat<T: DeviceElement>(&mut self, values: &[T], len: usize) -> Result<()> {
        for at in (0..len).step_by(values.len().max(1)) {
            let stretch = &values[..values.len().min(len - at)];
            self.buffer.upload(self.shift_bytes + at * size_of::<T>(), stretch)?;
        }
        Ok(())
    }

    /// Random values, of which only the first million are drawn.
    pub(crate) fn random(
        device: &CudaDevice,
        dtype: DType,
        len: usize,
        shift: usize,
        seed: u64,
    ) -> Result<Self> {
        Self::repeating(device, dtype, &random(dtype, len.min(PERIOD), seed), len, shift)
    }

    /// -1, 0 or 1.
    pub(super) fn integers(
        device: &CudaDevice,
        dtype: DType,
        len: usize,
        shift: usize,
        seed: u64,
    ) -> Result<Self> {
        Self::repeating(device, dtype, &small_integers(len, seed), len, shift)
    }

    /// Bytes of ones: not a number in every storage type.
    fn poisoned(device: &CudaDevice, dtype: DType, len: usize, shift: usize) -> Result<Self> {
        let (shift_bytes, len_bytes) = (shift * dtype.bytes(), len * dtype.bytes());
        let mut buffer = DeviceBuffer::alloc(device, shift_bytes + len_bytes)?;
        buffer.fill(0xff)?;
        Ok(Self { buffer, shift_bytes, len_bytes })
    }

    /// The values, without what lies before them.
    pub(crate) fn get(&self) -> DeviceSlice<'_> {
        let end = self.shift_bytes + self.len_bytes;
        self.buffer.as_ref().get(self.shift_bytes..end).expect("the tensor lies in its buffer")
    }

    /// The whole buffer, of a tensor that starts where it does.
    pub(crate) const fn buffer(&self) -> &DeviceBuffer {
        &self.buffer
    }

    fn poison(&mut self) -> Result<()> {
        self.buffer.fill(0xff)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        self.buffer.download(self.shift_bytes, self.len_bytes)
    }
}

/// The tensors of one product.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) first: CheckTensor,
    pub(super) second: CheckTensor,
    result: CheckTensor,
    /// Channels of first, second and result.
    pitches: [usize; 3],
}

impl Product {
    /// Elements of first, second and result.
    pub(super) fn lengths(op: &Operation, counts: &MapCounts) -> [usize; 3] {
        let [first, second, result] = Operands::dense_bytes(op, counts.n_in, counts.n_out);
        let element = op.dtype.bytes();
        [first / element, second / element, result / result_dtype(op).bytes()]
    }

    pub(super) fn new(
        device: &CudaDevice,
        op: &Operation,
        counts: &MapCounts,
        fill: Fill,
        shift: usize,
        seed: u64,
    ) -> Result<Self> {
        let [first, second, result] = Self::lengths(op, counts);
        let seeds = [seed * 2, seed * 2 + 1];
        let exact = |values: Vec<f64>| {
            CheckTensor::repeating(device, op.dtype, &values, values.len(), shift)
        };
        let random = |len, seed| CheckTensor::random(device, op.dtype, len, shift, seed);
        let (first, second) = match fill {
            Fill::Random => (random(first, seeds[0])?, random(second, seeds[1])?),
            Fill::Exact => {
                (exact(small_integers(first, seeds[0]))?, exact(small_integers(second, seeds[1]))?)
            }
            Fill::OneHot { offset } => {
                debug_assert!(op.direction != Direction::Wgrad, "wgrad has no weights");
                (random(first, seeds[0])?, exact(one_hot(op, offset))?)
            }
        };
        let result = CheckTensor::poisoned(device, result_dtype(op), result, shift)?;
        let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
        let pitches = match op.direction.product() {
            voxtune_types::Product::Forward => [c_in, c_out, c_out],
            voxtune_types::Product::Dgrad => [c_out, c_out, c_in],
            voxtune_types::Product::Wgrad => [c_in, c_out, c_out],
        };
        Ok(Self { first, second, result, pitches })
    }

    /// Runs something on the operands, with a result in which a forgotten element shows.
    pub(super) fn run<R>(&mut self, run: impl FnOnce(&mut Operands<'_>) -> Result<R>) -> Result<R> {
        self.run_finished(Epilogue::default(), run)
    }

    /// The same with an epilogue.
    pub(super) fn run_finished<R>(
        &mut self,
        epilogue: Epilogue<'_>,
        run: impl FnOnce(&mut Operands<'_>) -> Result<R>,
    ) -> Result<R> {
        self.result.poison()?;
        let (first, second) = (self.first.get(), self.second.get());
        let range = self.result.shift_bytes..self.result.shift_bytes + self.result.len_bytes;
        let mut whole = self.result.buffer.as_mut();
        let result = whole.get(range).expect("the tensor lies in its buffer");
        let [first_pitch, second_pitch, result_pitch] = self.pitches;
        run(&mut Operands {
            first: Matrix::new(first, first_pitch),
            second: Matrix::new(second, second_pitch),
            result: MatrixMut::new(result, result_pitch),
            epilogue,
        })
    }

    /// The result.
    pub(super) fn result(&self) -> DeviceSlice<'_> {
        self.result.get()
    }

    /// The result's bytes.
    pub(super) fn result_bytes(&self) -> Result<Vec<u8>> {
        self.result.bytes()
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
