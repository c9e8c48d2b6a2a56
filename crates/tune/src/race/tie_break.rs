//! The tie-break: more rounds where the decision could go either way.
//!
//! The preferred candidate wins a tie, so it wins or loses by the side of the noise band on which
//! it lies. Where its distance from the leader is at the band's edge, within its error, two runs
//! would decide differently. Then both run on, in the same rounds, until the interval of their
//! ratio is clear of the edge or the policy's maximum is reached.
//!
//! So do a winner and a default that it has not yet beaten in shared rounds: of few rounds, one
//! late sample decides otherwise.

use voxtune_cache::decide::{Timer, beats_default, tie_band};

use super::due_rounds::sample_due;
use super::paired::Paired;
use super::policy::Policy;
use super::sampler::Sampler;
use super::samples::{CandidateSamples, Centre};
use super::summarize::ratio_interval;

/// Samples candidates near the band's edge, and the leader, until none is left there. `ranks` is
/// the order of preference in ties; the lowest is preferred.
pub(super) fn tie_break<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    ranks: &[usize],
    default: Option<usize>,
    policy: &Policy,
    sampler: &mut T,
) {
    sample_due(candidates, sampler, |candidates| {
        near_band_edge(candidates, ranks, default, policy)
    });
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
        .map(|(candidate, centre)| {
            let paired = Paired::of(&candidates[*candidate], &candidates[leader]);
            (*candidate, BandPosition::of(centre, &best, paired))
        })
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
    /// By the distance that decisions see. Of too few shared rounds nothing is clear.
    fn of(centre: &Centre, best: &Centre, paired: Option<Paired>) -> Self {
        let distance = centre.decisive_ns() / best.decisive_ns() - 1.0;
        let off = distance - tie_band([centre, best].map(noise));
        if paired.is_none_or(|paired| off.abs() <= paired.error()) {
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
