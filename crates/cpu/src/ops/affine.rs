//! A factor and a summand for each channel, then an activation.

use super::Activation;
use super::error::OpError;
use super::number::{Number, by_dtype, check_row, for_each_row, matrix, matrix_mut, row_of};
use crate::elements::{Elements, ElementsMut};

/// `y[row][c] = activation(x[row][c] · scale[c] + shift[c])`. Each part may be absent.
///
/// # Shapes
/// `scale`, `shift`: `(channels)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affine<'a> {
    /// Factors of the channels.
    pub scale: Option<&'a [f32]>,
    /// What is added to the channels.
    pub shift: Option<&'a [f32]>,
    /// What is done last.
    pub activation: Activation,
}

impl Affine<'_> {
    fn check(&self, channels: usize) -> Result<(), OpError> {
        check_row("the scale", self.scale, channels)?;
        check_row("the shift", self.shift, channels)
    }

    fn inner(&self, x: f32, channel: usize) -> f32 {
        let scaled = self.scale.map_or(x, |scale| x * scale[channel]);
        self.shift.map_or(scaled, |shift| scaled + shift[channel])
    }

    /// The result of each element.
    ///
    /// # Shapes
    /// `x`, `y`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths or types differ from that.
    pub fn forward(
        &self,
        x: Elements<'_>,
        rows: usize,
        channels: usize,
        y: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(y.dtype(), forward(self, x, rows, channels, y))
    }

    /// The gradient for `x`: `grad_y · activation'(x · scale + shift) · scale`.
    ///
    /// # Shapes
    /// `x`, `grad_y`, `grad_x`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths or types differ from that.
    pub fn backward(
        &self,
        x: Elements<'_>,
        grad_y: Elements<'_>,
        rows: usize,
        channels: usize,
        grad_x: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(grad_x.dtype(), backward(self, x, grad_y, rows, channels, grad_x))
    }
}

fn forward<T: Number>(
    affine: &Affine<'_>,
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    affine.check(channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    for_each_row(matrix_mut::<T>("y", y, rows, channels)?, channels, |row, out| {
        for (channel, (out, x)) in out.iter_mut().zip(row_of(x, row, channels)).enumerate() {
            *out = T::store(affine.activation.apply(affine.inner(x.load(), channel)));
        }
    });
    Ok(())
}

fn backward<T: Number>(
    affine: &Affine<'_>,
    x: Elements<'_>,
    grad_y: Elements<'_>,
    rows: usize,
    channels: usize,
    grad_x: ElementsMut<'_>,
) -> Result<(), OpError> {
    affine.check(channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    let grad_y = matrix::<T>("grad_y", grad_y, rows, channels)?;
    for_each_row(matrix_mut::<T>("grad_x", grad_x, rows, channels)?, channels, |row, out| {
        let (x, grad_y) = (row_of(x, row, channels), row_of(grad_y, row, channels));
        for (channel, (out, (x, grad_y))) in out.iter_mut().zip(x.iter().zip(grad_y)).enumerate() {
            let slope = affine.activation.slope(affine.inner(x.load(), channel));
            let inner = grad_y.load() * slope;
            *out = T::store(affine.scale.map_or(inner, |scale| inner * scale[channel]));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::testing::{ACTIVATIONS, close, derivative, noise, zeros};

    #[test]
    fn elements_are_those_of_the_formula() {
        for dtype in DType::ALL {
            for activation in ACTIVATIONS {
                let (rows, channels) = (1_001, 13);
                let x = noise(dtype, rows * channels, 1);
                let (scale, shift) = (noise(DType::Float32, 13, 2), noise(DType::Float32, 13, 3));
                let (scale, shift) = (scale.to_f32(), shift.to_f32());
                let affine = Affine { scale: Some(&scale), shift: Some(&shift), activation };
                let mut y = zeros(dtype, rows * channels);
                affine.forward(x.as_elements(), rows, channels, y.as_elements_mut()).unwrap();
                let expected = x.to_f32().into_iter().enumerate().map(|(place, x)| {
                    activation.apply(x * scale[place % 13] + shift[place % 13]).into()
                });
                close(&y, expected);
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for activation in ACTIVATIONS {
            let (scale, shift) = ([2.0, -0.5, 1.5], [0.25, 1.0, -1.0]);
            let affine = Affine { scale: Some(&scale), shift: Some(&shift), activation };
            let x = noise(DType::Float32, 21, 5);
            let grad_y = noise(DType::Float32, 21, 6);
            let mut found = zeros(DType::Float32, 21);
            affine
                .backward(x.as_elements(), grad_y.as_elements(), 7, 3, found.as_elements_mut())
                .unwrap();
            derivative(&x, &grad_y, &found, |x| {
                let mut y = zeros(DType::Float32, 21);
                affine.forward(x.as_elements(), 7, 3, y.as_elements_mut()).unwrap();
                y
            });
        }
    }

    #[test]
    fn other_shapes_and_types_are_refused() {
        let x = zeros(DType::Float16, 6);
        let run = |dtype, len, scale: &[f32]| {
            let mut y = HostBuffer::zeros(dtype, len);
            let affine = Affine { scale: Some(scale), ..Affine::default() };
            affine.forward(x.as_elements(), 2, 3, y.as_elements_mut()).unwrap_err().to_string()
        };
        assert!(run(DType::Float16, 5, &[1.0; 3]).contains("y holds 5 elements: expected 6"));
        assert!(run(DType::Float16, 6, &[1.0; 2]).contains("the scale holds 2"));
        assert!(run(DType::Float32, 6, &[1.0; 3]).contains("x is stored as float16"));
    }
}
