//! Buffers results between writes.
//!
//! A file is written whole, and grows to megabytes: a write per configuration would take as long as
//! measuring. So results are saved together, often enough that writing takes a twentieth of the
//! time. A configuration is reported only after it is saved.

use std::time::{Duration, Instant};

use crate::run::worker_message::ConfigurationResult;

/// Results wait at most this long.
const LONGEST: Duration = Duration::from_secs(10);

/// How many times as long as the last writing took results wait for the next.
const PATIENCE: u32 = 20;

/// Results that are not saved yet, in their order.
#[derive(Debug)]
pub(crate) struct WriteBuffer {
    /// With the expected end of the run.
    unsaved: Vec<(ConfigurationResult, Instant)>,
    saved_at: Instant,
    /// Time of the last write.
    cost: Duration,
}

impl WriteBuffer {
    /// An empty buffer; the last write took `cost`.
    pub(crate) fn new(cost: Duration) -> Self {
        Self { unsaved: Vec::new(), saved_at: Instant::now(), cost }
    }

    pub(crate) fn push(&mut self, unsaved: ConfigurationResult, end: Instant) {
        self.unsaved.push((unsaved, end));
    }

    /// How many results wait.
    pub(crate) const fn len(&self) -> usize {
        self.unsaved.len()
    }

    /// Whether the results have waited long enough.
    pub(crate) fn is_due(&self) -> bool {
        self.saved_at.elapsed() >= (self.cost * PATIENCE).min(LONGEST)
    }

    /// Takes the waiting results, to be saved now.
    pub(crate) fn take(&mut self) -> Vec<(ConfigurationResult, Instant)> {
        std::mem::take(&mut self.unsaved)
    }

    /// Puts results back that could not be saved, before newer ones.
    pub(crate) fn put_back(&mut self, unsaved: Vec<(ConfigurationResult, Instant)>) {
        self.unsaved.splice(..0, unsaved);
    }

    /// Notes a write, successful or not, and its time.
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
