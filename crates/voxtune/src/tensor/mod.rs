//! Rows of channels on a device.

mod columns;
mod make;

use std::fmt;

use voxtune_cpu::{Elements, ElementsMut, HostBuffer};
use voxtune_cuda::{
    CudaError, DeviceBuffer, DeviceSlice, DeviceSliceMut, ForeignMemory, Matrix, MatrixMut,
};
use voxtune_types::{DType, PitchClass, matrix_len};

pub use columns::TensorColumns;
use make::fill_buffer;

use crate::noise::value;
use crate::voxels::FrameRows;
use crate::{ConvError, Device, Noise};

/// A matrix on a device.
///
/// Rows lie one behind the other, or a [pitch](Self::pitch) apart on a GPU: where they are
/// [columns](Self::columns) of another tensor, or of another library's. Layers and operations take
/// either. What takes rows without a pitch alone refuses others, and [`Self::contiguous`] copies
/// them: parameters and statistics of more than one row, points, and dense grids.
///
/// ```
/// use voxtune::{DType, Device, Tensor};
///
/// let device = Device::cpu()?;
/// let rows = Tensor::from_rows(&device, &[[1.0, 2.0], [3.0, 4.0]])?;
/// assert_eq!((rows.rows(), rows.channels()), (2, 2));
/// // Storage in 16 bits, made of the same float32 numbers.
/// let half = Tensor::from_f32(&device, DType::Float16, 2, 2, &rows.to_f32()?)?;
/// assert_eq!(half.to_f32()?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Shapes
/// `(rows, channels)`, row-major. Weights are `(volume · c_in, c_out)`.
pub struct Tensor {
    rows: usize,
    channels: usize,
    /// Elements from the first of a row to that of the next one; `channels` in host memory.
    pitch: usize,
    dtype: DType,
    storage: Storage,
    /// How many of the rows there are, where a frame counts them on the device; what lies past them
    /// is anything.
    counted: Option<FrameRows>,
}

enum Storage {
    Host(HostBuffer),
    /// The elements at its start; it may be longer than they need. Columns of a tensor share it.
    Cuda(DeviceBuffer),
}

impl Storage {
    fn of(buffer: DeviceBuffer) -> Self {
        Self::Cuda(buffer)
    }
}

impl Tensor {
    /// Another tensor of the same elements in a GPU's memory; `None` of the host's.
    pub(crate) fn share(&self) -> Option<Self> {
        match &self.storage {
            Storage::Host(_) => None,
            Storage::Cuda(buffer) => {
                let (storage, counted) = (Storage::Cuda(buffer.share()), self.counted.clone());
                Some(Self { storage, counted, ..*self })
            }
        }
    }

    /// Says that a graph which is launched next writes the elements.
    pub(crate) fn will_be_written(&self) -> Result<(), CudaError> {
        match &self.storage {
            Storage::Host(_) => Ok(()),
            Storage::Cuda(buffer) => buffer.will_be_written(),
        }
    }

    /// A tensor in memory of others, without a copy: in the context of the device handle, which
    /// must have waited for the work that wrote it.
    ///
    /// # Shapes
    /// `(rows, channels)`, row-major, at an address that fits one element.
    ///
    /// # Units
    /// The pitch, from the first element of a row to that of the next one, is in elements:
    /// `channels` where nothing lies between rows.
    ///
    /// # Errors
    /// If the device is no GPU or not the one that has the memory. If that is too short or not
    /// aligned, or the pitch is less than the channels.
    pub fn from_foreign(
        device: &Device,
        memory: ForeignMemory,
        dtype: DType,
        rows: usize,
        channels: usize,
        pitch: usize,
    ) -> Result<Self, ConvError> {
        let what = "foreign memory";
        let Some(backend) = device.cuda() else {
            return Err(ConvError::NotOfAGpu { what, device: device.identity().clone() });
        };
        if pitch < channels {
            return Err(CudaError::Pitch { what, channels, found: pitch }.into());
        }
        // No more than a matrix of whole rows, whose size is found not to wrap.
        matrix_len(dtype, rows, pitch)?;
        let expected = span(rows, channels, pitch) * dtype.bytes();
        let (found, address) = (memory.len_bytes(), memory.address());
        if found < expected {
            return Err(CudaError::Length { what, expected, found }.into());
        }
        if !address.is_multiple_of(dtype.bytes() as u64) {
            return Err(CudaError::Misaligned { what, address, expected: dtype.bytes() }.into());
        }
        let buffer = DeviceBuffer::from_foreign(backend.device(), memory)?;
        Ok(Self { pitch, ..Self::dense(dtype, rows, channels, Storage::of(buffer)) })
    }

    /// Overwrites every element with the noise of a seed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fill_noise(
        &mut self,
        device: &Device,
        noise: Noise,
        seed: u64,
    ) -> Result<(), ConvError> {
        let dtype = self.dtype;
        if let Storage::Host(buffer) = &mut self.storage {
            device.install(|| fill_buffer(buffer, |index| value(noise, seed, index as u64)));
            return Ok(());
        }
        let backend = device.cuda().ok_or(CudaError::NotOnDevice { what: "a tensor" })?;
        if !self.is_dense() {
            let dense = Self::noise(device, dtype, self.rows, self.channels, noise, seed)?;
            return self.copy_from(device, &dense);
        }
        Ok(backend.noise_fill()?.fill(noise, dtype, &mut self.cuda_mut()?, seed)?)
    }

    /// Overwrites every element, rounded to the storage type, where the tensor lies: what holds its
    /// place, such as a [`Graph`](crate::Graph), reads the new values.
    ///
    /// # Shapes
    /// `values`: `(rows, channels)`.
    ///
    /// # Errors
    /// If the length is not `rows · channels`, or the device fails.
    pub fn write_f32(&mut self, values: &[f32]) -> Result<(), ConvError> {
        let expected = self.len();
        if values.len() != expected {
            return Err(ConvError::Length { what: "tensor", expected, found: values.len() });
        }
        let host = HostBuffer::from_f32(self.dtype, values);
        let rows = (self.channels, self.pitch);
        match &mut self.storage {
            Storage::Host(buffer) => *buffer = host,
            Storage::Cuda(buffer) => match &host {
                HostBuffer::Float16(values) => columns::upload(buffer, rows, values)?,
                HostBuffer::BFloat16(values) => columns::upload(buffer, rows, values)?,
                HostBuffer::Float32(values) => columns::upload(buffer, rows, values)?,
            },
        }
        Ok(())
    }

    /// Compares shape and storage type with what a call asks for.
    pub(crate) fn expect(
        &self,
        what: &'static str,
        rows: usize,
        channels: u32,
        dtype: DType,
    ) -> Result<(), ConvError> {
        if self.rows != rows {
            return Err(ConvError::Rows { what, expected: rows, found: self.rows });
        }
        if self.channels != channels as usize {
            let expected = channels as usize;
            return Err(ConvError::Channels { what, expected, found: self.channels });
        }
        if self.dtype != dtype {
            return Err(ConvError::DType { what, expected: dtype, found: self.dtype });
        }
        Ok(())
    }

    /// Overwrites every element with a value that is not a number, so that one that a kernel
    /// forgets to write is seen.
    ///
    /// # Errors
    /// If the device fails.
    pub fn poison(&mut self, device: &Device) -> Result<(), ConvError> {
        if let Storage::Host(buffer) = &mut self.storage {
            device.install(|| fill_buffer(buffer, |_| f32::NAN));
            return Ok(());
        }
        if !self.is_dense() {
            let mut dense = Self::unwritten(device, self.dtype, self.rows, self.channels)?;
            dense.poison(device)?;
            return self.copy_from(device, &dense);
        }
        // All bits set are not a number in every storage type.
        Ok(self.cuda_mut()?.fill(0xff)?)
    }

    /// The values. Every storage type fits float32 exactly.
    ///
    /// # Shapes
    /// `(count, channels)`, where [`Self::count`] is the number of rows that there are.
    ///
    /// # Errors
    /// As [`Self::count`], and if the device fails to hand them over.
    pub fn to_f32(&self) -> Result<Vec<f32>, ConvError> {
        let count = self.count()?;
        let (len, rows) = (span(count, self.channels, self.pitch), (self.channels, self.pitch));
        Ok(match &self.storage {
            Storage::Host(buffer) => buffer.to_f32(),
            Storage::Cuda(buffer) => match HostBuffer::zeros(self.dtype, 0) {
                HostBuffer::Float16(_) => {
                    HostBuffer::Float16(columns::download(buffer, rows, len)?).to_f32()
                }
                HostBuffer::BFloat16(_) => {
                    HostBuffer::BFloat16(columns::download(buffer, rows, len)?).to_f32()
                }
                HostBuffer::Float32(_) => columns::download(buffer, rows, len)?,
            },
        })
    }

    /// Overwrites rows from `first` on with those of a float32 tensor on the same device.
    pub(crate) fn copy_rows(&mut self, first: usize, rows: &Self) -> Result<(), ConvError> {
        let (begin, len) = (first * self.channels, rows.len());
        if let Storage::Cuda(_) = &self.storage {
            let bytes = self.dtype.bytes();
            let range = begin * bytes..(begin + len) * bytes;
            let absent = CudaError::NotOnDevice { what: "a tensor" };
            let mut whole = self.cuda_mut()?;
            return Ok(whole.get(range).ok_or(absent)?.copy_from(rows.cuda()?)?);
        }
        let found = rows.dtype;
        match (self.host_mut(), rows.host()) {
            (Some(ElementsMut::Float32(whole)), Some(Elements::Float32(rows))) => {
                whole[begin..begin + len].copy_from_slice(rows);
                Ok(())
            }
            _ => Err(ConvError::DType { what: "rows", expected: DType::Float32, found }),
        }
    }

    /// How many of its rows there are. Waits where a frame counts them on the device
    /// ([`Voxels::expecting`](crate::Voxels::expecting)): everywhere else it is [`Self::rows`].
    ///
    /// # Errors
    /// [`ConvError::Overflow`] if a level of the frame had too little room, so that the values mean
    /// nothing; whatever the device has failed with.
    pub fn count(&self) -> Result<usize, ConvError> {
        self.counted.as_ref().map_or(Ok(self.rows), |counted| counted.wait(self.rows))
    }

    /// The same tensor as one over voxels that a frame counts.
    pub(crate) fn counted(self, counted: Option<FrameRows>) -> Self {
        Self { counted, ..self }
    }

    /// Number of rows; of a tensor over voxels that a frame counts, room for so many.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of channels.
    #[must_use]
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// From the first element of a row to that of the next one. It is the number of channels where
    /// rows are dense, as they always are in host memory.
    ///
    /// # Units
    /// Elements.
    #[must_use]
    pub const fn pitch(&self) -> usize {
        self.pitch
    }

    /// Storage type.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Memory that the tensor holds, which may be more than its elements need.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.storage {
            Storage::Host(_) => self.len_bytes(),
            Storage::Cuda(buffer) => buffer.len_bytes(),
        }
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

    /// Where the elements are in a GPU's memory, rows [a pitch](Self::pitch) apart, for kernels of
    /// others that are queued behind this library's. `None` if they are the host's. Valid while the
    /// tensor lives and keeps its shape.
    #[must_use]
    pub fn device_address(&self) -> Option<u64> {
        match &self.storage {
            Storage::Host(_) => None,
            Storage::Cuda(buffer) => Some(buffer.device_address()),
        }
    }

    /// Number of elements. Where the tensor got its shape, it was checked that nothing wraps.
    const fn len(&self) -> usize {
        self.rows * self.channels
    }

    /// Bytes from the first element of the first row to the last of the last.
    const fn len_bytes(&self) -> usize {
        span(self.rows, self.channels, self.pitch) * self.dtype.bytes()
    }

    /// Whether each row begins where the one before ends.
    const fn is_dense(&self) -> bool {
        self.pitch == self.channels || self.rows <= 1
    }

    fn expect_dense(&self) -> Result<(), CudaError> {
        if self.is_dense() {
            return Ok(());
        }
        let (channels, found) = (self.channels, self.pitch);
        Err(CudaError::Pitch { what: "a tensor", channels, found })
    }

    /// How far apart its rows lie, as keys have it. `None` of rows a pitch apart that begin
    /// elsewhere than at multiples of 16 bytes, which no key has.
    pub(crate) fn pitch_class(&self) -> Option<PitchClass> {
        let bytes = |elements: usize| (elements * self.dtype.bytes()) as u64;
        let is_aligned = |place: u64| place.is_multiple_of(16);
        match &self.storage {
            _ if self.is_dense() => Some(PitchClass::Dense),
            Storage::Cuda(buffer) => (is_aligned(buffer.device_address())
                && is_aligned(bytes(self.pitch)))
            .then_some(PitchClass::Pitched),
            Storage::Host(_) => None,
        }
    }

    /// The elements of a tensor whose rows are dense.
    pub(crate) fn cuda(&self) -> Result<DeviceSlice<'_>, CudaError> {
        self.expect_dense()?;
        self.cuda_part(self.len_bytes())
    }

    /// The same to write to.
    pub(crate) fn cuda_mut(&mut self) -> Result<DeviceSliceMut<'_>, CudaError> {
        self.expect_dense()?;
        self.cuda_part_mut(self.len_bytes())
    }

    pub(crate) fn cuda_matrix(&self) -> Result<Matrix<'_>, CudaError> {
        self.cuda_rows(self.rows)
    }

    pub(crate) fn cuda_matrix_mut(&mut self) -> Result<MatrixMut<'_>, CudaError> {
        self.cuda_rows_mut(self.rows)
    }

    /// The first rows.
    pub(crate) fn cuda_rows(&self, rows: usize) -> Result<Matrix<'_>, CudaError> {
        let len_bytes = span(rows, self.channels, self.pitch) * self.dtype.bytes();
        Ok(Matrix::new(self.cuda_part(len_bytes)?, self.pitch))
    }

    /// The first rows, to write to.
    pub(crate) fn cuda_rows_mut(&mut self, rows: usize) -> Result<MatrixMut<'_>, CudaError> {
        let (pitch, element) = (self.pitch, self.dtype.bytes());
        let len_bytes = span(rows, self.channels, pitch) * element;
        Ok(MatrixMut::new(self.cuda_part_mut(len_bytes)?, pitch))
    }

    fn cuda_part(&self, len_bytes: usize) -> Result<DeviceSlice<'_>, CudaError> {
        let absent = CudaError::NotOnDevice { what: "a tensor" };
        match &self.storage {
            Storage::Host(_) => Err(absent),
            Storage::Cuda(buffer) => buffer.as_ref().get(0..len_bytes).ok_or(absent),
        }
    }

    fn cuda_part_mut(&mut self, len_bytes: usize) -> Result<DeviceSliceMut<'_>, CudaError> {
        let absent = CudaError::NotOnDevice { what: "a tensor" };
        match &mut self.storage {
            Storage::Host(_) => Err(absent),
            Storage::Cuda(buffer) => buffer.part_mut(0..len_bytes).ok_or(absent),
        }
    }
}

/// Elements from the first of the first row to the last of the last.
const fn span(rows: usize, channels: usize, pitch: usize) -> usize {
    if rows == 0 { 0 } else { (rows - 1) * pitch + channels }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, channels, dtype, storage, .. } = self;
        let place = match storage {
            Storage::Host(_) => "host",
            Storage::Cuda(_) => "GPU",
        };
        write!(f, "Tensor({rows} x {channels} {dtype}, {place}")?;
        if self.is_dense() { f.write_str(")") } else { write!(f, ", pitch {})", self.pitch) }
    }
}
