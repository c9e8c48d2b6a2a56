//! Regret: how much slower stored choices are than the best that there is.
//!
//! The oracle is a set of exhaustively recorded races, every candidate sampled alike, of entries
//! that need not be those of the cache: other counts, other clouds, another day. For each of them
//! the cache's choice is looked up and compared with the best candidate, by the medians of all
//! samples. The best of many noisy medians looks better than it is, so regret is overstated rather
//! than understated.
//!
//! | question | field |
//! |---|---|
//! | what does the stored choice lose? | [`Report::cached`] |
//! | what would the default lose, had nothing been tuned? | [`Report::default`] |
//! | what does a choice for half or twice the rows lose? | [`Report::bucket_transfer`] |
//! | what does a choice for the next class of density lose? | [`Report::density_transfer`] |
//! | do two populations choose alike, and does it matter where they don't? | [`Report::flips`] |
//!
//! Transfers take the winner of the neighbouring key as it is, without the guard of the runtime,
//! which offers only what both sides found safe: they ask what the key must tell apart.

mod flips;
mod plot;

#[cfg(test)]
mod tests;

use serde::Serialize;
use voxtune::{AlgoId, ShapeKey};
use voxtune_cache::Decision;

use crate::distribution::Distribution;
use crate::samples::{RaceSamples, RecordedSamples};
use voxtune_tune::race::statistics::median;

pub use flips::{Flip, Flips, Population};
pub use plot::{PlotError, plot_svg};

/// The regret of stored choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Races of the oracle in which anybody has a time.
    pub races: usize,
    /// Of the decision for the very key.
    pub cached: Comparison,
    /// Of the default.
    pub default: Comparison,
    /// Of decisions for the neighbouring classes of row counts, all else equal.
    pub bucket_transfer: Comparison,
    /// Of decisions for the neighbouring classes of density, all else equal.
    pub density_transfer: Comparison,
    /// Against a second population, if there is one.
    pub flips: Option<Flips>,
}

/// Choices of one kind against the oracle.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Fractions of the best time that are lost.
    pub regret: Option<Distribution>,
    /// Races that have no choice of this kind.
    pub without_choice: usize,
    /// Choices that did not take part in the race, so that nobody knows what they lose.
    pub not_measured: usize,
    /// Every comparison, by regret, the worst first.
    pub points: Vec<Point>,
}

/// One choice in one race.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The key of the race.
    pub key: ShapeKey,
    /// Its cloud.
    pub cloud: String,
    /// Rows of the result.
    pub rows_out: u64,
    /// Pairs of the kernel map.
    pub pairs: u64,
    /// Who was chosen.
    pub choice: AlgoId,
    /// Who was best.
    pub best: AlgoId,
    /// How much slower the choice was, as a fraction of the best time.
    pub regret: f64,
}

/// The median time of each candidate of a race, those that failed left out.
struct Oracle<'r> {
    race: &'r RaceSamples,
    /// In nanoseconds.
    medians: Vec<(&'r AlgoId, f64)>,
    best: (&'r AlgoId, f64),
}

impl<'r> Oracle<'r> {
    fn of(race: &'r RaceSamples) -> Option<Self> {
        let sound = race.candidates.iter().filter(|candidate| !candidate.failed);
        let medians = sound.filter_map(|candidate: &RecordedSamples| {
            let values: Vec<f64> = candidate.samples().map(|ns| ns as f64).collect();
            Some((&candidate.algo, median(&values)?))
        });
        let medians: Vec<(&AlgoId, f64)> = medians.collect();
        let best = medians.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Self { race, medians, best })
    }

    fn time(&self, algo: &AlgoId) -> Option<f64> {
        self.medians.iter().find(|(one, _)| *one == algo).map(|(_, ns)| *ns)
    }

    fn point(&self, choice: &AlgoId) -> Option<Point> {
        let entry = &self.race.entry;
        Some(Point {
            key: entry.key,
            cloud: entry.workload.cloud.clone(),
            rows_out: entry.workload.rows_out,
            pairs: entry.workload.pairs,
            choice: choice.clone(),
            best: self.best.0.clone(),
            regret: self.time(choice)? / self.best.1 - 1.0,
        })
    }
}

/// Compares a cache with an oracle, and with a second population of the same grid.
#[must_use]
pub fn assess(oracle: &[RaceSamples], cache: &Population, against: Option<&Population>) -> Report {
    let races: Vec<Oracle<'_>> = oracle.iter().filter_map(Oracle::of).collect();
    let decisions: Vec<Decision> = cache.decisions.iter().collect();
    let compare = |choices: &dyn Fn(&RaceSamples) -> Vec<AlgoId>| {
        Comparison::of(races.iter().map(|race| (race, choices(race.race))))
    };
    let neighbours = |race: &RaceSamples, is_neighbour: &dyn Fn(&ShapeKey, &ShapeKey) -> bool| {
        let (device, key) = (&race.entry.device, &race.entry.key);
        let near = decisions.iter().filter(|one| {
            one.device == *device
                && one.key.operation == key.operation
                && is_neighbour(&one.key, key)
        });
        near.map(|one| one.winner.clone()).collect()
    };
    Report {
        races: races.len(),
        cached: compare(&|race| {
            let decision = cache.decisions.get(&race.entry.device, &race.entry.key);
            decision.map(|decision| decision.winner).into_iter().collect()
        }),
        default: compare(&|race| {
            let default =
                race.candidates.iter().filter(|candidate| candidate.default && !candidate.failed);
            default.map(|candidate| candidate.algo.clone()).collect()
        }),
        bucket_transfer: compare(&|race| {
            neighbours(race, &|near, key| {
                near.density == key.density
                    && near.bucket_in.distance(key.bucket_in) == 1
                    && near.bucket_out.distance(key.bucket_out) == 1
            })
        }),
        density_transfer: compare(&|race| {
            neighbours(race, &|near, key| {
                near.density.distance(key.density) == 1
                    && near.bucket_in == key.bucket_in
                    && near.bucket_out == key.bucket_out
            })
        }),
        flips: against.map(|against| Flips::between(&races, cache, against)),
    }
}

impl Comparison {
    fn of<'r>(choices: impl Iterator<Item = (&'r Oracle<'r>, Vec<AlgoId>)>) -> Self {
        let mut comparison = Self::default();
        for (race, choices) in choices {
            comparison.without_choice += usize::from(choices.is_empty());
            for choice in choices {
                match race.point(&choice) {
                    Some(point) => comparison.points.push(point),
                    None => comparison.not_measured += 1,
                }
            }
        }
        comparison.points.sort_by(|a, b| b.regret.total_cmp(&a.regret));
        comparison.regret = Distribution::of(comparison.points.iter().map(|point| point.regret));
        comparison
    }
}
