//! Wall clocks.

use std::time::Duration;

use super::outcome::Anything;

/// The median of some times.
///
/// # Errors
/// If there are none.
pub(crate) fn median(times: &[Duration]) -> Result<Duration, Anything> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    Ok(*sorted.get(times.len() / 2).ok_or("expected at least 1 run, found 0")?)
}
