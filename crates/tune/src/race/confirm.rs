//! Confirmation rounds: whether a stored winner that has lost a race stays.
//!
//! On a shared machine a race may be lost by bad luck, and a repeated run would change its file for
//! nothing. So the challenger must beat the incumbent again, in rounds of the two alone. Rounds of
//! the race do not count: the challenger was chosen for looking best in them.

use super::sampler::Sampler;
use super::samples::CandidateSamples;

/// Confirmation rounds. The challenger must win all but [`LOST`]; between two equal candidates that
/// happens one time in 315.
const ROUNDS: usize = 12;

/// Rounds that the challenger may lose: tolerates one outlier of the challenger.
const LOST: usize = 1;

/// Whether the first candidate keeps its place against the second. It does unless it is slower by
/// more than `margin` in eleven of twelve rounds. A candidate that fails leaves the race and loses.
pub fn confirm_incumbent<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    [incumbent, challenger]: [usize; 2],
    margin: f64,
    sampler: &mut T,
) -> bool {
    let mut held = 0;
    for round in 0..ROUNDS {
        let order = if round % 2 == 0 { [incumbent, challenger] } else { [challenger, incumbent] };
        let mut took_ns = [0.0; 2];
        for candidate in order {
            if sampler.interrupted() {
                return true;
            }
            match sampler.sample(candidate) {
                Ok(ns) => took_ns[usize::from(candidate == challenger)] = ns as f64,
                Err(failure) => {
                    candidates[candidate].fail(failure);
                    return candidate == challenger;
                }
            }
        }
        let [incumbent_ns, challenger_ns] = took_ns;
        if incumbent_ns <= challenger_ns * (1.0 + margin) {
            held += 1;
        }
        if held > LOST {
            return true;
        }
        // No later round can change the outcome.
        if round + 1 - held == ROUNDS - LOST {
            return false;
        }
    }
    false
}
