//! Filling device memory with values that depend on a seed and an element's place alone.

use voxtune_types::DType;

use crate::buffer::DeviceSliceMut;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::{Grid, Kernel, LoadedInstance, arguments};

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noise {
    /// Spread evenly over [-1, 1), rounded to the storage type.
    Uniform,
    /// One in eight is 1 or -1 and the rest is 0, so that sums over thousands stay small and exact.
    Integers,
}

/// Fills buffers with [`Noise`], SplitMix64 (Steele, Lea and Flood 2014) of a counter.
#[derive(Debug)]
pub struct NoiseFill {
    device: CudaDevice,
    /// By storage type: float16, bfloat16, float32.
    uniform: [Kernel; 3],
    integers: [Kernel; 3],
}

impl NoiseFill {
    /// Takes the compiled [`crate::Instance::noise`].
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        let [f16, bf16, f32] = ["uniform_float16", "uniform_bfloat16", "uniform_float32"]
            .map(|name| loaded.kernel(name));
        let uniform = [f16?, bf16?, f32?];
        let [f16, bf16, f32] = ["integers_float16", "integers_bfloat16", "integers_float32"]
            .map(|name| loaded.kernel(name));
        let integers = [f16?, bf16?, f32?];
        Ok(Self { device: device.clone(), uniform, integers })
    }

    /// Queues the filling of a whole slice. Waits for nothing.
    ///
    /// # Shapes
    /// `target`: elements of the storage type, from the first to the last that fits.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn fill(
        &self,
        noise: Noise,
        dtype: DType,
        target: &mut DeviceSliceMut<'_>,
        seed: u64,
    ) -> Result<()> {
        let length = (target.len_bytes() / dtype.bytes()) as i64;
        if length == 0 {
            return Ok(());
        }
        let kernels = match noise {
            Noise::Uniform => &self.uniform,
            Noise::Integers => &self.integers,
        };
        let kernel = &kernels[dtype.index()];
        let address = target.write_by(&self.device)?;
        let blocks = self.device.identity().units * 8;
        let grid = Grid { blocks: [blocks, 1], threads: 256, shared_bytes: 0 };
        // SAFETY: (Element*, i64, u64); the slice holds `length` elements and is borrowed mutably.
        unsafe { kernel.launch(grid, arguments![address, length, seed]) }
    }
}
