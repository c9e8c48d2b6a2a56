//! What the system says of a process that says nothing itself.

use std::time::Duration;

/// The state of a process at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vitals {
    /// Whether a signal or a debugger has stopped it.
    pub(super) is_stopped: bool,
    /// Whether one of its threads runs or waits for a processor, rather than for anything else.
    pub(super) is_runnable: bool,
    /// How long its threads have had processors since it was started.
    pub(super) processor_time: Duration,
}

impl Vitals {
    /// Those of a process; `None` where the system does not tell.
    #[cfg(target_os = "linux")]
    pub(super) fn of(id: u32) -> Option<Self> {
        let (state, processor_time) =
            parse(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?;
        let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?;
        let runs = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
            Some(parse(&stat)?.0 == 'R')
        };
        let is_runnable = threads.into_iter().any(|thread| runs(thread) == Some(true));
        Some(Self { is_stopped: matches!(state, 'T' | 't'), is_runnable, processor_time })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) const fn of(_id: u32) -> Option<Self> {
        None
    }
}

/// State and processor time out of a line of `/proc/PID/stat`, see proc(5).
#[cfg(any(target_os = "linux", test))]
fn parse(stat: &str) -> Option<(char, Duration)> {
    /// Times there are in ticks of 10 ms, whatever the kernel's own clock is.
    const TICK: Duration = Duration::from_millis(10);
    // The name stands in parentheses and may hold any of them.
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let mut fields = behind_the_name.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut ticks = fields.skip(10).map(|field| field.parse::<u32>().ok());
    let (user, system) = (ticks.next()??, ticks.next()??);
    Some((state, TICK.saturating_mul(user.saturating_add(system))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f18_a_stat_line_tells_state_and_processor_time() {
        let line = "123 (a) T 9 (b) t 1 123 123 0 -1 4194560 99 0 0 0 250 50 7 7 20 0 9 0 5 6";
        assert_eq!(parse(line), Some(('t', Duration::from_secs(3))));
        for torn in ["", "123 (a", "123 (a) R", "123 (a) R 1 2 3 4 5 6 7 8 9 10 x y"] {
            assert_eq!(parse(torn), None, "{torn}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn f18_this_process_runs() {
        let vitals = Vitals::of(std::process::id()).unwrap();
        assert!(vitals.is_runnable && !vitals.is_stopped, "{vitals:?}");
        assert_eq!(Vitals::of(u32::MAX), None);
    }
}
