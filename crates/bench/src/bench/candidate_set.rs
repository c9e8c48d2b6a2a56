//! The candidates of an operation, timed in interleaved rounds.
//!
//! Every candidate runs in every round, so that a drifting clock affects all of them alike. A
//! sample that a lowered clock or a late host disturbed is taken again, as in races. A first round
//! is not counted. A candidate that takes more than twice the leader's time in it is not timed
//! again, unless it is the default.

use std::sync::Arc;

use voxtune::{Algorithm, ConvError, Device, L2State, Launch, Operation, Reference};

use super::report::Ranked;
use voxtune_tune::inputs::cloud_setup::CloudSetup;
use voxtune_tune::inputs::operands::Operands;
use voxtune_tune::measure::throttle::ThrottleFilter;
use voxtune_tune::race::statistics::{median, median_absolute_deviation};
use voxtune_types::Product;

/// A candidate whose first time exceeds the leader's this many times is not timed again.
const DOMINATED_RATIO: f64 = 2.0;

/// An operation over a cloud, with its operands.
pub(super) struct CandidateSet<'a> {
    device: &'a Device,
    operation: Operation,
    setup: &'a CloudSetup,
    operands: Operands,
    algorithms: Vec<Arc<dyn Algorithm>>,
}

/// What the rounds came to.
#[derive(Debug)]
pub(super) struct Timed {
    /// The fastest first.
    pub(super) ranking: Vec<Ranked>,
    /// Lowest and highest clock seen.
    pub(super) clock_mhz: Option<[u32; 2]>,
    /// Candidates that failed while they were timed.
    pub(super) failures: Vec<String>,
}

impl<'a> CandidateSet<'a> {
    pub(super) fn new(
        device: &'a Device,
        operation: Operation,
        setup: &'a CloudSetup,
        algorithms: Vec<Arc<dyn Algorithm>>,
        seed: u64,
    ) -> Result<Self, ConvError> {
        let operands = Operands::random(device, &operation, setup.map.counts(), seed)?;
        Ok(Self { device, operation, setup, operands, algorithms })
    }

    /// Removes candidates whose result differs from float64, or, where that would take too long,
    /// from the default's. Says which and why.
    pub(super) fn leave_out_wrong(&mut self) -> Result<Vec<String>, ConvError> {
        let (expected, against) = self.expected()?;
        // Two right results differ by up to twice the tolerance.
        let tolerance = 2.0 * self.tolerance();
        let mut failures = Vec::new();
        for algorithm in std::mem::take(&mut self.algorithms) {
            let verdict = self.operands.out.poison(self.device).and_then(|()| {
                self.run(&*algorithm)?;
                expected.worst_error(self.device, &self.operands.out)
            });
            match verdict {
                Ok(error) if error <= tolerance => self.algorithms.push(algorithm),
                Ok(error) => {
                    let (id, operation) = (algorithm.id(), self.operation);
                    failures.push(format!("{id} on {operation}: error {error:.2e} from {against}"));
                }
                Err(error) => {
                    failures.push(format!("{} on {}: {error}", algorithm.id(), self.operation));
                    // Whether the device still works: without it nothing else can be measured.
                    self.device.synchronize()?;
                }
            }
        }
        Ok(failures)
    }

    /// The largest error that is rounding. An element of a weight gradient is a sum over a million
    /// rows, and rounding errors of a sum of `n` terms grow with `√n` (Higham, Accuracy and
    /// Stability of Numerical Algorithms, §4.2).
    fn tolerance(&self) -> f64 {
        let counts = self.setup.map.counts();
        let terms = match self.operation.direction.product() {
            Product::Forward | Product::Dgrad => 1,
            Product::Wgrad => counts.n_out,
        };
        let unit_roundoff = f64::from(f32::EPSILON) / 2.0;
        self.operation.dtype.tolerance().max(unit_roundoff * (terms as f64).sqrt())
    }

    /// What every candidate should compute, and who says so.
    fn expected(&mut self) -> Result<(Reference, String), ConvError> {
        /// Operations that the float64 kernel of a GPU does in a moment, and that of the host.
        const GPU_FLOPS: u64 = 60_000_000_000;
        const HOST_FLOPS: u64 = 2_000_000_000;
        let on_gpu = self.device.identity().arch.is_cuda();
        let affordable = if on_gpu { GPU_FLOPS } else { HOST_FLOPS };
        let flops = self.operation.flops(self.setup.map.counts().pairs);
        let default = self.device.registry().default_for(&self.operation).cloned();
        if let Some(default) = default.filter(|_| flops > affordable) {
            self.run(&*default)?;
            let result = &self.operands.out;
            let expected = Reference::of_result(self.device, &self.operation, result)?;
            return Ok((expected, default.id().to_string()));
        }
        let Operands { a, b, .. } = &self.operands;
        let map = &self.setup.map;
        let expected = Reference::compute(self.device, &self.operation, map, a, b)?;
        Ok((expected, "float64".to_owned()))
    }

    fn run(&mut self, algorithm: &dyn Algorithm) -> Result<(), ConvError> {
        let Operands { a, b, out } = &mut self.operands;
        let launch =
            Launch { operation: &self.operation, map: &self.setup.map, a, b, out, epilogue: None };
        self.device.registry().run(algorithm, self.device, launch)
    }

    /// Times everyone who is left.
    pub(super) fn time(
        mut self,
        rounds: usize,
        l2_state: L2State,
        throttle_filter: &mut ThrottleFilter,
    ) -> Result<Timed, ConvError> {
        let algorithms = std::mem::take(&mut self.algorithms);
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); algorithms.len()];
        let mut racing = vec![true; algorithms.len()];
        let (mut failures, mut clocks) = (Vec::new(), Vec::new());
        let is_default: Vec<bool> =
            algorithms.iter().map(|algorithm| algorithm.is_default(&self.operation)).collect();
        for round in 0..=rounds {
            for step in 0..algorithms.len() {
                // Nobody always runs behind the same neighbour.
                let place = (step + round) % algorithms.len();
                if !racing[place] {
                    continue;
                }
                let device = self.device;
                match throttle_filter
                    .take(|| device.time(l2_state, || self.run(&*algorithms[place])))
                {
                    Ok(sample) => {
                        samples[place].push(sample.elapsed_ns as f64 / 1e6);
                        clocks.extend(sample.clock_mhz);
                    }
                    Err(error) => {
                        failures.push(format!(
                            "{} on {}: {error}",
                            algorithms[place].id(),
                            self.operation
                        ));
                        racing[place] = false;
                        samples[place].clear();
                        self.device.synchronize()?;
                    }
                }
            }
            if round == 0 {
                settle(&mut samples, &mut racing, &is_default);
            }
        }
        let ranking = ranked(&algorithms, &samples, &is_default);
        let clock_mhz = clocks.iter().min().copied().zip(clocks.iter().max().copied());
        Ok(Timed { ranking, clock_mhz: clock_mhz.map(|(low, high)| [low, high]), failures })
    }
}

/// After the first round: dominated candidates keep that one time and leave, the others start over.
fn settle(samples: &mut [Vec<f64>], racing: &mut [bool], is_default: &[bool]) {
    let best = samples.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    for ((times, racing), is_default) in samples.iter_mut().zip(racing).zip(is_default) {
        let dominated = times.first().is_some_and(|first| *first > best * DOMINATED_RATIO);
        *racing &= !dominated || *is_default;
        if *racing {
            times.clear();
        }
    }
}

fn ranked(
    algorithms: &[Arc<dyn Algorithm>],
    samples: &[Vec<f64>],
    is_default: &[bool],
) -> Vec<Ranked> {
    let rank = |((algorithm, times), default): ((&Arc<dyn Algorithm>, &Vec<f64>), &bool)| {
        Some(Ranked {
            algorithm: algorithm.id().to_string(),
            default: *default,
            median_ms: median(times)?,
            deviation_ms: median_absolute_deviation(times)?,
            least_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
            samples: times.len(),
        })
    };
    let timed = algorithms.iter().zip(samples).zip(is_default);
    let mut ranking: Vec<Ranked> = timed.filter_map(rank).collect();
    ranking.sort_by(|a, b| a.median_ms.total_cmp(&b.median_ms));
    ranking
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, KernelSize, Registry};
    use voxtune_pointcloud::{Generator, generate};

    use voxtune_types::Direction;

    use super::*;

    #[test]
    fn the_dominated_keep_one_sample_and_the_default_stays() {
        let mut samples = vec![vec![10.0], vec![19.0], vec![21.0], vec![99.0], vec![]];
        let mut racing = [true, true, true, true, false];
        settle(&mut samples, &mut racing, &[false, false, false, true, false]);
        assert_eq!(racing, [true, true, false, true, false]);
        assert_eq!(samples, [vec![], vec![], vec![21.0], vec![], vec![]]);
    }

    /// Writes nothing.
    struct Idle(voxtune::AlgoId);

    impl Algorithm for Idle {
        fn id(&self) -> &voxtune::AlgoId {
            &self.0
        }
        fn applies(&self, _: &Operation) -> bool {
            true
        }
        fn in_auto_pool(&self, _: &Operation, _: voxtune::MapCounts) -> bool {
            true
        }
        fn is_default(&self, _: &Operation) -> bool {
            false
        }
        fn workspace_bytes(&self, _: &Operation, _: &voxtune::KernelMap) -> u64 {
            0
        }
        fn kernel_hash(&self, _: &Device, _: &Operation) -> Result<voxtune::KernelHash, ConvError> {
            Ok(voxtune::KernelHash::new(1))
        }
        fn run(&self, _: &Device, _: Launch<'_>) -> Result<(), ConvError> {
            Ok(())
        }
    }

    #[test]
    fn who_computes_nothing_is_sent_home_and_the_rest_is_timed() {
        let device = Device::cpu_with_threads(1).unwrap();
        let kernel = KernelSize::submanifold(3).unwrap();
        let cells = generate(Generator::Surface, 200, 1, 0).unwrap();
        let voxels = voxtune::Voxels::new(&device, cells).unwrap();
        let map = voxels.kernel_map(kernel).unwrap();
        let setup = CloudSetup { voxels, map };
        for direction in Direction::ALL {
            let operation = Operation::submanifold(direction, DType::Float32, 8, 16, kernel);
            let mut algorithms: Vec<Arc<dyn Algorithm>> = Registry::cpu()
                .algorithms()
                .filter(|algorithm| algorithm.applies(&operation))
                .cloned()
                .collect();
            let right = algorithms.len();
            algorithms.insert(0, Arc::new(Idle("idle".parse().unwrap())));
            let mut set = CandidateSet::new(&device, operation, &setup, algorithms, 1).unwrap();
            let failures = set.leave_out_wrong().unwrap();
            assert_eq!(failures.len(), 1, "{failures:?}");
            assert!(failures[0].starts_with("idle on "), "{failures:?}");
            let timed = set.time(3, L2State::Cold, &mut ThrottleFilter::default()).unwrap();
            assert_eq!(timed.ranking.len(), right);
            assert!(timed.ranking.is_sorted_by(|a, b| a.median_ms <= b.median_ms));
            let default = timed.ranking.iter().find(|ranked| ranked.default).unwrap();
            assert_eq!(default.samples, 3);
        }
    }
}
