//! Announces what runs, before it runs.
//!
//! A candidate that takes its process down cannot report itself. Its name is known because it was
//! announced, and so is the time after which it counts as hung.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::inputs::candidate::Candidate;

/// Receives what is about to run.
pub trait Monitor {
    /// Announces the candidates that [`Self::running`] numbers from now on.
    fn announce(&mut self, candidates: &[Candidate]);

    /// An announced candidate runs from now on, and ends within `limit` unless it hangs.
    fn running(&mut self, candidate: usize, limit: Duration);

    /// Work that belongs to no candidate runs from now on, and ends within `limit` unless it hangs.
    fn working(&mut self, limit: Duration);

    /// Whether to stop at once.
    fn interrupted(&self) -> bool;
}

/// A monitor that reports nothing: candidates run in this process.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched<'a> {
    /// Set by anyone to end the run.
    pub interrupt: &'a AtomicBool,
}

impl Monitor for Unwatched<'_> {
    fn announce(&mut self, _candidates: &[Candidate]) {}

    fn running(&mut self, _candidate: usize, _limit: Duration) {}

    fn working(&mut self, _limit: Duration) {}

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// Time limits that grow with the work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// What anything gets.
    pub least: Duration,
    /// Speed of a middling candidate on a middling layer.
    pub flops_per_second: f64,
}

impl Limits {
    /// How much slower than a middling candidate one may be and still not hang.
    const PATIENCE: f64 = 20.0;

    /// What to assume of a device whose speed is not known.
    pub const SLOW_FLOPS_PER_SECOND: f64 = 1e9;

    /// The limit of work of so many floating-point operations.
    #[must_use]
    pub fn of(&self, flops: f64) -> Duration {
        // Hardly anything is measured for a week.
        const LONGEST_SECONDS: f64 = 7.0 * 86_400.0;
        let seconds = flops / self.flops_per_second * Self::PATIENCE;
        self.least + Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_SECONDS))
    }

    /// The limit of setting up what candidates need: clouds, kernel maps, reference results. No
    /// candidate runs there, so this only ends what would otherwise never end.
    #[must_use]
    pub fn of_set_up(&self, flops: f64) -> Duration {
        const LEAST: Duration = Duration::from_secs(600);
        LEAST + self.of(flops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_work() {
        let limits = Limits { least: Duration::from_secs(10), flops_per_second: 1e9 };
        assert_eq!(limits.of(0.0), Duration::from_secs(10));
        assert_eq!(limits.of(1e9), Duration::from_secs(30));
        assert!(limits.of(f64::INFINITY) > Duration::from_secs(86_400));
        assert!(limits.of_set_up(0.0) > limits.of(0.0));
    }
}
