//! What layers of a network do beside convolutions, forward and backward, on the host and on GPUs.
//!
//! Functions take the device that their tensors are on. Storage is any [`DType`], arithmetic
//! float32 or wider; parameters, statistics and their gradients are float32 tensors of one row.
//! Runs repeat to the bit. What ends in `_into` writes to a tensor that is there and allocates
//! nothing, so that a [`Graph`](crate::Graph) can record it.
//!
//! | what | functions |
//! |---|---|
//! | scale, shift and activation of channels | [`affine`], [`affine_backward`] |
//! | the sum of two tensors | [`add`], [`add_backward`] |
//! | channels side by side | [`concat()`], [`split`] |
//! | another storage type | [`cast`] |
//! | sums, means and variances of channels | [`column_sums`], [`column_statistics`] |
//! | normalisation | [`batch_norm`], [`layer_norm`], and their gradients |
//! | pooling over a kernel map | [`pool()`], [`pool_backward`] |
//! | gathering by index, pooling of samples | [`RowGroups`] |
//! | dense tensors of the same cells | [`DenseCells`] |

mod columns;
mod dense;
mod elementwise;
mod groups;
mod normalise;
mod pool;

use voxtune_cpu::{Elements, ElementsMut};
use voxtune_cuda::ops::FeatureKernels;
use voxtune_cuda::{CudaError, DeviceSlice};
use voxtune_types::DType;

pub use columns::{cast, concat, concat_into, split};
pub use dense::DenseCells;
pub use elementwise::{Affine, add, add_backward, add_into, affine, affine_backward, affine_into};
pub use groups::RowGroups;
pub use normalise::{
    BatchNorm, LayerNorm, NormGradients, batch_norm, batch_norm_backward, batch_norm_into,
    column_statistics, column_sums, layer_norm, layer_norm_backward, layer_norm_into,
};
pub use pool::{pool, pool_backward, pool_into};
pub use voxtune_types::{Activation, Pooling, Reduction};

use crate::{ConvError, Device, Tensor};

/// A tensor of the shape and storage type of another one.
fn fresh_like(device: &Device, like: &Tensor) -> Result<Tensor, ConvError> {
    Tensor::unwritten(device, like.dtype(), like.rows(), like.channels())
}

/// Compares shape and storage type.
fn expect(
    tensor: &Tensor,
    what: &'static str,
    rows: usize,
    channels: usize,
    dtype: DType,
) -> Result<(), ConvError> {
    if tensor.channels() != channels {
        let found = tensor.channels();
        return Err(ConvError::Channels { what, expected: channels, found });
    }
    // Channels agree, so one that 32 bits cannot hold is not looked at again.
    tensor.expect(what, rows, tensor.channels() as u32, dtype)
}

/// Compares shape and storage type with those of another tensor.
fn expect_like(tensor: &Tensor, what: &'static str, like: &Tensor) -> Result<(), ConvError> {
    expect(tensor, what, like.rows(), like.channels(), like.dtype())
}

/// Refuses parameters that are not one row of float32.
fn expect_row(row: Option<&Tensor>, what: &'static str, channels: usize) -> Result<(), ConvError> {
    row.map_or(Ok(()), |row| expect(row, what, 1, channels, DType::Float32))
}

fn wrong_device(device: &Device, what: &'static str) -> ConvError {
    ConvError::WrongDevice { algorithm: what.to_owned(), device: device.identity().clone() }
}

/// Elements in host memory.
fn host<'a>(
    device: &Device,
    what: &'static str,
    tensor: &'a Tensor,
) -> Result<Elements<'a>, ConvError> {
    tensor.host().ok_or_else(|| wrong_device(device, what))
}

/// Elements in host memory, to write to.
fn host_mut<'a>(
    device: &Device,
    what: &'static str,
    tensor: &'a mut Tensor,
) -> Result<ElementsMut<'a>, ConvError> {
    tensor.host_mut().ok_or_else(|| wrong_device(device, what))
}

/// Parameters in host memory, which were found to be float32.
fn host_row<'a>(
    device: &Device,
    what: &'static str,
    row: Option<&'a Tensor>,
) -> Result<Option<&'a [f32]>, ConvError> {
    let Some(row) = row else { return Ok(None) };
    match host(device, what, row)? {
        Elements::Float32(values) => Ok(Some(values)),
        other => {
            let (expected, found) = (DType::Float32, other.dtype());
            Err(ConvError::DType { what, expected, found })
        }
    }
}

/// Float32 results of the host.
fn host_row_mut<'a>(
    device: &Device,
    what: &'static str,
    row: &'a mut Tensor,
) -> Result<&'a mut [f32], ConvError> {
    match host_mut(device, what, row)? {
        ElementsMut::Float32(values) => Ok(values),
        other => {
            let (expected, found) = (DType::Float32, other.dtype());
            Err(ConvError::DType { what, expected, found })
        }
    }
}

/// Parameters in device memory.
fn cuda_row(row: Option<&Tensor>) -> Result<Option<DeviceSlice<'_>>, CudaError> {
    row.map(Tensor::cuda).transpose()
}

/// The kernels of a GPU for a storage type; `None` on the host.
fn kernels(device: &Device, dtype: DType) -> Result<Option<&FeatureKernels>, ConvError> {
    Ok(device.cuda().map(|cuda| cuda.features(dtype)).transpose()?)
}

#[cfg(test)]
mod tests;
