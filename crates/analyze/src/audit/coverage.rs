//! Which configurations of a preset a cache lacks.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use voxtune::{DeviceIdentity, Direction, Operation, VoxelBucket};
use voxtune_cache::{Decisions, Evidence};
use voxtune_tune::Preset;
use voxtune_tune::plan::grid::cloud_bucket;

/// What a device has of a preset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The device.
    pub device: DeviceIdentity,
    /// The preset.
    pub preset: String,
    /// Entries that the preset asks for.
    pub wanted: usize,
    /// Those that are missing, in the order of the grid.
    pub missing: Vec<Gap>,
}

/// A part of a preset that was not measured, or where nothing could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Voxel count of the configuration; any of its bucket would do.
    pub voxels: usize,
    /// Layer and direction.
    pub operation: Operation,
    /// The cloud; none where a lone decision would do.
    pub cloud: Option<&'static str>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} voxels", self.operation, self.voxels)?;
        self.cloud.map_or(Ok(()), |cloud| write!(f, " of {cloud}"))
    }
}

/// What each device of a cache has of a preset, by its evidence; a device of which there are
/// decisions alone, by those.
#[must_use]
pub fn coverage(preset: Preset, decisions: &Decisions, evidence: &Evidence) -> Vec<Coverage> {
    let measured: BTreeSet<&DeviceIdentity> =
        evidence.entries().map(|(entry, _)| &entry.device).collect();
    let decided = decisions.devices().iter().filter(|device| !measured.contains(device));
    let by_evidence = measured.iter().map(|device| of_evidence(preset, evidence, device));
    by_evidence.chain(decided.map(|device| of_decisions(preset, decisions, device))).collect()
}

fn of_evidence(preset: Preset, evidence: &Evidence, device: &DeviceIdentity) -> Coverage {
    let timed = evidence.entries().filter(|(entry, records)| {
        entry.device == *device && records.iter().any(|record| record.timing().is_some())
    });
    let held: BTreeSet<(Operation, VoxelBucket, &str)> = timed
        .map(|(entry, _)| (entry.key.operation, cloud_bucket(&entry.key), &*entry.workload.cloud))
        .collect();
    let clouds: Vec<Option<&'static str>> =
        preset.clouds().iter().map(|generator| Some(generator.as_str())).collect();
    gaps(preset, device, &clouds, |operation, bucket, cloud| {
        held.contains(&(operation, bucket, cloud.unwrap_or_default()))
    })
}

fn of_decisions(preset: Preset, decisions: &Decisions, device: &DeviceIdentity) -> Coverage {
    let ours = decisions.iter().filter(|decision| decision.device == *device);
    let held: BTreeSet<(Operation, VoxelBucket)> =
        ours.map(|decision| (decision.key.operation, cloud_bucket(&decision.key))).collect();
    gaps(preset, device, &[None], |operation, bucket, _| held.contains(&(operation, bucket)))
}

fn gaps(
    preset: Preset,
    device: &DeviceIdentity,
    clouds: &[Option<&'static str>],
    holds: impl Fn(Operation, VoxelBucket, Option<&'static str>) -> bool,
) -> Coverage {
    let configurations = preset.configurations();
    let mut missing = Vec::new();
    for configuration in &configurations {
        for &cloud in clouds {
            for direction in Direction::ALL {
                let (voxels, operation) =
                    (configuration.voxels, configuration.operation(direction));
                if !holds(operation, VoxelBucket::of(voxels), cloud) {
                    missing.push(Gap { voxels, operation, cloud });
                }
            }
        }
    }
    Coverage {
        device: device.clone(),
        preset: preset.to_string(),
        wanted: configurations.len() * clouds.len() * Direction::ALL.len(),
        missing,
    }
}
