//! The defence: whether a stored winner that has lost a race gives way.
//!
//! On a machine that others use, a race may be lost by bad luck, and a run that is repeated would stir its
//! file up for nothing. So whoever is to take a stored winner's place beats it once more, in rounds of the
//! two alone. Those of the race do not count: the challenger is who looked best in them.

use super::sampler::Track;
use super::samples::Lane;

/// Rounds of a defence, of which the challenger wins all but [`LOST`]: of two that are alike, one does so one
/// time in 315.
const ROUNDS: usize = 12;

/// Rounds that a challenger may lose: one late sample of its own is no defence of the other's.
const LOST: usize = 1;

/// Whether the first of two lanes holds its place against the second: it does unless it is slower in eleven of
/// twelve rounds, by more than this fraction. Whoever fails is out of the race, and has lost.
pub fn holds_its_place<T: Track>(
    field: &mut [Lane<T::Failure>],
    [incumbent, challenger]: [usize; 2],
    margin: f64,
    track: &mut T,
) -> bool {
    let mut held = 0;
    for round in 0..ROUNDS {
        let order = if round % 2 == 0 { [incumbent, challenger] } else { [challenger, incumbent] };
        let mut took_ns = [0.0; 2];
        for lane in order {
            if track.interrupted() {
                return true;
            }
            match track.sample(lane) {
                Ok(ns) => took_ns[usize::from(lane == challenger)] = ns as f64,
                Err(failure) => {
                    field[lane].fail(failure);
                    return lane == challenger;
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
