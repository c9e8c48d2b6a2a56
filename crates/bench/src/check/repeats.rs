//! Bitwise repeats of what claims to be deterministic.

use voxtune::KernelMap;
use voxtune_cuda::Algorithm;
use voxtune_pointcloud::Generator;
use voxtune_tune::inputs::operands::Operands;
use voxtune_types::{DType, Direction, KernelSize, Operation};

use super::cases::has_a_chance;
use super::cells::Cells;
use super::data::{Fill, operands};
use super::{CheckError, Checker, Findings};

/// Rows of the cloud: enough for several blocks on every SM.
const ROWS: usize = 5_000;

/// Rows of the cloud of [`long_sums`].
const LONG_ROWS: usize = 900_000;

/// Pairs from which on sums of [`long_sums`] are continued: `wgmma_wgrad` adds up at most 256 steps
/// of 64 pairs in registers, and shares all pairs among 396 units.
const CONTINUED_PAIRS: usize = 396 * 256 * 64;

/// The operations that are repeated.
pub(super) fn operations() -> Vec<Operation> {
    let mut operations = usual();
    operations.push(long_sums());
    operations
}

fn operation(direction: Direction, dtype: DType, c_in: u32, c_out: u32) -> Operation {
    let kernel = KernelSize::submanifold(3).expect("a submanifold extent");
    Operation::submanifold(direction, dtype, c_in, c_out, kernel)
}

/// On [`ROWS`]: layers as all families compute them, and those whose few gathered channels share a
/// product, four or eight an offset.
fn usual() -> Vec<Operation> {
    use DType::{Float16, Float32};
    let mut operations = Vec::new();
    for direction in Direction::ALL {
        for (dtype, channels) in [(Float16, 64), (Float16, 128), (Float32, 32)] {
            operations.push(operation(direction, dtype, channels, channels));
        }
        for groups in [64, 16] {
            operations.push(operation(direction, Float16, 64, 64).with_groups(groups));
        }
    }
    for (few, many) in [(3, 32), (6, 48)] {
        operations.push(operation(Direction::Forward, Float16, few, many));
        operations.push(operation(Direction::Dgrad, Float16, many, few));
    }
    operations
}

/// On [`LONG_ROWS`]: sums of so many pairs that they are continued in the partial result.
fn long_sums() -> Operation {
    operation(Direction::Wgrad, DType::Float16, 64, 64)
}

impl Checker<'_> {
    pub(super) fn repeats(&mut self) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        let rows = if self.options.quick { 300 } else { ROWS };
        self.repeat_all(rows, usual(), &mut findings)?;
        if !self.options.quick {
            let pairs = self.repeat_all(LONG_ROWS, vec![long_sums()], &mut findings)?;
            if pairs < CONTINUED_PAIRS {
                let text = format!("{pairs} pairs are too few for a continued sum");
                findings.failures.push(text);
            }
        }
        Ok(findings)
    }

    /// Repeats operations on a cloud and returns its pairs.
    fn repeat_all(
        &mut self,
        rows: usize,
        operations: Vec<Operation>,
        findings: &mut Findings,
    ) -> Result<usize, CheckError> {
        let cells = Cells::Generated(Generator::Surface, rows).voxels();
        let map = self.map_of(&cells, operations[0].kernel, false)?;
        for op in operations {
            if self.candidates(&op).is_empty() {
                continue;
            }
            let mut operands = operands(self.cuda(), &op, &map, Fill::Random, 0, 9)?;
            let promising = |algorithm: &&Algorithm| has_a_chance(&op, algorithm);
            for algorithm in self.candidates(&op).into_iter().filter(|one| promising(one)) {
                // A library of others promises nothing about the order of its sums.
                if algorithm.requires_cublas() {
                    continue;
                }
                findings.checked += 1;
                match self.is_repeatable(algorithm, &op, &map, &mut operands) {
                    Ok(true) => {}
                    Ok(false) => {
                        let text = format!("{algorithm} on {op}: bits change between runs");
                        findings.failures.push(text);
                    }
                    Err(error) => self.note_failure(algorithm, &op, &error, findings)?,
                }
            }
        }
        Ok(map.counts().pairs)
    }

    fn is_repeatable(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
        map: &KernelMap,
        operands: &mut Operands,
    ) -> Result<bool, CheckError> {
        let repeats = self.options.repeats;
        let mut bits = || -> Result<Vec<u32>, CheckError> {
            self.launch(algorithm, op, map, operands)?;
            Ok(operands.out.to_f32()?.into_iter().map(f32::to_bits).collect())
        };
        let expected = bits()?;
        for _ in 1..repeats {
            if bits()? != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use voxtune_cuda::algorithms;

    use super::*;

    /// Of each family that promises the same bits, some algorithm is repeated.
    #[test]
    fn every_family_of_ours_is_repeated() {
        let ours = || algorithms().iter().filter(|algorithm| !algorithm.requires_cublas());
        let families: BTreeSet<&str> = ours().map(|algorithm| algorithm.id().family()).collect();
        let repeated: BTreeSet<&str> = ours()
            .filter(|one| usual().iter().any(|op| has_a_chance(op, one)))
            .map(|algorithm| algorithm.id().family())
            .collect();
        assert_eq!(repeated, families);
    }

    /// With as many units as the longest sums may have: more would make them shorter.
    #[test]
    fn long_sums_are_those_that_are_continued() {
        let op = long_sums();
        let pool = algorithms().iter().filter(|one| has_a_chance(&op, one));
        let ids: Vec<&str> = pool.map(|one| one.id().as_str()).collect();
        let continued = |id: &&str| id.starts_with("wgmma_wgrad:") && id.ends_with(":split=396");
        assert!(ids.iter().any(continued), "{ids:?}");
        assert!(ids.iter().filter(|id| id.starts_with("wgmma_wgrad:")).all(continued));
        // A surface has nine pairs per row, or a little less.
        const { assert!(LONG_ROWS * 8 > CONTINUED_PAIRS) };
    }

    /// Algorithms that add up parts by a second kernel are repeated, too.
    #[test]
    fn splits_are_repeated() {
        for family in ["mask_gemm", "wgmma_gemm"] {
            let repeated = operations().iter().any(|op| {
                voxtune_cuda::algorithms().iter().any(|one| {
                    let is_cut = one.id().number("splits").is_some();
                    one.id().family() == family && is_cut && has_a_chance(op, one)
                })
            });
            assert!(repeated, "{family}");
        }
    }
}
