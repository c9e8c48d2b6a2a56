//! Rounds that the leader and the default share.
//!
//! A candidate takes the default's place only by rounds that both ran. Of fewer than
//! [`MIN_SHARED_ROUNDS`] rounds, any difference may be one late sample. Where the budget ends
//! before, the two run on alone.

use voxtune_cache::decide::MIN_SHARED_ROUNDS;

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
    (leader != default && shared < MIN_SHARED_ROUNDS as usize).then_some(leader)
}
