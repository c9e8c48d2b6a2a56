//! Columns of a tensor as tensors: parts of a concatenation without copies.

use std::marker::PhantomData;
use std::ops::{Deref, Range};

use voxtune_cpu::ops::columns as cpu;
use voxtune_cuda::{CudaError, DeviceBuffer, DeviceElement};

use super::{Storage, Tensor};
use crate::{ConvError, Device};

/// Some columns of a tensor, to read: [`Tensor::columns`].
#[derive(Debug)]
pub struct TensorColumns<'a> {
    part: Tensor,
    whole: PhantomData<&'a Tensor>,
}

impl Deref for TensorColumns<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.part
    }
}

impl Tensor {
    /// Some columns, to read. On a GPU they are where the tensor is, its [pitch](Self::pitch)
    /// apart; on the host, whose kernels read dense rows, a copy.
    ///
    /// # Shapes
    /// `(rows, columns.len())`.
    ///
    /// # Errors
    /// If there are not so many columns, or the host cannot hold the copy.
    pub fn columns(&self, columns: Range<usize>) -> Result<TensorColumns<'_>, ConvError> {
        Ok(TensorColumns { part: self.shared_columns(columns)?, whole: PhantomData })
    }

    /// Lets a function write some columns; the others stay as they are. On a GPU it writes where
    /// the tensor is; on the host, whose kernels write dense rows, to a copy that is put back.
    ///
    /// So layers write the parts of a concatenation in place:
    ///
    /// ```
    /// use voxtune::{Activation, DType, Device, Tensor, ops};
    ///
    /// let device = Device::cpu()?;
    /// let [a, b] = [[[1.0, 2.0]], [[3.0, 4.0]]];
    /// let (a, b) = (Tensor::from_rows(&device, &a)?, Tensor::from_rows(&device, &b)?);
    /// let mut joined = Tensor::zeros(&device, DType::Float32, 1, 4)?;
    /// let none = Activation::Identity;
    /// joined.write_columns(0..2, |part| ops::add_into(&device, &a, &b, none, part))?;
    /// joined.write_columns(2..4, |part| ops::add_into(&device, &b, &b, Activation::Relu, part))?;
    /// assert_eq!(joined.to_f32()?, [4.0, 6.0, 6.0, 8.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Shapes
    /// What the function gets: `(rows, columns.len())`.
    ///
    /// # Errors
    /// If there are not so many columns, the function fails or leaves another tensor in their
    /// place, or the host cannot hold the copy.
    pub fn write_columns<R>(
        &mut self,
        columns: Range<usize>,
        write: impl FnOnce(&mut Self) -> Result<R, ConvError>,
    ) -> Result<R, ConvError> {
        let mut part = self.shared_columns(columns.clone())?;
        let place = part.device_address();
        let result = write(&mut part)?;
        part.expect("columns", self.rows, columns.len() as u32, self.dtype)?;
        if part.device_address() != place {
            return Err(ConvError::ColumnsReplaced);
        }
        let of = self.cpu_columns(&columns);
        if let (Storage::Host(whole), Storage::Host(part)) = (&mut self.storage, &part.storage) {
            cpu::put(part.as_elements(), self.rows, of, whole.as_elements_mut())?;
        }
        Ok(result)
    }

    /// The same rows one behind the other: a copy, in the context of the device handle.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn contiguous(&self, device: &Device) -> Result<Self, ConvError> {
        let mut dense = Self::unwritten(device, self.dtype, self.rows, self.channels)?;
        dense.copy_from(device, self)?;
        Ok(dense.counted(self.counted.clone()))
    }

    /// Overwrites every element with those of a tensor of the same shape and storage type.
    pub(crate) fn copy_from(&mut self, device: &Device, other: &Self) -> Result<(), ConvError> {
        crate::ops::concat_into(device, &[other], self)
    }

    /// Some columns, which live as long as they are read. Writing to the tensor meanwhile writes to
    /// them on a GPU, and not on the host: it is for tensors that are only read.
    pub(crate) fn shared_columns(&self, columns: Range<usize>) -> Result<Self, ConvError> {
        if columns.start > columns.end || columns.end > self.channels {
            let (what, expected, found) = ("columns", self.channels, columns.end);
            return Err(ConvError::Channels { what, expected, found });
        }
        let (rows, channels, dtype) = (self.rows, columns.len(), self.dtype);
        let (storage, pitch) = match &self.storage {
            Storage::Host(whole) => {
                let mut part = super::make::host_zeros(dtype, rows, channels)?;
                let of = self.cpu_columns(&columns);
                cpu::take(whole.as_elements(), rows, of, part.as_elements_mut())?;
                (Storage::Host(part), channels)
            }
            Storage::Cuda(whole) => {
                let element = dtype.bytes();
                let begin = columns.start * element;
                let len_bytes = super::span(rows, channels, self.pitch) * element;
                // Columns after the last element begin past the end.
                let begin = if len_bytes == 0 { 0 } else { begin };
                let part = whole.part_of(begin..begin + len_bytes);
                let absent = CudaError::NotOnDevice { what: "a tensor" };
                (Storage::of(part.ok_or(absent)?), self.pitch)
            }
        };
        Ok(Self { rows, channels, pitch, dtype, storage, counted: self.counted.clone() })
    }

    fn cpu_columns(&self, columns: &Range<usize>) -> cpu::Columns {
        cpu::Columns { first: columns.start, width: columns.len(), of: self.channels }
    }
}

/// Copies rows to those of a buffer, and leaves what lies between them as it is.
pub(super) fn upload<T: DeviceElement>(
    buffer: &mut DeviceBuffer,
    (channels, pitch): (usize, usize),
    values: &[T],
) -> Result<(), CudaError> {
    if pitch == channels || channels == 0 {
        return buffer.upload(0, values);
    }
    let rows = values.len() / channels;
    let mut span: Vec<T> = buffer.download(0, super::span(rows, channels, pitch))?;
    for (to, from) in span.chunks_mut(pitch).zip(values.chunks_exact(channels)) {
        to[..channels].copy_from_slice(from);
    }
    buffer.upload(0, &span)
}

/// Copies rows out of the first elements of a buffer.
pub(super) fn download<T: DeviceElement>(
    buffer: &DeviceBuffer,
    (channels, pitch): (usize, usize),
    len: usize,
) -> Result<Vec<T>, CudaError> {
    // Between the rows of no columns lie those of others.
    let span: Vec<T> = buffer.download(0, if channels == 0 { 0 } else { len })?;
    if pitch == channels || channels == 0 {
        return Ok(span);
    }
    Ok(span.chunks(pitch).flat_map(|row| &row[..channels]).copied().collect())
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, PitchClass};

    use super::*;

    fn numbers(device: &Device, dtype: DType, rows: usize, channels: usize) -> Tensor {
        Tensor::from_fn(device, dtype, rows, channels, |index| index as f32).unwrap()
    }

    #[test]
    fn columns_are_read_and_written_in_place() {
        let device = Device::cpu().unwrap();
        for dtype in DType::ALL {
            let mut whole = numbers(&device, dtype, 3, 4);
            let part = whole.columns(1..3).unwrap();
            assert_eq!((part.rows(), part.channels(), part.dtype()), (3, 2, dtype));
            assert_eq!(part.to_f32().unwrap(), [1.0, 2.0, 5.0, 6.0, 9.0, 10.0]);
            let seven = [7.0; 6];
            whole.write_columns(2..4, |part| part.write_f32(&seven)).unwrap();
            let expected = [0.0, 1.0, 7.0, 7.0, 4.0, 5.0, 7.0, 7.0, 8.0, 9.0, 7.0, 7.0];
            assert_eq!(whole.to_f32().unwrap(), expected);
        }
    }

    #[test]
    fn columns_that_there_are_not_are_refused() {
        let device = Device::cpu().unwrap();
        let mut whole = numbers(&device, DType::Float32, 2, 4);
        let error = whole.columns(2..5).unwrap_err().to_string();
        assert!(error.contains("expected 4") && error.contains("found 5"), "{error}");
        assert!(whole.columns(4..4).unwrap().to_f32().unwrap().is_empty());
        let narrower = |part: &mut Tensor| part.reshape(&device, DType::Float32, 2, 1);
        assert!(whole.write_columns(0..2, narrower).is_err());
        assert_eq!(whole.to_f32().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn host_rows_are_dense_whatever_they_are_columns_of() {
        let device = Device::cpu().unwrap();
        let whole = numbers(&device, DType::Float32, 2, 4);
        let part = whole.columns(1..2).unwrap();
        assert_eq!((part.pitch(), part.pitch_class()), (1, Some(PitchClass::Dense)));
        assert_eq!(part.contiguous(&device).unwrap().to_f32().unwrap(), [1.0, 5.0]);
    }
}
