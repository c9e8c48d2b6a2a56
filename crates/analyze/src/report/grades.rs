//! What would run, grade by grade: each as if the better ones had nothing to say.
//!
//! | grade | what the tuner is given |
//! |---|---|
//! | exact | every decision |
//! | same architecture | those of other devices |
//! | near | those of the device for the same operation, without the key itself |
//! | model, default | none |

use std::collections::{BTreeMap, BTreeSet};

use voxtune::{AlgoId, GradeKind, Registry, ShapeKey, Tuner};
use voxtune_cache::{Decision, Decisions};
use voxtune_types::Operation;

use super::Part;
use super::losses::{Loss, LossPoint};
use super::numbers::short;
use crate::samples::RaceSamples;

/// What the choices of each grade lose in some races, for the grades that answer any.
pub(super) fn by_grade(part: &Part<'_>, parts: &[Part<'_>], races: &[RaceSamples]) -> Vec<Loss> {
    let device = &part.device;
    let registry = Registry::of_device(device);
    let answer = |tuner: &Tuner, key: &ShapeKey| {
        let choice = tuner.explain_at(device, &registry, key).answer.ok()?;
        Some((choice.grade.kind(), choice.algorithm))
    };
    let all = Tuner::builder().decisions(part.population.decisions.clone()).build();
    let siblings = parts.iter().filter(|one| one.device != *device);
    let siblings: Decisions = siblings.flat_map(|one| one.population.decisions.iter()).collect();
    let siblings = Tuner::builder().decisions(siblings).build();
    let nothing = Tuner::empty();
    let mut of_operation: BTreeMap<Operation, Vec<Decision>> = BTreeMap::new();
    for decision in part.population.decisions.iter() {
        of_operation.entry(decision.key.operation).or_default().push(decision);
    }
    let without = |key: &ShapeKey| {
        let others = of_operation.get(&key.operation)?.iter().filter(|one| one.key != *key);
        let tuner = Tuner::builder().decisions(others.cloned().collect()).build();
        answer(&tuner, key)
    };
    // A key that was measured on several clouds is asked once.
    let keys: BTreeSet<ShapeKey> = races.iter().map(|race| race.entry.key).collect();
    let mut choices: BTreeMap<(GradeKind, ShapeKey), AlgoId> = BTreeMap::new();
    for key in &keys {
        let found = [
            answer(&all, key).filter(|(grade, _)| *grade == GradeKind::Exact),
            answer(&siblings, key).filter(|(grade, _)| *grade == GradeKind::Sibling),
            without(key).filter(|(grade, _)| *grade == GradeKind::Near),
            answer(&nothing, key),
        ];
        for (grade, algo) in found.into_iter().flatten() {
            choices.insert((grade, *key), algo);
        }
    }
    let grades: BTreeSet<GradeKind> = choices.keys().map(|(grade, _)| *grade).collect();
    let loss = |grade: GradeKind| {
        let mut points = Vec::new();
        let mut without = 0;
        for race in races {
            let choice = choices.get(&(grade, race.entry.key));
            match choice.and_then(|choice| point(race, choice)) {
                Some(point) => points.push(point),
                None => without += 1,
            }
        }
        Loss::of(&grade.to_string(), without, points)
    };
    grades.into_iter().map(loss).collect()
}

/// What a choice loses in a race in which every candidate has one time; `None` if it took no part.
fn point(race: &RaceSamples, choice: &AlgoId) -> Option<LossPoint> {
    let times = race.candidates.iter().filter_map(|one| Some((&one.algo, one.samples().next()?)));
    let (best, best_ns) = times.clone().min_by_key(|(_, ns)| *ns)?;
    let (_, ns) = times.clone().find(|(algo, _)| *algo == choice)?;
    Some(LossPoint {
        key: race.entry.key.to_string(),
        cloud: race.entry.workload.cloud.clone(),
        rows_out: race.entry.workload.rows_out,
        choice: choice.to_string(),
        best: best.to_string(),
        regret: short(ns as f64 / best_ns as f64 - 1.0),
    })
}
