//! How long and how much memory, before a run starts.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::{DType, Device, Direction, Geometry, MapCounts, Operation};
use voxtune_types::AlgoId;

use crate::inputs::error::MeasureError;
use crate::inputs::monitor::Monitor;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::measure::calibrate::calibrate;
use crate::plan::expand::PlannedConfiguration;
use crate::plan::grid::{ChannelPair, Configuration};
use crate::plan::job::Job;
use crate::plan::kernels::expected_counts;
use crate::race::Policy;
use crate::verify::float64::{problem_bytes, problem_flops};

/// What a run will need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Each configuration, in order.
    pub configurations: Vec<ConfigurationEstimate>,
    /// Expected time of what is done once for each layer, such as verifying its candidates.
    pub layers: Vec<Duration>,
    /// Memory of the largest configuration beyond what the process holds anyway.
    ///
    /// # Units
    /// Bytes.
    pub peak_bytes: u64,
    /// Speed of a middling candidate on a middling layer.
    pub flops_per_second: f64,
}

/// What a configuration will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationEstimate {
    /// Expected time, without what is done once for its layer.
    pub each: Duration,
    /// The place of its layer in [`Estimate::layers`].
    pub layer: usize,
}

impl Estimate {
    /// Expected time of the run.
    #[must_use]
    pub fn total(&self) -> Duration {
        let each: Duration = self.configurations.iter().map(|one| one.each).sum();
        each + self.layers.iter().sum::<Duration>()
    }
}

/// A layer on some clouds, whatever their size: what its candidates are verified on once.
type LayerOnClouds<'j> = (ChannelPair, u32, Geometry, DType, Vec<&'j str>);

/// The layers of a job, in the order in which they come, and the place of each configuration's.
fn layers(job: &Job) -> (Vec<&PlannedConfiguration>, Vec<usize>) {
    let mut places: HashMap<LayerOnClouds<'_>, usize> = HashMap::new();
    let mut firsts = Vec::new();
    let mut places_of = Vec::with_capacity(job.configurations.len());
    for planned in &job.configurations {
        let PlannedConfiguration { configuration, clouds } = planned;
        let Configuration { channels, groups, layer, dtype, .. } = *configuration;
        let clouds = clouds.iter().map(PlannedCloud::label).collect();
        let place = *places.entry((channels, groups, layer, dtype, clouds)).or_insert(firsts.len());
        if place == firsts.len() {
            firsts.push(planned);
        }
        places_of.push(place);
    }
    (firsts, places_of)
}

/// Bytes that a row of a cloud and its map take while the map is built: the voxel, a copy that is
/// sorted with its row number, and slack of growing buffers.
const ROW_BYTES: f64 = 64.0;

/// Bytes that a pair takes: two row numbers, twice while lists are put together.
const PAIR_BYTES: f64 = 16.0;

/// Seconds that a row takes to generate, sort and map.
const ROW_SECONDS: f64 = 0.6e-6;

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
    let is_cuda = device.identity().arch.is_cuda();
    let mut seen = Seen::default();
    let mut each = |planned| match is_cuda {
        true => gpu_time(device, planned, job, flops_per_second, &mut seen),
        false => host_time(device, planned, job, flops_per_second),
    };
    let (firsts, places) = layers(job);
    let configurations = (job.configurations.iter().zip(places))
        .map(|(planned, layer)| ConfigurationEstimate { each: each(planned), layer })
        .collect();
    let once = |planned: &&PlannedConfiguration| match is_cuda {
        true => gpu_verification(planned, job),
        false => host_verification(device, planned, job, flops_per_second),
    };
    let layers = firsts.iter().map(once).collect();
    let peak_bytes = job
        .configurations
        .iter()
        .map(|planned| configuration_bytes(planned, &job.protocol.directions))
        .max()
        .unwrap_or(0);
    Ok(Estimate { configurations, layers, peak_bytes, flops_per_second })
}

/// What a GPU has done once and need not do again.
#[derive(Default)]
struct Seen<'j> {
    clouds: HashSet<(&'j str, usize, Geometry)>,
}

/// A model of cost knows how long candidates take. What is done around them is what the default
/// preset on an H100 comes to, as it prints where its time went: verification of 312 layers and
/// directions, and the rest of 2,184 entries, which ran each candidate about three times.
fn gpu_time<'j>(
    device: &Device,
    planned: &'j PlannedConfiguration,
    job: &Job,
    flops_per_second: f64,
    seen: &mut Seen<'j>,
) -> Duration {
    const ENTRY_SECONDS: f64 = 0.02;
    const RUNS: f64 = 3.0;
    let mut seconds = 0.0;
    for cloud in &planned.clouds {
        if seen.clouds.insert((cloud.label(), cloud.voxels(), planned.configuration.layer)) {
            seconds += cloud.voxels() as f64 * ROW_SECONDS;
        }
        for &direction in &job.protocol.directions {
            let operation = planned.configuration.operation(direction);
            let counts = expected_counts(cloud, planned.configuration.layer);
            let pool = device.registry().pool(job.protocol.modes.of(direction), &operation, counts);
            let modelled =
                pool.iter().map(|one| Some(one.estimate(&operation, counts)?.time_ns * 1e-9));
            let fallback = operation.flops(counts.pairs) as f64 / flops_per_second;
            seconds += ENTRY_SECONDS + RUNS * each_once(modelled, fallback);
        }
    }
    Duration::from_secs_f64(seconds)
}

/// What verifying the candidates of a layer in all directions takes a GPU.
fn gpu_verification(planned: &PlannedConfiguration, job: &Job) -> Duration {
    const VERIFY_SECONDS: f64 = 0.02;
    let operations = planned.clouds.len() * job.protocol.directions.len();
    Duration::from_secs_f64(operations as f64 * VERIFY_SECONDS)
}

/// Seconds that a run of each candidate takes, where a model knows some of them: the others are
/// like those.
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
    /// Samples of the leader and its challengers beyond the first of each candidate.
    const LATER_SAMPLES: f64 = 20.0;
    /// What is done around the samples of an entry, such as filling its operands.
    const ENTRY_SECONDS: f64 = 0.01;
    let policy = Policy::of(device.identity().arch, job.protocol.budget);
    let seconds: f64 = planned
        .clouds
        .iter()
        .map(|cloud| {
            let set_up = cloud.voxels() as f64 * ROW_SECONDS;
            let entries = job.protocol.directions.iter().map(|&direction| {
                let operation = planned.configuration.operation(direction);
                let counts = expected_counts(cloud, planned.configuration.layer);
                let pool = device
                    .registry()
                    .pool(job.protocol.modes.of(direction), &operation, counts)
                    .len();
                let flops = operation.flops(counts.pairs) as f64;
                let run = flops / flops_per_second;
                // A first run that is short is repeated before it counts.
                let repeats = run < policy.warm_up_below.as_secs_f64();
                let first = run * pool as f64 * if repeats { 2.0 } else { 1.0 };
                let minimum = first + 2.0 * run;
                let wanted = run.mul_add(LATER_SAMPLES, first);
                ENTRY_SECONDS + wanted.min(job.protocol.budget.as_secs_f64()).max(minimum)
            });
            set_up + entries.sum::<f64>()
        })
        .sum();
    Duration::from_secs_f64(seconds)
}

/// What verifying the candidates of a layer in all directions takes the host.
fn host_verification(
    device: &Device,
    planned: &PlannedConfiguration,
    job: &Job,
    flops_per_second: f64,
) -> Duration {
    /// How much slower the float64 reference is than the calibrated speed: some 3 GFLOP/s, where a
    /// kernel has 190 on two cores with AVX-512.
    const REFERENCE_SLOWDOWN: f64 = 60.0;
    /// Runs of a candidate on the problems of verification, and how many of these there are.
    const CHECKS: f64 = 3.0;
    const PROBLEMS: f64 = 2.0;
    let mut seconds = 0.0;
    for cloud in &planned.clouds {
        for &direction in &job.protocol.directions {
            let operation = planned.configuration.operation(direction);
            let counts = expected_counts(cloud, planned.configuration.layer);
            let mode = job.protocol.modes.of(direction);
            let pool = device.registry().pool(mode, &operation, counts).len();
            let problem = problem_flops(device, &operation, cloud) / flops_per_second;
            seconds += problem * (PROBLEMS * REFERENCE_SLOWDOWN + CHECKS * pool as f64);
        }
    }
    Duration::from_secs_f64(seconds)
}

/// Memory that a configuration needs on its device: all its clouds with their maps, and the more of
/// what verifying and racing its largest direction takes. A race holds the operands, and a float32
/// copy of features and weights for workspaces.
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
    use voxtune_pointcloud::Generator;

    use super::*;

    fn planned(voxels: usize, channels: &str) -> PlannedConfiguration {
        let grid = Preset::Quick.grid();
        PlannedConfiguration {
            configuration: Configuration {
                voxels,
                channels: channels.parse().unwrap(),
                groups: 1,
                layer: Geometry::submanifold(grid.kernels[0], [1; 3]),
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
}
