//! Ends of a run that come from outside: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::exit::Failure;
use crate::output;

/// The flag that the first signal sets, so that the run ends and a worker with it, or else after
/// the sample at hand. The second one ends the process. Runs of one process share it.
pub(crate) fn watched() -> Result<Arc<AtomicBool>, Failure> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(Arc::clone(flag));
    }
    let flag = Arc::new(AtomicBool::new(false));
    listen(Arc::clone(&flag))?;
    Ok(Arc::clone(FLAG.get_or_init(|| flag)))
}

fn listen(flag: Arc<AtomicBool>) -> Result<(), Failure> {
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(
                clippy::exit,
                reason = "a second Ctrl-C is asked for in order to end at once"
            )]
            std::process::exit(130);
        }
        output::status("Stopping", "and keeping what is measured; again to end at once");
    })
    .map_err(|error| Failure::failed(format!("failed to listen for Ctrl-C: {error}")))
}

/// Keeps SIGHUP from this process where its caller has it ignored, as nohup does: listening for the
/// signal would undo that. To be called before there are other threads.
pub(crate) fn keep_ignored_hangups() {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::signal::{SigSet, Signal};

        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if ignores(&status, Signal::SIGHUP as i32) {
            let mut hangup = SigSet::empty();
            hangup.add(Signal::SIGHUP);
            // At worst the run ends at a hangup, as it would by default.
            let _ = hangup.thread_block();
        }
    }
}

/// Whether a process ignores a signal, by its `/proc/PID/status`.
#[cfg(any(target_os = "linux", test))]
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f13_what_is_ignored_is_read_from_the_mask() {
        let status = "Name:\ta\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(
            [1, 2, 13, 15].map(|signal| ignores(status, signal)),
            [true, false, true, false]
        );
        assert!(!ignores("", 1) && !ignores("SigIgn:\tx", 1));
    }
}
