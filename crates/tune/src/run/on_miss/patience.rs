//! How long it is worth to wait for another process.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long no call waits after a wait in vain: the process that holds the lock may be stopped.
const REST: Duration = Duration::from_secs(600);

/// Lost by a wait in vain, and restored by a lock that was free, or by time.
#[derive(Debug, Default)]
pub(super) struct Patience {
    lost_at: Mutex<Option<Instant>>,
}

impl Patience {
    /// The wait that is allowed now: all of it, or none.
    pub(super) fn for_now(&self, wait: Duration) -> Duration {
        self.at(Instant::now(), wait)
    }

    fn at(&self, now: Instant, wait: Duration) -> Duration {
        let lost_at = *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = lost_at.is_some_and(|lost| now.saturating_duration_since(lost) < REST);
        if rests { Duration::ZERO } else { wait }
    }

    /// A wait for another process was in vain.
    pub(super) fn lost(&self) {
        self.set(Some(Instant::now()));
    }

    /// A lock was free.
    pub(super) fn restored(&self) {
        self.set(None);
    }

    fn set(&self, lost_at: Option<Instant>) {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = lost_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f12_after_a_wait_in_vain_nobody_waits_for_a_while() {
        const WAIT: Duration = Duration::from_secs(60);
        let patience = Patience::default();
        let now = Instant::now();
        assert_eq!(patience.at(now, WAIT), WAIT);
        patience.set(Some(now));
        assert_eq!(patience.at(now, WAIT), Duration::ZERO);
        assert_eq!(patience.at(now + REST / 2, WAIT), Duration::ZERO);
        assert_eq!(patience.at(now + REST, WAIT), WAIT);
        patience.restored();
        assert_eq!(patience.at(now, WAIT), WAIT);
    }
}
