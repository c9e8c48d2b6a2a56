//! Rows of channels on a device.

use half::{bf16, f16};
use rayon::prelude::*;
use voxtune_cpu::{Elements, ElementsMut, HostBuffer};
use voxtune_shape::DType;

use crate::{ConvError, Device};

/// A dense matrix on a device.
///
/// # Shapes
/// `(rows, channels)`, row-major, without padding. Weights are `(volume · c_in, c_out)`.
#[derive(Clone, Debug)]
pub struct Tensor {
    rows: usize,
    channels: usize,
    storage: HostBuffer,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn zeros(
        _device: &Device,
        dtype: DType,
        rows: usize,
        channels: usize,
    ) -> Result<Self, ConvError> {
        Ok(Self { rows, channels, storage: HostBuffer::zeros(dtype, rows * channels) })
    }

    /// A tensor of these values, rounded to the storage type.
    ///
    /// # Shapes
    /// `values`: `(rows, channels)`.
    ///
    /// # Errors
    /// If the length is not `rows · channels`, or the device cannot hold it.
    pub fn from_f32(
        _device: &Device,
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
        Ok(Self { rows, channels, storage: HostBuffer::from_f32(dtype, values) })
    }

    /// A tensor whose element at flat index `i` is `value(i)`, rounded to the storage type, computed
    /// in parallel without a float32 copy.
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
        let mut tensor = Self::zeros(device, dtype, rows, channels)?;
        tensor.fill_with(device, value)?;
        Ok(tensor)
    }

    /// Overwrites the element at each flat index `i` with `value(i)`, rounded to the storage type.
    ///
    /// # Errors
    /// If the device fails to take the values.
    pub fn fill_with(
        &mut self,
        device: &Device,
        value: impl Fn(usize) -> f32 + Sync + Send,
    ) -> Result<(), ConvError> {
        device.install(|| match self.storage.as_elements_mut() {
            ElementsMut::Float16(slice) => fill(slice, |index| f16::from_f32(value(index))),
            ElementsMut::BFloat16(slice) => fill(slice, |index| bf16::from_f32(value(index))),
            ElementsMut::Float32(slice) => fill(slice, value),
        });
        Ok(())
    }

    /// The values.
    ///
    /// # Shapes
    /// `(rows, channels)`.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn to_f32(&self) -> Result<Vec<f32>, ConvError> {
        Ok(self.storage.to_f32())
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
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// Size on the device.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows * self.channels * self.dtype().bytes()
    }

    /// The elements in host memory.
    #[must_use]
    pub fn host(&self) -> Elements<'_> {
        self.storage.as_elements()
    }

    /// The elements in host memory, to write to.
    #[must_use]
    pub fn host_mut(&mut self) -> ElementsMut<'_> {
        self.storage.as_elements_mut()
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
