//! What a configuration needs before it can run: cloud, kernel map, operands.

use std::sync::Arc;

use voxtune::{
    ConvError, DType, Device, Direction, KernelMap, KernelSize, MapCounts, Operation, Tensor,
    Voxels,
};
use voxtune_cloud::CloudError;

use crate::plan::PlannedCloud;

/// A cloud on the device with the kernel map of one kernel size.
#[derive(Clone, Debug)]
pub struct CloudSetup {
    /// The voxels.
    pub voxels: Voxels,
    /// Their kernel map.
    pub map: Arc<KernelMap>,
}

/// A set-up that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The cloud cannot be had.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The device refused.
    #[error(transparent)]
    Device(#[from] ConvError),
}

impl CloudSetup {
    /// Makes the cloud and builds its map.
    ///
    /// # Errors
    /// If the cloud cannot be had or has duplicates.
    pub fn new(
        device: &Device,
        cloud: &PlannedCloud,
        kernel: KernelSize,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, SetupError> {
        let cells = device.install(|| cloud.cells(batch_size, seed))?;
        let voxels = Voxels::new(device, cells)?;
        let map = voxels.kernel_map(kernel)?;
        Ok(Self { voxels, map })
    }
}

/// The set-ups of the configuration at hand, kept for those after it that share them.
#[derive(Debug, Default)]
pub struct SetupCache {
    held: Vec<(PlannedCloud, KernelSize, CloudSetup)>,
}

impl SetupCache {
    /// Drops what a configuration over these clouds cannot use.
    pub fn keep_only(&mut self, clouds: &[PlannedCloud], kernel: KernelSize) {
        self.held.retain(|(held, held_kernel, _)| {
            *held_kernel == kernel && clouds.iter().any(|cloud| cloud.is_same(held))
        });
    }

    /// The set-up of a cloud, made at the first request.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn get(
        &mut self,
        device: &Device,
        cloud: &PlannedCloud,
        kernel: KernelSize,
        batch_size: usize,
        seed: u64,
    ) -> Result<CloudSetup, SetupError> {
        let found = self
            .held
            .iter()
            .find(|(held, held_kernel, _)| *held_kernel == kernel && held.is_same(cloud));
        if let Some((_, _, setup)) = found {
            return Ok(setup.clone());
        }
        let setup = CloudSetup::new(device, cloud, kernel, batch_size, seed)?;
        self.held.push((cloud.clone(), kernel, setup.clone()));
        Ok(setup)
    }
}

/// The tensors of one call.
///
/// # Shapes
/// Those of [`voxtune::Launch`].
#[derive(Debug)]
pub struct Operands {
    /// First operand.
    pub a: Tensor,
    /// Second operand.
    pub b: Tensor,
    /// Result.
    pub out: Tensor,
}

impl Operands {
    /// Operands of values spread evenly over [-1, 1), which depend on the seed alone.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn random(
        device: &Device,
        operation: &Operation,
        counts: MapCounts,
        seed: u64,
    ) -> Result<Self, ConvError> {
        Self::from_fn(device, operation, counts, |operand, index| {
            noise(seed ^ (operand << 62), index as u64)
        })
    }

    /// Operands of small integers, all of whose sums are exact in every storage type as long as no
    /// sum exceeds 256: algorithms must agree on them to the bit.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn integers(
        device: &Device,
        operation: &Operation,
        counts: MapCounts,
        seed: u64,
    ) -> Result<Self, ConvError> {
        Self::from_fn(device, operation, counts, |operand, index| {
            // One in eight is ±1 and the rest is 0, so that sums over thousands stay small.
            match noise(seed ^ (operand << 62), index as u64) {
                value if value < -0.875 => -1.0,
                value if value >= 0.875 => 1.0,
                _ => 0.0,
            }
        })
    }

    fn from_fn(
        device: &Device,
        operation: &Operation,
        counts: MapCounts,
        value: impl Fn(u64, usize) -> f32 + Sync + Send,
    ) -> Result<Self, ConvError> {
        let Operation { dtype, c_in, c_out, .. } = *operation;
        let (c_in, c_out) = (c_in as usize, c_out as usize);
        let weight_rows = operation.weight_len() / c_out;
        let tensor = |operand: u64, rows, channels| {
            Tensor::from_fn(device, dtype, rows, channels, |index| value(operand, index))
        };
        let result = |dtype, rows, channels| Tensor::zeros(device, dtype, rows, channels);
        Ok(match operation.direction {
            Direction::Forward => Self {
                a: tensor(1, counts.n_in, c_in)?,
                b: tensor(2, weight_rows, c_out)?,
                out: result(dtype, counts.n_out, c_out)?,
            },
            Direction::Dgrad => Self {
                a: tensor(3, counts.n_out, c_out)?,
                b: tensor(2, weight_rows, c_out)?,
                out: result(dtype, counts.n_in, c_in)?,
            },
            Direction::Wgrad => Self {
                a: tensor(1, counts.n_in, c_in)?,
                b: tensor(3, counts.n_out, c_out)?,
                out: result(DType::Float32, weight_rows, c_out)?,
            },
        })
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014) of a counter, as a number in [-1, 1).
fn noise(seed: u64, index: u64) -> f32 {
    let mut bits = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    // 24 bits fill a float32's mantissa exactly.
    (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_fills_its_range_evenly() {
        let values: Vec<f32> = (0..10_000).map(|index| noise(7, index)).collect();
        assert!(values.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        let square = values.iter().map(|value| value * value).sum::<f32>() / 10_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0 / 3.0).abs() < 0.02, "{mean} {square}");
    }
}
