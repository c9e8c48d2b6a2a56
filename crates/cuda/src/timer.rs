//! Measuring on the device: elapsed time, a cold cache, the clock.

use crate::binding::driver::{result, sys};

use crate::blocking_kernel::BlockingKernel;
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{DriverContext as _, Result};
use crate::module::{Grid, Kernel, LoadedInstance, arguments};

/// Two events on a device's stream and the time between them.
#[derive(Debug)]
pub struct EventTimer {
    device: CudaDevice,
    start: sys::CUevent,
    stop: sys::CUevent,
}

// SAFETY: an event handle is a name that the driver takes from any thread.
unsafe impl Send for EventTimer {}

impl EventTimer {
    /// A timer that has not run.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        device.bind()?;
        let create = || {
            result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).during("creating an event")
        };
        Ok(Self { device: device.clone(), start: create()?, stop: create()? })
    }

    /// Queues the start.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn start(&mut self) -> Result<()> {
        self.record(self.start)
    }

    /// Queues the stop.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn stop(&mut self) -> Result<()> {
        self.record(self.stop)
    }

    fn record(&self, event: sys::CUevent) -> Result<()> {
        self.device.bind()?;
        // SAFETY: event and stream live as long as this value and belong to the current context.
        unsafe { result::event::record(event, self.device.raw_stream()) }
            .during("recording an event")
    }

    /// Waits for the stop and returns the time since the start. The resolution is about half a
    /// microsecond.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If timed work failed, or the timer was not started and stopped.
    pub fn elapsed_ns(&self) -> Result<f64> {
        self.device.bind()?;
        // SAFETY: both events live as long as this value.
        let elapsed_ms = unsafe {
            result::event::synchronize(self.stop).during("waiting for timed work")?;
            result::event::elapsed(self.start, self.stop).during("reading a timer")?
        };
        Ok(f64::from(elapsed_ms) * 1e6)
    }
}

impl Drop for EventTimer {
    fn drop(&mut self) {
        if self.device.bind().is_ok() {
            for event in [self.start, self.stop] {
                // SAFETY: created in `new`, destroyed here alone. An error has no reader.
                let _ = unsafe { result::event::destroy(event) };
            }
        }
    }
}

/// Empties the L2 cache of everything useful, by writing twice its size.
#[derive(Debug)]
pub struct CacheFlush {
    buffer: DeviceBuffer,
    byte: u8,
}

impl CacheFlush {
    /// Takes the memory that flushing writes.
    ///
    /// # Errors
    /// If the device has not that much memory.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        Ok(Self { buffer: DeviceBuffer::alloc(device, 2 * device.l2_bytes())?, byte: 0 })
    }

    /// Queues a flush. Call it outside the timed window.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn flush(&mut self) -> Result<()> {
        self.byte = self.byte.wrapping_add(1);
        self.buffer.fill(self.byte)
    }
}

/// How long the clock is counted.
const WINDOW_NS: u64 = 20_000;

/// Reads the clock of the SMs, the rate of a plain copy, and what a launch costs.
#[derive(Debug)]
pub struct Probe {
    device: CudaDevice,
    clock_rate: Kernel,
    copy_words: Kernel,
    empty: Kernel,
    elapsed: DeviceBuffer,
}

impl Probe {
    /// Takes the compiled [`crate::Instance::probe`].
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        Ok(Self {
            device: device.clone(),
            clock_rate: loaded.kernel("clock_rate")?,
            copy_words: loaded.kernel("copy_words")?,
            empty: loaded.kernel("empty")?,
            elapsed: DeviceBuffer::alloc(device, 16)?,
        })
    }

    /// The clock now, counted on the device itself over 20 µs. Waits for all queued work.
    ///
    /// # Units
    /// Megahertz.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn clock_mhz(&mut self) -> Result<f64> {
        let target = self.elapsed.as_mut().address();
        let grid = Grid { blocks: [1, 1], threads: 1, shared_bytes: 0 };
        // SAFETY: (u64, u64*); the kernel writes two u64 to a buffer of 16 bytes.
        unsafe { self.clock_rate.launch(grid, arguments![WINDOW_NS, target]) }?;
        let counted: Vec<u64> = self.elapsed.download(0, 2)?;
        Ok(counted[0] as f64 * 1e3 / counted[1] as f64)
    }

    /// Median time of a kernel that does nothing, queued behind a blocking kernel as measured work
    /// is: what every time between two events includes.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn empty_launch_ns(&self, blocking_kernel: &mut BlockingKernel) -> Result<f64> {
        let grid = Grid { blocks: [1, 1], threads: 1, shared_bytes: 0 };
        let mut timer = EventTimer::new(&self.device)?;
        let mut times_ns = Vec::new();
        for _ in 0..11 {
            blocking_kernel.block()?;
            timer.start()?;
            // SAFETY: the kernel takes no arguments and touches no memory.
            unsafe { self.empty.launch(grid, arguments![]) }?;
            timer.stop()?;
            blocking_kernel.unblock();
            times_ns.push(timer.elapsed_ns()?);
        }
        times_ns.sort_by(f64::total_cmp);
        Ok(times_ns[5])
    }

    /// Median rate of a copy within the device's memory, bytes read plus bytes written.
    ///
    /// # Units
    /// Bytes a second.
    ///
    /// # Errors
    /// If the device has not twice that much memory.
    pub fn copy_rate(&self, len_bytes: usize) -> Result<f64> {
        let words = (len_bytes / 16) as i64;
        let source = DeviceBuffer::zeroed(&self.device, len_bytes)?;
        let mut target = DeviceBuffer::zeroed(&self.device, len_bytes)?;
        let (from, to) = (source.as_ref().address(), target.as_mut().address());
        let blocks = self.device.identity().units * 4;
        let mut timer = EventTimer::new(&self.device)?;
        let mut times_ns = Vec::new();
        for _ in 0..7 {
            timer.start()?;
            // SAFETY: (uint4*, uint4*, i64); both buffers hold `words` words of 16 bytes.
            unsafe {
                let grid = Grid { blocks: [blocks, 1], threads: 512, shared_bytes: 0 };
                self.copy_words.launch(grid, arguments![from, to, words])?;
            }
            timer.stop()?;
            times_ns.push(timer.elapsed_ns()?);
        }
        times_ns.sort_by(f64::total_cmp);
        Ok(2.0 * (words * 16) as f64 / (times_ns[3] * 1e-9))
    }
}
