//! Tracks the candidate the worker last reported, to attribute a hang or crash.

use std::time::Duration;

use voxtune_cache::Reason;

use super::exit_status::Ending;
use super::protocol::Message;
use super::vitals::Vitals;
use crate::inputs::candidate::Candidate;
use crate::inputs::error::LostWorker;

/// How often a waiting supervisor polls the interrupt flag and the process.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A runnable process with less than half of the processor time is starved, not hung. It gets at
/// most this many times its limit.
const PATIENCE: u32 = 10;

/// What the worker last reported, and how long it has been silent.
pub(super) struct Watchdog {
    candidates: Vec<Candidate>,
    running: Option<usize>,
    limit: Duration,
    /// Time without a message.
    silent: Duration,
    /// State of the process at the first and at the last poll without a message.
    vitals: Option<(Vitals, Vitals)>,
}

impl Watchdog {
    /// Before the first message, for which the worker has `limit`.
    pub(super) const fn new(limit: Duration) -> Self {
        Self { candidates: Vec::new(), running: None, limit, silent: Duration::ZERO, vitals: None }
    }

    /// Tracks what the worker reports.
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::Candidates(candidates) => self.candidates = candidates,
            Message::Running { candidate, limit } => self.begin(Some(candidate), limit),
            Message::Working { limit } => self.begin(None, limit),
            Message::Ready | Message::Response(_) => {}
        }
    }

    fn begin(&mut self, running: Option<usize>, limit: Duration) {
        (self.running, self.limit, self.silent) = (running, limit, Duration::ZERO);
        self.vitals = None;
    }

    fn time_left(&self) -> Duration {
        self.limit.saturating_sub(self.silent)
    }

    /// How long to wait before the next poll.
    pub(super) fn next_look(&self) -> Duration {
        match self.time_left() {
            Duration::ZERO => POLL_INTERVAL,
            left => left.min(POLL_INTERVAL),
        }
    }

    /// Counts a poll without a message as `look` long. If it took longer, this process was stopped
    /// or starved, and the worker most likely too. Time in which the worker is stopped does not
    /// count.
    pub(super) fn heard_nothing(&mut self, look: Duration, vitals: Option<Vitals>) {
        if vitals.is_none_or(|vitals| !vitals.is_stopped) {
            self.silent += look;
        }
        self.vitals = vitals.map(|now| (self.vitals.map_or(now, |(first, _)| first), now));
    }

    /// Whether the process would run if it had a processor.
    fn is_starved(&self) -> bool {
        let Some((first, now)) = self.vitals else { return false };
        let had = now.processor_time.saturating_sub(first.processor_time);
        now.is_runnable && had < self.silent / 2 && self.silent < self.limit * PATIENCE
    }

    /// Whether the worker has overrun its limit, through no other process.
    pub(super) fn is_hung(&self) -> bool {
        let is_stopped = self.vitals.is_some_and(|(_, now)| now.is_stopped);
        self.time_left().is_zero() && !is_stopped && !self.is_starved()
    }

    fn candidate(&self) -> Option<Candidate> {
        self.candidates.get(self.running?).cloned()
    }

    /// The loss of a hung worker. It may have been frozen in a way that cannot be seen from here,
    /// so its candidate gets a second try.
    pub(super) fn hung(&self) -> LostWorker {
        let (candidate, detail) = (self.candidate(), self.silence());
        LostWorker { candidate, reason: Reason::Timeout, detail, from_outside: true }
    }

    /// What is said of a process that is hung.
    pub(super) fn silence(&self) -> String {
        format!("nothing was heard of it for {:.1} s", self.limit.as_secs_f64())
    }

    pub(super) fn ended(&self, ending: Ending) -> LostWorker {
        let Ending { reason, detail, from_outside } = ending;
        LostWorker { candidate: self.candidate(), reason, detail, from_outside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn candidate(name: &str) -> Candidate {
        Candidate {
            id: name.parse().unwrap(),
            kernel_hash: voxtune::KernelHash::new(1),
            default: false,
            requires: None,
        }
    }

    /// A process that has had processors for so long, and waits for something else than one.
    fn waiting(processor_time: Duration) -> Option<Vitals> {
        Some(Vitals { processor_time, ..Vitals::default() })
    }

    #[test]
    fn whoever_overruns_its_limit_is_named() {
        let mut watchdog = Watchdog::new(2 * SECOND);
        assert!(!watchdog.is_hung());
        watchdog.heard_nothing(SECOND, None);
        assert!(!watchdog.is_hung());
        watchdog.heard_nothing(SECOND, None);
        assert!(watchdog.is_hung());
        assert_eq!(watchdog.hung().candidate, None, "it never said what it does");
        watchdog.on_message(Message::Candidates(vec![candidate("a"), candidate("b")]));
        watchdog.on_message(Message::Running { candidate: 1, limit: Duration::from_secs(3600) });
        assert!(!watchdog.is_hung());
        watchdog.on_message(Message::Running { candidate: 1, limit: Duration::ZERO });
        assert!(watchdog.is_hung());
        let hung = watchdog.hung();
        assert_eq!((hung.candidate, hung.reason), (Some(candidate("b")), Reason::Timeout));
        assert!(hung.from_outside, "it gets a second try");
        watchdog.on_message(Message::Working { limit: Duration::ZERO });
        assert_eq!(watchdog.hung().candidate, None, "setting up is nobody's fault");
    }

    #[test]
    fn f18_the_silence_of_a_stopped_process_does_not_count() {
        let mut watchdog = Watchdog::new(2 * SECOND);
        let stopped = Some(Vitals { is_stopped: true, ..Vitals::default() });
        (0..100).for_each(|_| watchdog.heard_nothing(SECOND, stopped));
        assert!(!watchdog.is_hung());
        // It goes on, and has all of its time.
        watchdog.heard_nothing(SECOND, waiting(Duration::ZERO));
        assert!(!watchdog.is_hung());
        watchdog.heard_nothing(SECOND, waiting(Duration::ZERO));
        assert!(watchdog.is_hung(), "it hangs without any help");
    }

    #[test]
    fn f18_a_starved_process_does_not_hang_and_a_busy_or_waiting_one_does() {
        let after = |share: f64, is_runnable, seconds: u32| {
            let mut watchdog = Watchdog::new(2 * SECOND);
            for second in 0..=seconds {
                let processor_time = (SECOND * second).mul_f64(share);
                let vitals = Vitals { is_stopped: false, is_runnable, processor_time };
                watchdog.heard_nothing(SECOND, Some(vitals));
            }
            watchdog.is_hung()
        };
        assert!(!after(0.0, true, 10), "it never had a processor");
        assert!(!after(0.3, true, 10), "others have most of the processors");
        assert!(after(0.0, true, 20), "it is not waited for without end");
        assert!(after(0.9, true, 2), "an endless loop");
        assert!(after(0.0, false, 2), "it waits for what never comes");
    }

    #[test]
    fn f18_a_supervisor_that_is_late_blames_nobody() {
        let mut watchdog = Watchdog::new(SECOND);
        // However long the look has really taken.
        watchdog.heard_nothing(watchdog.next_look(), None);
        assert_eq!(watchdog.time_left(), SECOND - POLL_INTERVAL);
        watchdog.heard_nothing(watchdog.time_left(), None);
        assert!(watchdog.is_hung());
        assert_eq!(watchdog.next_look(), POLL_INTERVAL, "nobody looks without a pause");
    }
}
