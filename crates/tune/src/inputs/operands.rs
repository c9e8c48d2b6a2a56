//! The tensors of a call, in memory that is used again.

use voxtune::{ConvError, DType, Device, Launch, MapCounts, Noise, Operation, Tensor};
use voxtune_types::Product;

use crate::inputs::cloud_setup::CloudSetup;

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
    /// Operands without elements, to be filled.
    ///
    /// # Errors
    /// If the device fails.
    pub fn empty(device: &Device) -> Result<Self, ConvError> {
        let tensor = || Tensor::empty(device, DType::Float32);
        Ok(Self { a: tensor()?, b: tensor()?, out: tensor()? })
    }

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
        let mut operands = Self::empty(device)?;
        operands.fill(device, operation, counts, Noise::Uniform, seed)?;
        Ok(operands)
    }

    /// Operands of small integers. Their sums are exact in every storage type as long as none
    /// exceeds 256, so algorithms must agree on them to the bit.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn integers(
        device: &Device,
        operation: &Operation,
        counts: MapCounts,
        seed: u64,
    ) -> Result<Self, ConvError> {
        let mut operands = Self::empty(device)?;
        operands.fill(device, operation, counts, Noise::Integers, seed)?;
        Ok(operands)
    }

    /// Makes these the operands of an operation over a map of these counts, and keeps their memory
    /// where it suffices. What the result holds is left open.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn fill(
        &mut self,
        device: &Device,
        operation: &Operation,
        counts: MapCounts,
        noise: Noise,
        seed: u64,
    ) -> Result<(), ConvError> {
        let Operation { direction, dtype, c_in, c_out, .. } = *operation;
        let (c_in, c_out) = (c_in as usize, c_out as usize);
        let features = (FEATURES, counts.n_in, c_in);
        let weights = (WEIGHTS, operation.weight_len() / c_out, c_out);
        let gradient = (GRADIENT, counts.n_out, c_out);
        let (a, b) = match direction.product() {
            Product::Forward => (features, weights),
            Product::Dgrad => (gradient, weights),
            Product::Wgrad => (features, gradient),
        };
        for (tensor, (operand, rows, channels)) in [(&mut self.a, a), (&mut self.b, b)] {
            tensor.reshape(device, dtype, rows, channels)?;
            tensor.fill_noise(device, noise, seed ^ (operand << 62))?;
        }
        let (dtype, rows, channels) = result_shape(operation, counts);
        self.out.reshape(device, dtype, rows, channels)
    }
}

/// Device memory that measurements reuse: operands, and a result that others are compared with. It
/// grows to the largest of them and stays.
#[derive(Debug)]
pub struct OperandBuffers {
    /// The operands at hand.
    pub operands: Operands,
    /// Memory for another result.
    pub spare_result: Option<Tensor>,
}

impl OperandBuffers {
    /// Without any memory yet.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(device: &Device) -> Result<Self, ConvError> {
        Ok(Self { operands: Operands::empty(device)?, spare_result: None })
    }

    /// The call that the operands at hand are for.
    pub fn launch<'a>(&'a mut self, operation: &'a Operation, setup: &'a CloudSetup) -> Launch<'a> {
        let Operands { a, b, out } = &mut self.operands;
        Launch { operation, map: &setup.map, a, b, out, epilogue: None }
    }

    /// Takes the result, and puts one of the same shape in its place, whose contents are
    /// unspecified.
    ///
    /// # Errors
    /// If the device cannot hold two.
    pub fn take_result(&mut self, device: &Device) -> Result<Tensor, ConvError> {
        let (dtype, rows, channels) = {
            let out = &self.operands.out;
            (out.dtype(), out.rows(), out.channels())
        };
        let mut other = match self.spare_result.take() {
            Some(spare_result) => spare_result,
            None => Tensor::empty(device, dtype)?,
        };
        other.reshape(device, dtype, rows, channels)?;
        Ok(std::mem::replace(&mut self.operands.out, other))
    }

    /// Memory that it holds.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let Operands { a, b, out } = &self.operands;
        let tensors = [a, b, out].into_iter().chain(&self.spare_result);
        tensors.map(|tensor| tensor.held_bytes() as u64).sum()
    }
}

/// Numbers that tell the values of operands apart.
const FEATURES: u64 = 1;
const WEIGHTS: u64 = 2;
const GRADIENT: u64 = 3;

/// Storage type, rows and channels of a result.
fn result_shape(operation: &Operation, counts: MapCounts) -> (DType, usize, usize) {
    let Operation { direction, dtype, c_in, c_out, .. } = *operation;
    let (c_in, c_out) = (c_in as usize, c_out as usize);
    match direction.product() {
        Product::Forward => (dtype, counts.n_out, c_out),
        Product::Dgrad => (dtype, counts.n_in, c_in),
        Product::Wgrad => (DType::Float32, operation.weight_len() / c_out, c_out),
    }
}

#[cfg(test)]
mod tests {
    use voxtune::KernelSize;

    use voxtune_types::Direction;

    use super::*;

    /// What is measured does not depend on what was measured before.
    #[test]
    fn operands_that_are_filled_again_are_those_that_are_new() {
        let device = Device::cpu_with_threads(1).unwrap();
        let kernel = KernelSize::submanifold(3).unwrap();
        let counts = MapCounts { n_in: 40, n_out: 40, pairs: 200 };
        let mut reused = Operands::empty(&device).unwrap();
        for dtype in [DType::Float16, DType::Float32] {
            for direction in Direction::ALL {
                let operation = Operation::submanifold(direction, dtype, 5, 7, kernel);
                reused.fill(&device, &operation, counts, Noise::Uniform, 3).unwrap();
                let new = Operands::random(&device, &operation, counts, 3).unwrap();
                for (reused, new) in [(&reused.a, &new.a), (&reused.b, &new.b)] {
                    assert_eq!(reused.to_f32().unwrap(), new.to_f32().unwrap(), "{operation}");
                }
                let shape = |tensor: &Tensor| (tensor.dtype(), tensor.rows(), tensor.channels());
                assert_eq!(shape(&reused.out), shape(&new.out));
            }
        }
    }
}
