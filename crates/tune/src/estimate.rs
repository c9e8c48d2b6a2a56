//! How long and how much memory, before a run starts.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Preset;
use crate::grid::Configuration;
use serde::{Deserialize, Serialize};
use voxtune::{
    Algorithm, DType, Device, Direction, KernelSize, Launch, MapCounts, Operation, Registry, Voxel,
    Voxels,
};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::AlgoId;

use crate::candidate::Candidate;
use crate::entry::EntryError;
use crate::job::Job;
use crate::monitor::{Limits, Monitor};
use crate::plan::{PlannedCloud, PlannedConfiguration};
use crate::setup::{Operands, SetupError};
use crate::verify::{Rejection, guarded, problem_bytes, problem_flops};

/// What a run will need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Expected time of each configuration, in order.
    pub configurations: Vec<Duration>,
    /// Memory of the largest configuration beyond what the process holds anyway.
    ///
    /// # Units
    /// Bytes.
    pub peak_bytes: u64,
    /// Speed of a middling candidate on a middling layer.
    pub flops_per_second: f64,
}

impl Estimate {
    /// Expected time of the run.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.configurations.iter().sum()
    }
}

/// Bytes that a row of a cloud and its map take while the map is built: the voxel, a copy that is
/// sorted with its row number, and slack of growing buffers.
const ROW_BYTES: f64 = 64.0;

/// Bytes that a pair takes: two row numbers, twice while lists are put together.
const PAIR_BYTES: f64 = 16.0;

/// Seconds that a row takes to generate, sort and map.
const ROW_SECONDS: f64 = 0.6e-6;

/// Estimates a job on a device, after a short trial of its speed that leaves some algorithms out.
///
/// # Errors
/// If the trial fails, or a candidate takes the device with it.
pub fn estimate(
    device: &Device,
    job: &Job,
    avoid: &[AlgoId],
    monitor: &mut dyn Monitor,
) -> Result<Estimate, EntryError> {
    let flops_per_second = trial(device, job.time_limit, avoid, monitor)?;
    let planned = job.configurations.iter();
    let configurations = if device.identity().arch.is_cuda() {
        let mut seen = Seen::default();
        planned.map(|one| gpu_time(device, one, job, flops_per_second, &mut seen)).collect()
    } else {
        planned.map(|one| host_time(device, one, job, flops_per_second)).collect()
    };
    let peak_bytes = job
        .configurations
        .iter()
        .map(|planned| configuration_bytes(planned, &job.directions))
        .max()
        .unwrap_or(0);
    Ok(Estimate { configurations, peak_bytes, flops_per_second })
}

/// Floating-point operations per second on a layer of middling size, of the default algorithm or
/// else of the first that works. Candidates that fail here are judged later, each by itself.
fn trial(
    device: &Device,
    limit: Duration,
    avoid: &[AlgoId],
    monitor: &mut dyn Monitor,
) -> Result<f64, EntryError> {
    const ROWS: usize = 16_384;
    const RUNS: usize = 3;
    let preset = Preset::Quick.grid();
    let operation =
        Operation::submanifold(Direction::Forward, DType::Float16, 64, 64, preset.kernels[0]);
    let cells: Vec<Voxel> =
        device.install(|| generate(Generator::Uniform, ROWS, 1, 0)).map_err(SetupError::from)?;
    let map = Voxels::new(device, cells)
        .and_then(|voxels| voxels.kernel_map(operation.kernel))
        .map_err(SetupError::from)?;
    let counts = map.counts();
    let mut operands = Operands::random(device, &operation, counts, 0).map_err(SetupError::from)?;
    let registry = device.registry();
    let applicable = registry.algorithms().filter(|algorithm| algorithm.applies(&operation));
    for algorithm in registry.default_for(&operation).into_iter().chain(applicable) {
        if avoid.contains(algorithm.id()) {
            continue;
        }
        monitor.field(&[Candidate::new(device, &operation, &**algorithm)]);
        let mut run = || {
            monitor.running(0, limit);
            let start = Instant::now();
            let Operands { a, b, out } = &mut operands;
            let launch = Launch { operation: &operation, map: &map, a, b, out, epilogue: None };
            guarded(|| registry.run(&**algorithm, device, launch))?;
            guarded(|| device.synchronize())?;
            Ok::<f64, Rejection>(start.elapsed().as_secs_f64())
        };
        let runs: Result<Vec<f64>, Rejection> = (0..RUNS).map(|_| run()).collect();
        match runs {
            Ok(seconds) => {
                let best = seconds.into_iter().fold(f64::INFINITY, f64::min);
                return Ok(operation.flops(counts.pairs) as f64 / best.max(1e-9));
            }
            Err(rejection) if rejection.device_lost => {
                let candidate = algorithm.id().clone();
                return Err(EntryError::DeviceLost { candidate, rejection });
            }
            Err(_) => {}
        }
    }
    // Where nothing works, whatever fails, fails soon.
    Ok(Limits::SLOW_FLOPS_PER_SECOND)
}

/// What a GPU has done once and need not do again.
#[derive(Default)]
struct Seen<'j> {
    verified: HashSet<(Operation, &'j str)>,
    clouds: HashSet<(&'j str, usize, KernelSize)>,
}

/// A model of cost knows how long candidates take. What is done around them is what the default preset on an H100
/// comes to, as it prints where its time went: verification of 312 layers and directions, and the rest of
/// 2,184 entries, which ran each candidate about three times.
fn gpu_time<'j>(
    device: &Device,
    planned: &'j PlannedConfiguration,
    job: &Job,
    flops_per_second: f64,
    seen: &mut Seen<'j>,
) -> Duration {
    const ENTRY_SECONDS: f64 = 0.02;
    const VERIFY_SECONDS: f64 = 0.02;
    const RUNS: f64 = 3.0;
    let mut seconds = 0.0;
    for cloud in &planned.clouds {
        if seen.clouds.insert((cloud.label(), cloud.voxels(), planned.configuration.kernel)) {
            seconds += cloud.voxels() as f64 * ROW_SECONDS;
        }
        for &direction in &job.directions {
            let operation = operation_of(&planned.configuration, direction);
            if seen.verified.insert((operation, cloud.label())) {
                seconds += VERIFY_SECONDS;
            }
            let counts = expected_counts(cloud, operation.kernel);
            let pool = device.registry().pool(job.modes.of(direction), &operation, counts);
            let modelled =
                pool.iter().map(|one| Some(one.estimate(&operation, counts)?.time_ns * 1e-9));
            let fallback = operation.flops(counts.pairs) as f64 / flops_per_second;
            seconds += ENTRY_SECONDS + RUNS * each_once(modelled, fallback);
        }
    }
    Duration::from_secs_f64(seconds)
}

/// Seconds that a run of each candidate takes, where a model knows some of them: the others are like those.
fn each_once(modelled: impl ExactSizeIterator<Item = Option<f64>>, fallback: f64) -> f64 {
    let count = modelled.len() as f64;
    let known: Vec<f64> = modelled.flatten().collect();
    if known.is_empty() {
        return count * fallback;
    }
    known.iter().sum::<f64>() / known.len() as f64 * count
}

fn host_time(
    device: &Device,
    planned: &PlannedConfiguration,
    job: &Job,
    flops_per_second: f64,
) -> Duration {
    /// Samples of the leader and its rivals beyond the first of each candidate.
    const LATER_SAMPLES: f64 = 20.0;
    /// How much slower the float64 reference is than the trial.
    const REFERENCE_SLOWDOWN: f64 = 10.0;
    /// Runs of a candidate on the problems of verification, and how many of these there are.
    const CHECKS: f64 = 3.0;
    const PROBLEMS: f64 = 2.0;
    let seconds: f64 = planned
        .clouds
        .iter()
        .map(|cloud| {
            let set_up = cloud.voxels() as f64 * ROW_SECONDS;
            let entries = job.directions.iter().map(|&direction| {
                let operation = operation_of(&planned.configuration, direction);
                let counts = expected_counts(cloud, operation.kernel);
                let pool =
                    device.registry().pool(job.modes.of(direction), &operation, counts).len();
                let flops = operation.flops(counts.pairs) as f64;
                let run = flops / flops_per_second;
                let first = run * pool as f64;
                let owed = first + 2.0 * run;
                let wanted = run.mul_add(LATER_SAMPLES, first);
                let problem = problem_flops(device, &operation, cloud) / flops_per_second;
                let verified = problem * (PROBLEMS * REFERENCE_SLOWDOWN + CHECKS * pool as f64);
                verified + wanted.min(job.budget.as_secs_f64()).max(owed)
            });
            set_up + entries.sum::<f64>()
        })
        .sum();
    Duration::from_secs_f64(seconds)
}

/// The candidates of every operation of a job whose configurations are measured in this order, those
/// first that are needed first. The registry may be that of a device that is not there.
#[must_use]
pub fn wanted_kernels(
    registry: &Registry,
    job: &Job,
    order: impl IntoIterator<Item = usize>,
) -> Vec<(AlgoId, Operation)> {
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    let mut want = |one: &Arc<dyn Algorithm>, operation| {
        let key = (one.id().clone(), operation);
        if seen.insert(key.clone()) {
            wanted.push(key);
        }
    };
    for planned in order.into_iter().filter_map(|index| job.configurations.get(index)) {
        for &direction in &job.directions {
            let operation = operation_of(&planned.configuration, direction);
            for cloud in &planned.clouds {
                let counts = expected_counts(cloud, operation.kernel);
                let pool = registry.pool(job.modes.of(direction), &operation, counts);
                pool.iter().for_each(|one| want(one, operation));
            }
            // Winners are compared with the default even where it is not asked for.
            registry.default_for(&operation).into_iter().for_each(|one| want(one, operation));
        }
    }
    wanted
}

/// One direction of a configuration's layer.
#[must_use]
pub const fn operation_of(configuration: &Configuration, direction: Direction) -> Operation {
    let Configuration { channels, kernel, dtype, .. } = *configuration;
    Operation::submanifold(direction, dtype, channels.c_in, channels.c_out, kernel)
}

fn expected_counts(cloud: &PlannedCloud, kernel: KernelSize) -> MapCounts {
    let rows = cloud.voxels();
    let pairs = rows as f64 * cloud.expected_pairs_per_row(kernel.volume());
    MapCounts { n_in: rows, n_out: rows, pairs: pairs as usize }
}

/// Memory that a configuration needs on its device: all its clouds with their maps, and the more of
/// what verifying and racing its largest direction takes. A race holds the operands, and a float32 copy
/// of features and weights for workspaces.
///
/// # Units
/// Bytes.
#[must_use]
pub fn configuration_bytes(planned: &PlannedConfiguration, directions: &[Direction]) -> u64 {
    let maps: f64 = planned
        .clouds
        .iter()
        .map(|cloud| {
            let counts = expected_counts(cloud, planned.configuration.kernel);
            (counts.n_in as f64).mul_add(ROW_BYTES, counts.pairs as f64 * PAIR_BYTES)
        })
        .sum();
    let operands = planned
        .clouds
        .iter()
        .flat_map(|cloud| directions.iter().map(move |&direction| (cloud, direction)))
        .map(|(cloud, direction)| {
            let operation = operation_of(&planned.configuration, direction);
            let counts = expected_counts(cloud, operation.kernel);
            // First the one, then the other.
            operand_bytes(&operation, counts).max(problem_bytes(&operation, cloud))
        })
        .max()
        .unwrap_or(0);
    maps as u64 + operands
}

fn operand_bytes(operation: &Operation, counts: MapCounts) -> u64 {
    let element = operation.dtype.bytes();
    let (c_in, c_out) = (operation.c_in as usize, operation.c_out as usize);
    let features = counts.n_in * c_in * element + counts.n_out * c_out * element;
    let weights = operation.weight_len() * (element + 4 + 4);
    let workspace = counts.n_in.max(counts.n_out) * c_in.max(c_out) * 4;
    (features + weights + workspace) as u64
}

/// Bytes as a person reads them.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(voxels: usize, channels: &str) -> PlannedConfiguration {
        let grid = Preset::Quick.grid();
        PlannedConfiguration {
            configuration: Configuration {
                voxels,
                channels: channels.parse().unwrap(),
                kernel: grid.kernels[0],
                dtype: DType::Float16,
            },
            clouds: vec![PlannedCloud::Generated { generator: Generator::Uniform, voxels }],
        }
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
        let seconds = |modelled: &[Option<f64>]| each_once(modelled.iter().copied(), 7.0);
        assert_eq!(seconds(&[Some(1.0), Some(2.0), None, None]), 6.0);
        assert_eq!(seconds(&[None, None]), 14.0);
        assert_eq!(seconds(&[]), 0.0);
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(human_bytes(512), "512 B");
        assert_eq!(human_bytes(8 << 30), "8.0 GiB");
    }
}
