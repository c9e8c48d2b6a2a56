//! Memory of a device.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use crate::binding::driver::{result, sys};
use half::{bf16, f16};
use voxtune_types::Voxel;

use crate::device::CudaDevice;
use crate::error::{CudaError, DriverContext as _, Result};
use crate::execution::{Allocation, ForeignMemory};

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

/// Memory until the last buffer and the last graph that have it are gone.
#[derive(Debug)]
struct OwnedMemory {
    device: CudaDevice,
    /// There until this is dropped.
    allocation: Option<Allocation>,
}

impl OwnedMemory {
    fn allocation(&self) -> &Allocation {
        self.allocation.as_ref().expect("memory is there until it is dropped")
    }
}

impl Drop for OwnedMemory {
    fn drop(&mut self) {
        // A context that is gone has taken its memory along: nothing is left to report to. An owner
        // of foreign memory is told all the same.
        if let Some(allocation) = self.allocation.take()
            && self.device.bind().is_ok()
        {
            self.device.queue().release(allocation);
        }
    }
}

/// Bytes in a device's memory, of the execution context that it was made in. It is written there,
/// and released in the order of that stream. Launches of other contexts may read it.
#[derive(Debug)]
pub struct DeviceBuffer {
    memory: Arc<OwnedMemory>,
    address: u64,
    len_bytes: usize,
}

impl DeviceBuffer {
    /// Bytes of any content, from the context's allocator. The base is aligned to 256 bytes.
    ///
    /// # Errors
    /// If the device has not that much memory. [`CudaError::AllocationInCapture`] inside a capture:
    /// such memory would belong to the graph.
    pub fn alloc(device: &CudaDevice, len_bytes: usize) -> Result<Self> {
        if device.is_capturing()? && !device.allocator().serves_captures() {
            return Err(CudaError::AllocationInCapture { bytes: len_bytes });
        }
        device.bind()?;
        device.queue().release_retired();
        let memory = Allocation::new(device.allocator(), len_bytes, &**device.queue())?;
        Ok(Self::of(device, memory, len_bytes))
    }

    /// Memory of others, without a copy. What they queued on other streams to write it must be
    /// waited for before.
    ///
    /// # Errors
    /// [`CudaError::NotOnDevice`] if the driver knows the address as none of this device.
    pub fn from_foreign(device: &CudaDevice, memory: ForeignMemory) -> Result<Self> {
        let len_bytes = memory.len_bytes();
        // Nothing may be anywhere: other libraries have no address for it.
        if len_bytes > 0 {
            device.expect_own_address("foreign memory", memory.address())?;
        }
        Ok(Self::of(device, Allocation::foreign(memory), len_bytes))
    }

    fn of(device: &CudaDevice, memory: Allocation, len_bytes: usize) -> Self {
        let address = memory.address();
        let memory = Arc::new(OwnedMemory { device: device.clone(), allocation: Some(memory) });
        Self { memory, address, len_bytes }
    }

    fn memory(&self) -> &Allocation {
        self.memory.allocation()
    }

    /// The handle that it was made with.
    #[must_use]
    pub fn device(&self) -> &CudaDevice {
        &self.memory.device
    }

    /// A buffer over part of this one's memory, which lives as long as either; `None` past the end.
    /// What is written to one is seen in the other, in the order of their stream.
    #[must_use]
    pub fn part_of(&self, bytes: Range<usize>) -> Option<Self> {
        let DeviceSlice { address, len_bytes, .. } = self.as_ref().get(bytes)?;
        Some(Self { memory: Arc::clone(&self.memory), address, len_bytes })
    }

    /// Whether another buffer, or a graph, has the memory, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.memory) > 1
    }

    /// A buffer over the same memory.
    #[must_use]
    pub fn share(&self) -> Self {
        let Self { ref memory, address, len_bytes } = *self;
        Self { memory: Arc::clone(memory), address, len_bytes }
    }

    /// Says that work which is queued next writes here, such as the launch of a graph. This
    /// buffer's context then waits for those that read it.
    ///
    /// # Errors
    /// [`CudaError::BlockedByCapture`] where one of them is being captured.
    pub fn will_be_written(&self) -> Result<()> {
        self.device().bind()?;
        self.write()
    }

    fn write(&self) -> Result<()> {
        self.memory().write_by(self.device().queue())
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

    /// Bytes, all zero.
    ///
    /// # Errors
    /// If the device has not that much memory.
    pub fn zeroed(device: &CudaDevice, len_bytes: usize) -> Result<Self> {
        let mut buffer = Self::alloc(device, len_bytes)?;
        buffer.fill(0)?;
        Ok(buffer)
    }

    /// Where the memory is, as CUDA names it. Work that is queued behind the buffer's stream may
    /// use it while the buffer lives.
    #[must_use]
    pub fn device_address(&self) -> u64 {
        self.as_ref().address()
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
        let device = self.device();
        device.bind()?;
        self.write()?;
        self.device().launched();
        // SAFETY: the range lies in the buffer; `values` outlives the copy, which is waited for.
        unsafe {
            result::memcpy_htod_async(self.address + at_byte as u64, values, device.raw_stream())
        }
        .during("copying to the device")?;
        device.synchronize()?;
        self.memory().settle();
        Ok(())
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
        let device = self.device();
        if !values.is_empty() {
            device.bind()?;
            let source = self.address + at_byte as u64;
            self.device().launched();
            // SAFETY: the range lies in the buffer; `values` outlives the copy, which is waited
            // for; every pattern of bits is a value.
            unsafe { result::memcpy_dtoh_async(&mut values, source, device.raw_stream()) }
                .during("copying from the device")?;
        }
        device.synchronize()?;
        self.memory().settle();
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
    pub const fn as_ref(&self) -> DeviceSlice<'_> {
        DeviceSlice { buffer: self, address: self.address, len_bytes: self.len_bytes }
    }

    /// A range of bytes, to write; `None` past the end.
    #[must_use]
    pub fn part_mut(&mut self, bytes: Range<usize>) -> Option<DeviceSliceMut<'_>> {
        self.as_mut().into_part(bytes)
    }

    /// The whole buffer, to write.
    #[must_use]
    pub const fn as_mut(&mut self) -> DeviceSliceMut<'_> {
        let (address, len_bytes) = (self.address, self.len_bytes);
        DeviceSliceMut { buffer: self, address, len_bytes, lifetime: PhantomData }
    }
}

/// Part of a buffer, to read. Any base address.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSlice<'a> {
    buffer: &'a DeviceBuffer,
    address: u64,
    len_bytes: usize,
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

    /// The device's address, for work of the context that the buffer belongs to.
    pub(crate) const fn address(self) -> u64 {
        self.address
    }

    /// The device's address, for work that is queued next with a handle, of whatever context.
    ///
    /// # Errors
    /// [`CudaError::NotOnDevice`] if the handle is of another device;
    /// [`CudaError::BlockedByCapture`].
    pub(crate) fn read_by(self, device: &CudaDevice) -> Result<u64> {
        let home = self.buffer.device();
        if !home.shares_stream(device) {
            device.expect_same_device("an operand", home)?;
            device.bind()?;
            self.buffer.memory().read_by(home.queue(), device.queue())?;
        }
        device.queue().hold(|| Arc::<OwnedMemory>::clone(&self.buffer.memory));
        Ok(self.address)
    }
}

/// Part of a buffer, to write. Any base address.
#[derive(Debug)]
pub struct DeviceSliceMut<'a> {
    buffer: &'a DeviceBuffer,
    address: u64,
    len_bytes: usize,
    lifetime: PhantomData<&'a mut DeviceBuffer>,
}

impl<'a> DeviceSliceMut<'a> {
    /// A range of bytes; `None` past the end.
    #[must_use]
    pub fn get(&mut self, bytes: Range<usize>) -> Option<DeviceSliceMut<'_>> {
        let Self { buffer, address, len_bytes, .. } = *self;
        DeviceSliceMut { buffer, address, len_bytes, lifetime: PhantomData }.into_part(bytes)
    }

    fn into_part(self, bytes: Range<usize>) -> Option<DeviceSliceMut<'a>> {
        let len_bytes = bytes.end.checked_sub(bytes.start)?;
        let address = self.address + bytes.start as u64;
        (bytes.end <= self.len_bytes).then_some(Self { address, len_bytes, ..self })
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
        let device = self.buffer.device();
        device.bind()?;
        self.buffer.write()?;
        device.launched();
        // SAFETY: the range lies in a live buffer that is borrowed mutably.
        unsafe { result::memset_d8_async(self.address, byte, self.len_bytes, device.raw_stream()) }
            .during("filling device memory")
    }

    /// Sets every int32 of the range, whose base and length are multiples of four.
    ///
    /// # Errors
    /// [`CudaError::Misaligned`] if they are not; whatever the driver fails with.
    pub fn fill_words(&mut self, word: i32) -> Result<()> {
        let (address, words) = (self.address, self.len_bytes / 4);
        if !(address | self.len_bytes as u64).is_multiple_of(4) {
            return Err(CudaError::Misaligned { what: "words to set", address, expected: 4 });
        }
        if words == 0 {
            return Ok(());
        }
        let device = self.buffer.device();
        device.bind()?;
        self.buffer.write()?;
        // SAFETY: the range lies in a live buffer that is borrowed mutably, and is aligned.
        unsafe { sys::cuMemsetD32Async(address, word.cast_unsigned(), words, device.raw_stream()) }
            .result()
            .during("setting words in device memory")
    }

    /// Queues a copy of other memory of the device.
    ///
    /// # Errors
    /// [`CudaError::Length`] if it is not as long; [`CudaError::NotOnDevice`] if it is on another
    /// device.
    pub fn copy_from(&mut self, source: DeviceSlice<'_>) -> Result<()> {
        let (expected, found) = (self.len_bytes, source.len_bytes);
        if expected != found {
            return Err(CudaError::Length { what: "copy", expected, found });
        }
        if expected == 0 {
            return Ok(());
        }
        let device = self.buffer.device();
        device.bind()?;
        let source = source.read_by(device)?;
        self.buffer.write()?;
        device.launched();
        // SAFETY: both ranges lie in live buffers and are as long as each other, and no shared
        // borrow overlaps what is borrowed mutably.
        unsafe { result::memcpy_dtod_async(self.address, source, expected, device.raw_stream()) }
            .during("copying on the device")
    }

    /// The device's address, for work of the context that the buffer belongs to, before another
    /// context can have read it.
    pub(crate) const fn address(&self) -> u64 {
        self.address
    }

    /// The device's address, for work that is queued next with a handle of the buffer's own
    /// context.
    ///
    /// # Errors
    /// [`CudaError::OtherStream`] if the handle's work is queued elsewhere;
    /// [`CudaError::NotOnDevice`] if it is of another device; [`CudaError::BlockedByCapture`].
    pub(crate) fn write_by(&self, device: &CudaDevice) -> Result<u64> {
        device.expect_same_stream("a result", self.buffer.device())?;
        self.buffer.write()?;
        device.queue().hold(|| Arc::<OwnedMemory>::clone(&self.buffer.memory));
        Ok(self.address)
    }
}
