//! Explanations as JSON.

use serde::Serialize;
use voxtune::{AlgoId, DeviceIdentity, ExplainedChoice, Explanation, MeasuredWorkload, ShapeKey};
use voxtune_cache::{Environment, Timing, Workload};

/// What a key runs, and why.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    key: ShapeKey,
    device: DeviceIdentity,
    /// The algorithm that runs; none where a call fails.
    runs: Option<AlgoId>,
    /// How it was found.
    grade: Option<String>,
    /// Why a call fails.
    fails: Option<String>,
    decision: Option<Decided>,
    measured: Vec<Measured>,
    /// The grades before the one that answered.
    not: Vec<Skipped>,
}

/// The decision that it follows from.
#[derive(Debug, Serialize)]
struct Decided {
    key: ShapeKey,
    device: DeviceIdentity,
    winner: AlgoId,
    runner_up: Option<AlgoId>,
    without_libraries: Option<AlgoId>,
    safe: Vec<AlgoId>,
}

/// A race behind the decision.
#[derive(Debug, Serialize)]
struct Measured {
    workload: Workload,
    winner: Option<Timing>,
    runner_up: Option<Timing>,
    environment: Option<Environment>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    grade: String,
    source: Option<String>,
    why: String,
}

impl From<&Explanation> for Report {
    fn from(explanation: &Explanation) -> Self {
        let Explanation { key, device, skipped, answer } = explanation;
        let choice = answer.as_ref().ok();
        let skipped = skipped.iter().map(|one| Skipped {
            grade: one.kind.to_string(),
            source: one.source.map(|source| source.to_string()),
            why: one.reason.to_string(),
        });
        Self {
            key: *key,
            device: device.clone(),
            runs: choice.map(|choice| choice.algorithm.clone()),
            grade: choice.map(|choice| choice.grade.to_string()),
            fails: answer.as_ref().err().cloned(),
            decision: choice.and_then(decided),
            measured: choice.map_or_else(Vec::new, |choice| {
                choice.measured.iter().cloned().map(Measured::from).collect()
            }),
            not: skipped.collect(),
        }
    }
}

fn decided(choice: &ExplainedChoice) -> Option<Decided> {
    let entry = choice.entry.clone()?;
    Some(Decided {
        key: entry.key,
        device: entry.device,
        winner: entry.winner,
        runner_up: entry.runner_up,
        without_libraries: entry.without_libraries,
        safe: entry.safe,
    })
}

impl From<MeasuredWorkload> for Measured {
    fn from(race: MeasuredWorkload) -> Self {
        let MeasuredWorkload { workload, winner, runner_up, environment } = race;
        Self { workload, winner, runner_up, environment }
    }
}
