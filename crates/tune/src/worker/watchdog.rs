//! What a worker is doing, by its own words, and who is to blame when it stops.

use std::time::Duration;

use voxtune_cache::Reason;
use voxtune_types::AlgoId;

use super::exit_status::Ending;
use super::protocol::Message;
use super::vitals::Vitals;
use crate::inputs::candidate::Candidate;
use crate::worker::failure::Loss;

/// How often a waiting supervisor looks: whether it is to stop, and how the process is.
const GLANCE: Duration = Duration::from_millis(50);

/// Who wants a processor and has had it for less than half of the time is starved, not hung; so many times as
/// long as its limit at most.
const PATIENCE: u32 = 10;

/// What runs in the worker, by its own words.
pub(super) struct Scene {
    field: Vec<Candidate>,
    running: Option<usize>,
    limit: Duration,
    /// For how long it was listened to in vain.
    silent: Duration,
    /// The process when it was listened to in vain for the first time, and for the last time.
    vitals: Option<(Vitals, Vitals)>,
}

impl Scene {
    /// Before the worker has said anything, for which it has so long.
    pub(super) const fn new(limit: Duration) -> Self {
        Self { field: Vec::new(), running: None, limit, silent: Duration::ZERO, vitals: None }
    }

    pub(super) fn turn(&mut self, message: Message) {
        match message {
            Message::Field(candidates) => self.field = candidates,
            Message::Running { candidate, limit } => self.begin(Some(candidate), limit),
            Message::Working { limit } => self.begin(None, limit),
            Message::Ready | Message::Answer(_) | Message::Lost { .. } => {}
        }
    }

    fn begin(&mut self, running: Option<usize>, limit: Duration) {
        (self.running, self.limit, self.silent) = (running, limit, Duration::ZERO);
        self.vitals = None;
    }

    fn time_left(&self) -> Duration {
        self.limit.saturating_sub(self.silent)
    }

    /// How long to listen before the next look.
    pub(super) fn next_look(&self) -> Duration {
        match self.time_left() {
            Duration::ZERO => GLANCE,
            left => left.min(GLANCE),
        }
    }

    /// Nothing was heard during a look that was to take so long. It counts as that long: if it took longer,
    /// this process was stopped or starved, and the other one most likely with it. Time in which the other one
    /// is stopped does not count at all.
    pub(super) fn heard_nothing(&mut self, look: Duration, vitals: Option<Vitals>) {
        if vitals.is_none_or(|vitals| !vitals.is_stopped) {
            self.silent += look;
        }
        self.vitals = vitals.map(|now| (self.vitals.map_or(now, |(first, _)| first), now));
    }

    /// Whether the process would run, had it a processor.
    fn is_starved(&self) -> bool {
        let Some((first, now)) = self.vitals else { return false };
        let had = now.processor_time.saturating_sub(first.processor_time);
        now.is_runnable && had < self.silent / 2 && self.silent < self.limit * PATIENCE
    }

    /// Whether what runs has overrun its limit, and nobody else is to blame.
    pub(super) fn is_hung(&self) -> bool {
        let is_stopped = self.vitals.is_some_and(|(_, now)| now.is_stopped);
        self.time_left().is_zero() && !is_stopped && !self.is_starved()
    }

    fn candidate(&self) -> Option<Candidate> {
        self.field.get(self.running?).cloned()
    }

    /// The loss of what runs and is hung. It may have been frozen in a way that nobody sees from here, so it
    /// gets a second try.
    pub(super) fn hung(&self) -> Loss {
        let (candidate, detail) = (self.candidate(), self.silence());
        Loss { candidate, reason: Reason::Timeout, detail, from_outside: true }
    }

    /// What is said of a process that is hung.
    pub(super) fn silence(&self) -> String {
        format!("nothing was heard of it for {:.1} s", self.limit.as_secs_f64())
    }

    pub(super) fn ended(&self, ending: Ending) -> Loss {
        let Ending { reason, detail, from_outside } = ending;
        Loss { candidate: self.candidate(), reason, detail, from_outside }
    }

    pub(super) fn lost(&self, id: Option<&AlgoId>, reason: Reason, detail: String) -> Loss {
        let candidate = self.field.iter().find(|candidate| Some(&candidate.id) == id).cloned();
        Loss { candidate, reason, detail, from_outside: false }
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
        let mut scene = Scene::new(2 * SECOND);
        assert!(!scene.is_hung());
        scene.heard_nothing(SECOND, None);
        assert!(!scene.is_hung());
        scene.heard_nothing(SECOND, None);
        assert!(scene.is_hung());
        assert_eq!(scene.hung().candidate, None, "it never said what it does");
        scene.turn(Message::Field(vec![candidate("a"), candidate("b")]));
        scene.turn(Message::Running { candidate: 1, limit: Duration::from_secs(3600) });
        assert!(!scene.is_hung());
        scene.turn(Message::Running { candidate: 1, limit: Duration::ZERO });
        assert!(scene.is_hung());
        let hung = scene.hung();
        assert_eq!((hung.candidate, hung.reason), (Some(candidate("b")), Reason::Timeout));
        assert!(hung.from_outside, "it gets a second try");
        scene.turn(Message::Working { limit: Duration::ZERO });
        assert_eq!(scene.hung().candidate, None, "setting up is nobody's fault");
    }

    #[test]
    fn f18_the_silence_of_a_stopped_process_does_not_count() {
        let mut scene = Scene::new(2 * SECOND);
        let stopped = Some(Vitals { is_stopped: true, ..Vitals::default() });
        (0..100).for_each(|_| scene.heard_nothing(SECOND, stopped));
        assert!(!scene.is_hung());
        // It goes on, and has all of its time.
        scene.heard_nothing(SECOND, waiting(Duration::ZERO));
        assert!(!scene.is_hung());
        scene.heard_nothing(SECOND, waiting(Duration::ZERO));
        assert!(scene.is_hung(), "it hangs without any help");
    }

    #[test]
    fn f18_a_starved_process_does_not_hang_and_a_busy_or_waiting_one_does() {
        let after = |share: f64, is_runnable, seconds: u32| {
            let mut scene = Scene::new(2 * SECOND);
            for second in 0..=seconds {
                let processor_time = (SECOND * second).mul_f64(share);
                let vitals = Vitals { is_stopped: false, is_runnable, processor_time };
                scene.heard_nothing(SECOND, Some(vitals));
            }
            scene.is_hung()
        };
        assert!(!after(0.0, true, 10), "it never had a processor");
        assert!(!after(0.3, true, 10), "others have most of the processors");
        assert!(after(0.0, true, 20), "it is not waited for without end");
        assert!(after(0.9, true, 2), "an endless loop");
        assert!(after(0.0, false, 2), "it waits for what never comes");
    }

    #[test]
    fn f18_a_supervisor_that_is_late_blames_nobody() {
        let mut scene = Scene::new(SECOND);
        // However long the look has really taken.
        scene.heard_nothing(scene.next_look(), None);
        assert_eq!(scene.time_left(), SECOND - GLANCE);
        scene.heard_nothing(scene.time_left(), None);
        assert!(scene.is_hung());
        assert_eq!(scene.next_look(), GLANCE, "nobody looks without a pause");
    }
}
