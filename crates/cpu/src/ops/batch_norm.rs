//! Normalising each channel over the rows (Ioffe and Szegedy, *Batch Normalization*, 2015).

use super::Activation;
use super::error::OpError;
use super::number::{
    Number, by_dtype, check_len, check_row, for_each_row, matrix, matrix_mut, row_of,
};
use super::statistics::column_totals;
use crate::elements::{Elements, ElementsMut};

/// Statistics and parameters of a batch normalisation:
/// `y = activation((x - mean) / sqrt(variance + epsilon) · gamma + beta)`.
///
/// # Shapes
/// Each `(channels)`.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Means of the channels: of this very `x` in training.
    pub mean: &'a [f32],
    /// Biased variances of the channels.
    pub variance: &'a [f32],
    /// What is added to the variances.
    pub epsilon: f32,
    /// Factors of the channels; 1 where absent.
    pub gamma: Option<&'a [f32]>,
    /// What is added to the channels; 0 where absent.
    pub beta: Option<&'a [f32]>,
}

impl BatchNorm<'_> {
    fn check(&self, channels: usize) -> Result<(), OpError> {
        check_len("the mean", self.mean.len(), 1, channels)?;
        check_len("the variance", self.variance.len(), 1, channels)?;
        check_row("gamma", self.gamma, channels)?;
        check_row("beta", self.beta, channels)
    }

    /// One over the standard deviation of each channel.
    fn inverse(&self) -> Vec<f32> {
        self.variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect()
    }

    fn gamma_of(&self, channel: usize) -> f32 {
        self.gamma.map_or(1.0, |gamma| gamma[channel])
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
        activation: Activation,
        y: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(y.dtype(), forward(self, x, rows, channels, activation, y))
    }

    /// The gradients where mean and variance are those of `x`, so that they depend on it. Those of
    /// an activation come before: `grad_y` is that of the normalised numbers.
    ///
    /// # Shapes
    /// `x`, `grad_y`, `grad_x`: `(rows, channels)`. `grad_gamma`, `grad_beta`: `(channels)`.
    ///
    /// # Errors
    /// If lengths or types differ from that.
    #[expect(clippy::too_many_arguments, reason = "two operands and three results with a shape")]
    pub fn backward(
        &self,
        x: Elements<'_>,
        grad_y: Elements<'_>,
        rows: usize,
        channels: usize,
        grad_x: ElementsMut<'_>,
        grad_gamma: &mut [f32],
        grad_beta: &mut [f32],
    ) -> Result<(), OpError> {
        check_len("grad_gamma", grad_gamma.len(), 1, channels)?;
        check_len("grad_beta", grad_beta.len(), 1, channels)?;
        let parameters = (grad_gamma, grad_beta);
        by_dtype!(grad_x.dtype(), backward(self, x, grad_y, rows, channels, grad_x, parameters))
    }
}

fn forward<T: Number>(
    norm: &BatchNorm<'_>,
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    activation: Activation,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    norm.check(channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    let inverse = norm.inverse();
    for_each_row(matrix_mut::<T>("y", y, rows, channels)?, channels, |row, out| {
        for (channel, (out, x)) in out.iter_mut().zip(row_of(x, row, channels)).enumerate() {
            let factor = inverse[channel] * norm.gamma_of(channel);
            let beta = norm.beta.map_or(0.0, |beta| beta[channel]);
            *out = T::store(activation.apply((x.load() - norm.mean[channel]) * factor + beta));
        }
    });
    Ok(())
}

fn backward<T: Number>(
    norm: &BatchNorm<'_>,
    x: Elements<'_>,
    grad_y: Elements<'_>,
    rows: usize,
    channels: usize,
    grad_x: ElementsMut<'_>,
    (grad_gamma, grad_beta): (&mut [f32], &mut [f32]),
) -> Result<(), OpError> {
    norm.check(channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    let grad_y = matrix::<T>("grad_y", grad_y, rows, channels)?;
    let grad_x = matrix_mut::<T>("grad_x", grad_x, rows, channels)?;
    let inverse = norm.inverse();
    let normalised = |x: T, channel: usize| (x.load() - norm.mean[channel]) * inverse[channel];
    let totals = column_totals(rows, 2 * channels, |row, totals| {
        let (of_gamma, of_beta) = totals.split_at_mut(channels);
        let (x, grad_y) = (row_of(x, row, channels), row_of(grad_y, row, channels));
        for channel in 0..channels {
            let grad = grad_y[channel].load();
            of_gamma[channel] += f64::from(grad * normalised(x[channel], channel));
            of_beta[channel] += f64::from(grad);
        }
    });
    for channel in 0..channels {
        grad_gamma[channel] = totals[channel] as f32;
        grad_beta[channel] = totals[channels + channel] as f32;
    }
    let count = rows.max(1) as f64;
    let mean: Vec<f32> = totals.iter().map(|total| (total / count) as f32).collect();
    for_each_row(grad_x, channels, |row, out| {
        let (x, grad_y) = (row_of(x, row, channels), row_of(grad_y, row, channels));
        for (channel, out) in out.iter_mut().enumerate() {
            let along = normalised(x[channel], channel) * mean[channel];
            let rest = grad_y[channel].load() - mean[channels + channel] - along;
            *out = T::store(rest * (inverse[channel] * norm.gamma_of(channel)));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::statistics::column_statistics;
    use crate::ops::testing::{close, derivative, noise, zeros};

    const ROWS: usize = 23;
    const CHANNELS: usize = 3;
    const EPSILON: f32 = 1e-3;

    fn of_batch(x: &HostBuffer, gamma: &[f32], beta: &[f32]) -> HostBuffer {
        let (mut mean, mut variance) = ([0.0; CHANNELS], [0.0; CHANNELS]);
        let rows = x.len() / CHANNELS;
        column_statistics(x.as_elements(), rows, CHANNELS, &mut mean, &mut variance).unwrap();
        let (gamma, beta) = (Some(gamma), Some(beta));
        let norm = BatchNorm { mean: &mean, variance: &variance, epsilon: EPSILON, gamma, beta };
        let mut y = zeros(x.dtype(), x.len());
        let (from, to) = (x.as_elements(), y.as_elements_mut());
        norm.forward(from, rows, CHANNELS, Activation::Identity, to).unwrap();
        y
    }

    #[test]
    fn a_batch_is_normalised() {
        let (gamma, beta) = ([2.0, 0.5, -1.0], [0.5, 0.0, 3.0]);
        for dtype in DType::ALL {
            let x = noise(dtype, 2_000 * CHANNELS, 3);
            let values = x.to_f64();
            let column = |c: usize| (0..2_000).map(move |row| row * CHANNELS + c);
            let expected = values.iter().enumerate().map(|(place, value)| {
                let c = place % CHANNELS;
                let mean = column(c).map(|at| values[at]).sum::<f64>() / 2_000.0;
                let squares = column(c).map(|at| (values[at] - mean).powi(2)).sum::<f64>();
                let deviation = (squares / 2_000.0 + f64::from(EPSILON)).sqrt();
                (value - mean) / deviation * f64::from(gamma[c]) + f64::from(beta[c])
            });
            close(&of_batch(&x, &gamma, &beta), expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let (gamma, beta) = ([2.0, 0.5, -1.0], [0.5, 0.0, 3.0]);
        let x = noise(DType::Float32, ROWS * CHANNELS, 3);
        let grad_y = noise(DType::Float32, ROWS * CHANNELS, 4);
        let (mut mean, mut variance) = ([0.0; CHANNELS], [0.0; CHANNELS]);
        column_statistics(x.as_elements(), ROWS, CHANNELS, &mut mean, &mut variance).unwrap();
        let norm = BatchNorm {
            mean: &mean,
            variance: &variance,
            epsilon: EPSILON,
            gamma: Some(&gamma),
            beta: Some(&beta),
        };
        let mut grad_x = zeros(DType::Float32, ROWS * CHANNELS);
        let (mut grad_gamma, mut grad_beta) = ([0.0; CHANNELS], [0.0; CHANNELS]);
        norm.backward(
            x.as_elements(),
            grad_y.as_elements(),
            ROWS,
            CHANNELS,
            grad_x.as_elements_mut(),
            &mut grad_gamma,
            &mut grad_beta,
        )
        .unwrap();
        derivative(&x, &grad_y, &grad_x, |x| of_batch(x, &gamma, &beta));
        let float32 = |values: &[f32]| HostBuffer::from_f32(DType::Float32, values);
        derivative(&float32(&gamma), &grad_y, &float32(&grad_gamma), |gamma| {
            of_batch(&x, &gamma.to_f32(), &beta)
        });
        derivative(&float32(&beta), &grad_y, &float32(&grad_beta), |beta| {
            of_batch(&x, &gamma, &beta.to_f32())
        });
    }
}
