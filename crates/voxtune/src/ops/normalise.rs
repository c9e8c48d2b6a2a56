//! Statistics of channels, and normalisation by batch and by row.

use voxtune_cpu::ops as cpu;
use voxtune_cuda::ops as cuda;
use voxtune_types::DType;

use super::{
    Activation, cuda_row, expect_like, expect_row, fresh_like, host, host_mut, host_row,
    host_row_mut, kernels,
};
use crate::{ConvError, Device, Tensor};

/// The sum of each channel over the rows: the gradient of a bias.
///
/// # Shapes
/// `x`: `(rows, channels)`. The result: `(1, channels)` float32.
///
/// # Errors
/// If the device fails.
pub fn column_sums(device: &Device, x: &Tensor) -> Result<Tensor, ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    let mut sums = Tensor::unwritten(device, DType::Float32, 1, channels)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let rows = x.count()?;
        kernels.column_sums(x.cuda_rows(rows)?, rows, channels, &mut sums.cuda_mut()?)?;
    } else {
        let (x, to) = (host(device, "input", x)?, host_row_mut(device, "sums", &mut sums)?);
        device.install(|| cpu::statistics::column_sums(x, rows, channels, to))?;
    }
    Ok(sums)
}

/// The mean and the biased variance of each channel over the rows. Squares are those of the
/// differences from the mean, so nothing cancels. Of no rows both are 0.
///
/// # Shapes
/// `x`: `(rows, channels)`. The results: `(1, channels)` float32.
///
/// # Errors
/// If the device fails.
pub fn column_statistics(device: &Device, x: &Tensor) -> Result<(Tensor, Tensor), ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    let mut mean = Tensor::unwritten(device, DType::Float32, 1, channels)?;
    let mut variance = Tensor::unwritten(device, DType::Float32, 1, channels)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let (mean, variance) = (&mut mean.cuda_mut()?, &mut variance.cuda_mut()?);
        let rows = x.count()?;
        kernels.column_statistics(x.cuda_rows(rows)?, rows, channels, mean, variance)?;
    } else {
        let x = host(device, "input", x)?;
        let mean = host_row_mut(device, "mean", &mut mean)?;
        let variance = host_row_mut(device, "variance", &mut variance)?;
        let run = || cpu::statistics::column_statistics(x, rows, channels, mean, variance);
        device.install(run)?;
    }
    Ok((mean, variance))
}

/// Statistics and parameters of a batch normalisation:
/// `y = activation((x - mean) / sqrt(variance + epsilon) · gamma + beta)`.
///
/// # Shapes
/// Each `(1, channels)` float32.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Means of the channels: in training those of `x` itself, by [`column_statistics`].
    pub mean: &'a Tensor,
    /// Biased variances of the channels.
    pub variance: &'a Tensor,
    /// What is added to the variances.
    pub epsilon: f32,
    /// Factors of the channels; 1 where absent.
    pub gamma: Option<&'a Tensor>,
    /// What is added to the channels; 0 where absent.
    pub beta: Option<&'a Tensor>,
}

impl BatchNorm<'_> {
    fn check(&self, channels: usize) -> Result<(), ConvError> {
        expect_row(Some(self.mean), "mean", channels)?;
        expect_row(Some(self.variance), "variance", channels)?;
        expect_row(self.gamma, "gamma", channels)?;
        expect_row(self.beta, "beta", channels)
    }

    fn host(&self, device: &Device) -> Result<cpu::batch_norm::BatchNorm<'_>, ConvError> {
        let mean = host_row(device, "mean", Some(self.mean))?.unwrap_or_default();
        let variance = host_row(device, "variance", Some(self.variance))?.unwrap_or_default();
        let gamma = host_row(device, "gamma", self.gamma)?;
        let beta = host_row(device, "beta", self.beta)?;
        Ok(cpu::batch_norm::BatchNorm { mean, variance, epsilon: self.epsilon, gamma, beta })
    }

    fn cuda(&self, activation: Activation) -> Result<cuda::Affine<'_>, ConvError> {
        Ok(cuda::Affine {
            mean: Some(self.mean.cuda()?),
            variance: Some(self.variance.cuda()?),
            epsilon: self.epsilon,
            scale: cuda_row(self.gamma)?,
            shift: cuda_row(self.beta)?,
            activation,
        })
    }
}

/// Gradients of a normalisation.
#[derive(Debug)]
pub struct NormGradients {
    /// For the input, `(rows, channels)`.
    pub x: Tensor,
    /// For the factors, `(1, channels)` float32.
    pub gamma: Tensor,
    /// For what is added, `(1, channels)` float32.
    pub beta: Tensor,
}

impl NormGradients {
    fn fresh(device: &Device, x: &Tensor) -> Result<Self, ConvError> {
        let row = || Tensor::unwritten(device, DType::Float32, 1, x.channels());
        Ok(Self { x: fresh_like(device, x)?, gamma: row()?, beta: row()? })
    }
}

/// Normalises each channel by a mean and a variance (Ioffe and Szegedy, *Batch Normalization*,
/// 2015): of the batch in training, fixed ones otherwise.
///
/// # Shapes
/// `x` and the result: `(rows, channels)`.
///
/// # Errors
/// If shapes or types do not fit, or the device fails.
pub fn batch_norm(
    device: &Device,
    norm: BatchNorm<'_>,
    activation: Activation,
    x: &Tensor,
) -> Result<Tensor, ConvError> {
    let mut y = fresh_like(device, x)?;
    batch_norm_into(device, norm, activation, x, &mut y)?;
    Ok(y)
}

/// [`batch_norm`] into a tensor that is there.
///
/// # Errors
/// As [`batch_norm`].
pub fn batch_norm_into(
    device: &Device,
    norm: BatchNorm<'_>,
    activation: Activation,
    x: &Tensor,
    y: &mut Tensor,
) -> Result<(), ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    norm.check(channels)?;
    expect_like(y, "result", x)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let (of, y) = (norm.cuda(activation)?, &mut y.cuda_matrix_mut()?);
        return Ok(kernels.affine(&of, x.cuda_matrix()?, rows, channels, y)?);
    }
    let (norm, x) = (norm.host(device)?, host(device, "input", x)?);
    let y = host_mut(device, "result", y)?;
    Ok(device.install(|| norm.forward(x, rows, channels, activation, y))?)
}

/// The gradients of [`batch_norm`] where mean and variance are those of `x`, which they depend on.
/// An activation is left out: `grad_y` is the gradient of what it was applied to.
///
/// # Shapes
/// `x`, `grad_y`: `(rows, channels)`.
///
/// # Errors
/// If shapes or types do not fit, or the device fails.
pub fn batch_norm_backward(
    device: &Device,
    norm: BatchNorm<'_>,
    x: &Tensor,
    grad_y: &Tensor,
) -> Result<NormGradients, ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    norm.check(channels)?;
    expect_like(grad_y, "gradient", x)?;
    let mut gradients = NormGradients::fresh(device, x)?;
    let NormGradients { x: of_x, gamma, beta } = &mut gradients;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let of = norm.cuda(Activation::Identity)?;
        let rows = x.count()?;
        kernels.batch_norm_backward(
            &of,
            x.cuda_rows(rows)?,
            grad_y.cuda_rows(rows)?,
            rows,
            channels,
            &mut of_x.cuda_rows_mut(rows)?,
            &mut gamma.cuda_mut()?,
            &mut beta.cuda_mut()?,
        )?;
    } else {
        let (norm, x) = (norm.host(device)?, host(device, "input", x)?);
        let grad_y = host(device, "gradient", grad_y)?;
        let of_x = host_mut(device, "result", of_x)?;
        let gamma = host_row_mut(device, "gamma", gamma)?;
        let beta = host_row_mut(device, "beta", beta)?;
        device.install(|| norm.backward(x, grad_y, rows, channels, of_x, gamma, beta))?;
    }
    Ok(gradients)
}

/// Parameters of a layer normalisation:
/// `y = (x - mean(row)) / sqrt(variance(row) + epsilon) · gamma + beta`, with the biased variance.
///
/// # Shapes
/// Each `(1, channels)` float32.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// What is added to the variances.
    pub epsilon: f32,
    /// Factors of the channels; 1 where absent.
    pub gamma: Option<&'a Tensor>,
    /// What is added to the channels; 0 where absent.
    pub beta: Option<&'a Tensor>,
}

impl LayerNorm<'_> {
    fn check(&self, channels: usize) -> Result<(), ConvError> {
        expect_row(self.gamma, "gamma", channels)?;
        expect_row(self.beta, "beta", channels)
    }

    fn host(&self, device: &Device) -> Result<cpu::layer_norm::LayerNorm<'_>, ConvError> {
        let gamma = host_row(device, "gamma", self.gamma)?;
        let beta = host_row(device, "beta", self.beta)?;
        Ok(cpu::layer_norm::LayerNorm { epsilon: self.epsilon, gamma, beta })
    }

    fn cuda(&self) -> Result<cuda::LayerNorm<'_>, ConvError> {
        let (gamma, beta) = (cuda_row(self.gamma)?, cuda_row(self.beta)?);
        Ok(cuda::LayerNorm { epsilon: self.epsilon, gamma, beta })
    }
}

/// Normalises each row over its channels (Ba, Kiros and Hinton, *Layer Normalization*, 2016).
///
/// # Shapes
/// `x` and the result: `(rows, channels)`.
///
/// # Errors
/// If shapes or types do not fit, or the device fails.
pub fn layer_norm(device: &Device, norm: LayerNorm<'_>, x: &Tensor) -> Result<Tensor, ConvError> {
    let mut y = fresh_like(device, x)?;
    layer_norm_into(device, norm, x, &mut y)?;
    Ok(y)
}

/// [`layer_norm`] into a tensor that is there.
///
/// # Errors
/// As [`layer_norm`].
pub fn layer_norm_into(
    device: &Device,
    norm: LayerNorm<'_>,
    x: &Tensor,
    y: &mut Tensor,
) -> Result<(), ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    norm.check(channels)?;
    expect_like(y, "result", x)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let (norm, y) = (norm.cuda()?, &mut y.cuda_matrix_mut()?);
        return Ok(kernels.layer_norm(&norm, x.cuda_matrix()?, rows, channels, y)?);
    }
    let (norm, x) = (norm.host(device)?, host(device, "input", x)?);
    let y = host_mut(device, "result", y)?;
    Ok(device.install(|| norm.forward(x, rows, channels, y))?)
}

/// The gradients of [`layer_norm`].
///
/// # Shapes
/// `x`, `grad_y`: `(rows, channels)`.
///
/// # Errors
/// If shapes or types do not fit, or the device fails.
pub fn layer_norm_backward(
    device: &Device,
    norm: LayerNorm<'_>,
    x: &Tensor,
    grad_y: &Tensor,
) -> Result<NormGradients, ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    norm.check(channels)?;
    expect_like(grad_y, "gradient", x)?;
    let mut gradients = NormGradients::fresh(device, x)?;
    let NormGradients { x: of_x, gamma, beta } = &mut gradients;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let rows = x.count()?;
        kernels.layer_norm_backward(
            &norm.cuda()?,
            x.cuda_rows(rows)?,
            grad_y.cuda_rows(rows)?,
            rows,
            channels,
            &mut of_x.cuda_rows_mut(rows)?,
            &mut gamma.cuda_mut()?,
            &mut beta.cuda_mut()?,
        )?;
    } else {
        let (norm, x) = (norm.host(device)?, host(device, "input", x)?);
        let grad_y = host(device, "gradient", grad_y)?;
        let of_x = host_mut(device, "result", of_x)?;
        let gamma = host_row_mut(device, "gamma", gamma)?;
        let beta = host_row_mut(device, "beta", beta)?;
        device.install(|| norm.backward(x, grad_y, rows, channels, of_x, gamma, beta))?;
    }
    Ok(gradients)
}
