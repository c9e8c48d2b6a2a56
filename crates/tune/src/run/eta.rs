//! Remaining time of a run, from the estimate and the progress so far.

use std::time::Duration;

use crate::measure::estimate::Estimate;
use crate::run::event::Outcome;

/// Remaining time, summed over all devices.
#[derive(Debug, Default)]
pub(crate) struct Eta {
    /// Estimate of each configuration.
    configurations: Vec<Duration>,
    /// Estimate of the configurations that are left.
    ahead: Duration,
    spent: Duration,
    /// Estimate of what was measured.
    expected: Duration,
}

impl Eta {
    pub(crate) fn new(estimate: &Estimate) -> Self {
        let configurations = estimate.configurations.clone();
        Self { configurations, ahead: estimate.total(), ..Self::default() }
    }

    /// The time to come after a configuration that ended like this.
    pub(crate) fn after(&mut self, index: usize, outcome: &Outcome, took: Duration) -> Duration {
        let expected = self.configurations.get(index).copied().unwrap_or_default();
        self.ahead = self.ahead.saturating_sub(expected);
        if *outcome == Outcome::Measured {
            self.spent += took;
            self.expected += expected;
        }
        if self.expected.is_zero() {
            return self.ahead;
        }
        self.ahead.mul_f64(self.spent.as_secs_f64() / self.expected.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_longer_makes_the_rest_longer() {
        let second = Duration::from_secs(1);
        let estimate = Estimate {
            configurations: vec![second, 2 * second, 3 * second],
            peak_bytes: 0,
            flops_per_second: 1.0,
        };
        let mut eta = Eta::new(&estimate);
        assert_eq!(eta.after(1, &Outcome::Skipped, Duration::ZERO), 4 * second);
        assert_eq!(eta.after(0, &Outcome::Measured, 2 * second), 6 * second);
        assert_eq!(eta.after(2, &Outcome::Measured, 6 * second), Duration::ZERO);
    }
}
