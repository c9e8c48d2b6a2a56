//! The paired test: by how much one candidate is slower than another.
//!
//! It looks at the ratios of their times in the rounds in which both ran. A drifting clock or a
//! neighbour's load slows both down, and leaves the ratio as it is. The interval of the median
//! ratio is that by which decisions compare a candidate with the default.

use voxtune_cache::Interval;
use voxtune_cache::decide::{NOISE_FLOOR, SURE_ROUNDS};

use super::policy::Policy;
use super::samples::CandidateSamples;
use super::summarize::ratio_interval;

/// What the shared rounds of two candidates say of the ratio of their times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paired {
    ratio: Interval,
    rounds: usize,
}

impl Paired {
    /// The first candidate's time over the second's; `None` of too few rounds.
    pub(super) fn of<F>(own: &CandidateSamples<F>, other: &CandidateSamples<F>) -> Option<Self> {
        let ratios = own.ratios_to(other);
        Some(Self { ratio: ratio_interval(&ratios)?, rounds: ratios.len() })
    }

    /// Whether the first candidate is slower, by more than noise. Few rounds have an interval that
    /// is narrow by luck, so that there the policy says how far noise reaches.
    pub(super) fn is_slower(&self, policy: &Policy) -> bool {
        let is_sure = self.rounds >= SURE_ROUNDS as usize;
        let noise = if is_sure { NOISE_FLOOR } else { policy.noise_of_few };
        self.ratio.low > 1.0 + noise
    }

    /// Whether another ratio is the median, but for noise in few rounds.
    pub(super) fn agrees_with(&self, ratio: f64, policy: &Policy) -> bool {
        (ratio / self.ratio.median).ln().abs() <= policy.noise_of_few.ln_1p()
    }

    /// How far the median may be off, as a fraction of it.
    pub(super) fn error(&self) -> f64 {
        let Interval { low, median, high } = self.ratio;
        (high - median).max(median - low) / median
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of few rounds noise reaches a tenth on a host.
    const HOST: Policy = Policy::with_budget(Duration::ZERO);

    fn paired(own: &[u64], other: &[u64]) -> Option<Paired> {
        let of = |times: &[u64]| CandidateSamples::<()> {
            rounds: times.iter().copied().map(Some).collect(),
            ..CandidateSamples::new()
        };
        Paired::of(&of(own), &of(other))
    }

    #[test]
    fn a_drift_that_both_share_is_no_difference() {
        let drift: Vec<u64> = (0..6).map(|round| 100_000 + 20_000 * round).collect();
        let slower: Vec<u64> = drift.iter().map(|ns| ns * 102 / 100).collect();
        assert!(paired(&slower, &drift).unwrap().is_slower(&HOST));
        assert!(paired(&slower, &drift).unwrap().error() < 1e-4);
        assert!(!paired(&drift, &slower).unwrap().is_slower(&HOST));
    }

    #[test]
    fn of_few_rounds_only_what_no_noise_explains_counts() {
        let is_slower = |by: u64, rounds| {
            paired(&vec![by; rounds], &vec![1_000; rounds]).map(|one| one.is_slower(&HOST))
        };
        assert_eq!([is_slower(2_000, 2), is_slower(1_090, 5)], [None, Some(false)]);
        assert_eq!([is_slower(1_110, 3), is_slower(1_090, 6)], [Some(true); 2]);
        assert_eq!(is_slower(1_009, 11), Some(false));
    }

    #[test]
    fn one_late_sample_widens_the_interval_of_few_rounds() {
        let error = |rounds: usize| {
            let mut own = vec![1_000; rounds];
            own[1] = 1_100;
            paired(&own, &vec![1_000; rounds]).unwrap().error()
        };
        assert!((error(5) - 0.1).abs() < 1e-9, "{}", error(5));
        assert_eq!(error(11), 0.0);
    }
}
