//! What supervisor and worker say to each other.
//!
//! JSON text sequences (RFC 7464): a record separator, a JSON text, a line feed. Whatever else gets
//! into the worker's output, such as what a kernel prints, lies between two of them and is passed
//! over.

use std::io::{self, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use voxtune_types::AlgoId;

use super::{DeviceSpec, Opened};
use crate::evidence::entry::Measured;
use crate::evidence::entry::PreparedEntry;
use crate::inputs::candidate::Candidate;
use crate::inputs::cloud_reference::CloudReference;
use crate::inputs::error::MeasureError;
use crate::measure::estimate::Estimate;
use crate::measure::session::Task;
use crate::plan::job::Job;

const RECORD_SEPARATOR: char = '\u{1e}';

/// The line on the worker's standard error before the words of another candidate.
pub(super) const NEW_WORDS: &[u8] = b"\x1e\n";

/// A command of the supervisor.
#[derive(Serialize, Deserialize)]
pub(super) enum Command {
    /// Open a device.
    Open(DeviceSpec),
    /// Take up a job.
    Begin(Box<Job<CloudReference>>),
    /// Begin to compile what configurations need, in this order.
    Compile { order: Vec<usize> },
    /// Say what the job will need.
    Estimate { avoid: Vec<AlgoId> },
    /// Set a configuration up.
    Prepare { configuration: usize },
    /// Verify and race.
    Measure(Task),
}

/// A message of the worker: a [`Response`] to every command, and before it what it is doing.
#[derive(Serialize, Deserialize)]
pub(super) enum Message {
    /// The worker is one.
    Ready,
    /// The candidates that later messages number.
    Candidates(Vec<Candidate>),
    /// A candidate runs.
    Running { candidate: usize, limit: Duration },
    /// Something runs that is no candidate's.
    Working { limit: Duration },
    /// The command is done.
    Response(Response),
}

/// The result of a command.
#[derive(Serialize, Deserialize)]
pub(super) enum Response {
    /// The device is open.
    Opened(Opened),
    /// It cannot be opened.
    Refused { not_found: bool, message: String },
    /// The job is taken up.
    Begun,
    /// Code is being compiled, for so many candidates.
    Compiling { kernels: usize },
    /// What the job will need.
    Estimated(Estimate),
    /// The entries of a configuration.
    Prepared(Vec<PreparedEntry>),
    /// The results of an entry.
    Measured(Box<Measured>),
    /// There is no result. After a loss the worker ends.
    Failed(MeasureError),
}

/// Writes a message whole.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(message).map_err(io::Error::from)?;
    to.write_all(format!("{RECORD_SEPARATOR}{text}\n").as_bytes())?;
    to.flush()
}

/// The message in a line, if it holds one.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let start = line.iter().rposition(|&byte| byte == RECORD_SEPARATOR as u8)? + 1;
    serde_json::from_slice(&line[start..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_what_is_printed_between_them() {
        let mut pipe = b"a kernel says hello".to_vec();
        let limit = Duration::from_millis(10_500);
        write(&mut pipe, &Message::Running { candidate: 3, limit }).unwrap();
        pipe.extend(b"and that is all\n");
        let failed = MeasureError::Configuration("a \u{1e} in\na text".into());
        write(&mut pipe, &Message::Response(Response::Failed(failed.clone()))).unwrap();
        let lines: Vec<&[u8]> = pipe.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), 4, "a line each, one of text, and nothing behind the last");
        let Some(Message::Running { candidate: 3, limit: found }) = read(lines[0]) else {
            panic!("{:?}", String::from_utf8_lossy(lines[0]));
        };
        assert_eq!(found, limit);
        assert!(read::<Message>(lines[1]).is_none());
        let Some(Message::Response(Response::Failed(error))) = read(lines[2]) else {
            panic!("{:?}", String::from_utf8_lossy(lines[2]));
        };
        assert_eq!(error, failed);
    }
}
