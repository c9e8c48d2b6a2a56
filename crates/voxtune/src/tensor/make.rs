//! Tensors made of values, of a function, of noise, or of memory that is there.

use half::{bf16, f16};
use rayon::prelude::*;
use voxtune_cpu::{ElementsMut, HostBuffer};
use voxtune_cuda::{CudaError, DeviceBuffer};
use voxtune_types::{DType, matrix_len};

use super::{Storage, Tensor};
use crate::{ConvError, Device, Noise};

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
            None => Storage::Host(host_zeros(dtype, rows, channels)?),
            Some(backend) => {
                let len_bytes = matrix_len(dtype, rows, channels)? * dtype.bytes();
                Storage::of(DeviceBuffer::zeroed(backend.device(), len_bytes)?)
            }
        };
        Ok(Self::dense(dtype, rows, channels, storage))
    }

    pub(super) const fn dense(
        dtype: DType,
        rows: usize,
        channels: usize,
        storage: Storage,
    ) -> Self {
        Self { rows, channels, pitch: channels, dtype, storage, counted: None }
    }

    /// A tensor of unspecified contents, to be written whole.
    pub(crate) fn unwritten(
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
    ) -> Result<Self, ConvError> {
        let Some(backend) = device.cuda() else {
            return Self::zeros(device, dtype, rows, channels);
        };
        let len_bytes = matrix_len(dtype, rows, channels)? * dtype.bytes();
        let storage = Storage::of(DeviceBuffer::alloc(backend.device(), len_bytes)?);
        Ok(Self::dense(dtype, rows, channels, storage))
    }

    /// A tensor of these values, rounded to the storage type.
    ///
    /// # Shapes
    /// `values`: `(rows, channels)`.
    ///
    /// # Errors
    /// If the length is not `rows · channels`, or nothing can hold it.
    pub fn from_f32(
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
        values: &[f32],
    ) -> Result<Self, ConvError> {
        let expected = matrix_len(dtype, rows, channels)?;
        if values.len() != expected {
            return Err(ConvError::Length { what: "tensor", expected, found: values.len() });
        }
        Self::from_fn(device, dtype, rows, channels, |index| values[index])
    }

    /// A float32 tensor of these rows.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn from_rows<const CHANNELS: usize>(
        device: &Device,
        rows: &[[f32; CHANNELS]],
    ) -> Result<Self, ConvError> {
        Self::from_f32(device, DType::Float32, rows.len(), CHANNELS, rows.as_flattened())
    }

    /// A tensor whose element at flat index `i` is `value(i)`, rounded to the storage type,
    /// computed in parallel.
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
        let mut host = host_zeros(dtype, rows, channels)?;
        device.install(|| fill_buffer(&mut host, value));
        let storage = match device.cuda() {
            None => Storage::Host(host),
            Some(backend) => Storage::of(upload(backend.device(), &host)?),
        };
        Ok(Self::dense(dtype, rows, channels, storage))
    }

    /// A tensor of values that depend on the seed and an element's place alone: the same on every
    /// device, to the bit. A GPU computes them itself.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn noise(
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
        noise: Noise,
        seed: u64,
    ) -> Result<Self, ConvError> {
        let mut tensor = Self::empty(device, dtype)?;
        tensor.reshape(device, dtype, rows, channels)?;
        tensor.fill_noise(device, noise, seed)?;
        Ok(tensor)
    }

    /// A tensor without elements, to be given a shape.
    ///
    /// # Errors
    /// If the device fails.
    pub fn empty(device: &Device, dtype: DType) -> Result<Self, ConvError> {
        Self::zeros(device, dtype, 0, 0)
    }

    /// Changes shape and dtype; contents become unspecified and rows dense. Memory of a GPU is kept
    /// where it suffices and is the tensor's alone. So a tensor that takes many shapes allocates
    /// only for the largest so far.
    ///
    /// # Errors
    /// If the device cannot hold it; the tensor then has no elements.
    pub fn reshape(
        &mut self,
        device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
    ) -> Result<(), ConvError> {
        let is_dense = self.is_dense();
        (self.rows, self.channels, self.pitch) = (0, 0, 0);
        (self.dtype, self.counted) = (dtype, None);
        match (device.cuda(), &mut self.storage) {
            (Some(backend), Storage::Cuda(buffer)) => {
                let len_bytes = matrix_len(dtype, rows, channels)? * dtype.bytes();
                let is_own = is_dense && !buffer.is_shared();
                if !is_own || buffer.len_bytes() < len_bytes {
                    // Both at once may be more than there is.
                    *buffer = DeviceBuffer::alloc(backend.device(), 0)?;
                    *buffer = DeviceBuffer::alloc(backend.device(), len_bytes)?;
                }
            }
            (None, Storage::Host(buffer)) => {
                // Both at once may be more than there is.
                *buffer = HostBuffer::zeros(dtype, 0);
                *buffer = host_zeros(dtype, rows, channels)?;
            }
            (Some(_), Storage::Host(_)) | (None, Storage::Cuda(_)) => {
                return Err(CudaError::NotOnDevice { what: "a tensor" }.into());
            }
        }
        (self.rows, self.channels, self.pitch) = (rows, channels, channels);
        Ok(())
    }

    /// The same elements in the same order as a matrix of other extents. Nothing is copied.
    ///
    /// # Errors
    /// If it would have more or fewer elements, or rows have a pitch.
    pub(crate) fn with_shape(self, rows: usize, channels: usize) -> Result<Self, ConvError> {
        self.expect_dense()?;
        let expected = matrix_len(self.dtype, self.rows, self.channels)?;
        let found = matrix_len(self.dtype, rows, channels)?;
        if found != expected {
            return Err(ConvError::Length { what: "the tensor's shape", expected, found });
        }
        Ok(Self { rows, channels, pitch: channels, ..self })
    }

    /// A float32 tensor of values in host memory, moved there and not copied.
    ///
    /// # Errors
    /// If the length is not `rows · channels`.
    pub(crate) fn from_host(
        values: Vec<f32>,
        rows: usize,
        channels: usize,
    ) -> Result<Self, ConvError> {
        let (dtype, found) = (DType::Float32, values.len());
        let expected = matrix_len(dtype, rows, channels)?;
        if found != expected {
            return Err(ConvError::Length { what: "tensor", expected, found });
        }
        let storage = Storage::Host(HostBuffer::Float32(values));
        Ok(Self::dense(dtype, rows, channels, storage))
    }

    /// A float32 tensor of the elements at the start of a GPU's memory.
    ///
    /// # Errors
    /// If the buffer is shorter.
    pub(crate) fn from_cuda(
        buffer: DeviceBuffer,
        rows: usize,
        channels: usize,
    ) -> Result<Self, ConvError> {
        let (dtype, found) = (DType::Float32, buffer.len_bytes());
        let expected = matrix_len(dtype, rows, channels)? * dtype.bytes();
        if found < expected {
            return Err(CudaError::Length { what: "tensor", expected, found }.into());
        }
        Ok(Self::dense(dtype, rows, channels, Storage::of(buffer)))
    }

    /// A tensor of the elements at the start of a GPU's memory.
    ///
    /// # Errors
    /// If the buffer is shorter.
    pub(crate) fn in_buffer(
        buffer: DeviceBuffer,
        dtype: DType,
        rows: usize,
        channels: usize,
    ) -> Result<Self, ConvError> {
        let expected = matrix_len(dtype, rows, channels)? * dtype.bytes();
        let found = buffer.len_bytes();
        if found < expected {
            return Err(CudaError::Length { what: "tensor", expected, found }.into());
        }
        let storage = Storage::Cuda(buffer);
        Ok(Self { rows, channels, pitch: channels, dtype, storage, counted: None })
    }
}

/// Zeros of a matrix in host memory.
pub(super) fn host_zeros(
    dtype: DType,
    rows: usize,
    channels: usize,
) -> Result<HostBuffer, ConvError> {
    let len = matrix_len(dtype, rows, channels)?;
    HostBuffer::try_zeros(dtype, len).map_err(|_| ConvError::NoMemory { dtype, rows, channels })
}

pub(super) fn upload(
    device: &voxtune_cuda::CudaDevice,
    host: &HostBuffer,
) -> Result<DeviceBuffer, CudaError> {
    match host {
        HostBuffer::Float16(values) => DeviceBuffer::from_host(device, values),
        HostBuffer::BFloat16(values) => DeviceBuffer::from_host(device, values),
        HostBuffer::Float32(values) => DeviceBuffer::from_host(device, values),
    }
}

pub(super) fn fill_buffer(buffer: &mut HostBuffer, value: impl Fn(usize) -> f32 + Sync + Send) {
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
