//! Forward products with an epilogue: every combination of parts.

use std::sync::Arc;

use voxtune::inspection::{device_epilogue, device_map, elements, epilogue};
use voxtune::{Epilogue, KernelMap, Tensor};
use voxtune_cpu::{Epilogue as HostEpilogue, HostBuffer, reference};
use voxtune_pointcloud::Generator;
use voxtune_types::{DType, Direction, KernelSize, Operation};

use super::cells::Cells;
use super::data::{
    Fill, Shape, integers_tensor, lengths, operands, problem, random, random_tensor,
};
use super::float64::{TOLERANCE, distance};
use super::{CheckError, Checker, Findings};

/// Channel pairs: whole copies, odd numbers, and those of the narrow families. The other steps have
/// the same, so that instances are compiled once.
const PAIRS: [(u32, u32); 10] = [
    (40, 1),
    (40, 7),
    (96, 20),
    (10, 33),
    (3, 32),
    (6, 48),
    (32, 64),
    (48, 96),
    (128, 128),
    (256, 192),
];

/// The same for sanitizers.
const QUICK_PAIRS: [(u32, u32); 3] = [(3, 32), (13, 33), (32, 64)];

/// Channels in groups: `(c_in, c_out, groups)`.
const GROUPS: [(u32, u32, u32); 4] = [(64, 64, 64), (64, 64, 16), (20, 20, 20), (12, 20, 4)];

/// The same for sanitizers.
const QUICK_GROUPS: [(u32, u32, u32); 2] = [(20, 20, 20), (12, 20, 4)];

/// Rows: no multiple of any tile.
const ROWS: usize = 1_021;

/// Combinations of scale, bias, residual and ReLU, by the bits of a number.
const COMBINATIONS: u32 = 16;

/// The operations that are finished.
pub(super) fn operations(quick: bool) -> Vec<Operation> {
    let kernel = KernelSize::submanifold(3).expect("a submanifold extent");
    let pairs: &[(u32, u32)] = if quick { &QUICK_PAIRS } else { &PAIRS };
    let groups: &[(u32, u32, u32)] = if quick { &QUICK_GROUPS } else { &GROUPS };
    let plain = pairs.iter().map(|&(c_in, c_out)| (c_in, c_out, 1));
    let layers: Vec<_> = plain.chain(groups.iter().copied()).collect();
    let of = |dtype, &(c_in, c_out, groups): &(u32, u32, u32)| {
        let op = Operation::submanifold(Direction::Forward, dtype, c_in, c_out, kernel);
        op.with_groups(groups)
    };
    let all = DType::ALL.into_iter();
    all.flat_map(|dtype| layers.iter().map(move |layer| of(dtype, layer))).collect()
}

/// Every part, in device memory, as far off its alignment as the operands.
struct Parts {
    scale: Arc<Tensor>,
    bias: Arc<Tensor>,
    residual: Tensor,
}

impl Parts {
    fn some(&self, bits: u32) -> Epilogue<'_> {
        epilogue(
            (bits & 1 != 0).then(|| Arc::clone(&self.scale)),
            (bits & 2 != 0).then(|| Arc::clone(&self.bias)),
            (bits & 4 != 0).then_some(&self.residual),
            bits & 8 != 0,
        )
    }
}

/// Which parts a combination has, in words.
fn named(bits: u32) -> String {
    let parts = ["scale", "bias", "residual", "relu"];
    let present = parts.into_iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0);
    present.map(|(_, part)| part).collect::<Vec<_>>().join("+")
}

/// A product that every algorithm is to compute and to finish.
struct Finished<'a> {
    op: Operation,
    map: &'a KernelMap,
    fill: Fill,
    shift: usize,
}

impl Checker<'_> {
    pub(super) fn epilogues(&mut self) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        self.compare_with_host(&mut findings)?;
        let rows = if self.options.quick { 129 } else { ROWS };
        for op in operations(self.options.quick) {
            if self.candidates(&op).is_empty() {
                continue;
            }
            for (fill, shift, generator) in [
                (Fill::Random, 0, Generator::Surface),
                (Fill::Random, 1, Generator::Surface),
                (Fill::Exact, 0, Generator::Uniform),
            ] {
                let cells = Cells::Generated(generator, rows).voxels();
                let map = self.map_of(&cells, op.kernel, false)?;
                self.finish_all(&Finished { op, map: &map, fill, shift }, &mut findings)?;
            }
        }
        Ok(findings)
    }

    fn parts(&self, of: &Finished<'_>) -> Result<Parts, CheckError> {
        let Finished { op, map, fill, shift } = *of;
        let channels = op.c_out as usize;
        let part = |dtype, rows, seed| {
            let shape = Shape { dtype, rows, channels, shift };
            match fill {
                Fill::Exact => integers_tensor(self.cuda(), shape, seed),
                _ => random_tensor(self.cuda(), shape, seed),
            }
        };
        Ok(Parts {
            scale: Arc::new(part(DType::Float32, 1, 101)?),
            bias: Arc::new(part(DType::Float32, 1, 102)?),
            residual: part(op.dtype, map.n_out(), 103)?,
        })
    }

    fn finish_all(&mut self, of: &Finished<'_>, findings: &mut Findings) -> Result<(), CheckError> {
        let Finished { op, map, fill, shift } = of;
        let parts = self.parts(of)?;
        let operands = operands(self.cuda(), op, map, *fill, *shift, 21)?;
        let mut problem = problem(&self.device, op, map, *fill, operands)?;
        for bits in 0..COMBINATIONS {
            let epilogue = parts.some(bits);
            problem.finish(&self.device, op, map, &epilogue)?;
            for algorithm in self.candidates(op) {
                let what = format!("{op}, {fill:?}, shifted by {shift}, with {}", named(bits));
                let error =
                    self.error_of(algorithm, op, map, &mut problem, Some(&epilogue), findings)?;
                if let Some(error) = error {
                    findings.judge(algorithm, &what, error, problem.tolerance());
                }
            }
        }
        Ok(())
    }

    /// The device's float64 epilogue against the host's.
    fn compare_with_host(&mut self, findings: &mut Findings) -> Result<(), CheckError> {
        let kernel = KernelSize::submanifold(3).expect("a submanifold extent");
        let voxels = Cells::Generated(Generator::Surface, 300).voxels();
        let host = voxtune_cpu::KernelMap::submanifold(&voxels, kernel)
            .expect("generated voxels are distinct");
        let map = self.map_of(&voxels, kernel, false)?;
        let device_map = device_map(&map).expect("maps of a GPU are on it");
        for dtype in DType::ALL {
            let op = Operation::submanifold(Direction::Forward, dtype, 5, 7, kernel);
            let parts = self.parts(&Finished { op, map: &map, fill: Fill::Random, shift: 0 })?;
            let operands = operands(self.cuda(), &op, &map, Fill::Random, 0, 5)?;
            let [first, second, result] = lengths(&op, &map);
            let (first, second) = (random(dtype, first, 10), random(dtype, second, 11));
            let plain = reference::forward(&op, &host, &first, &second)
                .expect("the lengths follow from the operation");
            let values = |dtype, len, seed| -> Vec<f32> {
                random(dtype, len, seed).into_iter().map(|value| value as f32).collect()
            };
            let [scale, bias] = [101, 102].map(|seed| values(DType::Float32, 7, seed));
            let residual = HostBuffer::from_f32(dtype, &values(dtype, result, 103));
            for bits in 0..COMBINATIONS {
                let mut expected = plain.clone();
                let epilogue = HostEpilogue {
                    scale: (bits & 1 != 0).then_some(&*scale),
                    bias: (bits & 2 != 0).then_some(&*bias),
                    residual: (bits & 4 != 0).then(|| residual.as_elements()),
                    relu: bits & 8 != 0,
                };
                reference::finish(&op, &mut expected, &epilogue)
                    .expect("the lengths follow from the operation");
                let verifier = self.verifier(dtype)?;
                let (first, second) = (elements(&operands.a)?, elements(&operands.b)?);
                let mut found = verifier.reference(&op, device_map, first, second)?;
                verifier.finish(&op, &mut found, &device_epilogue(&parts.some(bits))?)?;
                let worst = distance(&found.download(0, result)?, &expected);
                findings.checked += 1;
                if worst.is_nan() || worst > TOLERANCE {
                    let with = named(bits);
                    let text =
                        format!("float64 of {op} with {with} is off the host's by {worst:e}");
                    findings.failures.push(text);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::algorithms;

    use super::super::cases::{admits, cases};
    use super::*;

    #[test]
    fn every_forward_algorithm_is_finished() {
        for algorithm in algorithms() {
            let forward = operations(false).iter().any(|op| admits(op, algorithm));
            let any = cases(false)
                .iter()
                .any(|case| case.op.direction == Direction::Forward && admits(&case.op, algorithm));
            assert_eq!(forward, any, "{algorithm}");
        }
    }

    #[test]
    fn combinations_are_told_in_words() {
        assert_eq!(named(0), "");
        assert_eq!(named(0b1101), "scale+residual+relu");
    }
}
