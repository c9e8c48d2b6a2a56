//! What a launch reads and writes.

use voxtune_types::{DType, Direction, Operation, matrix_len};

use crate::buffer::{DeviceSlice, DeviceSliceMut};
use crate::error::{CudaError, Result};
use crate::map::MapCounts;

use super::epilogue::Epilogue;

/// The tensors of one product.
///
/// # Shapes
/// With `x (n_in, c_in)`, `w (volume, c_in, c_out)`, `y` and its gradient `g (n_out, c_out)`,
/// row-major and densely packed, at any address that fits one element:
///
/// | direction | first | second | result |
/// |---|---|---|---|
/// | forward | `x` | `w` | `y` |
/// | dgrad | `g` | `w` | `dx (n_in, c_in)` |
/// | wgrad | `x` | `g` | `dw (volume, c_in, c_out)`, always float32 |
#[derive(Debug)]
pub struct Operands<'a> {
    /// The tensor whose rows are gathered.
    pub first: DeviceSlice<'a>,
    /// The other tensor.
    pub second: DeviceSlice<'a>,
    /// What is written, every element of it.
    pub result: DeviceSliceMut<'a>,
    /// What a forward product does before it writes.
    pub epilogue: Epilogue<'a>,
}

impl Operands<'_> {
    /// Bytes of first, second and result.
    #[must_use]
    pub fn expected_bytes(op: &Operation, counts: &MapCounts) -> [usize; 3] {
        Self::bytes(op, counts.n_in, counts.n_out)
    }

    pub(crate) fn bytes(op: &Operation, n_in: usize, n_out: usize) -> [usize; 3] {
        // What no allocation holds counts as the largest number, which no operand has.
        let bytes = |dtype, rows, channels: u32| match matrix_len(dtype, rows, channels as usize) {
            Ok(len) => len * dtype.bytes(),
            Err(_) => usize::MAX,
        };
        let (x, g) = (bytes(op.dtype, n_in, op.c_in), bytes(op.dtype, n_out, op.c_out));
        let w = |dtype| bytes(dtype, op.weight_len(), 1);
        match op.direction {
            Direction::Forward => [x, w(op.dtype), g],
            Direction::Dgrad => [g, w(op.dtype), x],
            Direction::Wgrad => [x, g, w(DType::Float32)],
        }
    }

    pub(super) fn check(&self, op: &Operation, n_in: usize, n_out: usize) -> Result<()> {
        let [first, second, result] = Self::bytes(op, n_in, n_out);
        for (what, expected, found) in [
            ("the first operand", first, self.first.len_bytes()),
            ("the second operand", second, self.second.len_bytes()),
            ("the result", result, self.result.len_bytes()),
        ] {
            if expected != found {
                return Err(CudaError::Length { what, expected, found });
            }
        }
        self.epilogue.check(op, n_out)
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    #[test]
    fn n07_bytes_of_operands_do_not_wrap() {
        let kernel = KernelSize::cubic(5).unwrap();
        for direction in Direction::ALL {
            let op = |c| Operation::submanifold(direction, DType::Float32, c, c, kernel);
            assert_eq!(Operands::bytes(&op(u32::MAX), 1 << 30, 1 << 30), [usize::MAX; 3]);
            let [x, w] = [10 * 8 * 4, 125 * 64 * 4];
            let expected = if direction == Direction::Wgrad { [x, x, w] } else { [x, w, x] };
            assert_eq!(Operands::bytes(&op(8), 10, 10), expected);
        }
    }
}
