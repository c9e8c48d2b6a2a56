//! The rounds of a race: which candidate is sampled next, and when a race ends.

use std::time::Duration;

use super::eliminate::{admit, leave_out_beaten, owed};
use super::policy::Policy;
use super::proof::share_rounds;
use super::sampler::Track;
use super::samples::{Lane, leader, record};
use super::statistics::median;
use super::tie_break::shoot_out;

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
