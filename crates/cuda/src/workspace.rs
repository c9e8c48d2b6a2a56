//! Memory that launches use beside their operands.

use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::Result;

/// Scratch memory and counters of launches that run one after the other: those of one execution
/// context. Launches that may run side by side have a workspace each.
#[derive(Debug)]
pub struct Workspace {
    device: CudaDevice,
    scratch: DeviceBuffer,
    /// The scheduler of `wgmma_gemm`: two counters of tiles, zero between launches.
    counters: DeviceBuffer,
    /// Scratch memory that became too small, and that graphs may still use.
    retired: Vec<DeviceBuffer>,
}

impl Workspace {
    /// Two int32.
    const COUNTER_BYTES: usize = 8;

    /// A workspace without scratch memory.
    ///
    /// # Errors
    /// If the device has not the memory.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        Ok(Self {
            device: device.clone(),
            scratch: DeviceBuffer::alloc(device, 0)?,
            counters: DeviceBuffer::zeroed(device, Self::COUNTER_BYTES)?,
            retired: Vec::new(),
        })
    }

    /// Makes room for so many bytes of scratch memory. Allocates only if there are fewer, and twice
    /// as many at once where graphs may hold on to the former: all of those together are no more
    /// then.
    ///
    /// # Errors
    /// If the device has not the memory.
    pub fn reserve(&mut self, bytes: usize) -> Result<()> {
        if self.scratch.len_bytes() < bytes {
            let stays = self.device.has_captured();
            let rounded = bytes.checked_next_power_of_two().filter(|_| stays).unwrap_or(bytes);
            let larger = DeviceBuffer::alloc(&self.device, rounded)?;
            let former = std::mem::replace(&mut self.scratch, larger);
            if stays {
                self.retired.push(former);
            }
        }
        Ok(())
    }

    /// Scratch memory that there is.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub const fn scratch_bytes(&self) -> usize {
        self.scratch.len_bytes()
    }

    /// Sets every byte of the scratch memory, so that what a launch forgets to write shows.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn fill_scratch(&mut self, byte: u8) -> Result<()> {
        self.scratch.fill(byte)
    }

    pub(crate) const fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub(crate) const fn scratch(&mut self) -> &mut DeviceBuffer {
        &mut self.scratch
    }

    pub(crate) fn counters(&self) -> u64 {
        self.counters.as_ref().address()
    }
}
