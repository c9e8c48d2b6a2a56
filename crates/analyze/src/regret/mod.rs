//! Regret: how much slower choices are than the best that there is.
//!
//! The oracle is a set of [races](Race), of entries that need not be those of the cache: other
//! counts, other clouds, another day, another device. For each of them the choice is compared with
//! the best candidate, by the medians of all samples. The best of many noisy medians looks better
//! than it is, so regret is overstated rather than understated. Races in which every candidate was
//! sampled alike judge best; stored evidence has the times of those that a model thought worth
//! measuring.
//!
//! What runs is what [`Tuner::resolve`] answers. That is a cache's algorithm for the very key, for
//! a sibling device or for a near key. Else it is the choice of the model of cost, else the
//! default. [`leave_out()`] asks what it would be had a part of the evidence never been measured.
//!
//! | question | field |
//! |---|---|
//! | what does that lose which runs? | [`Report::resolved`], by grade [`Report::grades`] |
//! | what does the stored choice for this very device lose? | [`Report::cached`] |
//! | what would the default lose, had nothing been tuned? | [`Report::default`] |
//! | what does a choice for half or twice the rows lose? | [`Report::bucket_transfer`] |
//! | what does a choice for the next class of density lose? | [`Report::density_transfer`] |
//! | do two populations choose alike, and does it matter where they don't? | [`Report::flips`] |
//!
//! Transfers take the winner of the neighbouring key as it is, without the guard of the runtime,
//! which offers only what both sides found safe. They ask what the key must tell apart.

mod flips;
mod leave_out;
mod plot;
mod race;
mod resolved;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;
use voxtune::{AlgoId, ShapeKey, Tuner};
use voxtune_cache::Decision;

use crate::distribution::Distribution;

pub use flips::{Flip, Flips, Population};
pub use leave_out::{LeaveOut, LeftOut, UnknownPart, leave_out};
pub use plot::{PlotError, plot_left_out, plot_svg};
pub use race::Race;
pub use resolved::{Graded, Registries};

/// The regret of stored choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Races of the oracle in which a candidate has a time.
    pub races: usize,
    /// Of what runs.
    pub resolved: Comparison,
    /// The same apart, by how it was found, the best grade first.
    pub grades: Vec<Graded>,
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
    /// Choices that did not take part in the race: what they lose is not known.
    pub not_measured: usize,
    /// Their names, each once.
    pub unraced: BTreeSet<AlgoId>,
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

/// Compares a cache with races, and with a second population of the same grid. What runs is asked
/// of the algorithms that devices have by `registries`.
#[must_use]
pub fn assess(
    races: &[Race],
    cache: &Population,
    against: Option<&Population>,
    registries: &mut Registries,
) -> Report {
    let decisions: Vec<Decision> = cache.decisions.iter().collect();
    let tuner = Tuner::builder().decisions(cache.decisions.clone()).build();
    let answers = registries.answers(&tuner, races.iter());
    let compare = |choices: &dyn Fn(&Race) -> Vec<AlgoId>| {
        Comparison::of(races.iter().map(|race| (race, choices(race))))
    };
    let neighbours = |race: &Race, is_neighbour: &dyn Fn(&ShapeKey, &ShapeKey) -> bool| {
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
        resolved: answers.all(),
        grades: answers.by_grade(),
        cached: compare(&|race| {
            let decision = cache.decisions.get(&race.entry.device, &race.entry.key);
            decision.map(|decision| decision.winner).into_iter().collect()
        }),
        default: compare(&|race| race.default.iter().cloned().collect()),
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
        flips: against.map(|against| Flips::between(races, cache, against)),
    }
}

impl Comparison {
    fn of<'r>(choices: impl Iterator<Item = (&'r Race, Vec<AlgoId>)>) -> Self {
        let mut comparison = Self::default();
        for (race, choices) in choices {
            comparison.without_choice += usize::from(choices.is_empty());
            for choice in choices {
                match race.point(&choice) {
                    Some(point) => comparison.points.push(point),
                    None => {
                        comparison.not_measured += 1;
                        comparison.unraced.insert(choice);
                    }
                }
            }
        }
        comparison.points.sort_by(|a, b| b.regret.total_cmp(&a.regret));
        comparison.regret = Distribution::of(comparison.points.iter().map(|point| point.regret));
        comparison
    }
}
