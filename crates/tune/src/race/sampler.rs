//! What a race takes its samples from.

use std::time::Duration;

/// What the racers run on.
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

    /// The same, of a run whose result is proven right.
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
