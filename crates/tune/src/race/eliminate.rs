//! Elimination: which candidates race on.

use voxtune_cache::decide::{NOISE_CEILING, NOISE_FLOOR};

use super::policy::Policy;
use super::samples::{CandidateSamples, Centre, leader};

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

/// Samples that a candidate needs before elimination: more where its best sample is within noise of
/// the leader.
pub(super) fn min_samples<F>(
    candidate: &CandidateSamples<F>,
    best_ns: f64,
    policy: &Policy,
) -> usize {
    let Some((least_ns, centre)) = candidate.least_ns().zip(candidate.centre()) else { return 1 };
    let is_near = least_ns as f64 <= best_ns * (1.0 + NOISE_CEILING);
    if is_near { policy.min_samples_when_near(centre.median_ns) } else { 1 }
}

/// Drops candidates whose interval lies wholly above the leader's. A candidate needs its minimum of
/// samples first, and at least three. The interval is the median with 2.4 standard errors, taken
/// from the median absolute deviation, and at least the floor of noise.
pub(super) fn eliminate<F>(candidates: &mut [CandidateSamples<F>], policy: &Policy) {
    const STANDARD_ERRORS: f64 = 2.4;
    let error_ns =
        |centre: &Centre| (STANDARD_ERRORS * centre.error_ns()).max(centre.median_ns * NOISE_FLOOR);
    let Some((first, best_ns)) = leader(candidates) else { return };
    if candidates[first].samples().count() < policy.leader_samples {
        return;
    }
    let Some(best) = candidates[first].centre() else { return };
    let reach_ns = best.median_ns + error_ns(&best);
    for candidate in candidates.iter_mut() {
        let least = policy.leader_samples.max(min_samples(candidate, best_ns, policy));
        let beaten = candidate.centre().is_some_and(|centre| {
            centre.samples >= least && centre.median_ns - error_ns(&centre) > reach_ns
        });
        candidate.racing &= !beaten;
    }
}
