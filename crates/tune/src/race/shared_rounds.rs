//! Rounds that the leader and the default share.
//!
//! A candidate takes the default's place only by rounds that both ran. Of fewer than
//! [`MIN_SHARED_ROUNDS`] rounds, any difference may be one late sample. Where the budget ends
//! before, the two run on alone, unless the default stays whatever they prove.

use voxtune_cache::decide::{MIN_SHARED_ROUNDS, NOISE_CEILING};

use super::due_rounds::sample_due;
use super::policy::Policy;
use super::sampler::Sampler;
use super::samples::CandidateSamples;
use super::statistics::median;

/// Samples the leader and the default until they share enough rounds. If the leader falls behind
/// meanwhile, the next leader follows.
pub(super) fn sample_shared_rounds<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    default: Option<usize>,
    policy: &Policy,
    sampler: &mut T,
) {
    let Some(default) = default else { return };
    sample_due(candidates, sampler, |candidates| {
        let leader = leader_lacking_rounds(candidates, default, policy);
        leader.map_or_else(Vec::new, |leader| vec![leader, default])
    });
}

/// The leader, unless it is the default or shares enough rounds with it.
fn leader_lacking_rounds<F>(
    candidates: &[CandidateSamples<F>],
    default: usize,
    policy: &Policy,
) -> Option<usize> {
    let may_win = |candidate: &CandidateSamples<F>| {
        candidate.failure.is_none() && candidate.verified_samples >= policy.verified_samples
    };
    if candidates[default].failure.is_some() {
        return None;
    }
    let runners = candidates.iter().enumerate().filter(|(_, candidate)| may_win(candidate));
    let medians =
        runners.filter_map(|(number, candidate)| Some((number, median(&candidate.values())?)));
    let (leader, _) = medians.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let shared = candidates[leader].ratios_to(&candidates[default]).len();
    let lacks_rounds = leader != default
        && shared < MIN_SHARED_ROUNDS as usize
        && !default_stays(&candidates[default], &candidates[leader], policy);
    lacks_rounds.then_some(leader)
}

/// Whether rounds past the budget are not worth their time. A leader that lost one of the first to
/// the default has that one in the interval of [`MIN_SHARED_ROUNDS`], unless it is so far ahead
/// that this was one late sample. And in two of them it must lead by as much as the policy asks.
pub(super) fn default_stays<F>(
    default: &CandidateSamples<F>,
    leader: &CandidateSamples<F>,
    policy: &Policy,
) -> bool {
    let ratios = leader.ratios_to(default);
    let has_lost = ratios.iter().any(|&ratio| ratio >= 1.0)
        && ratios.iter().all(|&ratio| ratio * (1.0 + NOISE_CEILING) >= 1.0);
    let leads_by = median(&ratios).map_or(f64::INFINITY, |ratio| 1.0 / ratio - 1.0);
    has_lost || ratios.len() > 1 && leads_by < policy.least_lead
}
