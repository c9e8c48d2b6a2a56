//! Every algorithm against float64: on adversarial shapes, and on clouds as users have them.

use voxtune_cuda::{Algorithm, DeviceBuffer, DeviceKernelMap, Prepared, Workspace, algorithms};
use voxtune_types::{DType, Direction, KernelSize, Operation, Voxel};

use super::cases::{Case, admits};
use super::data::{Fill, Product};
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
pub(super) struct Problem<'a> {
    pub(super) op: Operation,
    pub(super) map: &'a DeviceKernelMap,
    pub(super) fill: Fill,
    /// How failures call it.
    pub(super) what: String,
}

impl Checker<'_> {
    /// The adversarial shapes.
    pub(super) fn shapes(&mut self, cases: &[Case]) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        for (number, case) in cases.iter().enumerate() {
            if self.candidates(&case.op).is_empty() {
                continue;
            }
            let map = self.map_of(&case.cells.voxels(), case.op.kernel, case.reverse)?;
            let counts = map.counts()?;
            let (fill, seed) = (case.fill, number as u64);
            let device = self.kernels.device();
            let product = Product::new(device, &case.op, counts, fill, case.shift, seed)?;
            let problem = Problem { op: case.op, map: &map, fill, what: case.to_string() };
            self.compare_all(&problem, product, &mut findings, None)?;
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
                let device = self.kernels.device();
                let product = Product::new(device, &op, map.counts()?, Fill::Random, 0, 1)?;
                let what = format!("{op} on {}", cloud.label);
                let problem = Problem { op, map: &map, fill: Fill::Random, what };
                let into = Some((&mut collected, &*cloud.label));
                self.compare_all(&problem, product, &mut findings, into)?;
            }
        }
        findings.worst = collected.into_errors();
        Ok(findings)
    }

    pub(super) fn compare_all(
        &mut self,
        problem: &Problem<'_>,
        mut product: Product,
        findings: &mut Findings,
        mut collected: Option<(&mut Collected, &str)>,
    ) -> Result<(), CheckError> {
        let Problem { op, map, fill, what } = problem;
        let (first, second) = (product.first.get(), product.second.get());
        let expected = self.verifier(op.dtype)?.reference(op, map, first, second)?;
        for algorithm in self.candidates(op) {
            let error = self.error_of(algorithm, op, map, &mut product, &expected, findings)?;
            let Some(error) = error else { continue };
            findings.judge(algorithm, what, error, fill.tolerance(op.dtype));
            if let Some((collected, cloud)) = &mut collected {
                let id = algorithm.id().as_str();
                collected.add(id, op.direction, op.dtype, cloud, error);
            }
        }
        Ok(())
    }

    /// The algorithms that are checked on an operation.
    pub(super) fn candidates(&self, op: &Operation) -> Vec<&'static Algorithm> {
        let wanted = |algorithm: &&Algorithm| {
            self.options.names(algorithm)
                && admits(op, algorithm)
                && self.kernels.available(algorithm, op)
        };
        algorithms().iter().filter(wanted).collect()
    }

    /// The worst error of an algorithm; `None` if it failed, which is then among the findings.
    pub(super) fn error_of(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &DeviceKernelMap,
        product: &mut Product,
        expected: &DeviceBuffer,
        findings: &mut Findings,
    ) -> Result<Option<f64>, CheckError> {
        findings.checked += 1;
        let run = self.launch(algorithm, op, map, product).and_then(|()| {
            Ok(self.verifier(op.dtype)?.worst_error(op, product.result(), expected)?)
        });
        match run {
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
        Ok(self.kernels.device().synchronize()?)
    }

    /// Runs an algorithm once, in a workspace of garbage.
    pub(super) fn launch(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &DeviceKernelMap,
        product: &mut Product,
    ) -> Result<(), CheckError> {
        let prepared = self.kernels.prepare(algorithm, op)?;
        self.launch_prepared(algorithm, &prepared, op, map, product)
    }

    /// The same of what is prepared.
    pub(super) fn launch_prepared(
        &self,
        algorithm: &Algorithm,
        prepared: &Prepared,
        op: &Operation,
        map: &DeviceKernelMap,
        product: &mut Product,
    ) -> Result<(), CheckError> {
        let promised = algorithm.shared_bytes(op);
        if let Some(compiled) = prepared.compiled_shared_bytes()
            && compiled as usize != promised
        {
            return Err(CheckError::SharedMemory { promised, compiled: compiled as usize });
        }
        let bytes = algorithm.workspace_bytes(op, map.counts()?);
        let mut workspace = Workspace::new(self.kernels.device())?;
        workspace.reserve(bytes)?;
        workspace.fill_scratch(0xff)?;
        product.run(|operands| prepared.launch(map, operands, &mut workspace))?;
        Ok(())
    }
}

/// As much of a cloud as sanitizers can handle.
fn sample(cells: &[Voxel], quick: bool) -> &[Voxel] {
    const QUICK_ROWS: usize = 300;
    let rows = if quick { cells.len().min(QUICK_ROWS) } else { cells.len() };
    let start = (cells.len() - rows) / 2;
    &cells[start..start + rows]
}
