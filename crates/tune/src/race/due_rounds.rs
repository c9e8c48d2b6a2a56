//! Rounds in which only those run that are due.

use super::sampler::Sampler;
use super::samples::{CandidateSamples, record};

/// Samples who is due, in the same rounds, until nobody is. The order rotates, so that no candidate
/// always runs behind the same neighbour.
pub(super) fn sample_due<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    sampler: &mut T,
    due: impl Fn(&[CandidateSamples<T::Failure>]) -> Vec<usize>,
) {
    for round in 0.. {
        let due = due(candidates);
        if due.is_empty() {
            return;
        }
        for step in 0..candidates.len() {
            let candidate = (step + round) % candidates.len();
            if sampler.interrupted() {
                return;
            }
            if due.contains(&candidate) {
                record(&mut candidates[candidate], sampler.sample(candidate));
            } else {
                candidates[candidate].rounds.push(None);
            }
        }
    }
}
