//! What a forward product does to its sums before they are stored.

use rayon::prelude::*;
use voxtune_types::{Direction, Operation};

use crate::elements::Elements;
use crate::error::RunError;
use crate::simd::{Simd, Storage};

/// Work on the result of a forward product, done on float32 sums before their only rounding:
/// `y[row][c] = relu(sum · scale[c] + bias[c] + residual[row][c])`. Each part may be absent; the
/// default has none.
///
/// # Shapes
/// `scale`, `bias`: `(c_out)`. `residual`: `(n_out, c_out)` of the operation's storage type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Factors of the channels.
    pub scale: Option<&'a [f32]>,
    /// What is added to the channels.
    pub bias: Option<&'a [f32]>,
    /// What is added to each element.
    pub residual: Option<Elements<'a>>,
    /// Whether negative results become zero.
    pub relu: bool,
}

impl Epilogue<'_> {
    /// Whether there is no part.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self { scale, bias, residual, relu } = self;
        scale.is_none() && bias.is_none() && residual.is_none() && !*relu
    }

    /// Compares direction, lengths and types.
    pub(crate) fn check(&self, op: &Operation, n_out: usize) -> Result<(), RunError> {
        if op.direction != Direction::Forward && !self.is_empty() {
            return Err(RunError::EpilogueOfGradient { direction: op.direction });
        }
        let channels = u128::from(op.c_out);
        for (operand, part) in
            [("the epilogue's scale", self.scale), ("the epilogue's bias", self.bias)]
        {
            match part {
                Some(part) if part.len() as u128 != channels => {
                    let (shape, expected, found) = ("c_out", channels, part.len());
                    return Err(RunError::WrongLength { operand, shape, expected, found });
                }
                _ => {}
            }
        }
        let Some(residual) = self.residual else { return Ok(()) };
        let operand = "the epilogue's residual";
        if residual.dtype() != op.dtype {
            let (expected, found) = (op.dtype, residual.dtype());
            return Err(RunError::WrongDType { operand, expected, found });
        }
        let expected = n_out as u128 * channels;
        if residual.len() as u128 != expected {
            let (shape, found) = ("n_out × c_out", residual.len());
            return Err(RunError::WrongLength { operand, shape, expected, found });
        }
        Ok(())
    }

    /// With the residual's elements; `None` without any part. The types have been checked.
    pub(crate) fn typed<'t, T: Storage>(
        &'t self,
        residual: Option<&'t [T]>,
    ) -> Option<TypedEpilogue<'t, T>> {
        let Self { scale, bias, relu, .. } = *self;
        (!self.is_empty()).then_some(TypedEpilogue { scale, bias, residual, relu })
    }
}

/// An [`Epilogue`] of one storage type with at least one part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypedEpilogue<'a, T> {
    scale: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [T]>,
    relu: bool,
}

impl<T: Storage> TypedEpilogue<'_, T> {
    /// Sums of neighbouring channels of a row of `width`, which begin at an element of the result.
    pub(crate) fn apply(
        &self,
        simd: Simd,
        sums: &mut [f32],
        at: usize,
        width: usize,
        widened: &mut Vec<f32>,
    ) {
        let channels = at % width..at % width + sums.len();
        if let Some(scale) = self.scale {
            for (sum, scale) in sums.iter_mut().zip(&scale[channels.clone()]) {
                *sum *= scale;
            }
        }
        if let Some(bias) = self.bias {
            for (sum, bias) in sums.iter_mut().zip(&bias[channels]) {
                *sum += bias;
            }
        }
        if let Some(residual) = self.residual {
            widened.resize(sums.len(), 0.0);
            T::widen(simd, &residual[at..at + sums.len()], widened);
            for (sum, added) in sums.iter_mut().zip(&*widened) {
                *sum += added;
            }
        }
        if self.relu {
            for sum in sums {
                // Not a maximum: what is not a number stays so.
                *sum = if *sum < 0.0 { 0.0 } else { *sum };
            }
        }
    }

    /// Whole rows of sums, all of the result.
    pub(crate) fn apply_to_rows(&self, simd: Simd, sums: &mut [f32], width: usize) {
        /// Rows of a task.
        const ROWS: usize = 256;
        sums.par_chunks_mut(ROWS * width).enumerate().for_each_init(
            Vec::new,
            |widened, (task, rows)| {
                for (row, sums) in rows.chunks_exact_mut(width).enumerate() {
                    self.apply(simd, sums, (task * ROWS + row) * width, width, widened);
                }
            },
        );
    }
}
