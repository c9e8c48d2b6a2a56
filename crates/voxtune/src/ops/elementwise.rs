//! Affine maps of channels with activations, and sums of two tensors.

use voxtune_cpu::ops as cpu;
use voxtune_cuda::ops as cuda;

use super::{
    Activation, cuda_row, expect_like, expect_row, fresh_like, host, host_mut, host_row, kernels,
};
use crate::{ConvError, Device, Tensor};

/// `y[row][c] = activation(x[row][c] · scale[c] + shift[c])`. Each part may be absent.
///
/// # Shapes
/// `scale`, `shift`: `(1, channels)` float32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affine<'a> {
    /// Factors of the channels.
    pub scale: Option<&'a Tensor>,
    /// What is added to the channels.
    pub shift: Option<&'a Tensor>,
    /// What is done last.
    pub activation: Activation,
}

impl Affine<'_> {
    fn check(&self, channels: usize) -> Result<(), ConvError> {
        expect_row(self.scale, "scale", channels)?;
        expect_row(self.shift, "shift", channels)
    }

    fn host(&self, device: &Device) -> Result<cpu::Affine<'_>, ConvError> {
        let scale = host_row(device, "scale", self.scale)?;
        let shift = host_row(device, "shift", self.shift)?;
        Ok(cpu::Affine { scale, shift, activation: self.activation })
    }

    fn cuda(&self) -> Result<cuda::Affine<'_>, ConvError> {
        Ok(cuda::Affine {
            scale: cuda_row(self.scale)?,
            shift: cuda_row(self.shift)?,
            activation: self.activation,
            ..cuda::Affine::default()
        })
    }
}

/// Scales and shifts channels, then applies an activation; one alone with no scale and no shift.
///
/// # Shapes
/// `x` and the result: `(rows, channels)`.
///
/// # Errors
/// If shapes or types do not fit, or the device fails.
pub fn affine(device: &Device, of: Affine<'_>, x: &Tensor) -> Result<Tensor, ConvError> {
    let mut y = fresh_like(device, x)?;
    affine_into(device, of, x, &mut y)?;
    Ok(y)
}

/// [`affine`] into a tensor that is there.
///
/// # Errors
/// As [`affine`].
pub fn affine_into(
    device: &Device,
    of: Affine<'_>,
    x: &Tensor,
    y: &mut Tensor,
) -> Result<(), ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    of.check(channels)?;
    expect_like(y, "result", x)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        return Ok(kernels.affine(
            &of.cuda()?,
            x.cuda_matrix()?,
            rows,
            channels,
            &mut y.cuda_matrix_mut()?,
        )?);
    }
    let (of, x) = (of.host(device)?, host(device, "input", x)?);
    let y = host_mut(device, "result", y)?;
    Ok(device.install(|| of.forward(x, rows, channels, y))?)
}

/// The gradient of [`affine`] for `x`. With an identity and a scale or shift alone, that of the
/// shift is [`column_sums`](super::column_sums) of `grad_y`.
///
/// # Shapes
/// `x`, `grad_y` and the result: `(rows, channels)`.
///
/// # Errors
/// If shapes or types do not fit, or the device fails.
pub fn affine_backward(
    device: &Device,
    of: Affine<'_>,
    x: &Tensor,
    grad_y: &Tensor,
) -> Result<Tensor, ConvError> {
    let (rows, channels) = (x.rows(), x.channels());
    of.check(channels)?;
    expect_like(grad_y, "gradient", x)?;
    let mut grad_x = fresh_like(device, x)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let (of, to) = (of.cuda()?, &mut grad_x.cuda_matrix_mut()?);
        kernels.affine_backward(
            &of,
            x.cuda_matrix()?,
            grad_y.cuda_matrix()?,
            rows,
            channels,
            to,
        )?;
    } else {
        let (of, x) = (of.host(device)?, host(device, "input", x)?);
        let grad_y = host(device, "gradient", grad_y)?;
        let to = host_mut(device, "result", &mut grad_x)?;
        device.install(|| of.backward(x, grad_y, rows, channels, to))?;
    }
    Ok(grad_x)
}

/// `activation(a + b)`, as behind a residual block.
///
/// # Shapes
/// `a`, `b` and the result: alike.
///
/// # Errors
/// If shapes or types differ, or the device fails.
pub fn add(
    device: &Device,
    a: &Tensor,
    b: &Tensor,
    activation: Activation,
) -> Result<Tensor, ConvError> {
    let mut y = fresh_like(device, a)?;
    add_into(device, a, b, activation, &mut y)?;
    Ok(y)
}

/// [`add`] into a tensor that is there.
///
/// # Errors
/// As [`add`].
pub fn add_into(
    device: &Device,
    a: &Tensor,
    b: &Tensor,
    activation: Activation,
    y: &mut Tensor,
) -> Result<(), ConvError> {
    expect_like(b, "second summand", a)?;
    expect_like(y, "result", a)?;
    if let Some(kernels) = kernels(device, a.dtype())? {
        let (rows, channels) = (a.rows(), a.channels());
        let (a, b, y) = (a.cuda_matrix()?, b.cuda_matrix()?, &mut y.cuda_matrix_mut()?);
        return Ok(kernels.add(a, b, rows, channels, activation, y)?);
    }
    let (a, b) = (host(device, "first summand", a)?, host(device, "second summand", b)?);
    let y = host_mut(device, "result", y)?;
    Ok(device.install(|| cpu::add::add(a, b, activation, y))?)
}

/// The gradient of [`add`], the same for `a` and for `b`.
///
/// # Shapes
/// All alike.
///
/// # Errors
/// If shapes or types differ, or the device fails.
pub fn add_backward(
    device: &Device,
    a: &Tensor,
    b: &Tensor,
    activation: Activation,
    grad_y: &Tensor,
) -> Result<Tensor, ConvError> {
    expect_like(b, "second summand", a)?;
    expect_like(grad_y, "gradient", a)?;
    let mut grad = fresh_like(device, a)?;
    if let Some(kernels) = kernels(device, a.dtype())? {
        let to = &mut grad.cuda_matrix_mut()?;
        let (rows, channels) = (a.rows(), a.channels());
        let (a, b, grad_y) = (a.cuda_matrix()?, b.cuda_matrix()?, grad_y.cuda_matrix()?);
        kernels.add_backward(a, b, grad_y, rows, channels, activation, to)?;
    } else {
        let (a, b) = (host(device, "first summand", a)?, host(device, "second summand", b)?);
        let grad_y = host(device, "gradient", grad_y)?;
        let to = host_mut(device, "result", &mut grad)?;
        device.install(|| cpu::add::add_backward(a, b, grad_y, activation, to))?;
    }
    Ok(grad)
}
