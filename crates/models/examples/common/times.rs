//! The first run of a program beside those that follow.

use std::fmt;
use std::time::Duration;

use super::outcome::Anything;

/// How long something took the first time, and then.
pub(crate) struct Times {
    first: Duration,
    /// The median of the later runs.
    steady: Duration,
    later_runs: usize,
}

impl Times {
    /// Of runs in their order.
    ///
    /// # Errors
    /// If there are fewer than two.
    pub(crate) fn of(runs: &[Duration]) -> Result<Self, Anything> {
        let [first, later @ ..] = runs else { return Err("expected 2 runs or more".into()) };
        let mut sorted = later.to_vec();
        sorted.sort_unstable();
        let steady = *sorted.get(later.len() / 2).ok_or("expected 2 runs or more, found 1")?;
        Ok(Self { first: *first, steady, later_runs: later.len() })
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, steady, later_runs } = self;
        let ratio = first.as_secs_f64() / steady.as_secs_f64();
        write!(
            f,
            "first {first:.3?}, steady {steady:.3?} (median of {later_runs}), ratio {ratio:.2}"
        )
    }
}
