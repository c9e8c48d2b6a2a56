//! Normalising each row over its channels (Ba, Kiros and Hinton, *Layer Normalization*, 2016).

use super::error::OpError;
use super::number::{
    Number, by_dtype, check_len, check_row, for_each_row, matrix, matrix_mut, row_of,
};
use super::statistics::column_totals;
use crate::elements::{Elements, ElementsMut};

/// Parameters of a layer normalisation:
/// `y = (x - mean(row)) / sqrt(variance(row) + epsilon) · gamma + beta`, with the biased variance.
///
/// # Shapes
/// Each `(channels)`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// What is added to the variances.
    pub epsilon: f32,
    /// Factors of the channels; 1 where absent.
    pub gamma: Option<&'a [f32]>,
    /// What is added to the channels; 0 where absent.
    pub beta: Option<&'a [f32]>,
}

impl LayerNorm<'_> {
    fn check(&self, channels: usize) -> Result<(), OpError> {
        check_row("gamma", self.gamma, channels)?;
        check_row("beta", self.beta, channels)
    }

    fn gamma_of(&self, channel: usize) -> f32 {
        self.gamma.map_or(1.0, |gamma| gamma[channel])
    }

    /// Mean and one over the standard deviation of a row.
    fn statistics<T: Number>(&self, row: &[T]) -> (f32, f32) {
        let count = row.len().max(1) as f32;
        let mean = row.iter().map(|x| x.load()).sum::<f32>() / count;
        let squares = row.iter().map(|x| (x.load() - mean) * (x.load() - mean)).sum::<f32>();
        (mean, 1.0 / (squares / count + self.epsilon).sqrt())
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

    /// The gradients for `x`, gamma and beta.
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
    norm: &LayerNorm<'_>,
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    norm.check(channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    for_each_row(matrix_mut::<T>("y", y, rows, channels)?, channels, |row, out| {
        let x = row_of(x, row, channels);
        let (mean, inverse) = norm.statistics(x);
        for (channel, (out, x)) in out.iter_mut().zip(x).enumerate() {
            let beta = norm.beta.map_or(0.0, |beta| beta[channel]);
            *out = T::store((x.load() - mean) * inverse * norm.gamma_of(channel) + beta);
        }
    });
    Ok(())
}

fn backward<T: Number>(
    norm: &LayerNorm<'_>,
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
    for_each_row(grad_x, channels, |row, out| {
        let (x, grad_y) = (row_of(x, row, channels), row_of(grad_y, row, channels));
        let (mean, inverse) = norm.statistics(x);
        let (mut plain, mut along) = (0.0_f32, 0.0_f32);
        for (channel, (x, grad_y)) in x.iter().zip(grad_y).enumerate() {
            let inner = grad_y.load() * norm.gamma_of(channel);
            plain += inner;
            along += inner * ((x.load() - mean) * inverse);
        }
        let count = channels.max(1) as f32;
        let (plain, along) = (plain / count, along / count);
        for (channel, out) in out.iter_mut().enumerate() {
            let normalised = (x[channel].load() - mean) * inverse;
            let inner = grad_y[channel].load() * norm.gamma_of(channel);
            *out = T::store((inner - plain - normalised * along) * inverse);
        }
    });
    let totals = column_totals(rows, 2 * channels, |row, totals| {
        let (of_gamma, of_beta) = totals.split_at_mut(channels);
        let (x, grad_y) = (row_of(x, row, channels), row_of(grad_y, row, channels));
        let (mean, inverse) = norm.statistics(x);
        for channel in 0..channels {
            let grad = grad_y[channel].load();
            of_gamma[channel] += f64::from(grad * ((x[channel].load() - mean) * inverse));
            of_beta[channel] += f64::from(grad);
        }
    });
    for channel in 0..channels {
        grad_gamma[channel] = totals[channel] as f32;
        grad_beta[channel] = totals[channels + channel] as f32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::testing::{close, derivative, noise, zeros};

    fn run(x: &HostBuffer, channels: usize, gamma: &[f32], beta: &[f32]) -> HostBuffer {
        let norm = LayerNorm { epsilon: 1e-3, gamma: Some(gamma), beta: Some(beta) };
        let mut y = zeros(x.dtype(), x.len());
        let rows = x.len() / channels;
        norm.forward(x.as_elements(), rows, channels, y.as_elements_mut()).unwrap();
        y
    }

    #[test]
    fn rows_are_normalised() {
        for dtype in DType::ALL {
            for channels in [1, 3, 16, 130] {
                let x = noise(dtype, 301 * channels, 5);
                let gamma = noise(DType::Float32, channels, 6).to_f32();
                let beta = noise(DType::Float32, channels, 7).to_f32();
                let values = x.to_f64();
                let expected = values.chunks(channels).flat_map(|row| {
                    let count = channels as f64;
                    let mean = row.iter().sum::<f64>() / count;
                    let squares = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                    let deviation = (squares / count + f64::from(1e-3_f32)).sqrt();
                    let (gamma, beta) = (&gamma, &beta);
                    row.iter().enumerate().map(move |(c, x)| {
                        (x - mean) / deviation * f64::from(gamma[c]) + f64::from(beta[c])
                    })
                });
                close(&run(&x, channels, &gamma, &beta), expected);
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let (rows, channels) = (4, 6);
        let [gamma, beta] = [1, 2].map(|seed| noise(DType::Float32, channels, seed));
        let [x, grad_y] = [3, 4].map(|seed| noise(DType::Float32, rows * channels, seed));
        let values = (gamma.to_f32(), beta.to_f32());
        let norm = LayerNorm { epsilon: 1e-3, gamma: Some(&values.0), beta: Some(&values.1) };
        let mut grad_x = zeros(DType::Float32, rows * channels);
        let (mut grad_gamma, mut grad_beta) = ([0.0; 6], [0.0; 6]);
        norm.backward(
            x.as_elements(),
            grad_y.as_elements(),
            rows,
            channels,
            grad_x.as_elements_mut(),
            &mut grad_gamma,
            &mut grad_beta,
        )
        .unwrap();
        derivative(&x, &grad_y, &grad_x, |x| run(x, channels, &values.0, &values.1));
        let float32 = |values: &[f32]| HostBuffer::from_f32(DType::Float32, values);
        derivative(&gamma, &grad_y, &float32(&grad_gamma), |gamma| {
            run(&x, channels, &gamma.to_f32(), &values.1)
        });
        derivative(&beta, &grad_y, &float32(&grad_beta), |beta| {
            run(&x, channels, &values.0, &beta.to_f32())
        });
    }
}
