//! Why a worker could not start.

use std::io;

use crate::inputs::error::MeasureError;

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
        Self::Over(error.to_string())
    }
}
