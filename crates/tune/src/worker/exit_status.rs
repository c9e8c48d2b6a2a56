//! What the end of a worker says about what it ran.

use std::process::ExitStatus;

use voxtune_cache::Reason;

/// The first lines that the worker wrote to stderr since it began to run the current candidate. A
/// backtrace follows them.
#[derive(Debug, Default)]
pub(super) struct StderrExcerpt(Vec<String>);

impl StderrExcerpt {
    const LINES: usize = 4;
    const LINE_CHARS: usize = 300;

    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() < Self::LINES {
            self.0.push(line.chars().take(Self::LINE_CHARS).collect());
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn text(&self) -> String {
        let lines: Vec<&str> = self.0.iter().map(|line| line.trim()).collect();
        let says_something = |line: &&str| {
            !line.is_empty() && !line.starts_with("note: ") && *line != "stack backtrace:"
        };
        lines.into_iter().filter(says_something).collect::<Vec<_>>().join("; ")
    }
}

/// How a worker ended that should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) reason: Reason,
    pub(super) detail: String,
    /// Whether another process may have ended it: what ran need not be to blame.
    pub(super) from_outside: bool,
}

impl Ending {
    pub(super) fn new(status: Option<ExitStatus>, stderr_excerpt: &StderrExcerpt) -> Self {
        let words = stderr_excerpt.text();
        let from_outside = status.is_some_and(is_from_outside);
        // Rust's words before it aborts for want of memory; the system's own way is SIGKILL.
        let out_of_memory = words.contains("memory allocation of") || status.is_some_and(is_killed);
        let mut detail = match status {
            Some(status) => format!("the process ended with {status}"),
            None => "the process cannot be reached".to_owned(),
        };
        if !words.is_empty() {
            detail.push_str(": ");
            detail.push_str(&words);
        }
        let reason = if out_of_memory { Reason::OutOfMemory } else { Reason::Crash };
        Self { reason, detail, from_outside }
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<rustix::process::Signal> {
    use std::os::unix::process::ExitStatusExt as _;
    rustix::process::Signal::from_named_raw(status.signal()?)
}

/// Whether a signal that people and systems send ended the process.
#[cfg(unix)]
fn is_from_outside(status: ExitStatus) -> bool {
    use rustix::process::Signal;
    signal(status).is_some_and(|signal| {
        [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT].contains(&signal)
    })
}

#[cfg(unix)]
fn is_killed(status: ExitStatus) -> bool {
    signal(status) == Some(rustix::process::Signal::KILL)
}

#[cfg(not(unix))]
const fn is_from_outside(_status: ExitStatus) -> bool {
    false
}

#[cfg(not(unix))]
const fn is_killed(_status: ExitStatus) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn ending(raw: i32, lines: &[&str]) -> Ending {
        let mut words = StderrExcerpt::default();
        lines.iter().for_each(|line| words.push(line));
        Ending::new(Some(ExitStatus::from_raw(raw)), &words)
    }

    #[test]
    fn signals_and_last_words_tell_the_reason() {
        let abort = ending(6, &["", "it must not be", "note: run with `RUST_BACKTRACE=1`"]);
        assert_eq!((abort.reason, abort.from_outside), (Reason::Crash, false));
        assert!(abort.detail.contains("SIGABRT") && abort.detail.ends_with(": it must not be"));
        let memory = ending(6, &["memory allocation of 99 bytes failed"]);
        assert_eq!(memory.reason, Reason::OutOfMemory);
        let segfault = ending(11, &[]);
        assert_eq!((segfault.reason, segfault.from_outside), (Reason::Crash, false));
        assert!(segfault.detail.contains("SIGSEGV"), "{}", segfault.detail);
        let killed = ending(9, &[]);
        assert_eq!((killed.reason, killed.from_outside), (Reason::OutOfMemory, true));
        assert!(ending(15, &[]).from_outside);
        let left = ending(3 << 8, &[]);
        assert!(left.detail.contains("exit status: 3") && !left.from_outside, "{}", left.detail);
    }

    #[test]
    fn words_are_few() {
        let mut words = StderrExcerpt::default();
        (0..100).for_each(|number| words.push(&number.to_string()));
        assert_eq!(words.text(), "0; 1; 2; 3");
        words.clear();
        words.push(&"x".repeat(10_000));
        assert_eq!(words.text().len(), StderrExcerpt::LINE_CHARS);
    }
}
