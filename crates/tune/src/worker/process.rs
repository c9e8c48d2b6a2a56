//! The supervisor's side: starts the worker, listens to it, and ends it when it hangs.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune_cache::Environment;
use voxtune_types::{AlgoId, DeviceIdentity};

use super::exit_status::{Ending, StderrExcerpt};
use super::protocol::{Command, Message, NEW_WORDS, Response, read, write};
use super::vitals::Vitals;
use super::watchdog::Watchdog;
use super::{ASKED, DeviceSpec};
use crate::inputs::error::{LostWorker, MeasureError};
use crate::worker::failure::WorkerError;

/// How long a program gets to say that it is a worker.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a worker gets to open its device. A busy host with many GPUs takes tens of seconds, and
/// the kernel of the kernel map may have to be compiled.
const OPEN_WITHIN: Duration = Duration::from_secs(300);

/// How long a worker gets to report what it does after a command: it may read scans again first.
const BEGIN_WITHIN: Duration = Duration::from_secs(600);

/// How long a worker that has fallen silent gets to end by itself.
const END_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait for its stderr after its end.
const WORDS_WITHIN: Duration = Duration::from_millis(200);

/// How long to sleep between two looks at a process that is about to end.
const NAP: Duration = Duration::from_millis(1);

/// A worker's device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// What measurements on it are valid for.
    pub identity: DeviceIdentity,
    /// The software around them.
    pub environment: Environment,
    /// Every algorithm of its registry.
    pub algorithms: Vec<AlgoId>,
    /// Why it is not the device that was asked for, if it is not.
    pub fallback_reason: Option<String>,
}

/// A process that runs candidates, started anew after each failure.
#[derive(Debug)]
pub struct Worker {
    spec: DeviceSpec,
    opened: Opened,
    running: Option<Running>,
}

impl Worker {
    /// Starts a worker, which opens its device.
    ///
    /// # Errors
    /// If it cannot be started, is no worker, or cannot have its device.
    pub fn start(spec: &DeviceSpec) -> Result<Self, WorkerError> {
        let (running, opened) = Running::start(spec)?;
        Ok(Self { spec: spec.clone(), opened, running: Some(running) })
    }

    /// The device that it runs candidates on.
    #[must_use]
    pub const fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Whether the process is there: after a failure it is not, until it is needed again.
    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The number of the process, if it is there.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Ends the process, until it is needed again.
    pub(crate) fn end(&mut self) {
        self.running = None;
    }

    /// Starts the process again.
    pub(crate) fn restart(&mut self) -> Result<(), WorkerError> {
        self.running = None;
        let (running, device) = Running::start(&self.spec)?;
        if device.identity != self.opened.identity {
            let (was, is) = (&self.opened.identity, &device.identity);
            return Err(WorkerError::Ended(format!("the device was {was} and is {is}")));
        }
        self.running = Some(running);
        Ok(())
    }

    /// Has a command done. Whatever goes wrong, the process is gone afterwards.
    pub(super) fn call(
        &mut self,
        command: &Command,
        interrupt: &AtomicBool,
    ) -> Result<Response, MeasureError> {
        let Some(mut running) = self.running.take() else {
            return Err(MeasureError::Lost(LostWorker::without_candidate(
                "the worker is not running",
            )));
        };
        let response = running.call(command, interrupt)?;
        self.running = Some(running);
        Ok(response)
    }
}

/// A worker's process. Dropping it ends it.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Absent once the worker is to end.
    commands: Option<ChildStdin>,
    messages: Receiver<Message>,
    stderr_excerpt: Arc<Mutex<StderrExcerpt>>,
    listener: Option<JoinHandle<()>>,
}

/// The result of a poll.
enum Heard {
    Message(Message),
    /// Nothing yet.
    Nothing,
    /// Nothing for longer than it may take, in words.
    Hung(String),
    /// It will not say anything any more.
    End,
}

impl Running {
    fn start(spec: &DeviceSpec) -> Result<(Self, Opened), WorkerError> {
        if std::env::var_os(ASKED).is_some() {
            // This process is itself a worker and does not know.
            return Err(WorkerError::NoHook(format!("{ASKED} is set")));
        }
        let mut running = Self::spawn(spec).map_err(WorkerError::Start)?;
        match running.hear_within(READY_WITHIN) {
            Heard::Message(Message::Ready) => {}
            Heard::Message(_) | Heard::Nothing => {
                return Err(WorkerError::NoHook("it said something else".to_owned()));
            }
            Heard::Hung(silence) => return Err(WorkerError::NoHook(silence)),
            Heard::End => return Err(WorkerError::NoHook(running.ending().detail)),
        }
        let open = Command::Open(spec.clone());
        if running.send(&open).is_err() {
            return Err(WorkerError::Ended(running.ending().detail));
        }
        match running.hear_within(OPEN_WITHIN) {
            Heard::Message(Message::Response(Response::Opened(device))) => Ok((running, device)),
            Heard::Message(Message::Response(Response::Refused { not_found, message })) => {
                Err(WorkerError::Refused { not_found, message })
            }
            Heard::Message(_) | Heard::Nothing => {
                Err(WorkerError::Ended("it said something else".to_owned()))
            }
            Heard::Hung(silence) => Err(WorkerError::Ended(silence)),
            Heard::End => Err(WorkerError::Ended(running.ending().detail)),
        }
    }

    fn spawn(spec: &DeviceSpec) -> io::Result<Self> {
        let program = spec.worker.clone().map_or_else(this_program, Ok)?;
        let mut command = std::process::Command::new(program);
        command.env(ASKED, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            // Ctrl-C on a terminal is for the supervisor, which ends the worker in its own time.
            command.process_group(0).arg0("voxtune-worker");
        }
        let mut child = command.spawn()?;
        let (sender, messages) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for_each_line(stdout, |line| match read(line) {
                    Some(message) => sender.send(message).is_ok(),
                    None => true,
                });
            });
        }
        let stderr_excerpt = Arc::<Mutex<StderrExcerpt>>::default();
        let listener = child.stderr.take().map(|stderr| {
            let stderr_excerpt = Arc::clone(&stderr_excerpt);
            std::thread::spawn(move || {
                for_each_line(stderr, |line| {
                    if line.ends_with(NEW_WORDS) {
                        locked(&stderr_excerpt).clear();
                    } else {
                        locked(&stderr_excerpt).push(&String::from_utf8_lossy(line));
                    }
                    true
                });
            })
        });
        Ok(Self { commands: child.stdin.take(), child, messages, stderr_excerpt, listener })
    }

    fn send(&mut self, command: &Command) -> io::Result<()> {
        match &mut self.commands {
            Some(pipe) => write(pipe, command),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn call(
        &mut self,
        command: &Command,
        interrupt: &AtomicBool,
    ) -> Result<Response, MeasureError> {
        let mut watchdog = Watchdog::new(BEGIN_WITHIN);
        if self.send(command).is_err() {
            return Err(MeasureError::Lost(watchdog.ended(self.ending())));
        }
        loop {
            if interrupt.load(Ordering::Relaxed) {
                return Err(MeasureError::Interrupted);
            }
            match self.look(&mut watchdog) {
                Heard::Message(Message::Response(Response::Failed(MeasureError::Lost(loss)))) => {
                    return Err(MeasureError::Lost(loss));
                }
                Heard::Message(Message::Response(response)) => return Ok(response),
                Heard::Message(message) => watchdog.on_message(message),
                Heard::Nothing => {}
                Heard::Hung(_) => return Err(MeasureError::Lost(watchdog.hung())),
                Heard::End => return Err(MeasureError::Lost(watchdog.ended(self.ending()))),
            }
        }
    }

    /// Waits for a message until the next poll.
    fn look(&mut self, watchdog: &mut Watchdog) -> Heard {
        let look = watchdog.next_look();
        match self.messages.recv_timeout(look) {
            Ok(message) => Heard::Message(message),
            Err(RecvTimeoutError::Disconnected) => Heard::End,
            Err(RecvTimeoutError::Timeout) => {
                watchdog.heard_nothing(look, Vitals::of(self.child.id()));
                if watchdog.is_hung() { Heard::Hung(watchdog.silence()) } else { Heard::Nothing }
            }
        }
    }

    /// The next message, or nothing within the limit.
    fn hear_within(&mut self, limit: Duration) -> Heard {
        let mut watchdog = Watchdog::new(limit);
        loop {
            match self.look(&mut watchdog) {
                Heard::Nothing => {}
                heard => return heard,
            }
        }
    }

    /// How the process ended.
    fn ending(&mut self) -> Ending {
        self.commands = None;
        let mut status = None;
        // Naps are counted, and no time: this process may be stopped meanwhile.
        for _ in 0..END_WITHIN.as_millis() {
            status = self.child.try_wait().ok().flatten();
            if status.is_some() {
                break;
            }
            std::thread::sleep(NAP);
        }
        self.drain_stderr();
        Ending::new(status, &locked(&self.stderr_excerpt))
    }

    /// Waits for what the process wrote before its end. A child of its own may hold the pipe open.
    fn drain_stderr(&mut self) {
        for _ in 0..WORDS_WITHIN.as_millis() {
            if self.listener.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(NAP);
        }
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        self.commands = None;
        // An error says that it has ended already.
        let _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn locked(words: &Mutex<StderrExcerpt>) -> MutexGuard<'_, StderrExcerpt> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program of this very process, even where its file has been replaced or removed meanwhile.
fn this_program() -> io::Result<PathBuf> {
    let alive = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && alive.symlink_metadata().is_ok() {
        return Ok(alive);
    }
    let program = std::env::current_exe()?;
    if program.as_os_str() == OsStr::new("") {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(program)
}

/// Calls `take` with each line until it has enough or there are no more.
fn for_each_line(pipe: impl io::Read, mut take: impl FnMut(&[u8]) -> bool) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
        if !take(&line) {
            break;
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program of these tests does not call the hook. Started as a worker it runs them all,
    /// this one among them. There it must end: a worker without the hook starts no further ones.
    #[test]
    fn a_program_without_the_hook_is_found_out() {
        let error = Worker::start(&DeviceSpec::default()).unwrap_err();
        assert!(matches!(error, WorkerError::NoHook(_)), "{error}");
        assert!(error.to_string().contains("serve_if_asked"), "{error}");
    }
}
