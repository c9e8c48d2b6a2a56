//! Every instance once, on one small cloud: what a race detector can handle.
//!
//! Nothing is compared: a tool that watches the launches, such as compute-sanitizer's racecheck,
//! judges them. The device is opened with instances that it can follow
//! ([`Instance::for_race_detector`]). The float64 products are left out: they take a sanitizer
//! longer than all that they are compared with. So are instances that other algorithms have run
//! already.

use std::collections::BTreeSet;

use voxtune::KernelMap;
use voxtune_cuda::{Algorithm, Instance, algorithms};
use voxtune_pointcloud::Generator;
use voxtune_types::{KernelSize, Operation};

use super::cells::Cells;
use super::data::{Fill, operands};
use super::products::is_usable;
use super::{CheckError, CheckOptions, Checker, Findings, cases};

/// Rows of the cloud: two tiles of most kernels and a part of one, so that blocks and warps meet.
const ROWS: usize = 257;

/// An algorithm on an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) op: Operation,
    pub(super) algorithm: &'static Algorithm,
}

impl Run {
    /// What is launched; none if the algorithm does not apply.
    pub(super) fn instance(&self) -> Option<Instance> {
        Some(self.algorithm.instance(&self.op)?.for_race_detector())
    }
}

/// The runs of this process's part, each of an instance of its own, in the order of the few cases.
/// `available`: what a device can run.
pub(super) fn runs(
    options: &CheckOptions,
    available: impl Fn(&Algorithm, &Operation) -> bool,
) -> Vec<Run> {
    let mut seen: BTreeSet<Instance> = BTreeSet::new();
    let mut runs = Vec::new();
    for case in cases::cases(true) {
        let op = case.op;
        for algorithm in algorithms().iter().filter(|algorithm| options.names(algorithm)) {
            let wanted = cases::admits(&op, algorithm) && available(algorithm, &op);
            let Some(instance) = algorithm.instance(&op).filter(|_| wanted) else { continue };
            if seen.insert(instance) {
                runs.push(Run { op, algorithm });
            }
        }
    }
    // Neighbours are of one shape: every part meets every shape.
    let (part, parts) = options.part.map_or((0, 1), |part| (part.index(), part.count()));
    runs.into_iter().skip(part).step_by(parts).collect()
}

impl Checker<'_> {
    pub(super) fn race(&mut self) -> Result<Findings, CheckError> {
        let mut findings = Findings::default();
        let cells = Cells::Generated(Generator::Surface, ROWS).voxels();
        let runs = runs(self.options, |algorithm, op| is_usable(&self.device, algorithm, op));
        let mut maps: Vec<(KernelSize, KernelMap)> = Vec::new();
        for Run { op, algorithm } in runs {
            let known = maps.iter().position(|(kernel, _)| *kernel == op.kernel);
            let number = match known {
                Some(number) => number,
                None => {
                    maps.push((op.kernel, self.map_of(&cells, op.kernel, false)?));
                    maps.len() - 1
                }
            };
            let map = &maps[number].1;
            let mut operands = operands(self.cuda(), &op, map, Fill::Random, 0, 5)?;
            findings.checked += 1;
            let launched = self.launch(algorithm, &op, map, &mut operands);
            if let Err(error) = launched.and_then(|()| Ok(self.device.synchronize()?)) {
                self.note_failure(algorithm, &op, &error, &mut findings)?;
            }
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Step;
    use super::*;
    use voxtune_tune::plan::partition::Partition;

    fn options(filter: &str, part: Option<Partition>) -> CheckOptions {
        CheckOptions {
            quick: true,
            filter: filter.to_owned(),
            steps: vec![Step::Race],
            repeats: 1,
            clouds: Vec::new(),
            part,
        }
    }

    fn instances(runs: &[Run]) -> Vec<Instance> {
        runs.iter().map(|run| run.instance().unwrap()).collect()
    }

    #[test]
    fn every_instance_of_the_few_cases_runs_once() {
        let runs = instances(&runs(&options("", None), |_, _| true));
        let distinct: BTreeSet<&Instance> = runs.iter().collect();
        assert_eq!(distinct.len(), runs.len());
        for algorithm in algorithms().iter().filter(|algorithm| !algorithm.requires_cublas()) {
            for case in cases::cases(true) {
                if cases::admits(&case.op, algorithm) {
                    let instance = algorithm.instance(&case.op).unwrap().for_race_detector();
                    assert_eq!(instance.hopper, instance.define("EVERY_LANE_RELEASES").is_some());
                    assert!(distinct.contains(&instance), "{algorithm} on {}", case.op);
                }
            }
        }
    }

    #[test]
    fn parts_together_are_the_whole_and_share_nothing() {
        let whole = instances(&runs(&options("mask_gemm", None), |_, _| true));
        let mut parts: Vec<Instance> = Vec::new();
        for index in 0..4 {
            let part =
                instances(&runs(&options("mask_gemm", Partition::new(index, 4)), |_, _| true));
            assert!(part.len().abs_diff(whole.len() / 4) <= 1, "{index}");
            parts.extend(part);
        }
        parts.sort_unstable();
        let mut sorted = whole.clone();
        sorted.sort_unstable();
        assert_eq!(parts, sorted);
        assert!(runs(&options("", None), |_, _| false).is_empty());
    }
}
