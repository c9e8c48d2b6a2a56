//! Right or wrong, by the worst element.
//!
//! Every candidate computes a smaller problem of the same layer twice into a poisoned result, and
//! every element is compared with float64 computed from the same rounded inputs. Then it computes
//! one on small integers, where nothing rounds and results must be equal to the bit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use voxtune::{
    Algorithm, ConvError, DType, Device, Direction, KernelHash, Launch, Operation, Voxels,
};
use voxtune_cache::Reason;
use voxtune_cpu::reference;
use voxtune_shape::AlgoId;

use crate::plan::PlannedCloud;
use crate::setup::{CloudSetup, Operands, SetupError};

/// The most rows that the float64 reference computes on the host.
pub const MAX_ROWS: usize = 16_384;

/// Work that the float64 reference may take: about a second on one core.
const MAX_REFERENCE_FLOPS: f64 = 1.5e9;

/// Why a candidate may not compete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The class of the failure.
    pub reason: Reason,
    /// What was seen.
    pub detail: String,
}

/// The worst normalised error of a right candidate, or why it is out.
pub type Verdict = Result<f64, Rejection>;

/// Verifies candidates, each once for an operation and a cloud however many sizes are measured.
#[derive(Debug, Default)]
pub struct Verifier {
    verdicts: HashMap<(Operation, String, AlgoId, KernelHash), Verdict>,
    case: Option<(Operation, String, Case)>,
}

/// A problem with known answers.
#[derive(Debug)]
struct Case {
    setup: CloudSetup,
    random: Question,
    integers: Question,
}

#[derive(Debug)]
struct Question {
    operands: Operands,
    expected: Vec<f64>,
    tolerance: f64,
}

impl Verifier {
    /// The verdict on a candidate.
    ///
    /// # Errors
    /// If the problem itself cannot be set up; a candidate's failure is its verdict.
    pub fn verdict(
        &mut self,
        device: &Device,
        algorithm: &dyn Algorithm,
        operation: &Operation,
        cloud: &PlannedCloud,
        seed: u64,
    ) -> Result<Verdict, SetupError> {
        let hash = algorithm.kernel_hash(operation);
        let label = cloud.label().to_owned();
        let key = (*operation, label.clone(), algorithm.id().clone(), hash);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Ok(verdict.clone());
        }
        let current = self
            .case
            .as_ref()
            .is_some_and(|(held, held_label, _)| held == operation && *held_label == label);
        if !current {
            self.case = Some((*operation, label, Case::new(device, operation, cloud, seed)?));
        }
        let Some((_, _, case)) = &mut self.case else { unreachable!("the case was just made") };
        let verdict = case.examine(device, algorithm, operation);
        self.verdicts.insert(key, verdict.clone());
        Ok(verdict)
    }
}

impl Case {
    fn new(
        device: &Device,
        operation: &Operation,
        cloud: &PlannedCloud,
        seed: u64,
    ) -> Result<Self, SetupError> {
        let pairs_per_row = cloud.expected_pairs_per_row(operation.kernel.volume());
        let row_flops = operation.flops(1) as f64 * pairs_per_row;
        // 515 rows are no multiple of any tile and fill several.
        let rows = ((MAX_REFERENCE_FLOPS / row_flops) as usize).clamp(515, MAX_ROWS);
        // Another seed than the measurement's: neither data nor rows are those of the race.
        let cells = device.install(|| cloud.sample(rows, 1, !seed))?;
        let voxels = Voxels::new(device, cells)?;
        let map = voxels.kernel_map(operation.kernel)?;
        let setup = CloudSetup { voxels, map };
        let counts = setup.map.counts();
        let random = Operands::random(device, operation, counts, !seed)?;
        let integers = Operands::integers(device, operation, counts, !seed)?;
        let tolerance = match operation.direction {
            // Weight gradients leave in float32 whatever the storage type of the inputs.
            Direction::Wgrad => DType::Float32.tolerance(),
            Direction::Forward | Direction::Dgrad => operation.dtype.tolerance(),
        };
        let random = Question::new(device, operation, &setup, random, tolerance)?;
        let integers = Question::new(device, operation, &setup, integers, 0.0)?;
        Ok(Self { setup, random, integers })
    }

    fn examine(
        &mut self,
        device: &Device,
        algorithm: &dyn Algorithm,
        operation: &Operation,
    ) -> Verdict {
        let setup = &self.setup;
        let first = self.random.ask(device, algorithm, operation, setup)?;
        // Again, since a race may spare the first run.
        let second = self.random.ask(device, algorithm, operation, setup)?;
        self.integers.ask(device, algorithm, operation, setup)?;
        Ok(first.max(second))
    }
}

impl Question {
    fn new(
        device: &Device,
        operation: &Operation,
        setup: &CloudSetup,
        operands: Operands,
        tolerance: f64,
    ) -> Result<Self, SetupError> {
        let (a, b) = (operands.a.host().to_f64(), operands.b.host().to_f64());
        let map = setup.map.host();
        let expected = device
            .install(|| match operation.direction {
                Direction::Forward => reference::forward(operation, map, &a, &b),
                Direction::Dgrad => reference::dgrad(operation, map, &a, &b),
                Direction::Wgrad => reference::wgrad(operation, map, &a, &b),
            })
            .map_err(ConvError::from)?;
        Ok(Self { operands, expected, tolerance })
    }

    /// Runs a candidate on a poisoned result and returns its worst error if that is tolerable.
    fn ask(
        &mut self,
        device: &Device,
        algorithm: &dyn Algorithm,
        operation: &Operation,
        setup: &CloudSetup,
    ) -> Verdict {
        self.operands.poison(device).map_err(failed)?;
        let Operands { a, b, out } = &mut self.operands;
        let launch = Launch { operation, map: &setup.map, a, b, out };
        guarded(|| device.registry().run(algorithm, device, launch))?;
        let found = self.operands.out.to_f32().map_err(failed)?;
        let worst = worst_error(&found, &self.expected);
        if worst.error <= self.tolerance {
            return Ok(worst.error);
        }
        Err(Rejection {
            reason: Reason::WrongResult,
            detail: format!(
                "element {} is {:e}, expected {:e}: normalised error {:.2e}, tolerance {:.0e}",
                worst.index,
                found[worst.index],
                self.expected[worst.index],
                worst.error,
                self.tolerance
            ),
        })
    }
}

/// Runs a candidate; a panic is its own failure and nobody else's.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, ConvError>) -> Result<T, Rejection> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(failed),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            let detail = format!("panicked: {}", text.unwrap_or("no message"));
            Err(Rejection { reason: Reason::Crash, detail })
        }
    }
}

fn failed(error: ConvError) -> Rejection {
    Rejection { reason: Reason::LaunchFailure, detail: error.to_string() }
}

/// An element and how wrong it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorstElement {
    /// Its flat index.
    pub index: usize,
    /// `|found - expected|` over the larger of `|expected|` and the root mean square of all
    /// expected elements; infinite where the found element is not a number.
    pub error: f64,
}

/// The element with the largest normalised error. The root mean square in the denominator keeps
/// elements that cancel to nearly nothing from failing on rounding alone.
#[must_use]
pub fn worst_error(found: &[f32], expected: &[f64]) -> WorstElement {
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let rms = (squares / expected.len().max(1) as f64).sqrt();
    let mut worst = WorstElement { index: 0, error: 0.0 };
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        let scale = expected.abs().max(rms);
        let error = match difference {
            0.0 => 0.0,
            _ if difference.is_nan() => f64::INFINITY,
            // An expected result of nothing but zeros has no scale: any difference is a defect.
            _ if scale == 0.0 => f64::INFINITY,
            _ => difference / scale,
        };
        if error > worst.error {
            worst = WorstElement { index, error };
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_element_is_named() {
        let expected = vec![1.0; 200_000];
        let mut found = vec![1.0_f32; 200_000];
        found[123_456] = 1.01;
        let worst = worst_error(&found, &expected);
        assert_eq!(worst.index, 123_456);
        assert!((worst.error - 0.01).abs() < 1e-6);
    }

    #[test]
    fn forgotten_elements_are_infinitely_wrong() {
        assert_eq!(worst_error(&[f32::NAN], &[0.0]).error, f64::INFINITY);
        assert_eq!(worst_error(&[1e-30], &[0.0]).error, f64::INFINITY);
        assert_eq!(worst_error(&[0.0], &[0.0]).error, 0.0);
    }

    #[test]
    fn cancelled_elements_are_measured_against_the_rest() {
        let worst = worst_error(&[1.0, 1e-6], &[1.0, 0.0]);
        assert!(worst.error < 2e-6);
    }

    #[test]
    fn panics_are_verdicts() {
        let verdict = guarded::<()>(|| panic!("boom {}", 1));
        assert_eq!(verdict.unwrap_err().reason, Reason::Crash);
    }
}
