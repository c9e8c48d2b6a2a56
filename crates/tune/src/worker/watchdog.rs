//! What a worker is doing, by its own words, and who is to blame when it stops.

use std::time::Duration;

use voxtune_cache::Reason;
use voxtune_types::AlgoId;

use super::exit_status::Ending;
use super::protocol::Message;
use crate::inputs::candidate::Candidate;
use crate::worker::failure::Loss;

/// How long a look takes at most on a busy host.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// What runs in the worker, by its own words.
pub(super) struct Scene {
    field: Vec<Candidate>,
    running: Option<usize>,
    limit: Duration,
    /// For how long it was listened to in vain.
    silent: Duration,
}

impl Scene {
    /// Before the worker has said anything, for which it has so long.
    pub(super) const fn new(limit: Duration) -> Self {
        Self { field: Vec::new(), running: None, limit, silent: Duration::ZERO }
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
    }

    pub(super) fn time_left(&self) -> Duration {
        self.limit.saturating_sub(self.silent)
    }

    /// Nothing was heard while this process listened for so long. Time in which it did not, since somebody
    /// stopped it, is nobody's fault: a look that took long counts as one of [`LONGEST_LOOK`].
    pub(super) fn heard_nothing_for(&mut self, time: Duration) {
        self.silent += time.min(LONGEST_LOOK);
    }

    fn candidate(&self) -> Option<Candidate> {
        self.field.get(self.running?).cloned()
    }

    /// The loss of what runs, if it has overrun its limit.
    pub(super) fn hung(&self) -> Option<Loss> {
        if !self.time_left().is_zero() {
            return None;
        }
        let seconds = self.limit.as_secs_f64();
        Some(Loss {
            candidate: self.candidate(),
            reason: Reason::Timeout,
            detail: format!("nothing was heard of it for {seconds:.1} s"),
            from_outside: false,
        })
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

    #[test]
    fn whoever_overruns_its_limit_is_named() {
        let mut scene = Scene::new(Duration::from_secs(2));
        assert_eq!(scene.hung(), None);
        // Stopped for a minute, and at work again.
        scene.heard_nothing_for(Duration::from_secs(60));
        assert_eq!(scene.hung(), None);
        scene.heard_nothing_for(Duration::from_secs(1));
        assert_eq!(scene.hung().unwrap().candidate, None, "it never said what it does");
        let candidate = |name: &str| Candidate {
            id: name.parse().unwrap(),
            kernel_hash: voxtune::KernelHash::new(1),
            default: false,
            requires: None,
        };
        scene.turn(Message::Field(vec![candidate("a"), candidate("b")]));
        scene.turn(Message::Running { candidate: 1, limit: Duration::from_secs(3600) });
        assert_eq!(scene.hung(), None);
        scene.turn(Message::Running { candidate: 1, limit: Duration::ZERO });
        let hung = scene.hung().unwrap();
        assert_eq!((hung.candidate, hung.reason), (Some(candidate("b")), Reason::Timeout));
        scene.turn(Message::Working { limit: Duration::ZERO });
        assert_eq!(scene.hung().unwrap().candidate, None, "setting up is nobody's fault");
    }
}
