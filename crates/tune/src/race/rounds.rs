//! The rounds of a race: which candidate is sampled next, and when a race ends.

use std::time::Duration;

use super::agreement::sample_until_agreed;
use super::eliminate::{admit_undominated, eliminate, min_samples};
use super::policy::Policy;
use super::sampler::Sampler;
use super::samples::{CandidateSamples, leader, record};
use super::shared_rounds::{default_stays, sample_shared_rounds};
use super::statistics::median;
use super::tie_break::tie_break;

/// Which candidate wins a tie, and which one has to be beaten.
#[derive(Clone, Copy, Debug)]
pub struct TieOrder<'a> {
    /// Rank of each candidate, from 1: the lowest is preferred.
    pub ranks: &'a [usize],
    /// Number of the default.
    pub default: Option<usize>,
}

/// Ranks by what orders them where decisions break ties.
pub fn ranks<N: Ord>(names: &[N]) -> Vec<usize> {
    names.iter().map(|own| names.iter().filter(|other| *other < own).count() + 1).collect()
}

/// Races candidates and returns the samples of each, in the same order.
pub fn race<T: Sampler>(
    order: TieOrder<'_>,
    policy: &Policy,
    sampler: &mut T,
) -> Vec<CandidateSamples<T::Failure>> {
    let TieOrder { ranks, default } = order;
    let mut candidates: Vec<CandidateSamples<T::Failure>> =
        ranks.iter().map(|_| CandidateSamples::new()).collect();
    first_round(&mut candidates, default, policy, sampler);
    for round in 1.. {
        admit_undominated(&mut candidates, policy);
        if sampler.interrupted() || !later_round(&mut candidates, round, default, policy, sampler) {
            break;
        }
        resample_outliers(&mut candidates, policy, sampler);
        eliminate(&mut candidates, policy);
    }
    sample_shared_rounds(&mut candidates, default, policy, sampler);
    tie_break(&mut candidates, ranks, default, policy, sampler);
    sample_until_agreed(&mut candidates, default, policy, sampler);
    candidates
}

fn first_round<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    default: Option<usize>,
    policy: &Policy,
    sampler: &mut T,
) {
    for (number, candidate) in candidates.iter_mut().enumerate() {
        if sampler.interrupted() {
            return;
        }
        record(candidate, sampler.sample(number));
    }
    let best_ns = leader(candidates).map_or(f64::INFINITY, |(_, best_ns)| best_ns);
    for (number, candidate) in candidates.iter_mut().enumerate() {
        if sampler.interrupted() {
            return;
        }
        if let Some(Some(ns)) = candidate.rounds.last()
            && policy.repeats(*ns, best_ns, default == Some(number))
        {
            let first_ns = *ns;
            candidate.rounds.clear();
            record(candidate, sampler.sample(number));
            // The warm-up was faster: this one sample must not rule the candidate out.
            if candidate.least_ns().is_some_and(|again_ns| policy.is_outlier(again_ns, first_ns)) {
                candidate.rounds.clear();
                record(candidate, sampler.sample(number));
            }
        }
    }
    for (number, candidate) in candidates.iter_mut().enumerate() {
        candidate.racing &= default == Some(number);
    }
}

/// Samples each candidate that still races and is due; false if none was. The order rotates, so
/// that no candidate always runs behind the same neighbour. The default keeps up with the leader,
/// which takes its place only by rounds that both ran.
fn later_round<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    round: usize,
    default: Option<usize>,
    policy: &Policy,
    sampler: &mut T,
) -> bool {
    let mut sampled = false;
    for step in 0..candidates.len() {
        let candidate = (step + round) % candidates.len();
        let due = candidates[candidate].racing
            && !sampler.interrupted()
            && is_due(candidates, candidate, default, policy, sampler.elapsed());
        if due {
            let verified = candidates[candidate].verified_samples < policy.verified_samples;
            let sample = if verified {
                sampler.verified_sample(candidate)
            } else {
                sampler.sample(candidate)
            };
            candidates[candidate].verified_samples += usize::from(verified && sample.is_ok());
            record(&mut candidates[candidate], sample);
            sampled = true;
        } else {
            candidates[candidate].rounds.push(None);
        }
    }
    sampled
}

fn is_due<F>(
    candidates: &[CandidateSamples<F>],
    candidate: usize,
    default: Option<usize>,
    policy: &Policy,
    elapsed: Duration,
) -> bool {
    if candidates[candidate].verified_samples < policy.verified_samples {
        return true;
    }
    let taken = candidates[candidate].samples().count();
    let next = median(&candidates[candidate].values()).unwrap_or(0.0);
    if taken >= policy.enough(next) {
        return false;
    }
    if let Some((first, best_ns)) = leader(candidates) {
        // A default that leads has nobody to beat.
        let stays = default.is_some_and(|default| {
            default == first || default_stays(&candidates[default], &candidates[first], policy)
        });
        let owed = policy.leader_samples - usize::from(stays);
        if [Some(first), default].contains(&Some(candidate)) && taken < owed
            || taken < min_samples(&candidates[candidate], best_ns, policy)
        {
            return true;
        }
    }
    elapsed + Duration::from_nanos(next as u64) <= policy.budget
}

/// Samples outliers again, those of first rounds included, and keeps the lower time.
fn resample_outliers<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    policy: &Policy,
    sampler: &mut T,
) {
    for (number, candidate) in
        candidates.iter_mut().enumerate().filter(|(_, candidate)| candidate.racing)
    {
        for round in 0..candidate.rounds.len() {
            let Some((ns, least_ns)) = candidate.rounds[round].zip(candidate.least_ns()) else {
                continue;
            };
            let is_due = policy.is_outlier(ns, least_ns) && candidate.resamples < policy.resamples;
            if !is_due || sampler.interrupted() {
                continue;
            }
            candidate.resamples += 1;
            match sampler.sample(number) {
                Ok(again_ns) => candidate.rounds[round] = Some(ns.min(again_ns)),
                Err(failure) => {
                    candidate.fail(failure);
                    break;
                }
            }
        }
    }
}
