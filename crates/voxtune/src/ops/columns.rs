//! Channels side by side, and tensors in another storage type.

use voxtune_cpu::ops as cpu;
use voxtune_types::DType;

use super::{expect, host, host_mut, kernels};
use crate::{ConvError, Device, Tensor};

/// The channels of each part, one part after the other. Of no parts, a tensor without elements.
///
/// # Shapes
/// Each part: `(rows, channels of the part)`. The result: `(rows, sum of channels)`.
///
/// # Errors
/// If rows or types of the parts differ, or the device fails.
pub fn concat(device: &Device, parts: &[&Tensor]) -> Result<Tensor, ConvError> {
    let (rows, dtype) = parts.first().map_or((0, DType::Float32), |one| (one.rows(), one.dtype()));
    let channels = parts.iter().map(|part| part.channels()).fold(0, usize::saturating_add);
    let mut whole = Tensor::unwritten(device, dtype, rows, channels)?;
    concat_into(device, parts, &mut whole)?;
    Ok(whole)
}

/// [`concat()`] into a tensor that is there.
///
/// # Errors
/// As [`concat()`].
pub fn concat_into(
    device: &Device,
    parts: &[&Tensor],
    whole: &mut Tensor,
) -> Result<(), ConvError> {
    let (rows, dtype) = (whole.rows(), whole.dtype());
    let channels = parts.iter().map(|part| part.channels()).fold(0, usize::saturating_add);
    expect(whole, "result", rows, channels, dtype)?;
    for part in parts {
        expect(part, "part", rows, part.channels(), dtype)?;
    }
    if let Some(kernels) = kernels(device, dtype)? {
        let mut first = 0;
        for part in parts {
            let width = part.channels();
            whole.write_columns(first..first + width, |target| {
                let (from, to) = (part.cuda_matrix()?, &mut target.cuda_matrix_mut()?);
                Ok(kernels.copy_columns(from, rows, width, to)?)
            })?;
            first += width;
        }
        return Ok(());
    }
    let given = parts.iter().map(|part| Ok((host(device, "part", part)?, part.channels())));
    let given: Vec<_> = given.collect::<Result<_, ConvError>>()?;
    let whole = host_mut(device, "result", whole)?;
    Ok(device.install(|| cpu::columns::concat(&given, rows, whole))?)
}

/// The channels of a tensor apart: [`concat()`] undone, and its gradient.
///
/// # Shapes
/// `whole`: `(rows, sum of widths)`. Each result: `(rows, its width)`.
///
/// # Errors
/// If the widths are not those of the tensor, or the device fails.
pub fn split(device: &Device, whole: &Tensor, widths: &[usize]) -> Result<Vec<Tensor>, ConvError> {
    let (rows, dtype) = (whole.rows(), whole.dtype());
    let channels = widths.iter().copied().fold(0, usize::saturating_add);
    expect(whole, "tensor to split", rows, channels, dtype)?;
    let parts = widths.iter().map(|&width| Tensor::unwritten(device, dtype, rows, width));
    let mut parts: Vec<Tensor> = parts.collect::<Result<_, _>>()?;
    if let Some(kernels) = kernels(device, dtype)? {
        let mut first = 0;
        for part in &mut parts {
            let width = part.channels();
            let from = whole.columns(first..first + width)?;
            let to = &mut part.cuda_matrix_mut()?;
            kernels.copy_columns(from.cuda_matrix()?, rows, width, to)?;
            first += width;
        }
        return Ok(parts);
    }
    let whole = host(device, "tensor to split", whole)?;
    let targets = parts.iter_mut().zip(widths);
    let targets = targets.map(|(part, width)| Ok((host_mut(device, "part", part)?, *width)));
    let targets: Vec<_> = targets.collect::<Result<_, ConvError>>()?;
    device.install(|| cpu::columns::split(whole, rows, targets))?;
    Ok(parts)
}

/// Each element rounded to the nearest of another storage type, ties to even.
///
/// # Errors
/// If the device fails.
pub fn cast(device: &Device, x: &Tensor, dtype: DType) -> Result<Tensor, ConvError> {
    let mut y = Tensor::unwritten(device, dtype, x.rows(), x.channels())?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let to = &mut y.cuda_matrix_mut()?;
        kernels.cast(x.cuda_matrix()?, x.rows(), x.channels(), dtype, to)?;
    } else {
        let (from, to) = (host(device, "input", x)?, host_mut(device, "result", &mut y)?);
        device.install(|| cpu::cast::cast(from, to))?;
    }
    Ok(y)
}
