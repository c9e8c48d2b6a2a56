//! Results on their way to disk.
//!
//! A file is written whole, and grows to megabytes: to write it after each configuration would take as
//! long as to measure. So results are saved together, as often as that costs a twentieth of the time, and
//! nobody is told of a configuration before it is saved.

use std::time::{Duration, Instant};

use crate::evidence::entry::Measured;
use crate::run::event::Outcome;

/// Results wait at most this long.
const LONGEST: Duration = Duration::from_secs(10);

/// How many times as long as the last writing took results wait for the next.
const PATIENCE: u32 = 20;

/// A configuration that ended and is not saved yet.
#[derive(Debug)]
pub(crate) struct PendingResult {
    pub(crate) index: usize,
    pub(crate) outcome: Outcome,
    pub(crate) measured: Vec<Measured>,
    /// Expected time until the end of the run.
    pub(crate) remaining: Duration,
}

/// Configurations that ended and are not saved yet, in their order.
#[derive(Debug)]
pub(crate) struct WriteBuffer {
    unsaved: Vec<PendingResult>,
    saved_at: Instant,
    /// What the last writing took.
    cost: Duration,
}

impl WriteBuffer {
    /// An empty one, after a writing that took so long.
    pub(crate) fn new(cost: Duration) -> Self {
        Self { unsaved: Vec::new(), saved_at: Instant::now(), cost }
    }

    pub(crate) fn push(&mut self, unsaved: PendingResult) {
        self.unsaved.push(unsaved);
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.unsaved.len()
    }

    /// Whether what waits has waited long enough.
    pub(crate) fn is_due(&self) -> bool {
        self.saved_at.elapsed() >= (self.cost * PATIENCE).min(LONGEST)
    }

    /// What waits, to be saved now.
    pub(crate) fn take(&mut self) -> Vec<PendingResult> {
        std::mem::take(&mut self.unsaved)
    }

    /// It could not be saved, and waits again, before what has come since.
    pub(crate) fn put_back(&mut self, unsaved: Vec<PendingResult>) {
        self.unsaved.splice(..0, unsaved);
    }

    /// It was saved, or that was tried, and that took so long.
    pub(crate) fn saved(&mut self, cost: Duration) {
        (self.saved_at, self.cost) = (Instant::now(), cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_writes_are_not_put_off_and_dear_ones_not_for_long() {
        assert!(WriteBuffer::new(Duration::ZERO).is_due());
        let mut write_buffer = WriteBuffer::new(Duration::from_secs(3));
        assert!(!write_buffer.is_due());
        write_buffer.saved_at = Instant::now().checked_sub(LONGEST).unwrap();
        assert!(
            write_buffer.is_due(),
            "three seconds of writing are worth a minute, but nobody waits that long"
        );
        write_buffer.saved(Duration::from_millis(100));
        assert!(!write_buffer.is_due());
        write_buffer.saved_at = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        assert!(write_buffer.is_due());
    }
}
