//! Errors of measurements, executors and workers.

use std::io;

use voxtune_cache::Reason;

use crate::inputs::candidate::Candidate;
use crate::measure::session::SessionError;

/// The loss of a process, and the candidate that ran in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostProcess {
    pub(crate) candidate: Option<Candidate>,
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    /// Whether somebody else may have ended the process, or kept it from going on.
    pub(crate) from_outside: bool,
}

impl LostProcess {
    /// A loss that no candidate caused.
    pub(crate) fn of_nobody(detail: &str) -> Self {
        let detail = detail.to_owned();
        Self { candidate: None, reason: Reason::Crash, detail, from_outside: false }
    }
}

/// Why a measurement has no result.
#[derive(Debug)]
pub(crate) enum MeasureError {
    /// This configuration cannot be measured; others may.
    Configuration(String),
    /// The process is lost; another one will start.
    Lost(LostProcess),
    /// The run was ended from outside.
    Interrupted,
    /// No candidate can run any more.
    Over(ExecutorError),
}

/// Why no candidate can run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// There is no worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A candidate made the device unusable for this process.
    #[error(
        "{who} took the device down: {detail}; with isolation, that would have cost nobody else"
    )]
    DeviceLost {
        /// The candidate, or the step, that did it.
        who: String,
        /// What was seen.
        detail: String,
    },
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The system refused to start it.
    #[error(
        "cannot start a worker process: {0}; candidates can run in this process, unprotected, without isolation"
    )]
    Start(#[source] io::Error),
    /// The process that was started is no worker.
    #[error(
        "the worker process did not say that it is one ({0}): `main` must call \
         `voxtune_tune::worker::serve_if_asked()` first"
    )]
    NoHook(String),
    /// The worker cannot open its device.
    #[error("{message}")]
    Refused {
        /// Whether the device does not exist, rather than not work.
        not_found: bool,
        /// What is missing, and what repairs it.
        message: String,
    },
    /// It ended or fell silent while it opened its device.
    #[error("the worker process ended while it opened its device: {0}")]
    Ended(String),
}

impl From<WorkerError> for MeasureError {
    fn from(error: WorkerError) -> Self {
        Self::Over(error.into())
    }
}

/// In this process, a lost device is the end.
impl From<SessionError> for MeasureError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Configuration(why) => Self::Configuration(why),
            SessionError::DeviceLost { candidate, detail, .. } => {
                let who = candidate.map_or_else(|| "setting up".to_owned(), |id| id.to_string());
                Self::Over(ExecutorError::DeviceLost { who, detail })
            }
        }
    }
}
