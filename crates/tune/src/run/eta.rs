//! Remaining time of a run, from the estimate and the progress so far.
//!
//! What is done once for a layer, such as verifying its candidates, falls to the first sizes of a
//! plan, and races to all of them. So both are extrapolated by themselves.

use std::time::Duration;

use crate::evidence::phase_times::PhaseTimes;
use crate::measure::estimate::{ConfigurationEstimate, Estimate};
use crate::run::event::Outcome;

/// Remaining time, summed over all devices.
#[derive(Debug, Default)]
pub(crate) struct Eta {
    configurations: Vec<ConfigurationEstimate>,
    layers: Vec<LayerAhead>,
    /// What is done once for each layer.
    once: Part,
    /// What is done for each configuration.
    each: Part,
}

/// What a layer still needs once.
#[derive(Clone, Copy, Debug)]
struct LayerAhead {
    /// Zero when it is done.
    once: Duration,
    /// Configurations of it that have not ended.
    left: usize,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Estimate of what is left.
    ahead: Duration,
    /// Estimate of what was done.
    expected: Duration,
    /// What that took.
    spent: Duration,
}

impl Part {
    fn done(&mut self, expected: Duration, spent: Duration) {
        self.ahead = self.ahead.saturating_sub(expected);
        self.expected += expected;
        self.spent += spent;
    }

    fn remaining(&self) -> Duration {
        if self.expected.is_zero() {
            return self.ahead;
        }
        self.ahead.mul_f64(self.spent.as_secs_f64() / self.expected.as_secs_f64())
    }
}

impl Eta {
    pub(crate) fn new(estimate: &Estimate) -> Self {
        let once = |&once: &Duration| LayerAhead { once, left: 0 };
        let mut layers: Vec<LayerAhead> = estimate.layers.iter().map(once).collect();
        for one in &estimate.configurations {
            if let Some(layer) = layers.get_mut(one.layer) {
                layer.left += 1;
            }
        }
        let part = |ahead: Duration| Part { ahead, ..Part::default() };
        Self {
            configurations: estimate.configurations.clone(),
            layers,
            once: part(estimate.layers.iter().sum()),
            each: part(estimate.configurations.iter().map(|one| one.each).sum()),
        }
    }

    /// The time to come after a configuration that ended like this.
    pub(crate) fn after(
        &mut self,
        index: usize,
        outcome: &Outcome,
        took: Duration,
        spent: &PhaseTimes,
    ) -> Duration {
        if let Some(&ConfigurationEstimate { each, layer }) = self.configurations.get(index) {
            let once = self.layers.get_mut(layer).map_or(Duration::ZERO, |layer| {
                layer.left = layer.left.saturating_sub(1);
                let due = layer.left == 0 || *outcome == Outcome::Measured;
                if due { std::mem::take(&mut layer.once) } else { Duration::ZERO }
            });
            if *outcome == Outcome::Measured {
                // A kernel is waited for by the first entry that runs it.
                let spent_once = spent.verify + spent.compile;
                self.once.done(once, spent_once);
                self.each.done(each, took.saturating_sub(spent_once));
            } else {
                self.once.ahead = self.once.ahead.saturating_sub(once);
                self.each.ahead = self.each.ahead.saturating_sub(each);
            }
        }
        self.once.remaining() + self.each.remaining()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn eta(each: &[(u32, usize)], once: &[u32]) -> Eta {
        let configuration =
            |&(each, layer): &(u32, usize)| ConfigurationEstimate { each: each * SECOND, layer };
        Eta::new(&Estimate {
            configurations: each.iter().map(configuration).collect(),
            layers: once.iter().map(|&once| once * SECOND).collect(),
            peak_bytes: 0,
            flops_per_second: 1.0,
        })
    }

    fn verifying(seconds: u32) -> PhaseTimes {
        PhaseTimes { verify: seconds * SECOND, ..PhaseTimes::default() }
    }

    #[test]
    fn what_took_longer_makes_the_rest_longer() {
        let mut eta = eta(&[(1, 0), (2, 1), (3, 2)], &[0, 0, 0]);
        let none = PhaseTimes::default();
        let zero = Duration::ZERO;
        assert_eq!(eta.after(1, &Outcome::Skipped, zero, &none), 4 * SECOND);
        assert_eq!(eta.after(0, &Outcome::Measured, 2 * SECOND, &none), 6 * SECOND);
        assert_eq!(eta.after(2, &Outcome::Measured, 6 * SECOND, &none), zero);
    }

    /// Two layers at three sizes, the small ones first: verification takes four times as long as
    /// expected, and races as long. What is left is a second verification and five races, then four
    /// races.
    #[test]
    fn verification_is_counted_once_for_a_layer() {
        let mut eta = eta(&[(1, 0), (1, 1), (2, 0), (2, 1), (4, 0), (4, 1)], &[2, 2]);
        let after = |eta: &mut Eta, index, took: u32, verify| {
            let took = took * SECOND;
            eta.after(index, &Outcome::Measured, took, &verifying(verify)).as_secs_f64()
        };
        assert_eq!(after(&mut eta, 0, 9, 8), 13.0 + 8.0);
        assert_eq!(after(&mut eta, 1, 9, 8), 12.0);
        assert_eq!(after(&mut eta, 2, 2, 0), 10.0);
    }

    /// What a resumed run skips verifies nothing: the first size that is measured does.
    #[test]
    fn a_layer_whose_first_sizes_are_skipped_is_verified_later() {
        let mut eta = eta(&[(1, 0), (1, 1), (1, 0)], &[5, 5]);
        let none = PhaseTimes::default();
        let skip = |eta: &mut Eta, index| eta.after(index, &Outcome::Skipped, SECOND, &none);
        assert_eq!(skip(&mut eta, 0), 12 * SECOND);
        assert_eq!(skip(&mut eta, 1), 6 * SECOND);
        let left = eta.after(2, &Outcome::Measured, 6 * SECOND, &verifying(5));
        assert_eq!(left, Duration::ZERO);
    }
}
