//! For tools that look below the public types, such as `voxtune check`. They have operands at any
//! address, kernel maps of their own making, and scratch memory full of garbage.
//!
//! Whatever is made here runs through [`Registry::run`](crate::Registry::run) like everything else.
//! Programs that run networks need none of it, and it changes with `voxtune-cuda`.

use std::sync::Arc;

use voxtune_cuda::{CudaDevice, DeviceBuffer, DeviceKernelMap, DeviceSlice};
use voxtune_types::{DType, Geometry};

use crate::{ConvError, Device, Epilogue, KernelMap, Tensor};

/// The execution context that a handle of a GPU queues work in; `None` on the host.
#[must_use]
pub fn cuda_device(device: &Device) -> Option<&CudaDevice> {
    device.cuda().map(|backend| backend.device())
}

/// A tensor of the elements at the start of a GPU's memory, at whatever address that is.
///
/// # Shapes
/// `(rows, channels)`, row-major.
///
/// # Errors
/// If the memory is too short.
pub fn tensor(
    buffer: DeviceBuffer,
    dtype: DType,
    rows: usize,
    channels: usize,
) -> Result<Tensor, ConvError> {
    Tensor::in_buffer(buffer, dtype, rows, channels)
}

/// The elements of a dense tensor in a GPU's memory.
///
/// # Errors
/// If it is in the host's memory, or its rows have a pitch.
pub fn elements(tensor: &Tensor) -> Result<DeviceSlice<'_>, ConvError> {
    Ok(tensor.cuda()?)
}

/// A map of a geometry as layers and the tuner take it.
///
/// # Errors
/// If its voxels are not distinct, or the device fails.
pub fn kernel_map(geometry: Geometry, map: DeviceKernelMap) -> Result<KernelMap, ConvError> {
    Ok(KernelMap::from_cuda(geometry, map, None)?)
}

/// The map as the device has it; `None` on the host.
#[must_use]
pub fn device_map(map: &KernelMap) -> Option<&DeviceKernelMap> {
    map.cuda()
}

/// An epilogue of parts that are on the device already.
#[must_use]
pub fn epilogue<'a>(
    scale: Option<Arc<Tensor>>,
    bias: Option<Arc<Tensor>>,
    residual: Option<&'a Tensor>,
    relu: bool,
) -> Epilogue<'a> {
    Epilogue::of_parts(scale, bias, residual, relu)
}

/// The parts of an epilogue as a GPU's kernels take them.
///
/// # Errors
/// If they are in the host's memory.
pub fn device_epilogue<'a>(
    epilogue: &'a Epilogue<'_>,
) -> Result<voxtune_cuda::Epilogue<'a>, ConvError> {
    epilogue.cuda()
}

/// Overwrites the scratch memory of a handle's context, so that what a launch forgets to write
/// there shows. On the host there is none.
///
/// # Errors
/// If the device fails.
pub fn fill_workspace(device: &Device, byte: u8) -> Result<(), ConvError> {
    match device.cuda() {
        Some(backend) => Ok(backend.fill_workspace(byte)?),
        None => Ok(()),
    }
}
