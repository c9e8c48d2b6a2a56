//! Maximum and average over the rows that a kernel map gathers.

use voxtune_cpu::ops as cpu;
use voxtune_cuda::DeviceKernelMap;

use super::{Pooling, expect, expect_like, fresh_like, host, host_mut, kernels, wrong_device};
use crate::{ConvError, Device, KernelMap, Tensor};

fn cuda_map<'a>(device: &Device, map: &'a KernelMap) -> Result<&'a DeviceKernelMap, ConvError> {
    map.cuda().ok_or_else(|| wrong_device(device, "kernel map"))
}

fn host_map<'a>(
    device: &Device,
    map: &'a KernelMap,
) -> Result<&'a voxtune_cpu::KernelMap, ConvError> {
    map.host().ok_or_else(|| wrong_device(device, "kernel map"))
}

/// Pools the input rows that each output row of a kernel map meets. One that meets none has zeros.
///
/// # Shapes
/// `x`: `(n_in, channels)`. The result: `(n_out, channels)`.
///
/// # Errors
/// If the rows are not those of the map, or the device fails.
pub fn pool(
    device: &Device,
    map: &KernelMap,
    pooling: Pooling,
    x: &Tensor,
) -> Result<Tensor, ConvError> {
    let mut y = Tensor::unwritten(device, x.dtype(), map.n_out(), x.channels())?;
    pool_into(device, map, pooling, x, &mut y)?;
    Ok(y)
}

/// [`pool()`] into a tensor that is there. A GPU makes the map's table at its first use, so a graph
/// can record this once it has run.
///
/// # Errors
/// As [`pool()`].
pub fn pool_into(
    device: &Device,
    map: &KernelMap,
    pooling: Pooling,
    x: &Tensor,
    y: &mut Tensor,
) -> Result<(), ConvError> {
    let channels = x.channels();
    expect(x, "input", map.n_in(), channels, x.dtype())?;
    expect(y, "result", map.n_out(), channels, x.dtype())?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let map = cuda_map(device, map)?;
        return Ok(kernels.pool(
            map,
            pooling,
            x.cuda_matrix()?,
            channels,
            &mut y.cuda_matrix_mut()?,
        )?);
    }
    let (map, x) = (host_map(device, map)?, host(device, "input", x)?);
    let y = host_mut(device, "result", y)?;
    Ok(device.install(|| cpu::map_pool::pool(map, pooling, x, channels, y))?)
}

/// The gradient of [`pool()`] for `x`. Of a maximum it goes to every input that is equal to the
/// output, as in spconv.
///
/// # Shapes
/// `x` and the result: `(n_in, channels)`. `y`, which [`pool()`] made of it, and `grad_y`:
/// `(n_out, channels)`.
///
/// # Errors
/// If the rows are not those of the map, or the device fails.
pub fn pool_backward(
    device: &Device,
    map: &KernelMap,
    pooling: Pooling,
    x: &Tensor,
    y: &Tensor,
    grad_y: &Tensor,
) -> Result<Tensor, ConvError> {
    let channels = x.channels();
    expect(x, "input", map.n_in(), channels, x.dtype())?;
    expect(y, "output", map.n_out(), channels, x.dtype())?;
    expect_like(grad_y, "gradient", y)?;
    let mut grad_x = fresh_like(device, x)?;
    if let Some(kernels) = kernels(device, x.dtype())? {
        let map = cuda_map(device, map)?;
        let (both, to) = ((x.cuda_matrix()?, y.cuda_matrix()?), &mut grad_x.cuda_matrix_mut()?);
        kernels.pool_backward(map, pooling, both, grad_y.cuda_matrix()?, channels, to)?;
    } else {
        let map = host_map(device, map)?;
        let both = (host(device, "input", x)?, host(device, "output", y)?);
        let grad_y = host(device, "gradient", grad_y)?;
        let to = host_mut(device, "result", &mut grad_x)?;
        let run = || cpu::map_pool::pool_backward(map, pooling, both, grad_y, channels, to);
        device.install(run)?;
    }
    Ok(grad_x)
}
