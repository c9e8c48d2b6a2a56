//! Every algorithm against float64: on adversarial shapes, and on clouds as users have them.

use std::sync::Arc;

use voxtune::inspection::fill_workspace;
use voxtune::{Device, Epilogue, KernelMap, Launch};
use voxtune_cuda::{Algorithm, CudaError, algorithms};
use voxtune_tune::inputs::operands::Operands;
use voxtune_tune::verify::problem::Problem;
use voxtune_types::{DType, Direction, KernelSize, Operation, Voxel};

use super::cases;
use super::data::{Fill, operands, problem};
use super::worst::Collected;
use super::{CheckError, Checker, Findings};
use crate::named_cloud::NamedCloud;

/// Channel pairs of the table of errors.
const PAIRS: [(u32, u32); 6] = [(3, 32), (32, 32), (64, 128), (96, 20), (128, 128), (256, 192)];

/// Channels in groups, of the same table: `(c_in, c_out, groups)`.
const GROUPS: [(u32, u32, u32); 2] = [(64, 64, 64), (64, 64, 16)];

/// The same for sanitizers.
const QUICK_PAIRS: [(u32, u32); 1] = [(32, 64)];

/// The operations of the table of errors.
pub(super) fn table_operations(quick: bool) -> Vec<Operation> {
    let kernel = KernelSize::submanifold(3).expect("a submanifold extent");
    let pairs: &[(u32, u32)] = if quick { &QUICK_PAIRS } else { &PAIRS };
    let mut operations = Vec::new();
    let plain = pairs.iter().map(|&(c_in, c_out)| (c_in, c_out, 1));
    let layers: Vec<_> = plain.chain(GROUPS).collect();
    for dtype in DType::ALL {
        for &(c_in, c_out, groups) in &layers {
            for direction in Direction::ALL {
                let op = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
                operations.push(op.with_groups(groups));
            }
        }
    }
    operations
}

/// A product that every algorithm is to compute.
pub(super) struct Case<'a> {
    pub(super) op: Operation,
    pub(super) map: &'a KernelMap,
    pub(super) fill: Fill,
    /// How failures call it.
    pub(super) what: String,
}

impl Checker<'_> {
    /// The adversarial shapes.
    pub(super) fn shapes(&mut self, cases: &[cases::Case]) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        for (number, case) in cases.iter().enumerate() {
            if self.candidates(&case.op).is_empty() {
                continue;
            }
            let map = self.map_of(&case.cells.voxels(), case.op.kernel, case.reverse)?;
            let (op, fill, seed) = (case.op, case.fill, number as u64);
            let operands = operands(self.cuda(), &op, &map, fill, case.shift, seed)?;
            let case = Case { op, map: &map, fill, what: case.to_string() };
            self.compare_all(&case, operands, &mut findings, None)?;
        }
        Ok(findings)
    }

    /// The table of errors.
    pub(super) fn clouds(&mut self, clouds: &[NamedCloud]) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        let mut collected = Collected::default();
        for cloud in clouds {
            let kernel = KernelSize::submanifold(3).expect("a submanifold extent");
            let map = self.map_of(sample(&cloud.cells, self.options.quick), kernel, false)?;
            for op in table_operations(self.options.quick) {
                if self.candidates(&op).is_empty() {
                    continue;
                }
                let operands = operands(self.cuda(), &op, &map, Fill::Random, 0, 1)?;
                let what = format!("{op} on {}", cloud.label);
                let case = Case { op, map: &map, fill: Fill::Random, what };
                let into = Some((&mut collected, &*cloud.label));
                self.compare_all(&case, operands, &mut findings, into)?;
            }
        }
        findings.worst = collected.into_errors();
        Ok(findings)
    }

    pub(super) fn compare_all(
        &mut self,
        case: &Case<'_>,
        operands: Operands,
        findings: &mut Findings,
        mut collected: Option<(&mut Collected, &str)>,
    ) -> Result<(), CheckError> {
        let Case { op, map, fill, what } = case;
        let mut problem = problem(&self.device, op, map, *fill, operands)?;
        for algorithm in self.candidates(op) {
            let error = self.error_of(algorithm, op, map, &mut problem, None, findings)?;
            let Some(error) = error else { continue };
            let tolerance = problem.tolerance();
            findings.judge(algorithm, what, error, tolerance);
            if let Some((collected, cloud)) = &mut collected {
                let id = algorithm.id().as_str();
                collected.add(id, op.direction, op.dtype, cloud, [error, tolerance]);
            }
        }
        Ok(())
    }

    /// The algorithms that are checked on an operation: those that the registry would run.
    pub(super) fn candidates(&self, op: &Operation) -> Vec<&'static Algorithm> {
        let wanted = |algorithm: &&Algorithm| {
            self.options.names(algorithm)
                && cases::admits(op, algorithm)
                && is_usable(&self.device, algorithm, op)
        };
        algorithms().iter().filter(wanted).collect()
    }

    /// The worst error of an algorithm; `None` if it failed, which is then among the findings.
    pub(super) fn error_of(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &KernelMap,
        problem: &mut Problem,
        epilogue: Option<&Epilogue<'_>>,
        findings: &mut Findings,
    ) -> Result<Option<f64>, CheckError> {
        findings.checked += 1;
        let error = self.ready(algorithm, op, map).and_then(|runnable| {
            Ok(problem.worst_error(&self.device, &*runnable, op, map, epilogue)?)
        });
        match error {
            Ok(error) => Ok(Some(error)),
            Err(error) => self.note_failure(algorithm, op, &error, findings).map(|()| None),
        }
    }

    /// Adds a failed run to the findings.
    ///
    /// # Errors
    /// If the device does not work any more: nothing else can be checked then.
    pub(super) fn note_failure(
        &self,
        algorithm: &Algorithm,
        op: &Operation,
        error: &CheckError,
        findings: &mut Findings,
    ) -> Result<(), CheckError> {
        findings.failures.push(format!("{algorithm} on {op}: {error}"));
        Ok(self.device.synchronize()?)
    }

    /// Runs an algorithm once, in a workspace of garbage.
    pub(super) fn launch(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &KernelMap,
        operands: &mut Operands,
    ) -> Result<(), CheckError> {
        let runnable = self.ready(algorithm, op, map)?;
        operands.out.poison(&self.device)?;
        let Operands { a, b, out } = operands;
        let launch = Launch { operation: op, map, a, b, out, epilogue: None };
        Ok(self.device.registry().run(&*runnable, &self.device, launch)?)
    }

    /// An algorithm as the registry has it, ready to run over a map, with a workspace of garbage.
    fn ready(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &KernelMap,
    ) -> Result<Arc<dyn voxtune::Algorithm>, CheckError> {
        let promised = algorithm.shared_bytes(op);
        let compiled = self.kernels.compiled_shared_bytes(algorithm, op)?;
        if let Some(compiled) = compiled.filter(|bytes| *bytes != promised) {
            return Err(CheckError::SharedMemory { promised, compiled });
        }
        let runnable = self.device.registry().usable(algorithm.id(), op);
        let runnable = Arc::clone(runnable.ok_or_else(|| CudaError::NotApplicable {
            algorithm: algorithm.to_string(),
            operation: op.to_string(),
        })?);
        runnable.prepare_map(&self.device, op, map)?;
        fill_workspace(&self.device, 0xff)?;
        Ok(runnable)
    }
}

/// Whether the registry would run an algorithm.
pub(super) fn is_usable(device: &Device, algorithm: &Algorithm, op: &Operation) -> bool {
    device.registry().usable(algorithm.id(), op).is_some()
}

/// As much of a cloud as sanitizers can handle.
fn sample(cells: &[Voxel], quick: bool) -> &[Voxel] {
    const QUICK_ROWS: usize = 300;
    let rows = if quick { cells.len().min(QUICK_ROWS) } else { cells.len() };
    let start = (cells.len() - rows) / 2;
    &cells[start..start + rows]
}
