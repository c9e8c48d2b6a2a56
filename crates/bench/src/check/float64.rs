//! The device's float64 convolution against the host's: what everything else is compared with.

use voxtune::KernelMap;
use voxtune::inspection::{device_map, elements, kernel_map};
use voxtune_cpu::reference;
use voxtune_pointcloud::Generator;
use voxtune_tune::inputs::operands::Operands;
use voxtune_types::{DType, Direction, Geometry, KernelSize, Operation};

use super::cells::Cells;
use super::data::{Fill, lengths, operands, random};
use super::{CheckError, Checker, Findings};

/// `(c_in, c_out, groups)`.
const LAYERS: [(u32, u32, u32); 4] = [(7, 12, 1), (35, 35, 35), (12, 40, 4), (9, 6, 3)];

/// Both add the same float64 products, in another order.
pub(super) const TOLERANCE: f64 = 1e-12;

impl Checker<'_> {
    pub(super) fn float64(&mut self) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        let voxels = Cells::Generated(Generator::Surface, 500).voxels();
        for extent in [1, 3, 5] {
            let kernel = KernelSize::submanifold(extent).expect("a submanifold extent");
            let host = voxtune_cpu::KernelMap::submanifold(&voxels, kernel)
                .expect("generated voxels are distinct");
            for with_reverse in [false, true] {
                let mut map = self.builder.submanifold(&voxels, kernel)?;
                if with_reverse {
                    self.builder.add_reverse(&mut map)?;
                }
                let map = kernel_map(Geometry::submanifold(kernel, [1; 3]), map)?;
                for dtype in DType::ALL {
                    for direction in Direction::ALL {
                        for (c_in, c_out, groups) in LAYERS {
                            let op = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
                            let op = op.with_groups(groups);
                            self.compare_float64(&op, &map, &host, &mut findings)?;
                        }
                    }
                }
            }
        }
        Ok(findings)
    }

    fn compare_float64(
        &mut self,
        op: &Operation,
        map: &KernelMap,
        host: &voxtune_cpu::KernelMap,
        findings: &mut Findings,
    ) -> Result<(), CheckError> {
        let operands = operands(self.cuda(), op, map, Fill::Random, 0, 5)?;
        self.compare_with_host_of(op, map, host, &operands, findings)
    }

    /// The device's float64 product of [`operands`] that are drawn from the seed 5.
    pub(super) fn compare_with_host_of(
        &mut self,
        op: &Operation,
        map: &KernelMap,
        host: &voxtune_cpu::KernelMap,
        operands: &Operands,
        findings: &mut Findings,
    ) -> Result<(), CheckError> {
        let lengths = lengths(op, map);
        let (a, b) = (elements(&operands.a)?, elements(&operands.b)?);
        let device_map = device_map(map).expect("maps of a GPU are on it");
        let reference = self.verifier(op.dtype)?.reference(op, device_map, a, b)?;
        let found: Vec<f64> = reference.download(0, lengths[2])?;
        let worst = distance(&found, &on_host(op, host, lengths));
        findings.checked += 1;
        if worst.is_nan() || worst > TOLERANCE {
            let text = format!("float64 of {op} is off the host's by {worst:e}");
            findings.failures.push(text);
        }
        Ok(())
    }
}

/// The product of the values that [`operands`] draws from the seed 5.
fn on_host(
    op: &Operation,
    host: &voxtune_cpu::KernelMap,
    [first, second, _]: [usize; 3],
) -> Vec<f64> {
    let (first, second) = (random(op.dtype, first, 10), random(op.dtype, second, 11));
    let computed = match op.direction.product() {
        voxtune_types::Product::Forward => reference::forward(op, host, &first, &second),
        voxtune_types::Product::Dgrad => reference::dgrad(op, host, &first, &second),
        voxtune_types::Product::Wgrad => reference::wgrad(op, host, &first, &second),
    };
    computed.expect("the lengths follow from the operation")
}

pub(super) fn distance(found: &[f64], expected: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::NAN;
    }
    // `f64::max` would drop what is not a number.
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, |worst: f64, one| {
        if worst.is_nan() || one.is_nan() { f64::NAN } else { worst.max(one) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_far_off() {
        assert_eq!(distance(&[1.0, 3.0], &[1.0, 2.5]), 0.5);
        assert!(distance(&[f64::NAN, 1.0], &[1.0, 1.0]).is_nan());
        assert!(distance(&[1.0], &[1.0, 1.0]).is_nan());
    }
}
