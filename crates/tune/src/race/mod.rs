//! Racing: who is fastest, in interleaved rounds.
//!
//! The candidates run in turn, round after round, so that a drifting clock or a busy neighbour
//! strikes all of them alike. A candidate leaves when its first sample is hopeless, and later when
//! its interval cannot reach the leader's (after Tørring et al. 2021, arXiv 2103.08716). The
//! default is never hopeless, since ratios to it come from the rounds in which both ran.
//!
//! Where results are to be proven at full size, whoever is not hopeless owes proofs: its next samples
//! are of runs whose results are compared, whatever the budget says. So a race ends with two kinds of
//! lanes, proven ones, which may win, and others.
//!
//! The leader and the default are owed as many rounds together as prove something, whatever the budget says.
//!
//! Whoever came near the leader is owed more samples than others, late ones are taken again, and where the
//! decision would fall on the edge of the band of noise, a shoot-out goes on until it does not.
//!
//! Whoever won before, by what is stored, and has lost this race [defends its place](holds_its_place) against the winner.
//!
//! Nothing here knows devices or clocks: a [`Track`] provides both, so that policies are tested on
//! made-up times.

mod defence;
mod elimination;
mod lane;
mod policy;
mod proof;
mod shoot_out;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use defence::holds_its_place;
pub use lane::Lane;
pub use policy::Policy;

use crate::statistics::median;
use elimination::{admit, leave_out_beaten, owed};
use proof::share_rounds;
use shoot_out::shoot_out;

/// What the racers run on.
pub trait Track {
    /// Why a run failed.
    type Failure;

    /// Runs one candidate once.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the candidate fails: it leaves the race.
    fn sample(&mut self, lane: usize) -> Result<u64, Self::Failure>;

    /// The same, of a run whose result is proven right.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the candidate fails or its result is wrong: it leaves the race.
    fn proven_sample(&mut self, lane: usize) -> Result<u64, Self::Failure> {
        self.sample(lane)
    }

    /// Time spent on this entry so far.
    fn elapsed(&self) -> Duration;

    /// Whether to stop at once.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Who starts in a race.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    /// Ranks of the candidates when ties fall, from 1, the preferred one's the least: one a lane.
    pub ranks: &'a [usize],
    /// Which of them is the default, preferred to all others.
    pub default: Option<usize>,
}

/// The ranks by which the decision prefers one of these to another in a tie: by name.
pub fn ranks<N: Ord>(names: &[N]) -> Vec<usize> {
    names.iter().map(|own| names.iter().filter(|other| *other < own).count() + 1).collect()
}

/// Races the candidates of a grid and returns what each did, in the same order.
pub fn race<T: Track>(grid: Grid<'_>, policy: &Policy, track: &mut T) -> Vec<Lane<T::Failure>> {
    let Grid { ranks, default } = grid;
    let mut field: Vec<Lane<T::Failure>> = ranks.iter().map(|_| Lane::new()).collect();
    first_round(&mut field, default, policy, track);
    for round in 1.. {
        admit(&mut field, policy);
        if track.interrupted() || !later_round(&mut field, round, policy, track) {
            break;
        }
        retake_late(&mut field, policy, track);
        leave_out_beaten(&mut field, policy);
    }
    share_rounds(&mut field, default, policy, track);
    let mut ranks = ranks.to_vec();
    if let Some(rank) = default.and_then(|default| ranks.get_mut(default)) {
        *rank = 0;
    }
    shoot_out(&mut field, &ranks, default, policy, track);
    field
}

fn first_round<T: Track>(
    field: &mut [Lane<T::Failure>],
    default: Option<usize>,
    policy: &Policy,
    track: &mut T,
) {
    for (number, lane) in field.iter_mut().enumerate() {
        if track.interrupted() {
            return;
        }
        record(lane, track.sample(number));
    }
    let best_ns = leader(field).map_or(f64::INFINITY, |(_, best_ns)| best_ns);
    for (number, lane) in field.iter_mut().enumerate() {
        if track.interrupted() {
            return;
        }
        if let Some(Some(ns)) = lane.rounds.last()
            && policy.repeats(*ns, best_ns, default == Some(number))
        {
            let first_ns = *ns;
            lane.rounds.clear();
            record(lane, track.sample(number));
            // The warm-up was faster: the one sample by which it may be hopeless is none.
            if lane.least_ns().is_some_and(|again_ns| policy.is_late(again_ns, first_ns)) {
                lane.rounds.clear();
                record(lane, track.sample(number));
            }
        }
    }
    for (number, lane) in field.iter_mut().enumerate() {
        lane.racing &= default == Some(number);
    }
}

/// One sample of everyone who is still in; false if nobody was owed one. The order rotates, so
/// that nobody always runs behind the same neighbour.
fn later_round<T: Track>(
    field: &mut [Lane<T::Failure>],
    round: usize,
    policy: &Policy,
    track: &mut T,
) -> bool {
    let mut sampled = false;
    for step in 0..field.len() {
        let lane = (step + round) % field.len();
        let due = field[lane].racing
            && !track.interrupted()
            && is_due(field, lane, policy, track.elapsed());
        if due {
            let proven = field[lane].proofs < policy.proofs;
            let sample = if proven { track.proven_sample(lane) } else { track.sample(lane) };
            field[lane].proofs += usize::from(proven && sample.is_ok());
            record(&mut field[lane], sample);
            sampled = true;
        } else {
            field[lane].rounds.push(None);
        }
    }
    sampled
}

fn is_due<F>(field: &[Lane<F>], lane: usize, policy: &Policy, elapsed: Duration) -> bool {
    if field[lane].proofs < policy.proofs {
        return true;
    }
    let taken = field[lane].samples().count();
    let next = median(&field[lane].values()).unwrap_or(0.0);
    if taken >= policy.enough(next) {
        return false;
    }
    if let Some((first, best_ns)) = leader(field)
        && (first == lane && taken < policy.leader_samples
            || taken < owed(&field[lane], best_ns, policy))
    {
        return true;
    }
    elapsed + Duration::from_nanos(next as u64) <= policy.budget
}

/// Takes late samples again, those of first rounds among them, and keeps the lesser of the two.
fn retake_late<T: Track>(field: &mut [Lane<T::Failure>], policy: &Policy, track: &mut T) {
    for (number, lane) in field.iter_mut().enumerate().filter(|(_, lane)| lane.racing) {
        for round in 0..lane.rounds.len() {
            let Some((ns, least_ns)) = lane.rounds[round].zip(lane.least_ns()) else { continue };
            let is_due = policy.is_late(ns, least_ns) && lane.retakes < policy.retakes;
            if !is_due || track.interrupted() {
                continue;
            }
            lane.retakes += 1;
            match track.sample(number) {
                Ok(again_ns) => lane.rounds[round] = Some(ns.min(again_ns)),
                Err(failure) => {
                    lane.fail(failure);
                    break;
                }
            }
        }
    }
}

fn record<F>(lane: &mut Lane<F>, sample: Result<u64, F>) {
    match sample {
        Ok(ns) => lane.rounds.push(Some(ns)),
        Err(failure) => {
            lane.fail(failure);
            lane.rounds.push(None);
        }
    }
}

/// The candidate with the lowest median that has not failed, and that median.
fn leader<F>(field: &[Lane<F>]) -> Option<(usize, f64)> {
    let alive = field.iter().enumerate().filter(|(_, lane)| lane.failure.is_none());
    alive
        .filter_map(|(index, lane)| Some((index, median(&lane.values())?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}
