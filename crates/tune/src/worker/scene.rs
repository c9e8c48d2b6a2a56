//! What a worker is doing, by its own words, and who is to blame when it stops.

use std::time::{Duration, Instant};

use voxtune_cache::Reason;
use voxtune_shape::AlgoId;

use super::exit::Ending;
use super::protocol::Message;
use crate::candidate::Candidate;
use crate::executor::Loss;

/// What runs in the worker, by its own words.
#[derive(Default)]
pub(super) struct Scene {
    field: Vec<Candidate>,
    running: Option<usize>,
    since: Option<Instant>,
    limit: Option<Duration>,
}

impl Scene {
    pub(super) fn turn(&mut self, message: Message) {
        match message {
            Message::Field(candidates) => self.field = candidates,
            Message::Running { candidate, limit } => self.begin(Some(candidate), limit),
            Message::Working { limit } => self.begin(None, limit),
            Message::Ready | Message::Answer(_) | Message::Lost { .. } => {}
        }
    }

    fn begin(&mut self, running: Option<usize>, limit: Duration) {
        (self.running, self.since, self.limit) = (running, Some(Instant::now()), Some(limit));
    }

    pub(super) fn time_left(&self) -> Option<Duration> {
        Some(self.limit?.saturating_sub(self.since?.elapsed()))
    }

    fn candidate(&self) -> Option<Candidate> {
        self.field.get(self.running?).cloned()
    }

    /// The loss of what runs, if it has overrun its limit.
    pub(super) fn hung(&self) -> Option<Loss> {
        if !self.time_left()?.is_zero() {
            return None;
        }
        let seconds = self.limit?.as_secs_f64();
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
        let mut scene = Scene::default();
        assert_eq!(scene.hung(), None, "nothing was said yet, so nothing can be late");
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
