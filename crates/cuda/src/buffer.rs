//! Memory of a device.

use std::marker::PhantomData;
use std::ops::Range;

use cudarc::driver::result;
use half::{bf16, f16};
use voxtune_types::Voxel;

use crate::device::CudaDevice;
use crate::error::{CudaError, DriverContext as _, Result};

mod plain {
    /// Types without padding for which every pattern of bits is a value.
    ///
    /// # Safety
    /// The implementor is such a type.
    pub unsafe trait Plain: Copy + Default + 'static {}
}
use plain::Plain;

/// A number or a voxel: what buffers are filled from and read into.
pub trait DeviceElement: Plain {}

macro_rules! device_elements {
    ($($element:ty),+) => {$(
        // SAFETY: a number, or four of them in `repr(C)`: no padding, no invalid patterns.
        unsafe impl Plain for $element {}
        impl DeviceElement for $element {}
    )+};
}
device_elements!(u8, u16, i32, u32, u64, f32, f64, f16, bf16, Voxel);

/// Bytes in a device's memory. Allocation and release are ordered with the work of the device's
/// stream.
#[derive(Debug)]
pub struct DeviceBuffer {
    device: CudaDevice,
    address: u64,
    len_bytes: usize,
}

impl DeviceBuffer {
    /// Bytes of any content. The base is aligned to 256 bytes.
    ///
    /// # Errors
    /// If the device has not that much memory. [`CudaError::AllocationInCapture`] inside a capture:
    /// such memory would belong to the graph.
    pub fn alloc(device: &CudaDevice, len_bytes: usize) -> Result<Self> {
        if device.is_capturing()? {
            return Err(CudaError::AllocationInCapture { bytes: len_bytes });
        }
        device.bind()?;
        // SAFETY: the stream belongs to the current context; the driver refuses an allocation of
        // nothing, so one byte is the least.
        let address = unsafe { result::malloc_async(device.raw_stream(), len_bytes.max(1)) }
            .during("allocating device memory")?;
        Ok(Self { device: device.clone(), address, len_bytes })
    }

    /// A copy of host values.
    ///
    /// # Errors
    /// If the device has not that much memory.
    pub fn from_host<T: DeviceElement>(device: &CudaDevice, values: &[T]) -> Result<Self> {
        let mut buffer = Self::alloc(device, size_of_val(values))?;
        buffer.upload(0, values)?;
        Ok(buffer)
    }

    /// A copy of bytes that somebody else has in the device's memory, queued after the work that the
    /// device's stream has.
    ///
    /// # Errors
    /// If the device has not that much memory.
    ///
    /// # Safety
    /// There are so many bytes at the address, and nobody writes or frees them until the copy is done.
    pub unsafe fn copied_from(device: &CudaDevice, address: u64, len_bytes: usize) -> Result<Self> {
        let buffer = Self::alloc(device, len_bytes)?;
        if len_bytes > 0 {
            // SAFETY: the caller's promise for the source; the copy was just made as long.
            unsafe {
                result::memcpy_dtod_async(buffer.address, address, len_bytes, device.raw_stream())
            }
            .during("copying within the device")?;
        }
        Ok(buffer)
    }

    /// Bytes, all zero.
    ///
    /// # Errors
    /// If the device has not that much memory.
    pub fn zeroed(device: &CudaDevice, len_bytes: usize) -> Result<Self> {
        let mut buffer = Self::alloc(device, len_bytes)?;
        buffer.fill(0)?;
        Ok(buffer)
    }

    /// Length.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Copies host values to a place in the buffer, and waits for it.
    ///
    /// # Errors
    /// [`CudaError::Length`] if they do not fit.
    pub fn upload<T: DeviceElement>(&mut self, at_byte: usize, values: &[T]) -> Result<()> {
        let expected = at_byte.saturating_add(size_of_val(values));
        if expected > self.len_bytes {
            return Err(CudaError::Length { what: "upload", expected, found: self.len_bytes });
        }
        if values.is_empty() {
            return Ok(());
        }
        self.device.bind()?;
        // SAFETY: the range lies in the buffer; `values` outlives the copy, which is waited for.
        unsafe {
            result::memcpy_htod_async(
                self.address + at_byte as u64,
                values,
                self.device.raw_stream(),
            )
        }
        .during("copying to the device")?;
        self.device.synchronize()
    }

    /// Copies `len` values starting at a byte to the host, after all work queued so far.
    ///
    /// # Errors
    /// [`CudaError::Length`] if the buffer is shorter; whatever earlier work failed with.
    pub fn download<T: DeviceElement>(&self, at_byte: usize, len: usize) -> Result<Vec<T>> {
        let expected = at_byte.saturating_add(len.saturating_mul(size_of::<T>()));
        if expected > self.len_bytes {
            return Err(CudaError::Length { what: "download", expected, found: self.len_bytes });
        }
        let mut values = vec![T::default(); len];
        if !values.is_empty() {
            self.device.bind()?;
            let source = self.address + at_byte as u64;
            // SAFETY: the range lies in the buffer; `values` outlives the copy, which is waited
            // for; every pattern of bits is a value.
            unsafe { result::memcpy_dtoh_async(&mut values, source, self.device.raw_stream()) }
                .during("copying from the device")?;
        }
        self.device.synchronize()?;
        Ok(values)
    }

    /// Sets every byte.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn fill(&mut self, byte: u8) -> Result<()> {
        self.as_mut().fill(byte)
    }

    /// The whole buffer, to read.
    #[must_use]
    pub fn as_ref(&self) -> DeviceSlice<'_> {
        DeviceSlice { address: self.address, len_bytes: self.len_bytes, lifetime: PhantomData }
    }

    /// A range of bytes, to write; `None` past the end.
    #[must_use]
    pub fn part_mut(&mut self, bytes: Range<usize>) -> Option<DeviceSliceMut<'_>> {
        let len_bytes = bytes.end.checked_sub(bytes.start)?;
        (bytes.end <= self.len_bytes).then(|| DeviceSliceMut {
            device: self.device.clone(),
            address: self.address + bytes.start as u64,
            len_bytes,
            lifetime: PhantomData,
        })
    }

    /// The whole buffer, to write.
    #[must_use]
    pub fn as_mut(&mut self) -> DeviceSliceMut<'_> {
        DeviceSliceMut {
            device: self.device.clone(),
            address: self.address,
            len_bytes: self.len_bytes,
            lifetime: PhantomData,
        }
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // A context that is gone has taken its memory along: nothing is left to report to.
        if self.device.bind().is_ok() {
            // SAFETY: the address came from the stream's allocator, and work that uses it was
            // queued before on the same stream.
            let _ = unsafe { result::free_async(self.address, self.device.raw_stream()) };
        }
    }
}

/// Part of a buffer, to read. Any base address.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSlice<'a> {
    address: u64,
    len_bytes: usize,
    lifetime: PhantomData<&'a DeviceBuffer>,
}

impl<'a> DeviceSlice<'a> {
    /// A range of bytes; `None` past the end.
    #[must_use]
    pub fn get(self, bytes: Range<usize>) -> Option<DeviceSlice<'a>> {
        let len_bytes = bytes.end.checked_sub(bytes.start)?;
        (bytes.end <= self.len_bytes).then_some(Self {
            address: self.address + bytes.start as u64,
            len_bytes,
            ..self
        })
    }

    /// Length.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        self.len_bytes
    }

    /// The device's address.
    pub(crate) const fn address(self) -> u64 {
        self.address
    }
}

/// Part of a buffer, to write. Any base address.
#[derive(Debug)]
pub struct DeviceSliceMut<'a> {
    device: CudaDevice,
    address: u64,
    len_bytes: usize,
    lifetime: PhantomData<&'a mut DeviceBuffer>,
}

impl DeviceSliceMut<'_> {
    /// A range of bytes; `None` past the end.
    #[must_use]
    pub fn get(&mut self, bytes: Range<usize>) -> Option<DeviceSliceMut<'_>> {
        let len_bytes = bytes.end.checked_sub(bytes.start)?;
        (bytes.end <= self.len_bytes).then(|| DeviceSliceMut {
            device: self.device.clone(),
            address: self.address + bytes.start as u64,
            len_bytes,
            lifetime: PhantomData,
        })
    }

    /// Length.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Sets every byte.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn fill(&mut self, byte: u8) -> Result<()> {
        if self.len_bytes == 0 {
            return Ok(());
        }
        self.device.bind()?;
        // SAFETY: the range lies in a live buffer that is borrowed mutably.
        unsafe {
            result::memset_d8_async(self.address, byte, self.len_bytes, self.device.raw_stream())
        }
        .during("filling device memory")
    }

    /// Queues a copy of other memory of the device.
    ///
    /// # Errors
    /// [`CudaError::Length`] if it is not as long.
    pub fn copy_from(&mut self, source: DeviceSlice<'_>) -> Result<()> {
        let (expected, found) = (self.len_bytes, source.len_bytes);
        if expected != found {
            return Err(CudaError::Length { what: "copy", expected, found });
        }
        if expected == 0 {
            return Ok(());
        }
        self.device.bind()?;
        // SAFETY: both ranges lie in live buffers and are as long as each other, and no shared borrow
        // overlaps what is borrowed mutably.
        unsafe {
            result::memcpy_dtod_async(
                self.address,
                source.address,
                expected,
                self.device.raw_stream(),
            )
        }
        .during("copying on the device")
    }

    /// The device's address.
    pub(crate) const fn address(&self) -> u64 {
        self.address
    }
}
