//! What runs and times the candidates of a race.

use std::time::Duration;

/// Runs and times candidates.
pub trait Sampler {
    /// Why a run failed.
    type Failure;

    /// Runs one candidate once.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the candidate fails: it leaves the race.
    fn sample(&mut self, candidate: usize) -> Result<u64, Self::Failure>;

    /// Like [`Self::sample`], and compares the result.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the candidate fails or its result is wrong: it leaves the race.
    fn verified_sample(&mut self, candidate: usize) -> Result<u64, Self::Failure> {
        self.sample(candidate)
    }

    /// Time spent on this entry so far.
    fn elapsed(&self) -> Duration;

    /// Whether to stop at once.
    fn interrupted(&self) -> bool {
        false
    }
}
