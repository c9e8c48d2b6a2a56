//! What would run had a part of the evidence never been measured.
//!
//! Decisions of a part of the keys are hidden, and the model of cost learns from the other entries
//! alone. Each hidden entry is resolved by what is left: cross-validation of near keys, sibling
//! devices and the model, without a device.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::Serialize;
use voxtune::{Arch, DeviceIdentity, KernelSource, ShapeKey, Tuner};
use voxtune_cache::{Decisions, EntryKey, Evidence, decide};
use voxtune_types::ComputeCapability;
use xxhash_rust::xxh3::xxh3_64;

use super::resolved::Answers;
use super::{Comparison, Graded, Race, Registries};
use crate::distribution::Distribution;
use crate::fit::Timings;

/// What is hidden at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaveOut {
    /// A tenth of the keys, on all devices.
    Key,
    /// A pair of channels, either way round, with every kernel, type, direction and size.
    Channels,
    /// The keys of a bucket of output rows.
    Bucket,
    /// A device.
    Device,
}

/// Parts into which keys are shared out.
const KEY_PARTS: u64 = 10;

impl LeaveOut {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Key, Self::Channels, Self::Bucket, Self::Device];

    /// A name for the part that a device's key is hidden with.
    fn part(self, device: &DeviceIdentity, key: &ShapeKey) -> String {
        match self {
            // By the key's text, so that the parts stay the same when others are measured.
            Self::Key => (xxh3_64(key.to_string().as_bytes()) % KEY_PARTS).to_string(),
            Self::Channels => {
                let (c_in, c_out) = (key.operation.c_in, key.operation.c_out);
                format!("{}, {}", c_in.min(c_out), c_in.max(c_out))
            }
            Self::Bucket => key.bucket_out.to_string(),
            Self::Device => device.to_string(),
        }
    }
}

impl fmt::Display for LeaveOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Key => "key",
            Self::Channels => "channels",
            Self::Bucket => "bucket",
            Self::Device => "device",
        })
    }
}

/// A text that names no part of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is nothing that can be left out: expected key, channels, bucket or device")]
pub struct UnknownPart(pub String);

impl FromStr for LeaveOut {
    type Err = UnknownPart;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|one| one.to_string() == text);
        named.ok_or_else(|| UnknownPart(text.to_owned()))
    }
}

/// What is lost where a part of the evidence is hidden, over all parts in turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// What was hidden.
    pub hidden: LeaveOut,
    /// Devices that the evidence is of.
    pub devices: Vec<DeviceIdentity>,
    /// Parts that were hidden, one at a time.
    pub parts: usize,
    /// Of what would run.
    pub resolved: Comparison,
    /// The same apart, by how it would be found.
    pub grades: Vec<Graded>,
    /// Of the model of cost alone, had nothing of the keys' operations been decided.
    pub model: Comparison,
    /// Of the default.
    pub default: Comparison,
    /// What would run, by part, the worst mean first.
    pub by_part: Vec<Part>,
}

/// A part of the evidence that was hidden.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Which.
    pub name: String,
    /// What would be lost in it.
    pub regret: Option<Distribution>,
}

/// Hides each part of an architecture's evidence in turn. Kernels are those of a source, or all.
#[must_use]
pub fn leave_out(
    evidence: &Evidence,
    arch: Arch,
    hidden: LeaveOut,
    kernels: Option<&KernelSource>,
) -> LeftOut {
    leave_out_each(1, evidence, arch, hidden, kernels)
}

/// The same of each so many parts one, since every part is learned without anew.
fn leave_out_each(
    nth: usize,
    evidence: &Evidence,
    arch: Arch,
    hidden: LeaveOut,
    kernels: Option<&KernelSource>,
) -> LeftOut {
    let of_arch = |entry: &EntryKey| entry.device.arch == arch;
    let mut parts: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let mut races: BTreeMap<usize, Race> = BTreeMap::new();
    for (place, (entry, records)) in evidence.entries().enumerate().filter(|(_, (e, _))| of_arch(e))
    {
        if let Some(race) = Race::of_evidence(entry, records) {
            parts.entry(hidden.part(&entry.device, &entry.key)).or_default().insert(place);
            races.insert(place, race);
        }
    }
    let setting = Setting {
        decisions: decide(evidence),
        timings: match arch {
            Arch::Cuda(capability) => Timings::of(evidence, capability),
            Arch::Cpu(_) => Timings::default(),
        },
        capability: match arch {
            Arch::Cuda(capability) => Some(capability),
            Arch::Cpu(_) => None,
        },
        hidden,
        kernels,
        races: &races,
    };
    let parts: Vec<_> = parts.into_iter().step_by(nth).collect();
    let judged: BTreeSet<usize> = parts.iter().flat_map(|(_, places)| places).copied().collect();
    let found: Vec<(String, [Answers<'_>; 2])> = parts
        .into_par_iter()
        .map(|(name, places)| {
            let found = setting.without(&name, &places);
            (name, found)
        })
        .collect();
    let mut all = [Answers::default(), Answers::default()];
    let mut by_part = Vec::new();
    for (name, answers) in found {
        by_part.push(Part { name, regret: answers[0].all().regret });
        for (all, one) in all.iter_mut().zip(answers) {
            all.extend(one);
        }
    }
    let mean = |part: &Part| part.regret.map_or(0.0, |regret| regret.mean);
    by_part.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    let judged = || judged.iter().map(|place| &races[place]);
    let devices: BTreeSet<&DeviceIdentity> = judged().map(|race| &race.entry.device).collect();
    let [resolved, model] = all;
    LeftOut {
        hidden,
        devices: devices.into_iter().cloned().collect(),
        parts: by_part.len(),
        resolved: resolved.all(),
        grades: resolved.by_grade(),
        model: model.all(),
        default: Comparison::of(
            judged().map(|race| (race, race.default.iter().cloned().collect())),
        ),
        by_part,
    }
}

/// What stays the same whatever is hidden.
struct Setting<'a> {
    decisions: Decisions,
    timings: Timings,
    capability: Option<ComputeCapability>,
    hidden: LeaveOut,
    kernels: Option<&'a KernelSource>,
    races: &'a BTreeMap<usize, Race>,
}

impl<'a> Setting<'a> {
    /// What the entries at some places would run without them, and what the model alone would have
    /// run.
    fn without(&self, name: &str, places: &BTreeSet<usize>) -> [Answers<'a>; 2] {
        let visible = self
            .decisions
            .iter()
            .filter(|decision| self.hidden.part(&decision.device, &decision.key) != name);
        let known = Tuner::builder().decisions(visible.collect()).build();
        let learned =
            self.capability.map(|_| self.timings.fit(0, |place| !places.contains(&place)));
        let mut registries =
            self.kernels.cloned().map_or_else(Registries::new, Registries::with_kernels);
        let races = || places.iter().map(|place| &self.races[place]);
        let devices: BTreeSet<&DeviceIdentity> = races().map(|race| &race.entry.device).collect();
        for device in devices {
            registries.learn(device, learned.as_ref());
        }
        [known, Tuner::empty()].map(|tuner| registries.answers(&tuner, races()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::evidence;

    /// The evidence of the latest device alone: half the time, and nearly the same figures.
    fn of_one_device() -> (Evidence, Arch) {
        let (mut evidence, arch) = evidence();
        evidence.retain(|entry, _| entry.device.name.contains("H200"));
        (evidence, arch)
    }

    fn check(nth: usize, hidden: LeaveOut, most: [f64; 2]) -> LeftOut {
        let (evidence, arch) = of_one_device();
        let report = leave_out_each(nth, &evidence, arch, hidden, None);
        let regret = report.resolved.regret.unwrap();
        let summary = format!(
            "{hidden} hidden: {regret:?}, {} not measured; {:?}",
            report.resolved.not_measured,
            report.grades.iter().map(|one| (&one.grade, one.comparison.regret)).collect::<Vec<_>>(),
        );
        assert!(regret.mean <= most[0] && regret.p95 <= most[1], "{summary}");
        assert!(report.resolved.not_measured * 10 <= regret.count, "{summary}");
        assert_eq!(report.resolved.without_choice, 0, "{summary}");
        report
    }

    /// The figures of `docs/journal/tuner.md`, with some room.
    #[test]
    fn channels_that_nobody_measured_lose_little() {
        // A sixth of the pairs.
        let report = check(6, LeaveOut::Channels, [0.03, 0.17]);
        assert!(report.parts >= 18);
        assert!(report.grades.iter().all(|one| one.grade == "model" || one.grade == "default"));
    }

    #[test]
    fn keys_that_nobody_measured_lose_little() {
        check(1, LeaveOut::Key, [0.02, 0.10]);
    }

    #[test]
    fn parts_are_named_as_they_are_printed() {
        for one in LeaveOut::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        let error = "rows".parse::<LeaveOut>().unwrap_err().to_string();
        assert!(error.contains("`rows`") && error.contains("channels"), "{error}");
    }
}
