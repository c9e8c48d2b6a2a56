//! Float64 check, by the worst element.
//!
//! Every candidate computes a smaller problem of the same layer twice, each time into a poisoned
//! result. Every element is compared with float64, computed from the same rounded inputs. Then the
//! candidate computes a problem on small integers, where nothing rounds and results must be equal
//! to the bit. On a GPU, candidates are also compared at full size: see
//! [`crate::verify::full_size`].

use std::collections::HashMap;

use voxtune::{Algorithm, Device, Geometry, KernelHash, Operation, Voxels};
use voxtune_types::AlgoId;

use crate::inputs::cloud_setup::CloudSetup;
use crate::inputs::entry::Entry;
use crate::inputs::error::MeasureError;
use crate::inputs::generated_cells::GeneratedCells;
use crate::inputs::monitor::Monitor;
use crate::inputs::operands::Operands;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::verify::problem::Problem;
use crate::verify::rejection::{Verdict, failed};

/// Limits of a problem for the float64 reference: rows, and floating-point operations.
#[derive(Clone, Copy, Debug)]
struct ProblemSize {
    rows: usize,
    flops: f64,
}

impl ProblemSize {
    /// About a second on one core.
    const HOST: Self = Self { rows: 16_384, flops: 1.5e9 };
    /// Tenths of a second on a GPU.
    const GPU: Self = Self { rows: 65_536, flops: 3e10 };

    fn on(device: &Device) -> Self {
        if device.identity().arch.is_cuda() { Self::GPU } else { Self::HOST }
    }

    /// Memory of a problem: two sets of operands and two float64 results. Computing the results
    /// takes a float64 and a float32 copy of the inputs in passing.
    fn bytes(self, operation: &Operation, pairs_per_row: f64) -> u64 {
        const ELEMENT_BYTES: usize = 2 * 4 + 2 * 8 + 8 + 4 + 4;
        let rows = self.rows(operation.flops(1) as f64 * pairs_per_row);
        let channels = operation.c_in as usize + operation.c_out as usize;
        ((operation.weight_len() + rows * channels) * ELEMENT_BYTES) as u64
    }

    /// Rows of a problem, given the operations of one: 515 at least, which is no multiple of any
    /// tile and fills several.
    fn rows(self, row_flops: f64) -> usize {
        ((self.flops / row_flops) as usize).clamp(515, self.rows)
    }
}

/// Memory that verifying an operation over a cloud takes at most, on whatever device.
///
/// # Units
/// Bytes.
#[must_use]
pub fn problem_bytes(operation: &Operation, cloud: &PlannedCloud) -> u64 {
    let pairs_per_row = cloud.expected_pairs_per_row(operation.kernel.volume());
    // The larger of the two sizes bounds both.
    ProblemSize::HOST
        .bytes(operation, pairs_per_row)
        .max(ProblemSize::GPU.bytes(operation, pairs_per_row))
}

/// Floating-point operations of one float64 result of an operation over a cloud.
#[must_use]
pub fn problem_flops(device: &Device, operation: &Operation, cloud: &PlannedCloud) -> f64 {
    let row_flops =
        operation.flops(1) as f64 * cloud.expected_pairs_per_row(operation.kernel.volume());
    cloud.sample_rows(ProblemSize::on(device).rows(row_flops)) as f64 * row_flops
}

/// Verifies candidates, each once for an operation and a cloud however many sizes are measured.
#[derive(Debug, Default)]
pub struct Verifier {
    verdicts: HashMap<(Operation, String, AlgoId, KernelHash), Verdict>,
    problems: Option<(Operation, String, ProblemSet)>,
    sample: Option<Sample>,
    cells: GeneratedCells,
}

/// Voxels that operations of one geometry are verified on.
#[derive(Debug)]
struct Sample {
    /// Of the cloud.
    label: String,
    rows: usize,
    geometry: Geometry,
    voxels: Voxels,
}

/// The problems of one operation and cloud, with known results.
#[derive(Debug)]
struct ProblemSet {
    setup: CloudSetup,
    random: Problem,
    integers: Problem,
}

impl Verifier {
    /// The verdict on a candidate of an entry.
    ///
    /// # Errors
    /// If the problem itself cannot be set up; a candidate's failure is its verdict.
    pub fn verdict(
        &mut self,
        entry: &Entry<'_>,
        (number, algorithm): (usize, &dyn Algorithm),
        monitor: &mut dyn Monitor,
    ) -> Result<Verdict, MeasureError> {
        let Entry { device, operation, cloud, seed, limits, .. } = *entry;
        let hash = match algorithm.kernel_hash(device, operation) {
            Ok(hash) => hash,
            Err(error) => return Ok(Err(failed(error))),
        };
        let label = cloud.label().to_owned();
        let key = (*operation, label.clone(), algorithm.id().clone(), hash);
        if let Some(verdict) = self.verdicts.get(&key) {
            return Ok(verdict.clone());
        }
        let current = self
            .problems
            .as_ref()
            .is_some_and(|(held, held_label, _)| held == operation && *held_label == label);
        let flops = problem_flops(device, operation, cloud);
        if !current {
            monitor.working(limits.of_set_up(flops * ProblemSet::REFERENCE_SLOWDOWN));
            let voxels = self.sample(entry)?;
            self.problems =
                Some((*operation, label, ProblemSet::new(device, operation, voxels, seed)?));
        }
        let Some((_, _, problems)) = &mut self.problems else {
            unreachable!("the problem was just made")
        };
        monitor.running(number, limits.of(flops * ProblemSet::RUNS));
        let verdict = problems.check_all(device, algorithm, operation);
        self.verdicts.insert(key, verdict.clone());
        Ok(verdict)
    }

    /// Gives back the memory of the current problem; verdicts stay, and the voxels with their maps
    /// for the operation's other directions.
    pub fn release(&mut self) {
        self.problems = None;
    }

    /// The voxels that an operation is verified on. Its directions share them, and their map.
    fn sample(&mut self, entry: &Entry<'_>) -> Result<Voxels, MeasureError> {
        let Entry { device, operation, cloud, seed, .. } = *entry;
        let pairs_per_row = cloud.expected_pairs_per_row(operation.kernel.volume());
        let row_flops = operation.flops(1) as f64 * pairs_per_row;
        let rows = ProblemSize::on(device).rows(row_flops);
        let geometry = operation.typical_geometry();
        if let Some(held) = &self.sample
            && (&*held.label, held.rows, held.geometry) == (cloud.label(), rows, geometry)
        {
            return Ok(held.voxels.clone());
        }
        self.sample = None;
        // Another seed than the measurement's: neither data nor rows are those of the race.
        let cells = cloud.sample(device, &mut self.cells, rows, !seed)?;
        let voxels = Voxels::new(device, cells)?;
        let label = cloud.label().to_owned();
        self.sample = Some(Sample { label, rows, geometry, voxels: voxels.clone() });
        Ok(voxels)
    }
}

impl ProblemSet {
    /// How often a candidate runs.
    const RUNS: f64 = 3.0;
    /// How much slower than a candidate the float64 reference is.
    const REFERENCE_SLOWDOWN: f64 = 20.0;

    fn new(
        device: &Device,
        operation: &Operation,
        voxels: Voxels,
        seed: u64,
    ) -> Result<Self, MeasureError> {
        let map = voxels.typical_map(operation)?;
        let setup = CloudSetup::of_map(voxels, map);
        let counts = setup.map.counts();
        let random = Operands::random(device, operation, counts, !seed)?;
        let integers = Operands::integers(device, operation, counts, !seed)?;
        let random = Problem::random(device, operation, &setup.map, random)?;
        let integers = Problem::exact(device, operation, &setup.map, integers)?;
        Ok(Self { setup, random, integers })
    }

    /// Checks a candidate on both problems; the random one twice.
    fn check_all(
        &mut self,
        device: &Device,
        algorithm: &dyn Algorithm,
        operation: &Operation,
    ) -> Verdict {
        let map = &self.setup.map;
        let first = self.random.check(device, algorithm, operation, map)?;
        // Again, since a race of threads may spare the first run.
        let second = self.random.check(device, algorithm, operation, map)?;
        self.integers.check(device, algorithm, operation, map)?;
        Ok(first.max(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_keep_to_their_size() {
        assert_eq!(ProblemSize::HOST.rows(1e4), 16_384);
        assert_eq!(ProblemSize::HOST.rows(1e6), 1_500);
        assert_eq!(ProblemSize::HOST.rows(1e9), 515);
        assert_eq!(ProblemSize::GPU.rows(1e4), 65_536);
    }
}
