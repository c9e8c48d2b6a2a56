//! Candidates that are charged for more than their run.

use std::time::Duration;

use super::sampler::Sampler;

/// A sampler whose candidates are charged for what they read beside the time of their run. So a
/// race compares all of it: who leads, who leaves, who wins a tie.
#[derive(Debug)]
pub struct Charged<'a, T> {
    /// Runs and times candidates.
    pub sampler: &'a mut T,
    /// What each candidate is charged.
    ///
    /// # Units
    /// Nanoseconds.
    pub shares_ns: &'a [u64],
}

impl<T: Sampler> Sampler for Charged<'_, T> {
    type Failure = T::Failure;

    fn sample(&mut self, candidate: usize) -> Result<u64, T::Failure> {
        Ok(self.sampler.sample(candidate)?.saturating_add(self.shares_ns[candidate]))
    }

    fn verified_sample(&mut self, candidate: usize) -> Result<u64, T::Failure> {
        Ok(self.sampler.verified_sample(candidate)?.saturating_add(self.shares_ns[candidate]))
    }

    fn elapsed(&self) -> Duration {
        self.sampler.elapsed()
    }

    fn interrupted(&self) -> bool {
        self.sampler.interrupted()
    }
}

/// A candidate's rounds without its charge.
#[must_use]
pub fn without_share(rounds_ns: &[Option<u64>], share_ns: u64) -> Vec<Option<u64>> {
    rounds_ns.iter().map(|round| round.map(|ns| ns.saturating_sub(share_ns))).collect()
}
