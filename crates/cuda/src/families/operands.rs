//! What a launch reads and writes.

use voxtune_types::{DType, Operation, Product};

use crate::buffer::{DeviceSlice, DeviceSliceMut};
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};

use super::epilogue::Epilogue;

/// Rows of channels in device memory, to read.
///
/// # Units
/// The pitch, from one row's first element to the next one's, is in elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: DeviceSlice<'a>,
    pitch: usize,
}

impl<'a> Matrix<'a> {
    /// Rows `pitch` elements apart, the first at the beginning of `data`.
    #[must_use]
    pub const fn new(data: DeviceSlice<'a>, pitch: usize) -> Self {
        Self { data, pitch }
    }

    /// The device's address.
    pub(crate) const fn address(self) -> u64 {
        self.data.address()
    }

    pub(crate) const fn pitch(self) -> usize {
        self.pitch
    }

    /// The memory behind it.
    pub(crate) const fn data(self) -> DeviceSlice<'a> {
        self.data
    }

    /// The device's address, for work that is queued next with a handle.
    ///
    /// # Errors
    /// As [`DeviceSlice::read_by`].
    pub(crate) fn read_by(self, device: &CudaDevice) -> Result<u64> {
        self.data.read_by(device)
    }

    /// Whether so many elements are one copy, in every row.
    pub(super) fn is_aligned(self, elements: u32, dtype: DType) -> bool {
        is_aligned(self.address(), self.pitch, elements, dtype)
    }
}

/// Rows of channels in device memory, to write.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: DeviceSliceMut<'a>,
    pitch: usize,
}

impl<'a> MatrixMut<'a> {
    /// Rows `pitch` elements apart, the first at the beginning of `data`.
    #[must_use]
    pub const fn new(data: DeviceSliceMut<'a>, pitch: usize) -> Self {
        Self { data, pitch }
    }

    /// The device's address.
    pub(crate) const fn address(&self) -> u64 {
        self.data.address()
    }

    pub(crate) const fn pitch(&self) -> usize {
        self.pitch
    }

    /// The memory behind it.
    pub(crate) const fn data(&self) -> &DeviceSliceMut<'a> {
        &self.data
    }

    /// The device's address, for work that is queued next with a handle of its own context.
    ///
    /// # Errors
    /// As [`DeviceSliceMut::write_by`].
    pub(crate) fn write_by(&self, device: &CudaDevice) -> Result<u64> {
        self.data.write_by(device)
    }

    pub(super) fn is_aligned(&self, elements: u32, dtype: DType) -> bool {
        is_aligned(self.address(), self.pitch, elements, dtype)
    }

    /// Sets every element to zero.
    pub(super) fn fill_zero(&mut self) -> Result<()> {
        self.data.fill(0)
    }
}

fn is_aligned(address: u64, pitch: usize, elements: u32, dtype: DType) -> bool {
    let bytes = u64::from(elements) * dtype.bytes() as u64;
    address.is_multiple_of(bytes) && pitch.is_multiple_of(elements as usize)
}

/// The tensors of one product.
///
/// # Shapes
/// With `x (n_in, c_in)`, `w (volume, c_in / groups, c_out)`, `y` and its gradient `g (n_out,
/// c_out)`, row-major, at any address that fits one element. Rows of features and gradients may lie
/// any pitch apart; `w` and `dw` are dense.
///
/// | direction | first | second | result |
/// |---|---|---|---|
/// | forward | `x` | `w` | `y` |
/// | dgrad | `g` | `w` | `dx (n_in, c_in)` |
/// | wgrad | `x` | `g` | `dw` as `w`, always float32 |
#[derive(Debug)]
pub struct Operands<'a> {
    /// The tensor whose rows are gathered.
    pub first: Matrix<'a>,
    /// The other tensor.
    pub second: Matrix<'a>,
    /// What is written, every element of it.
    pub result: MatrixMut<'a>,
    /// What a forward product does before it writes.
    pub epilogue: Epilogue<'a>,
}

/// Rows, channels and bytes of an element.
type Shape = (usize, usize, usize);

impl Operands<'_> {
    /// Shapes of first, second and result, and which of them may have a pitch.
    fn shapes(op: &Operation, n_in: usize, n_out: usize) -> [(Shape, bool); 3] {
        let (element, c_in, c_out) = (op.dtype.bytes(), op.c_in as usize, op.c_out as usize);
        let x = ((n_in, c_in, element), true);
        let g = ((n_out, c_out, element), true);
        let weights = |element| ((op.weight_rows(), c_out, element), false);
        match op.direction.product() {
            Product::Forward => [x, weights(element), g],
            Product::Dgrad => [g, weights(element), x],
            Product::Wgrad => [x, g, weights(4)],
        }
    }

    /// Bytes of first, second and result, all dense.
    #[must_use]
    pub fn dense_bytes(op: &Operation, n_in: usize, n_out: usize) -> [usize; 3] {
        // What no allocation holds counts as the largest number, which no operand has.
        let bytes = |((rows, channels, element), _): (Shape, bool)| {
            let elements = rows.checked_mul(channels).and_then(|it| it.checked_mul(element));
            elements.filter(|bytes| isize::try_from(*bytes).is_ok()).unwrap_or(usize::MAX)
        };
        Self::shapes(op, n_in, n_out).map(bytes)
    }

    /// To be called before the addresses are given to work of this handle.
    ///
    /// # Errors
    /// [`CudaError::OtherStream`] for a result of another context; [`CudaError::NotOnDevice`];
    /// [`CudaError::BlockedByCapture`].
    pub(super) fn used_by(&self, device: &CudaDevice) -> Result<()> {
        self.first.data.read_by(device)?;
        self.second.data.read_by(device)?;
        self.epilogue.read_by(device)?;
        self.result.data.write_by(device).map(|_| ())
    }

    pub(super) fn check(&self, op: &Operation, n_in: usize, n_out: usize) -> Result<()> {
        let [first, second, result] = Self::shapes(op, n_in, n_out);
        let of = |matrix: Matrix<'_>| (matrix.data.len_bytes(), matrix.pitch);
        let target = (self.result.data.len_bytes(), self.result.pitch);
        for (what, ((rows, channels, element), pitched), (found, pitch)) in [
            ("the first operand", first, of(self.first)),
            ("the second operand", second, of(self.second)),
            ("the result", result, target),
        ] {
            if pitch < channels || pitch > i32::MAX as usize || (!pitched && pitch != channels) {
                return Err(CudaError::Pitch { what, channels, found: pitch });
            }
            check_length(what, (rows, channels, element), pitch, found)?;
        }
        self.epilogue.check(op, n_out)
    }
}

/// Compares the length of a matrix with its shape: exactly where rows are dense, else from the
/// first row's first element to the last one's last.
pub(crate) fn check_length(
    what: &'static str,
    (rows, channels, element): Shape,
    pitch: usize,
    found: usize,
) -> Result<()> {
    let before_last = rows.saturating_sub(1).checked_mul(pitch);
    let last = if rows == 0 { 0 } else { channels };
    let elements = before_last.and_then(|before| before.checked_add(last));
    let Some(expected) = elements.and_then(|elements| elements.checked_mul(element)) else {
        return Err(CudaError::TooLarge { what, found: rows, limit: isize::MAX as usize });
    };
    let fits = if pitch == channels { found == expected } else { found >= expected };
    if fits { Ok(()) } else { Err(CudaError::Length { what, expected, found }) }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{Direction, KernelSize};

    use super::*;

    #[test]
    fn n07_bytes_of_operands_do_not_wrap() {
        let kernel = KernelSize::cubic(5).unwrap();
        for direction in Direction::ALL {
            let op = |c| Operation::submanifold(direction, DType::Float32, c, c, kernel);
            let absurd = Operands::dense_bytes(&op(u32::MAX), 1 << 30, 1 << 30);
            assert_eq!(absurd, [usize::MAX; 3]);
            let [x, w] = [10 * 8 * 4, 125 * 64 * 4];
            let expected = if direction == Direction::Wgrad { [x, x, w] } else { [x, w, x] };
            assert_eq!(Operands::dense_bytes(&op(8), 10, 10), expected);
        }
    }

    #[test]
    fn a_pitch_needs_whole_rows_but_for_the_last() {
        let check = |shape, pitch, bytes| check_length("x", shape, pitch, bytes);
        assert!(check((3, 4, 2), 4, 24).is_ok());
        assert!(check((3, 4, 2), 4, 26).is_err(), "a dense matrix is as long as its elements");
        assert!(check((3, 4, 2), 10, 48).is_ok() && check((3, 4, 2), 10, 60).is_ok());
        assert!(check((3, 4, 2), 10, 46).is_err());
        assert!(check((0, 4, 2), 10, 0).is_ok());
        assert!(check((usize::MAX, 4, 2), 10, 0).is_err());
    }

    #[test]
    fn alignment_is_that_of_every_row() {
        assert!(is_aligned(256, 64, 8, DType::Float16));
        assert!(!is_aligned(256, 68, 8, DType::Float16) && is_aligned(256, 68, 4, DType::Float16));
        assert!(!is_aligned(258, 64, 8, DType::Float16));
    }
}
