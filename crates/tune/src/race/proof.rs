//! The proof: rounds of the leader and the default together.
//!
//! Only who beat the default in rounds that both ran takes its place, and of fewer than
//! [`PROOF_ROUNDS`] rounds any difference may be one late sample. Where a budget ends before, the
//! two run on alone.

use voxtune_cache::decide::PROOF_ROUNDS;

use super::policy::Policy;
use super::sampler::Track;
use super::samples::{Lane, record};
use super::statistics::median;

/// Runs the leader and the default until they have shared enough rounds. A leader that falls behind
/// meanwhile is followed by the next.
pub(super) fn share_rounds<T: Track>(
    field: &mut [Lane<T::Failure>],
    default: Option<usize>,
    policy: &Policy,
    track: &mut T,
) {
    let Some(default) = default else { return };
    for round in 0.. {
        let Some(leader) = unproven_leader(field, default, policy) else { return };
        for step in 0..field.len() {
            let lane = (step + round) % field.len();
            if track.interrupted() {
                return;
            }
            if lane == leader || lane == default {
                record(&mut field[lane], track.sample(lane));
            } else {
                field[lane].rounds.push(None);
            }
        }
    }
}

/// Who leads, unless it is the default or has shared enough rounds with it.
fn unproven_leader<F>(field: &[Lane<F>], default: usize, policy: &Policy) -> Option<usize> {
    let may_win = |lane: &Lane<F>| lane.failure.is_none() && lane.proofs >= policy.proofs;
    if field[default].failure.is_some() {
        return None;
    }
    let runners = field.iter().enumerate().filter(|(_, lane)| may_win(lane));
    let medians = runners.filter_map(|(number, lane)| Some((number, median(&lane.values())?)));
    let (leader, _) = medians.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let shared = field[leader].ratios_to(&field[default]).len();
    (leader != default && shared < PROOF_ROUNDS as usize).then_some(leader)
}
