//! Kernels for channels that were not measured, where the rest of an architecture was.
//!
//! A winner is compiled for how its channels are copied: 16 bytes at a time where they divide by 8,
//! else 8, 4 or 2. Layers of other channels than the measured ones find only kernels that copy as
//! theirs do. The model of cost says what they would run with every kernel there is; those join
//! that save most.

use std::collections::{BTreeMap, BTreeSet};

use voxtune::{
    Algorithm, Arch, DType, DeviceIdentity, Direction, KernelSize, MapCounts, Operation, Registry,
    ShapeKey,
};
use voxtune_cuda::model::{LearnedModel, Rates};
use voxtune_cuda::{Instance, algorithm, fallback_algorithm};
use voxtune_types::ComputeCapability;

/// Channels that divide by 4 or 8 and are not those of the default grid, which are 3 and the like
/// or divide by 32.
const CHANNELS: [u32; 15] = [12, 16, 20, 24, 28, 36, 40, 48, 56, 72, 80, 112, 144, 160, 224];

/// Rows of levels of networks.
const ROWS: [usize; 3] = [8_000, 30_000, 100_000];

/// Pairs a row of an offset of 27: a sweep's, and those of deeper levels.
const PAIRS_PER_ROW: [usize; 2] = [9, 17];

/// Least that a kernel has to save, summed over the keys, as shares of the time that they take
/// without it.
const LEAST_GAIN: f64 = 6.0;

/// One key with what could run it.
struct Key {
    /// What it takes with the kernels so far.
    time_ns: f64,
    /// Kernels by their numbers, with what it takes by each.
    by_kernel: Vec<(usize, f64)>,
}

/// The kernels, at most so many, that save the most time over those that are `there`, by the model
/// of cost with what it has `learned`.
#[must_use]
pub fn unmeasured(
    capability: ComputeCapability,
    learned: &LearnedModel,
    there: &BTreeSet<&Instance>,
    room: usize,
) -> Vec<Instance> {
    let units = Rates::usual_sms(capability);
    let device = DeviceIdentity { arch: Arch::Cuda(capability), name: String::new(), units };
    let registry = Registry::of_device_with(&device, None, Some(learned));
    let mut numbers: BTreeMap<Instance, usize> = BTreeMap::new();
    let mut keys: Vec<Key> =
        keys().filter_map(|key| Key::new(&registry, &key, there, &mut numbers)).collect();
    let mut instances: Vec<Instance> = Vec::new();
    let mut named: Vec<(usize, Instance)> =
        numbers.into_iter().map(|(instance, number)| (number, instance)).collect();
    named.sort_unstable_by_key(|(number, _)| *number);
    while instances.len() < room {
        let mut gains = vec![0.0; named.len()];
        for key in &keys {
            for (kernel, time_ns) in &key.by_kernel {
                gains[*kernel] += (1.0 - time_ns / key.time_ns).max(0.0);
            }
        }
        let best = gains.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let Some((best, _)) = best.filter(|(_, gain)| *gain >= LEAST_GAIN) else { break };
        for key in &mut keys {
            let faster = key.by_kernel.iter().filter(|(kernel, _)| *kernel == best);
            key.time_ns = faster.fold(key.time_ns, |least, (_, time_ns)| least.min(*time_ns));
        }
        instances.push(named[best].1.clone());
    }
    instances
}

impl Key {
    /// `None` where no model describes what takes any channels.
    fn new(
        registry: &Registry,
        key: &ShapeKey,
        there: &BTreeSet<&Instance>,
        numbers: &mut BTreeMap<Instance, usize>,
    ) -> Option<Self> {
        let (operation, counts) = (&key.operation, MapCounts::typical(key));
        // What takes any channels stands in for a default that the pack lacks.
        let fallback = registry.algorithms().find(|one| one.id() == fallback_algorithm().id())?;
        let fallback = fallback.estimate(operation, counts)?;
        let (mut time_ns, mut by_kernel) = (fallback.time_ns, Vec::new());
        let may_be_chosen = |one: &dyn Algorithm| {
            one.is_default(operation)
                || one.requires().is_none()
                    && one.in_auto_pool(operation, counts)
                    && one.is_safe_unverified(operation)
        };
        for one in registry.algorithms().filter(|one| may_be_chosen(&***one)) {
            let instance = algorithm(one.id()).and_then(|known| known.instance(operation));
            let (Some(instance), Some(estimate)) = (instance, one.estimate(operation, counts))
            else {
                continue;
            };
            if there.contains(&instance) {
                time_ns = time_ns.min(estimate.time_ns);
            } else {
                let next = numbers.len();
                let number = *numbers.entry(instance).or_insert(next);
                by_kernel.push((number, estimate.time_ns));
            }
        }
        by_kernel.retain(|(_, other_ns)| *other_ns < time_ns);
        Some(Self { time_ns, by_kernel })
    }
}

/// Layers of 16 bits of each of the channels, alone and to twice as many, over maps of networks.
fn keys() -> impl Iterator<Item = ShapeKey> {
    let kernel = KernelSize::cubic(3).expect("3 is an extent");
    let pairs = CHANNELS.into_iter().flat_map(|channels| {
        [(channels, channels), (channels, 2 * channels), (2 * channels, channels)]
    });
    pairs.flat_map(move |(c_in, c_out)| {
        [DType::Float16, DType::BFloat16].into_iter().flat_map(move |dtype| {
            Direction::ALL.into_iter().flat_map(move |direction| {
                let operation = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
                ROWS.into_iter().flat_map(move |rows| {
                    PAIRS_PER_ROW.map(|pairs| ShapeKey::new(operation, rows, rows, rows * pairs))
                })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Contents, Target};

    /// What joins is worth its room, runs on the architecture, and serves more than one pair of
    /// channels.
    #[test]
    fn kernels_for_channels_that_nobody_measured_join_by_what_they_save() {
        let target: Target = "sm_90".parse().unwrap();
        let arch = Arch::Cuda(target.capability());
        let device = DeviceIdentity { arch, name: String::new(), units: 132 };
        let learned = Registry::learned(&device).expect("it was measured");
        let bare = Contents::of(target, None, None);
        let there: BTreeSet<&Instance> = bare.instances.keys().collect();
        let few = unmeasured(target.capability(), learned, &there, 6);
        assert_eq!(few.len(), 6);
        assert!(few.iter().all(|instance| !there.contains(instance)));
        let with_few: BTreeSet<&Instance> = there.iter().copied().chain(&few).collect();
        let next = unmeasured(target.capability(), learned, &with_few, 2);
        let all = unmeasured(target.capability(), learned, &there, 8);
        assert_eq!([&few[..], &next[..]].concat(), all, "those that save most come first");
    }
}
