//! Inputs: random, exact, and of any alignment.

use half::{bf16, f16};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune_cuda::{
    CudaDevice, DeviceBuffer, DeviceSlice, DeviceSliceMut, MapCounts, Operands, Result,
    result_dtype,
};
use voxtune_shape::{DType, Direction, Operation};

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// Uniform in [-1, 1), rounded to the storage type.
    Random,
    /// -1, 0 or 1: every sum is exact in every storage type, whatever the order.
    Exact,
}

/// Longest stretch of distinct values; a prime, so that no row length divides it.
const PERIOD: usize = 1_000_003;

/// Values in float64, exactly as stored.
pub(crate) fn values(dtype: DType, fill: Fill, len: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len)
        .map(|_| match fill {
            Fill::Exact => f64::from(rng.random_range(-1_i32..=1)),
            Fill::Random => {
                let value = rng.random_range(-1.0_f32..1.0);
                match dtype {
                    DType::Float16 => f16::from_f32(value).to_f64(),
                    DType::BFloat16 => bf16::from_f32(value).to_f64(),
                    DType::Float32 => f64::from(value),
                }
            }
        })
        .collect()
}

/// A buffer of `len` values that starts `shift` elements into its allocation.
pub(crate) struct Tensor {
    buffer: DeviceBuffer,
    shift_bytes: usize,
    len_bytes: usize,
}

impl Tensor {
    pub(crate) fn upload(
        device: &CudaDevice,
        dtype: DType,
        values: &[f64],
        shift: usize,
    ) -> Result<Self> {
        let mut tensor = Self::poisoned(device, dtype, values.len(), shift)?;
        tensor.write(dtype, values, 0)?;
        Ok(tensor)
    }

    /// Values repeated with a period that no row length divides.
    pub(crate) fn repeated(
        device: &CudaDevice,
        dtype: DType,
        len: usize,
        seed: u64,
    ) -> Result<Self> {
        let values = values(dtype, Fill::Random, len.min(PERIOD), seed);
        let mut tensor = Self::poisoned(device, dtype, len, 0)?;
        for at in (0..len).step_by(PERIOD) {
            tensor.write(dtype, &values[..PERIOD.min(len - at)], at)?;
        }
        Ok(tensor)
    }

    /// Bytes of ones: not a number in every storage type.
    pub(crate) fn poisoned(
        device: &CudaDevice,
        dtype: DType,
        len: usize,
        shift: usize,
    ) -> Result<Self> {
        let (shift_bytes, len_bytes) = (shift * dtype.bytes(), len * dtype.bytes());
        let mut buffer = DeviceBuffer::alloc(device, shift_bytes + len_bytes)?;
        buffer.fill(0xff)?;
        Ok(Self { buffer, shift_bytes, len_bytes })
    }

    fn write(&mut self, dtype: DType, values: &[f64], at: usize) -> Result<()> {
        let at = self.shift_bytes + at * dtype.bytes();
        match dtype {
            DType::Float16 => self
                .buffer
                .upload(at, &values.iter().map(|&v| f16::from_f64(v)).collect::<Vec<_>>()),
            DType::BFloat16 => self
                .buffer
                .upload(at, &values.iter().map(|&v| bf16::from_f64(v)).collect::<Vec<_>>()),
            DType::Float32 => {
                self.buffer.upload(at, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())
            }
        }
    }

    pub(crate) fn get(&self) -> DeviceSlice<'_> {
        let end = self.shift_bytes + self.len_bytes;
        self.buffer.as_ref().get(self.shift_bytes..end).expect("the tensor lies in its buffer")
    }

    pub(crate) fn poison(&mut self) -> Result<()> {
        self.buffer.fill(0xff)
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        self.buffer.download(self.shift_bytes, self.len_bytes)
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    fn get_mut(&mut self) -> MutTensor<'_> {
        MutTensor {
            whole: self.buffer.as_mut(),
            range: self.shift_bytes..self.shift_bytes + self.len_bytes,
        }
    }
}

struct MutTensor<'a> {
    whole: DeviceSliceMut<'a>,
    range: std::ops::Range<usize>,
}

/// The tensors of one product.
pub(crate) struct Product {
    pub(crate) first: Tensor,
    pub(crate) second: Tensor,
    pub(crate) result: Tensor,
}

impl Product {
    /// Elements of first, second and result.
    pub(crate) fn lengths(op: &Operation, counts: &MapCounts) -> [usize; 3] {
        let [first, second, result] = Operands::expected_bytes(op, counts);
        let second_dtype = op.dtype;
        [first / op.dtype.bytes(), second / second_dtype.bytes(), result / result_dtype(op).bytes()]
    }

    pub(crate) fn new(
        device: &CudaDevice,
        op: &Operation,
        counts: &MapCounts,
        fill: Fill,
        shift: usize,
        seed: u64,
    ) -> Result<Self> {
        let [first, second, result] = Self::lengths(op, counts);
        Ok(Self {
            first: Tensor::upload(device, op.dtype, &values(op.dtype, fill, first, seed), shift)?,
            second: Tensor::upload(
                device,
                op.dtype,
                &values(op.dtype, fill, second, seed + 1),
                shift,
            )?,
            result: Tensor::poisoned(device, result_dtype(op), result, shift)?,
        })
    }

    /// For sizes at which drawing every element would take too long.
    pub(crate) fn large(device: &CudaDevice, op: &Operation, counts: &MapCounts) -> Result<Self> {
        let [first, second, result] = Self::lengths(op, counts);
        let salt = op.direction as u64 * 10;
        debug_assert!(Direction::ALL.contains(&op.direction));
        Ok(Self {
            first: Tensor::repeated(device, op.dtype, first, salt + 1)?,
            second: Tensor::repeated(device, op.dtype, second, salt + 2)?,
            result: Tensor::poisoned(device, result_dtype(op), result, 0)?,
        })
    }

    /// Runs something on the operands.
    pub(crate) fn with<R>(&mut self, run: impl FnOnce(&mut Operands<'_>) -> R) -> R {
        let (first, second) = (self.first.get(), self.second.get());
        let mut result = self.result.get_mut();
        let range = result.range.clone();
        let result = result.whole.get(range).expect("the tensor lies in its buffer");
        run(&mut Operands { first, second, result })
    }
}
