//! Bitwise repeats of what claims to be deterministic.

use voxtune_cloud::Generator;
use voxtune_cuda::{Algorithm, DeviceKernelMap};
use voxtune_shape::{DType, Direction, KernelSize, Operation};

use super::cells::Cells;
use super::data::{Fill, Product};
use super::{CheckError, Checker, Findings};

/// Rows of the cloud: enough for several blocks on every multiprocessor.
const ROWS: usize = 5_000;

/// The operations that are repeated.
pub(super) fn operations() -> Vec<Operation> {
    let kernel = KernelSize::submanifold(3).expect("a submanifold extent");
    let mut operations = Vec::new();
    for direction in Direction::ALL {
        for (dtype, c_in, c_out) in
            [(DType::Float16, 64, 64), (DType::Float16, 128, 128), (DType::Float32, 32, 32)]
        {
            operations.push(Operation::submanifold(direction, dtype, c_in, c_out, kernel));
        }
    }
    operations
}

impl Checker<'_> {
    pub(super) fn repeats(&mut self) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        let rows = if self.options.quick { 300 } else { ROWS };
        let cells = Cells::Generated(Generator::Surface, rows).voxels();
        let operations = operations();
        let map = self.map_of(&cells, operations[0].kernel, false)?;
        for op in operations {
            let device = self.kernels.device();
            let mut product = Product::new(device, &op, map.counts()?, Fill::Random, 0, 9)?;
            let promising = |algorithm: &&Algorithm| algorithm.in_auto_pool(&op, 100_000);
            for algorithm in self.candidates(&op).into_iter().filter(|one| promising(one)) {
                // A library of others promises nothing about the order of its sums.
                if algorithm.requires_cublas() {
                    continue;
                }
                findings.checked += 1;
                match self.is_repeatable(algorithm, &op, &map, &mut product) {
                    Ok(true) => {}
                    Ok(false) => {
                        let text = format!("{algorithm} on {op}: bits change between runs");
                        findings.failures.push(text);
                    }
                    Err(error) => {
                        findings.failures.push(format!("{algorithm} on {op}: {error}"));
                        self.kernels.device().synchronize()?;
                    }
                }
            }
        }
        Ok(findings)
    }

    fn is_repeatable(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &DeviceKernelMap,
        product: &mut Product,
    ) -> Result<bool, CheckError> {
        self.launch(algorithm, op, map, product)?;
        let expected = product.result_bytes()?;
        for _ in 1..self.options.repeats {
            self.launch(algorithm, op, map, product)?;
            if product.result_bytes()? != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
