//! The defence: whether a stored winner that has lost a race gives way.
//!
//! On a machine that others use, a race may be lost by bad luck, and a run that is repeated would stir its
//! file up for nothing. So whoever is to take a stored winner's place beats it once more, in rounds of the
//! two alone. Those of the race do not count: the challenger is who looked best in them.

use super::sampler::Sampler;
use super::samples::CandidateSamples;

/// Rounds of a defence, of which the challenger wins all but [`LOST`]: of two that are alike, one does so one
/// time in 315.
const ROUNDS: usize = 12;

/// Rounds that a challenger may lose: one late sample of its own is no defence of the other's.
const LOST: usize = 1;

/// Whether the first of two candidates holds its place against the second: it does unless it is slower in eleven of
/// twelve rounds, by more than this fraction. Whoever fails is out of the race, and has lost.
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
        // Nothing to come could change that.
        if round + 1 - held == ROUNDS - LOST {
            return false;
        }
    }
    false
}
