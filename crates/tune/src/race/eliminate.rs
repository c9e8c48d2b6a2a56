//! Elimination: which candidates race on.

use voxtune_cache::decide::NOISE_CEILING;

use super::paired::Paired;
use super::policy::Policy;
use super::samples::{CandidateSamples, leader};

/// Admits candidates whose first sample is not dominated by the leader. Repeated after each round:
/// a leader may fail, and a candidate that only a wrong result dominated comes back.
pub(super) fn admit_undominated<F>(candidates: &mut [CandidateSamples<F>], policy: &Policy) {
    let Some((_, best)) = leader(candidates) else { return };
    for candidate in candidates.iter_mut().filter(|candidate| candidate.failure.is_none()) {
        let [first, second] = [0, 1].map(|number| candidate.samples().nth(number));
        // A candidate with a second sample was admitted before, and may have left since.
        if let (Some(first), None) = (first, second) {
            candidate.racing |= !policy.is_dominated(first as f64, best);
        }
    }
}

/// Samples that a candidate needs whatever the budget: more where its best sample is within noise
/// of the leader.
pub(super) fn min_samples<F>(
    candidate: &CandidateSamples<F>,
    best_ns: f64,
    policy: &Policy,
) -> usize {
    let Some(least_ns) = candidate.least_ns() else { return 1 };
    let is_near = least_ns as f64 <= best_ns * (1.0 + NOISE_CEILING);
    if is_near { policy.near_samples } else { 1 }
}

/// Drops candidates that the rounds shared with the leader show to be slower, once they have their
/// minimum of samples.
pub(super) fn eliminate<F>(candidates: &mut [CandidateSamples<F>], policy: &Policy) {
    let Some((first, best_ns)) = leader(candidates) else { return };
    if candidates[first].samples().count() < policy.leader_samples {
        return;
    }
    for number in 0..candidates.len() {
        let candidate = &candidates[number];
        let least = policy.leader_samples.max(min_samples(candidate, best_ns, policy));
        let is_slower = candidate.samples().count() >= least
            && Paired::of(candidate, &candidates[first])
                .is_some_and(|paired| paired.is_slower(policy));
        candidates[number].racing &= !is_slower;
    }
}
