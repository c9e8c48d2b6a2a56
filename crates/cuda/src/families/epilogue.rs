//! What a forward product does to its sums before they are stored.

use voxtune_types::{Direction, Operation};

use super::operands::{Matrix, check_length};
use crate::buffer::DeviceSlice;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};

/// Work on the result of a forward product, done on float32 sums before their only rounding:
/// `y[row][c] = relu(sum · scale[c] + bias[c] + residual[row][c])`. Each part may be absent; the
/// default has none.
///
/// # Shapes
/// `scale`, `bias`: `(c_out)` float32. `residual`: `(n_out, c_out)` of the operation's storage
/// type. At any address that fits one element; rows of the residual may lie any pitch apart. The
/// kernels read each element of a residual before, and in the thread that, writes the result there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Factors of the channels.
    pub scale: Option<DeviceSlice<'a>>,
    /// What is added to the channels.
    pub bias: Option<DeviceSlice<'a>>,
    /// What is added to each element.
    pub residual: Option<Matrix<'a>>,
    /// Whether negative results become zero.
    pub relu: bool,
}

/// `Epilogue` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpilogueParams {
    scale: u64,
    bias: u64,
    residual: u64,
    residual_pitch: i32,
    relu: i32,
    present: i32,
}

impl Epilogue<'_> {
    /// Whether there is no part.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self { scale, bias, residual, relu } = self;
        scale.is_none() && bias.is_none() && residual.is_none() && !*relu
    }

    /// Compares direction and lengths.
    pub(crate) fn check(&self, op: &Operation, n_out: usize) -> Result<()> {
        if op.direction != Direction::Forward && !self.is_empty() {
            return Err(CudaError::EpilogueOfGradient { direction: op.direction });
        }
        let channels = op.c_out as usize;
        for (what, part, expected) in [
            ("the epilogue's scale", self.scale, channels * 4),
            ("the epilogue's bias", self.bias, channels * 4),
        ] {
            match part {
                Some(slice) if slice.len_bytes() != expected => {
                    return Err(CudaError::Length { what, expected, found: slice.len_bytes() });
                }
                _ => {}
            }
        }
        let Some(residual) = self.residual else { return Ok(()) };
        let what = "the epilogue's residual";
        if residual.pitch() < channels {
            return Err(CudaError::Pitch { what, channels, found: residual.pitch() });
        }
        let shape = (n_out, channels, op.dtype.bytes());
        check_length(what, shape, residual.pitch(), residual.data().len_bytes())
    }

    /// To be called before the parts' addresses are given to work of this handle.
    pub(crate) fn read_by(&self, device: &CudaDevice) -> Result<()> {
        let Self { scale, bias, residual, .. } = *self;
        let parts = [scale, bias, residual.map(Matrix::data)];
        parts.into_iter().flatten().try_for_each(|part| part.read_by(device).map(|_| ()))
    }

    /// The addresses, zero where a part is absent.
    pub(crate) fn addresses(&self) -> [u64; 3] {
        let address = |part: Option<DeviceSlice<'_>>| part.map_or(0, DeviceSlice::address);
        let residual = self.residual.map_or(0, Matrix::address);
        [address(self.scale), address(self.bias), residual]
    }

    pub(super) fn params(&self) -> EpilogueParams {
        let [scale, bias, residual] = self.addresses();
        let present = i32::from(!self.is_empty());
        let residual_pitch = self.residual.map_or(0, Matrix::pitch) as i32;
        let relu = i32::from(self.relu);
        EpilogueParams { scale, bias, residual, residual_pitch, relu, present }
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, KernelSize};

    use super::*;

    #[test]
    fn nothing_is_nothing_to_the_kernels() {
        let none = EpilogueParams {
            scale: 0,
            bias: 0,
            residual: 0,
            residual_pitch: 0,
            relu: 0,
            present: 0,
        };
        assert_eq!(Epilogue::default().params(), none);
        let relu = Epilogue { relu: true, ..Epilogue::default() };
        assert_eq!(relu.params(), EpilogueParams { relu: 1, present: 1, ..none });
        assert!(Epilogue::default().is_empty() && !relu.is_empty());
    }

    #[test]
    fn the_structure_is_that_of_the_kernels() {
        assert_eq!((size_of::<EpilogueParams>(), align_of::<EpilogueParams>()), (40, 8));
    }

    #[test]
    fn gradients_take_none() {
        let kernel = KernelSize::submanifold(3).unwrap();
        for direction in Direction::ALL {
            let op = Operation::submanifold(direction, DType::Float16, 8, 8, kernel);
            assert!(Epilogue::default().check(&op, 5).is_ok());
            let relu = Epilogue { relu: true, ..Epilogue::default() };
            let refused = matches!(relu.check(&op, 5), Err(CudaError::EpilogueOfGradient { direction: of }) if of == direction);
            assert_eq!(refused, direction != Direction::Forward);
        }
    }
}
