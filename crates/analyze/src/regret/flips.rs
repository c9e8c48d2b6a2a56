//! Keys that two populations decided differently.

use serde::Serialize;
use voxtune::{AlgoId, ShapeKey};
use voxtune_cache::{Decision, Decisions, Evidence, Records, distance};

use super::Race;
use crate::distribution::Distribution;

/// What a run of populate has left.
#[derive(Clone, Debug, Default)]
pub struct Population {
    /// What it chose.
    pub decisions: Decisions,
    /// Why.
    pub evidence: Evidence,
}

/// Two populations against each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flips {
    /// Keys that both have decided.
    pub keys: usize,
    /// Of these, those decided differently.
    pub flipped: Vec<Flip>,
    /// Where a race of the oracle has both winners: how much slower the slower one is.
    pub cost: Option<Distribution>,
}

/// A key that two populations decided differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// Which.
    pub key: ShapeKey,
    /// The winner of the first population.
    pub ours: AlgoId,
    /// The winner of the second one.
    pub theirs: AlgoId,
    /// By how much the other's winner was slower in the evidence of each, where it tells.
    pub slower_by: [Option<f64>; 2],
    /// Whether noise explains the difference in at least one of them: they lie at the edge of the
    /// band. If not, the two runs contradict each other.
    pub within_noise: bool,
}

impl Flips {
    pub(super) fn between(races: &[Race], first: &Population, second: &Population) -> Self {
        let both = first.decisions.iter().filter_map(|ours| {
            let theirs = second.decisions.get(&ours.device, &ours.key)?;
            Some((ours, theirs))
        });
        let both: Vec<(Decision, Decision)> = both.collect();
        let differ = both.iter().filter(|(ours, theirs)| ours.winner != theirs.winner);
        let differ: Vec<&(Decision, Decision)> = differ.collect();
        let costs = races.iter().filter_map(|race| {
            let entry = &race.entry;
            let (ours, theirs) = differ
                .iter()
                .find(|(ours, _)| ours.device == entry.device && ours.key == entry.key)?;
            let (ours, theirs) = (race.time(&ours.winner)?, race.time(&theirs.winner)?);
            Some(ours.max(theirs) / ours.min(theirs) - 1.0)
        });
        Self {
            keys: both.len(),
            cost: Distribution::of(costs),
            flipped: differ
                .into_iter()
                .map(|(ours, theirs)| Flip::of([(ours, first), (theirs, second)]))
                .collect(),
        }
    }

    /// The share of the keys that are decided differently.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.keys == 0 { 0.0 } else { self.flipped.len() as f64 / self.keys as f64 }
    }

    /// Those in which the two contradict each other, the farthest apart first.
    #[must_use]
    pub fn beyond_noise(&self) -> Vec<&Flip> {
        let mut beyond: Vec<&Flip> =
            self.flipped.iter().filter(|flip| !flip.within_noise).collect();
        beyond.sort_by(|a, b| b.farthest().total_cmp(&a.farthest()));
        beyond
    }
}

impl Flip {
    fn of(sides: [(&Decision, &Population); 2]) -> Self {
        let [(ours, _), (theirs, _)] = sides;
        let winners = [&ours.winner, &theirs.winner];
        let [first, second] = sides.map(|(decision, population)| {
            let Decision { device, key, winner, .. } = decision;
            let other = winners.into_iter().find(|other| *other != winner)?;
            let workloads = population.evidence.decisive_workloads(device, key);
            let records: Vec<&Records> = workloads.map(|(_, records)| records).collect();
            distance([winner, other], &device.arch, records)
        });
        let slower_by = [first, second].map(|side| side.map(|distance| distance.slower_by));
        let within_noise = [first, second].into_iter().flatten().any(|distance| distance.is_noise);
        Self {
            key: ours.key,
            ours: ours.winner.clone(),
            theirs: theirs.winner.clone(),
            slower_by,
            within_noise,
        }
    }

    fn farthest(&self) -> f64 {
        self.slower_by.into_iter().flatten().fold(0.0, f64::max)
    }
}
