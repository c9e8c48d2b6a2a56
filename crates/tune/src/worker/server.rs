//! The worker's side: executes commands until its supervisor is gone.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use voxtune::{Device, DeviceError};

use super::protocol::{Command, Message, NEW_WORDS, Response, read, write};
use super::{DeviceSpec, Opened};
use crate::inputs::candidate::{Candidate, environment};
use crate::inputs::error::MeasureError;
use crate::inputs::monitor::Monitor;
use crate::measure::session::Session;

/// Serves until the supervisor closes its end, and ends the process.
pub(super) fn serve(
    open: impl FnOnce(&DeviceSpec) -> Result<(Device, Option<String>), DeviceError>,
) -> ! {
    let commands = listen();
    say(&Message::Ready);
    let mut open = Some(open);
    let mut device = None;
    let mut session = None;
    while let Ok(command) = commands.recv() {
        let response = match command {
            Command::Open(spec) => match open.take().map(|open| open(&spec)) {
                Some(Ok((opened, fallback_reason))) => {
                    let response = Response::Opened(describe(&opened, fallback_reason));
                    device = Some(opened);
                    response
                }
                Some(Err(error)) => Response::Refused {
                    not_found: matches!(error, DeviceError::NotFound { .. }),
                    message: error.to_string(),
                },
                None => failed("the device is open"),
            },
            Command::Begin(job) => match (&device, job.read_files()) {
                (Some(device), Ok(job)) => {
                    session = Some(Session::new(device.clone(), job));
                    Response::Begun
                }
                (None, _) => failed("no device is open"),
                (_, Err(why)) => failed(why),
            },
            command => match &mut session {
                Some(session) => work(session, command),
                None => failed("no job is at hand"),
            },
        };
        let is_lost = matches!(response, Response::Failed(MeasureError::Lost(_)));
        say(&Message::Response(response));
        if is_lost {
            break;
        }
    }
    end()
}

fn describe(device: &Device, fallback_reason: Option<String>) -> Opened {
    let algorithms = device.registry().algorithms();
    Opened {
        identity: device.identity().clone(),
        environment: environment(device),
        algorithms: algorithms.map(|algorithm| algorithm.id().clone()).collect(),
        fallback_reason,
    }
}

fn work(session: &mut Session, command: Command) -> Response {
    let monitor = &mut Announcer::default();
    let result = match command {
        Command::Compile { order } => Ok(Response::Compiling { kernels: session.compile(&order) }),
        Command::Estimate { avoid } => session.estimate(&avoid, monitor).map(Response::Estimated),
        Command::Prepare { configuration } => {
            session.prepare(configuration, monitor).map(Response::Prepared)
        }
        Command::Measure(task) => {
            session.measure(&task, monitor).map(|measured| Response::Measured(Box::new(measured)))
        }
        Command::Open(_) | Command::Begin(_) => unreachable!("served by the caller"),
    };
    result.unwrap_or_else(Response::Failed)
}

fn failed(why: impl Into<String>) -> Response {
    Response::Failed(MeasureError::Configuration(why.into()))
}

/// Reads commands in a thread of its own. That thread ends the process when there will be no more
/// commands, whatever runs meanwhile: the supervisor is gone.
fn listen() -> Receiver<Command> {
    let (sender, receiver): (Sender<Command>, _) = channel();
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            match stdin.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => end(),
                Ok(_) => {}
            }
            if let Some(command) = read(&line)
                && sender.send(command).is_err()
            {
                end();
            }
        }
    });
    receiver
}

/// Sends a message. A worker whose supervisor is gone ends.
fn say(message: &Message) {
    if write(&mut io::stdout().lock(), message).is_err() {
        end();
    }
}

/// Ends the process without any cleaning up, which might wait for a kernel that never ends.
fn end() -> ! {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process};
        let _ = kill_process(getpid(), Signal::KILL);
    }
    std::process::abort()
}

/// Tells the supervisor what runs.
#[derive(Default)]
struct Announcer {
    /// Candidates that have run since they were announced.
    tried: BTreeSet<usize>,
}

impl Monitor for Announcer {
    fn announce(&mut self, candidates: &[Candidate]) {
        self.tried.clear();
        say(&Message::Candidates(candidates.to_vec()));
    }

    fn running(&mut self, candidate: usize, limit: Duration) {
        if self.tried.insert(candidate) {
            // What follows on this pipe is this candidate's. If its reader is gone, the next line
            // finds out.
            let _ = io::stderr().lock().write_all(NEW_WORDS);
        }
        say(&Message::Running { candidate, limit });
    }

    fn working(&mut self, limit: Duration) {
        say(&Message::Working { limit });
    }

    fn interrupted(&self) -> bool {
        false
    }
}
