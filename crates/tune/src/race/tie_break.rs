//! The tie-break: more rounds where the decision could go either way.
//!
//! The preferred candidate wins a tie, so it wins or loses by the side of the noise band on which
//! it lies. Where its distance from the leader is at the band's edge, within its error, two runs
//! would decide differently. Then both run on, in the same rounds, until the distance is clear of
//! the edge or the policy's maximum is reached.
//!
//! So do a winner and a default that it has not yet beaten in shared rounds: of few rounds, one
//! late sample decides otherwise.

use voxtune_cache::decide::{Timer, beats_default, tie_band};
use voxtune_cache::timing::standard_error;

use super::policy::Policy;
use super::sampler::Sampler;
use super::samples::{CandidateSamples, Centre, record};
use super::summarize::ratio_interval;

/// Standard errors by which a distance must be off the edge of the band.
const CLEAR_BY: f64 = 3.0;

/// The smallest deviation that is believed, as a fraction of the median: few samples may lie
/// together by chance. On an H100 about half of all candidates deviate less. See also
/// [`LEAST_SPREAD_NS`].
const LEAST_SPREAD: f64 = 0.0027;

/// See [`LEAST_SPREAD`].
const LEAST_SPREAD_NS: f64 = 200.0;

/// Samples candidates near the band's edge, and the leader, until none is left there. `ranks` is
/// the order of preference in ties; the lowest is preferred.
pub(super) fn tie_break<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    ranks: &[usize],
    default: Option<usize>,
    policy: &Policy,
    sampler: &mut T,
) {
    for round in 0.. {
        let due = near_band_edge(candidates, ranks, default, policy);
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

/// The leader and the candidates that may take its win, as far as is known; empty if the decision
/// is clear.
fn near_band_edge<F>(
    candidates: &[CandidateSamples<F>],
    ranks: &[usize],
    default: Option<usize>,
    policy: &Policy,
) -> Vec<usize> {
    // Only these can win.
    let may_win = |candidate: &CandidateSamples<F>| {
        candidate.failure.is_none() && candidate.verified_samples >= policy.verified_samples
    };
    let standings: Vec<(usize, Centre)> = (0..candidates.len())
        .filter(|&candidate| may_win(&candidates[candidate]))
        .filter_map(|candidate| Some((candidate, candidates[candidate].centre()?)))
        .collect();
    let leader = standings.iter().min_by(|a, b| a.1.decisive_ns().total_cmp(&b.1.decisive_ns()));
    let Some(&(leader, best)) = leader else { return Vec::new() };

    let positions = standings.iter().filter(|(candidate, _)| *candidate != leader);
    let positions: Vec<(usize, BandPosition)> = positions
        .map(|(candidate, centre)| (*candidate, BandPosition::of(centre, &best)))
        .collect();
    let within = positions
        .iter()
        .filter(|(_, position)| *position == BandPosition::Within)
        .map(|(candidate, _)| *candidate);
    let Some(preferred) = within.chain([leader]).min_by_key(|&candidate| ranks[candidate]) else {
        return Vec::new();
    };
    let may_go_on = |candidate: usize| {
        candidates[candidate].samples().count()
            < policy.max_tie_break_samples(&candidates[candidate])
    };
    let mut due: Vec<usize> = positions
        .iter()
        .filter(|(candidate, position)| {
            *position == BandPosition::Unclear && ranks[*candidate] < ranks[preferred]
        })
        .map(|(candidate, _)| *candidate)
        .filter(|&candidate| may_go_on(candidate))
        .collect();
    let beyond = |candidate| {
        positions
            .iter()
            .any(|&(other, position)| other == candidate && position == BandPosition::Beyond)
    };
    if let Some(default) = default.filter(|&default| beyond(default) && may_go_on(default))
        && !beats(&candidates[preferred], &candidates[default])
    {
        due.extend([default, preferred]);
    }
    if !due.is_empty() {
        due.push(leader);
    }
    due
}

/// Whether a candidate beats the default by the rule of decisions.
fn beats<F>(candidate: &CandidateSamples<F>, default: &CandidateSamples<F>) -> bool {
    let default_min_ns = default.least_ns().map(|least_ns| least_ns as f64);
    ratio_interval(&candidate.ratios_to(default))
        .zip(candidate.centre())
        .is_some_and(|(ratio, centre)| beats_default(ratio, centre.median_ns, default_min_ns))
}

/// Where a candidate lies relative to the noise band around the leader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BandPosition {
    Within,
    Unclear,
    Beyond,
}

impl BandPosition {
    fn of(centre: &Centre, best: &Centre) -> Self {
        let distance = centre.decisive_ns() / best.decisive_ns() - 1.0;
        let off = distance - tie_band([centre, best].map(noise));
        let [own, other] = [centre, best].map(relative_error);
        let error = own.hypot(other);
        if off.abs() <= CLEAR_BY * error {
            Self::Unclear
        } else if off < 0.0 {
            Self::Within
        } else {
            Self::Beyond
        }
    }
}

/// The noise that decisions assume: only GPUs are fast enough for tie-breaks.
fn noise(centre: &Centre) -> f64 {
    Timer::Gpu.relative_noise(centre.decisive_ns(), centre.spread_ns)
}

/// Standard error of the time that decisions compare, relative to the median.
fn relative_error(centre: &Centre) -> f64 {
    let least_ns = (LEAST_SPREAD * centre.median_ns).max(LEAST_SPREAD_NS);
    standard_error(centre.spread_ns.max(least_ns), centre.samples) / centre.median_ns
}
