//! The sum of two tensors, as behind a residual block.

use super::Activation;
use super::error::OpError;
use super::number::{Number, by_dtype, for_each_row, matrix, matrix_mut};
use crate::elements::{Elements, ElementsMut};

/// `y = activation(a + b)`.
///
/// # Shapes
/// All alike.
///
/// # Errors
/// If lengths or types differ.
pub fn add(
    a: Elements<'_>,
    b: Elements<'_>,
    activation: Activation,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    by_dtype!(y.dtype(), add_typed(a, b, activation, y))
}

/// The gradient for `a`, and for `b` the same: `grad_y · activation'(a + b)`.
///
/// # Shapes
/// All alike.
///
/// # Errors
/// If lengths or types differ.
pub fn add_backward(
    a: Elements<'_>,
    b: Elements<'_>,
    grad_y: Elements<'_>,
    activation: Activation,
    grad: ElementsMut<'_>,
) -> Result<(), OpError> {
    by_dtype!(grad.dtype(), backward_typed(a, b, grad_y, activation, grad))
}

fn add_typed<T: Number>(
    a: Elements<'_>,
    b: Elements<'_>,
    activation: Activation,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    let len = y.len();
    let (a, b) = (matrix::<T>("a", a, len, 1)?, matrix::<T>("b", b, len, 1)?);
    for_each_row(matrix_mut::<T>("y", y, len, 1)?, 1, |place, out| {
        out[0] = T::store(activation.apply(a[place].load() + b[place].load()));
    });
    Ok(())
}

fn backward_typed<T: Number>(
    a: Elements<'_>,
    b: Elements<'_>,
    grad_y: Elements<'_>,
    activation: Activation,
    grad: ElementsMut<'_>,
) -> Result<(), OpError> {
    let len = grad.len();
    let (a, b) = (matrix::<T>("a", a, len, 1)?, matrix::<T>("b", b, len, 1)?);
    let grad_y = matrix::<T>("grad_y", grad_y, len, 1)?;
    for_each_row(matrix_mut::<T>("grad", grad, len, 1)?, 1, |place, out| {
        let slope = activation.slope(a[place].load() + b[place].load());
        out[0] = T::store(grad_y[place].load() * slope);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::ops::testing::{ACTIVATIONS, close, derivative, noise, zeros};

    #[test]
    fn sums_and_their_gradients_are_those_of_numbers() {
        for activation in ACTIVATIONS {
            for dtype in DType::ALL {
                let (a, b) = (noise(dtype, 30_001, 1), noise(dtype, 30_001, 2));
                let mut y = zeros(dtype, 30_001);
                add(a.as_elements(), b.as_elements(), activation, y.as_elements_mut()).unwrap();
                let sums = a.to_f32().into_iter().zip(b.to_f32());
                close(&y, sums.map(|(a, b)| activation.apply(a + b).into()));
            }
            let [a, b, grad_y] = [1, 2, 3].map(|seed| noise(DType::Float32, 20, seed));
            let mut grad = zeros(DType::Float32, 20);
            let parts = (a.as_elements(), b.as_elements(), grad_y.as_elements());
            add_backward(parts.0, parts.1, parts.2, activation, grad.as_elements_mut()).unwrap();
            derivative(&a, &grad_y, &grad, |a| {
                let mut y = zeros(DType::Float32, 20);
                add(a.as_elements(), b.as_elements(), activation, y.as_elements_mut()).unwrap();
                y
            });
        }
    }
}
