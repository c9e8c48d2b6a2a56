//! How long and how much memory, before a run starts.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::{Device, Direction, Geometry, MapCounts, Operation};
use voxtune_types::{AlgoId, Product};

use crate::inputs::error::MeasureError;
use crate::inputs::monitor::Monitor;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::measure::calibrate::calibrate;
use crate::plan::expand::PlannedConfiguration;
use crate::plan::job::Job;
use crate::plan::kernels::expected_counts;
use crate::race::Policy;
use crate::verify::float64::{problem_bytes, problem_flops};

/// What a run will need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Each configuration, in order.
    pub configurations: Vec<ConfigurationEstimate>,
    /// Expected times to verify some candidates of an operation over clouds of one kind. That is
    /// done once, by the first entry that needs it, however many sizes are measured.
    pub verification: Vec<Duration>,
    /// Memory of the largest configuration beyond what the process holds anyway.
    ///
    /// # Units
    /// Bytes.
    pub peak_bytes: u64,
    /// Speed of a middling candidate on a middling layer.
    pub flops_per_second: f64,
}

/// What a configuration will need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationEstimate {
    /// Expected time to make its clouds and maps.
    pub set_up: Duration,
    /// Its clouds in each direction, in the order in which they are measured.
    pub entries: Vec<EntryEstimate>,
}

/// What a cloud in one direction will need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryEstimate {
    /// What is done for each entry.
    pub race: RaceEstimate,
    /// The places in [`Estimate::verification`] of what must have been done once before.
    pub needs: Vec<usize>,
}

/// How long a race takes: as its samples ask for, within limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaceEstimate {
    /// What is done around the samples.
    pub around: Duration,
    /// The samples that a race asks for.
    pub wanted: Duration,
    /// Those that it takes past its budget.
    pub least: Duration,
    /// When a race that asks for more ends.
    pub budget: Duration,
}

impl RaceEstimate {
    /// Expected seconds if runs take so many times what was expected.
    #[must_use]
    pub fn seconds(&self, slower: f64) -> f64 {
        let Self { around, wanted, least, budget } = self;
        let samples = (slower * wanted.as_secs_f64()).min(budget.as_secs_f64());
        around.as_secs_f64() + samples.max(slower * least.as_secs_f64())
    }
}

impl Estimate {
    /// Expected time of the run.
    #[must_use]
    pub fn total(&self) -> Duration {
        let entries = self.configurations.iter().flat_map(|one| &one.entries);
        let races: f64 = entries.map(|entry| entry.race.seconds(1.0)).sum();
        let set_ups: Duration = self.configurations.iter().map(|one| one.set_up).sum();
        set_ups + self.verification.iter().sum::<Duration>() + Duration::from_secs_f64(races)
    }
}

/// Bytes that a row of a cloud and its map take while the map is built. These are the voxel, a copy
/// that is sorted with its row number, and slack of growing buffers.
const ROW_BYTES: f64 = 64.0;

/// Bytes that a pair takes: two row numbers, twice while lists are put together.
const PAIR_BYTES: f64 = 16.0;

/// Seconds that a row takes to generate, sort and map.
const ROW_SECONDS: f64 = 0.25e-6;

/// Estimates a job on a device, after a short calibration that leaves some algorithms out.
///
/// # Errors
/// If calibration fails, or a candidate takes the device with it.
pub fn estimate(
    device: &Device,
    job: &Job,
    avoid: &[AlgoId],
    monitor: &mut dyn Monitor,
) -> Result<Estimate, MeasureError> {
    let flops_per_second = calibrate(device, job.protocol.time_limit, avoid, monitor)?;
    let mut planner = Planner::new(device, job, flops_per_second);
    let configurations = job.configurations.iter().map(|one| planner.configuration(one)).collect();
    let verification = planner.verification;
    let peak_bytes = job
        .configurations
        .iter()
        .map(|planned| configuration_bytes(planned, &job.protocol.directions))
        .max()
        .unwrap_or(0);
    Ok(Estimate { configurations, verification, peak_bytes, flops_per_second })
}

/// Estimates one configuration after the other, and knows what those before have done once.
struct Planner<'j> {
    device: &'j Device,
    job: &'j Job,
    flops_per_second: f64,
    clouds: HashSet<(&'j str, usize, Geometry)>,
    /// Where each candidate of an operation is verified, by the place in `verification`.
    verified: HashMap<(Operation, &'j str), HashMap<AlgoId, usize>>,
    verification: Vec<Duration>,
}

impl<'j> Planner<'j> {
    fn new(device: &'j Device, job: &'j Job, flops_per_second: f64) -> Self {
        let (clouds, verified, verification) = Default::default();
        Self { device, job, flops_per_second, clouds, verified, verification }
    }

    fn configuration(&mut self, planned: &'j PlannedConfiguration) -> ConfigurationEstimate {
        let layer = planned.configuration.layer;
        let mut rows = 0;
        let mut entries = Vec::new();
        for cloud in &planned.clouds {
            if self.clouds.insert((cloud.label(), cloud.voxels(), layer)) {
                rows += cloud.voxels();
            }
            for &direction in &self.job.protocol.directions {
                let operation = planned.configuration.operation(direction);
                entries.push(self.entry(operation, cloud, expected_counts(cloud, layer)));
            }
        }
        let set_up = Duration::from_secs_f64(rows as f64 * ROW_SECONDS);
        ConfigurationEstimate { set_up, entries }
    }

    fn entry(
        &mut self,
        operation: Operation,
        cloud: &'j PlannedCloud,
        counts: MapCounts,
    ) -> EntryEstimate {
        let mode = self.job.protocol.modes.of(operation.direction);
        let pool = self.device.registry().pool(mode, &operation, counts);
        let runs = Runs::of(
            pool.iter().map(|one| Some(one.estimate(&operation, counts)?.time_ns * 1e-9)),
            operation.flops(counts.pairs) as f64 / self.flops_per_second,
        );
        let is_cuda = self.device.identity().arch.is_cuda();
        let budget = self.job.protocol.budget;
        let race = if is_cuda { runs.on_gpu(budget) } else { runs.on_host(budget) };
        let next = self.verification.len();
        let verified = self.verified.entry((operation, cloud.label())).or_default();
        let mut needs: Vec<usize> = Vec::new();
        let mut fresh = 0;
        for one in &pool {
            let place = *verified.entry(one.id().clone()).or_insert(next);
            fresh += usize::from(place == next);
            if !needs.contains(&place) {
                needs.push(place);
            }
        }
        if fresh > 0 {
            let flops = problem_flops(self.device, &operation, cloud);
            self.verification.push(match is_cuda {
                true => gpu_verification(operation.direction, flops),
                false => host_verification(flops / self.flops_per_second, fresh),
            });
        }
        EntryEstimate { race, needs }
    }
}

/// What verifying the candidates of an operation takes a GPU, whose float64 results take so many
/// operations: fitted to 1,061 entries on an H200, 3 to 384 channels (`docs/journal/tuner.md`).
fn gpu_verification(direction: Direction, problem_flops: f64) -> Duration {
    /// Setting problems up and running candidates.
    const AROUND: f64 = 0.003;
    const REFERENCE_FLOPS_PER_SECOND: f64 = 1.3e12;
    let references = problem_flops / REFERENCE_FLOPS_PER_SECOND;
    let of_direction: f64 = if direction.product() == Product::Wgrad { 0.36 } else { 1.0 };
    Duration::from_secs_f64(of_direction.mul_add(references, AROUND))
}

/// The candidates of an entry.
struct Runs {
    /// Seconds that a run of each takes.
    seconds: Vec<f64>,
}

impl Runs {
    /// Seconds that runs take where a model knows some of them: the others are like those.
    fn of(modelled: impl Iterator<Item = Option<f64>>, fallback: f64) -> Self {
        let modelled: Vec<Option<f64>> = modelled.collect();
        let known: Vec<f64> = modelled.iter().flatten().copied().collect();
        let like = match known.len() {
            0 => fallback,
            count => known.iter().sum::<f64>() / count as f64,
        };
        Self { seconds: modelled.into_iter().map(|one| one.unwrap_or(like)).collect() }
    }

    fn each_once(&self) -> f64 {
        self.seconds.iter().sum()
    }

    /// A model of cost knows how long candidates take. What is done around them, and how often they
    /// run, is fitted to what 5,412 entries on an H200 took (`docs/journal/tuner.md`).
    fn on_gpu(&self, budget: Duration) -> RaceEstimate {
        const AROUND: Duration = Duration::from_millis(11);
        /// Runs of a candidate that is not fast, and of one that a single run says all of.
        const FEW: f64 = 3.0;
        const ONE: f64 = 1.0;
        /// Runs of the leader and its challengers beyond these, each as long as the leader's.
        const LATER: f64 = 25.0;
        let runs = if budget == Duration::MAX {
            Policy::EXHAUSTIVE_SAMPLES as f64 * self.each_once()
        } else {
            let long = Policy::on_gpu(budget).steady_above.as_secs_f64();
            let few = |&seconds: &f64| seconds * if seconds > long { ONE } else { FEW };
            let leader = self.seconds.iter().copied().reduce(f64::min).unwrap_or(0.0);
            self.seconds.iter().map(few).sum::<f64>() + LATER * leader
        };
        RaceEstimate {
            around: AROUND,
            wanted: Duration::from_secs_f64(runs),
            least: Duration::ZERO,
            // Long runs, clocks and ties: a race on a GPU is no shorter for its budget.
            budget: Duration::MAX,
        }
    }

    fn on_host(&self, budget: Duration) -> RaceEstimate {
        /// Samples of the leader and its challengers beyond the first of each candidate.
        const LATER_SAMPLES: f64 = 20.0;
        /// Of these, what the leader and the default share whatever the budget.
        const OWED_SAMPLES: f64 = 2.0;
        /// What is done around the samples of an entry, such as filling its operands.
        const AROUND: Duration = Duration::from_millis(10);
        let each_once = self.each_once();
        let run = each_once / self.seconds.len().max(1) as f64;
        // A first run that is short is repeated before it counts.
        let repeats = run < Policy::with_budget(budget).warm_up_below.as_secs_f64();
        let first = each_once * if repeats { 2.0 } else { 1.0 };
        let later = if budget == Duration::MAX {
            (Policy::EXHAUSTIVE_SAMPLES - 1) as f64 * each_once
        } else {
            LATER_SAMPLES * run
        };
        // The last run within a budget ends before it, by half a run in the mean.
        let until = budget.saturating_sub(Duration::from_secs_f64(run / 2.0));
        RaceEstimate {
            around: AROUND,
            wanted: Duration::from_secs_f64(first + later),
            least: Duration::from_secs_f64(OWED_SAMPLES.mul_add(run, first)),
            budget: if budget == Duration::MAX { budget } else { until },
        }
    }
}

/// What verifying so many candidates takes the host, where one of them computes the problem in so
/// many seconds.
fn host_verification(problem_seconds: f64, candidates: usize) -> Duration {
    /// How much slower than the calibrated speed the float64 references of both problems are.
    const REFERENCES: f64 = 22.0;
    /// The same of a candidate's three runs, and of comparing their elements.
    const CHECKS: f64 = 8.0;
    let runs = CHECKS.mul_add(candidates as f64, REFERENCES);
    Duration::from_secs_f64(problem_seconds * runs)
}

/// Memory that a configuration needs on its device. All its clouds lie there with their maps, and
/// beside them what verifying or racing its largest direction takes, whichever is more. A race
/// holds the operands, and a float32 copy of features and weights for workspaces.
///
/// # Units
/// Bytes.
#[must_use]
pub fn configuration_bytes(planned: &PlannedConfiguration, directions: &[Direction]) -> u64 {
    let maps: f64 = planned
        .clouds
        .iter()
        .map(|cloud| {
            let counts = expected_counts(cloud, planned.configuration.layer);
            (counts.n_in as f64).mul_add(ROW_BYTES, counts.pairs as f64 * PAIR_BYTES)
        })
        .sum();
    let operands = planned
        .clouds
        .iter()
        .flat_map(|cloud| directions.iter().map(move |&direction| (cloud, direction)))
        .map(|(cloud, direction)| {
            let operation = planned.configuration.operation(direction);
            let counts = expected_counts(cloud, planned.configuration.layer);
            entry_bytes(&operation, cloud, counts)
        })
        .max()
        .unwrap_or(0);
    maps as u64 + operands
}

/// Memory that an operation over a cloud with its map needs: the more of what verifying and racing
/// take, one after the other.
///
/// # Units
/// Bytes.
#[must_use]
pub fn entry_bytes(operation: &Operation, cloud: &PlannedCloud, counts: MapCounts) -> u64 {
    operand_bytes(operation, counts).max(problem_bytes(operation, cloud))
}

fn operand_bytes(operation: &Operation, counts: MapCounts) -> u64 {
    let element = operation.dtype.bytes();
    let (c_in, c_out) = (operation.c_in as usize, operation.c_out as usize);
    let features = counts.n_in * c_in * element + counts.n_out * c_out * element;
    let weights = operation.weight_len() * (element + 4 + 4);
    let workspace = counts.n_in.max(counts.n_out) * c_in.max(c_out) * 4;
    (features + weights + workspace) as u64
}

#[cfg(test)]
mod tests {
    use crate::Preset;
    use crate::plan::grid::Configuration;
    use voxtune::DType;
    use voxtune_pointcloud::Generator;

    use super::*;

    fn planned(voxels: usize, channels: &str) -> PlannedConfiguration {
        let grid = Preset::Quick.grid();
        let configuration = Configuration {
            voxels,
            channels: channels.parse().unwrap(),
            groups: 1,
            layer: Geometry::submanifold(grid.kernels[0], [1; 3]),
            dtype: DType::Float16,
        };
        let clouds = vec![PlannedCloud::Generated { generator: Generator::Uniform, voxels }];
        PlannedConfiguration::usual(configuration, clouds)
    }

    #[test]
    fn memory_grows_with_rows_and_channels() {
        let bytes = |voxels, channels| {
            configuration_bytes(&planned(voxels, channels), &[Direction::Forward])
        };
        // 2 M rows of 512 channels: two float16 features and a float32 copy are 8 GB.
        assert!(bytes(2_000_000, "512,512") > 8_000_000_000);
        assert!(bytes(2_000_000, "32,32") < 1_200_000_000);
        assert!(bytes(1_000, "32,32") < bytes(1_000, "64,64"));
    }

    #[test]
    fn candidates_without_a_model_are_like_those_with_one() {
        let seconds =
            |modelled: &[Option<f64>]| Runs::of(modelled.iter().copied(), 7.0).each_once();
        assert_eq!(seconds(&[Some(1.0), Some(2.0), None, None]), 6.0);
        assert_eq!(seconds(&[None, None]), 14.0);
        assert_eq!(seconds(&[]), 0.0);
    }

    /// A candidate that takes more than a millisecond leaves by its first sample, unless it is near
    /// the leader.
    #[test]
    fn slow_candidates_of_a_gpu_run_once() {
        let wanted = |seconds: &[f64]| {
            let runs = Runs { seconds: seconds.to_vec() };
            (runs.on_gpu(Duration::from_millis(100)).wanted.as_secs_f64() * 1e6).round()
        };
        assert_eq!(wanted(&[20e-6, 40e-6]), 3.0 * 60.0 + 25.0 * 20.0);
        assert_eq!(wanted(&[20e-6, 4e-3]), 3.0 * 20.0 + 4000.0 + 25.0 * 20.0);
        assert_eq!(wanted(&[]), 0.0);
    }
}
