//! The tie-break: more rounds for those about whom the decision could go either way.
//!
//! Ties are decided by who is preferred, so a preferred candidate wins or not by the side of the band of
//! noise on which it lies. Where its distance from the leader is that of the edge, give or take its
//! error, two runs would differ; both run on, in the same rounds, until it is clear of the edge or as much
//! was measured as a policy allows. So do a winner and the default that it has not yet beaten in the rounds in
//! which both ran: of a few rounds, one late sample says otherwise.

use voxtune_cache::decide::{Timer, beats_default, tie_band};
use voxtune_cache::timing::standard_error;

use super::policy::Policy;
use super::sampler::Sampler;
use super::samples::{CandidateSamples, Centre, record};
use super::summarize::ratio_interval;

/// Standard errors by which a distance must be off the edge of the band.
const CLEAR_BY: f64 = 3.0;

/// Few samples may lie together by chance: nobody's are believed to deviate less than this fraction in the
/// median, or less than [`LEAST_SPREAD_NS`]. On an H100 about half do.
const LEAST_SPREAD: f64 = 0.0027;

/// See [`LEAST_SPREAD`].
const LEAST_SPREAD_NS: f64 = 200.0;

/// Runs whoever is undecided, beside the leader, until nobody is. `ranks` are those of the candidates when
/// ties fall, the preferred one's the least.
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

/// The leader and those who may take its win from it or not, as far as is known; empty if all is clear.
fn near_band_edge<F>(
    candidates: &[CandidateSamples<F>],
    ranks: &[usize],
    default: Option<usize>,
    policy: &Policy,
) -> Vec<usize> {
    // Nobody else is looked at in the end.
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

/// Whether a candidate beat the default as decisions ask for.
fn beats<F>(candidate: &CandidateSamples<F>, default: &CandidateSamples<F>) -> bool {
    let default_min_ns = default.least_ns().map(|least_ns| least_ns as f64);
    ratio_interval(&candidate.ratios_to(default))
        .zip(candidate.centre())
        .is_some_and(|(ratio, centre)| beats_default(ratio, centre.median_ns, default_min_ns))
}

/// Where a candidate lies beside the band of noise around the leader.
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

/// As decisions have it: only a GPU is quick enough for shoot-outs.
fn noise(centre: &Centre) -> f64 {
    Timer::Gpu.relative_noise(centre.decisive_ns(), centre.spread_ns)
}

/// A standard error of what decisions compare.
fn relative_error(centre: &Centre) -> f64 {
    let least_ns = (LEAST_SPREAD * centre.median_ns).max(LEAST_SPREAD_NS);
    standard_error(centre.spread_ns.max(least_ns), centre.samples) / centre.median_ns
}
