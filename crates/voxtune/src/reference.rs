//! Right answers to compare with.

use std::fmt;

use voxtune_cpu::reference as host;
use voxtune_cuda::DeviceBuffer;
use voxtune_types::{Operation, Product};

use crate::{ConvError, Device, Epilogue, KernelMap, Tensor};

/// The float64 result of a product, on the device that computed it.
pub struct Reference {
    operation: Operation,
    storage: Storage,
}

enum Storage {
    Host(Vec<f64>),
    Cuda(DeviceBuffer),
    /// A result as it was stored, and the sum of its squares.
    Stored {
        result: Tensor,
        squares: DeviceBuffer,
    },
}

impl Reference {
    /// Computes a product in float64 from the stored operands: slow, plain and independent of every
    /// algorithm. A GPU computes it itself, by a kernel that is tested against the host's.
    ///
    /// # Shapes
    /// Those of [`crate::Launch`].
    ///
    /// # Errors
    /// If operands or map do not fit, or the device fails.
    pub fn compute(
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<Self, ConvError> {
        map.check(operation)?;
        let storage = match (device.cuda(), map.host()) {
            (Some(backend), _) => {
                let verifier = backend.verifier(operation.dtype)?;
                let (a, b) = (a.cuda()?, b.cuda()?);
                let computed = map.cuda().map(|map| verifier.reference(operation, map, a, b));
                Storage::Cuda(computed.ok_or_else(|| elsewhere(device))??)
            }
            (None, Some(map)) => {
                let (a, b) = (to_f64(a)?, to_f64(b)?);
                Storage::Host(device.install(|| match operation.direction.product() {
                    Product::Forward => host::forward(operation, map, &a, &b),
                    Product::Dgrad => host::dgrad(operation, map, &a, &b),
                    Product::Wgrad => host::wgrad(operation, map, &a, &b),
                })?)
            }
            (None, None) => return Err(elsewhere(device)),
        };
        Ok(Self { operation: *operation, storage })
    }

    /// [`Self::compute`], then what an epilogue does to a forward product, in float64, too.
    ///
    /// # Errors
    /// As [`Self::compute`], and if a part of the epilogue does not fit or lies elsewhere.
    pub fn with_epilogue(
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
        [a, b]: [&Tensor; 2],
        epilogue: &Epilogue<'_>,
    ) -> Result<Self, ConvError> {
        let mut computed = Self::compute(device, operation, map, a, b)?;
        match (&mut computed.storage, device.cuda()) {
            (Storage::Host(result), _) => {
                let epilogue = epilogue.host().ok_or_else(|| elsewhere(device))?;
                host::finish(operation, result, &epilogue)?;
            }
            (Storage::Cuda(result), Some(backend)) => {
                let verifier = backend.verifier(operation.dtype)?;
                verifier.finish(operation, result, &epilogue.cuda()?)?;
            }
            (Storage::Cuda(_) | Storage::Stored { .. }, _) => return Err(elsewhere(device)),
        }
        Ok(computed)
    }

    /// Takes a result that is known to be right.
    ///
    /// # Errors
    /// If the device fails.
    pub fn of_result(
        device: &Device,
        operation: &Operation,
        result: &Tensor,
    ) -> Result<Self, ConvError> {
        let storage = match device.cuda() {
            Some(backend) => {
                Storage::Cuda(backend.verifier(operation.dtype)?.widen(operation, result.cuda()?)?)
            }
            None => Storage::Host(to_f64(result)?),
        };
        Ok(Self { operation: *operation, storage })
    }

    /// Takes a result that is known to be right as it is, without a copy of it in float64.
    ///
    /// # Errors
    /// If the device fails.
    pub fn from_result(
        device: &Device,
        operation: &Operation,
        result: Tensor,
    ) -> Result<Self, ConvError> {
        let storage = match device.cuda() {
            Some(backend) => {
                let squares =
                    backend.verifier(operation.dtype)?.squares(operation, result.cuda()?)?;
                Storage::Stored { result, squares }
            }
            None => Storage::Host(to_f64(&result)?),
        };
        Ok(Self { operation: *operation, storage })
    }

    /// The result that [`Self::from_result`] took, for its memory to be used again; `None` of any
    /// other reference.
    #[must_use]
    pub fn into_result(self) -> Option<Tensor> {
        match self.storage {
            Storage::Stored { result, .. } => Some(result),
            Storage::Host(_) | Storage::Cuda(_) => None,
        }
    }

    /// The largest error of any element of a result: its difference from the reference over the
    /// larger of the reference there and its root mean square. Infinite where an element is not a
    /// number. The root mean square keeps elements that cancel to nearly nothing from failing on
    /// rounding alone.
    ///
    /// # Errors
    /// If the result is of another size, or the device fails.
    pub fn worst_error(&self, device: &Device, result: &Tensor) -> Result<f64, ConvError> {
        match &self.storage {
            Storage::Host(expected) => {
                let found = result.to_f32()?;
                if found.len() != expected.len() {
                    let (what, expected) = ("result", expected.len());
                    return Err(ConvError::Length { what, expected, found: found.len() });
                }
                Ok(worst_error(&found, expected))
            }
            Storage::Stored { result: expected, squares } => {
                let backend = device.cuda().ok_or_else(|| elsewhere(device))?;
                let verifier = backend.verifier(self.operation.dtype)?;
                let (found, expected) = (result.cuda()?, expected.cuda()?);
                Ok(verifier.worst_difference(&self.operation, found, expected, squares)?)
            }
            Storage::Cuda(expected) => {
                let backend = device.cuda().ok_or_else(|| elsewhere(device))?;
                let verifier = backend.verifier(self.operation.dtype)?;
                Ok(verifier.worst_error(&self.operation, result.cuda()?, expected)?)
            }
        }
    }
}

fn to_f64(tensor: &Tensor) -> Result<Vec<f64>, ConvError> {
    Ok(tensor.to_f32()?.into_iter().map(f64::from).collect())
}

fn elsewhere(device: &Device) -> ConvError {
    let device = device.identity().clone();
    ConvError::WrongDevice { algorithm: "the reference".to_owned(), device }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({})", self.operation)
    }
}

fn worst_error(found: &[f32], expected: &[f64]) -> f64 {
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let rms = (squares / expected.len().max(1) as f64).sqrt();
    let errors = found.iter().zip(expected).map(|(&found, &expected)| {
        let difference = (f64::from(found) - expected).abs();
        let scale = expected.abs().max(rms);
        match difference {
            0.0 => 0.0,
            _ if difference.is_nan() => f64::INFINITY,
            // An expected result of nothing but zeros has no scale: any difference is a defect.
            _ if scale == 0.0 => f64::INFINITY,
            _ => difference / scale,
        }
    });
    errors.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_element_in_200_000_counts() {
        let expected = vec![1.0; 200_000];
        let mut found = vec![1.0_f32; 200_000];
        found[123_456] = 1.01;
        assert!((worst_error(&found, &expected) - 0.01).abs() < 1e-6);
    }

    #[test]
    fn forgotten_elements_are_infinitely_wrong() {
        assert_eq!(worst_error(&[f32::NAN], &[0.0]), f64::INFINITY);
        assert_eq!(worst_error(&[1e-30], &[0.0]), f64::INFINITY);
        assert_eq!(worst_error(&[0.0], &[0.0]), 0.0);
    }

    #[test]
    fn cancelled_elements_are_measured_against_the_rest() {
        assert!(worst_error(&[1.0, 1e-6], &[1.0, 0.0]) < 2e-6);
    }
}
