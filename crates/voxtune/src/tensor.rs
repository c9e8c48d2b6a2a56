//! Rows of channels on a device.

use half::{bf16, f16};
use rayon::prelude::*;
use voxtune_cpu::{Elements, ElementsMut, HostBuffer};
use voxtune_cuda::{CudaError, DeviceBuffer, DeviceSlice, DeviceSliceMut};
use voxtune_shape::DType;

use crate::{ConvError, Device};

/// A dense matrix on a device.
///
/// # Shapes
/// `(rows, channels)`, row-major, without padding. Weights are `(volume · c_in, c_out)`.
#[derive(Debug)]
pub struct Tensor {
    rows: usize,
    channels: usize,
    dtype: DType,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Host(HostBuffer),
    Cuda(DeviceBuffer),
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn zeros(
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
    ) -> Result<Self, ConvError> {
        let storage = match device.cuda() {
            None => Storage::Host(HostBuffer::zeros(dtype, rows * channels)),
            Some(backend) => {
                let len_bytes = rows * channels * dtype.bytes();
                Storage::Cuda(DeviceBuffer::zeroed(backend.device(), len_bytes)?)
            }
        };
        Ok(Self { rows, channels, dtype, storage })
    }

    /// A tensor of these values, rounded to the storage type.
    ///
    /// # Shapes
    /// `values`: `(rows, channels)`.
    ///
    /// # Errors
    /// If the length is not `rows · channels`, or the device cannot hold it.
    pub fn from_f32(
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
        values: &[f32],
    ) -> Result<Self, ConvError> {
        if values.len() != rows * channels {
            return Err(ConvError::Length {
                what: "tensor",
                expected: rows * channels,
                found: values.len(),
            });
        }
        Self::from_fn(device, dtype, rows, channels, |index| values[index])
    }

    /// A tensor whose element at flat index `i` is `value(i)`, rounded to the storage type, computed
    /// in parallel.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn from_fn(
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
        value: impl Fn(usize) -> f32 + Sync + Send,
    ) -> Result<Self, ConvError> {
        let mut host = HostBuffer::zeros(dtype, rows * channels);
        device.install(|| fill_buffer(&mut host, value));
        let storage = match device.cuda() {
            None => Storage::Host(host),
            Some(backend) => Storage::Cuda(upload(backend.device(), &host)?),
        };
        Ok(Self { rows, channels, dtype, storage })
    }

    /// Overwrites every element with a value that is not a number, so that one that a kernel forgets
    /// to write is seen.
    ///
    /// # Errors
    /// If the device fails.
    pub fn poison(&mut self, device: &Device) -> Result<(), ConvError> {
        match &mut self.storage {
            Storage::Host(buffer) => device.install(|| fill_buffer(buffer, |_| f32::NAN)),
            // All bits set are not a number in every storage type.
            Storage::Cuda(buffer) => buffer.fill(0xff)?,
        }
        Ok(())
    }

    /// The values. Every storage type fits float32 exactly.
    ///
    /// # Shapes
    /// `(rows, channels)`.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn to_f32(&self) -> Result<Vec<f32>, ConvError> {
        let len = self.rows * self.channels;
        Ok(match &self.storage {
            Storage::Host(buffer) => buffer.to_f32(),
            Storage::Cuda(buffer) => match self.dtype {
                DType::Float16 => HostBuffer::Float16(buffer.download(0, len)?).to_f32(),
                DType::BFloat16 => HostBuffer::BFloat16(buffer.download(0, len)?).to_f32(),
                DType::Float32 => buffer.download(0, len)?,
            },
        })
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of channels.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Storage type.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements in host memory; `None` if they are a GPU's.
    #[must_use]
    pub fn host(&self) -> Option<Elements<'_>> {
        match &self.storage {
            Storage::Host(buffer) => Some(buffer.as_elements()),
            Storage::Cuda(_) => None,
        }
    }

    /// The elements in host memory, to write to; `None` if they are a GPU's.
    #[must_use]
    pub fn host_mut(&mut self) -> Option<ElementsMut<'_>> {
        match &mut self.storage {
            Storage::Host(buffer) => Some(buffer.as_elements_mut()),
            Storage::Cuda(_) => None,
        }
    }

    pub(crate) fn cuda(&self) -> Result<DeviceSlice<'_>, CudaError> {
        match &self.storage {
            Storage::Host(_) => Err(CudaError::NotOnDevice { what: "a tensor" }),
            Storage::Cuda(buffer) => Ok(buffer.as_ref()),
        }
    }

    pub(crate) fn cuda_mut(&mut self) -> Result<DeviceSliceMut<'_>, CudaError> {
        match &mut self.storage {
            Storage::Host(_) => Err(CudaError::NotOnDevice { what: "a tensor" }),
            Storage::Cuda(buffer) => Ok(buffer.as_mut()),
        }
    }
}

fn upload(device: &voxtune_cuda::CudaDevice, host: &HostBuffer) -> Result<DeviceBuffer, CudaError> {
    match host {
        HostBuffer::Float16(values) => DeviceBuffer::from_host(device, values),
        HostBuffer::BFloat16(values) => DeviceBuffer::from_host(device, values),
        HostBuffer::Float32(values) => DeviceBuffer::from_host(device, values),
    }
}

fn fill_buffer(buffer: &mut HostBuffer, value: impl Fn(usize) -> f32 + Sync + Send) {
    match buffer.as_elements_mut() {
        ElementsMut::Float16(slice) => fill(slice, |index| f16::from_f32(value(index))),
        ElementsMut::BFloat16(slice) => fill(slice, |index| bf16::from_f32(value(index))),
        ElementsMut::Float32(slice) => fill(slice, value),
    }
}

fn fill<T: Send>(slice: &mut [T], value: impl Fn(usize) -> T + Sync + Send) {
    /// Elements that one task fills: large enough to amortise handing it out.
    const CHUNK: usize = 1 << 14;
    slice.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, elements)| {
        for (index, element) in elements.iter_mut().enumerate() {
            *element = value(chunk * CHUNK + index);
        }
    });
}
