//! Why a measurement has no result: the one error from a call that fails to the end of a run.

use serde::{Deserialize, Serialize};
use voxtune::ConvError;
use voxtune_cache::Reason;
use voxtune_pointcloud::CloudError;

use crate::inputs::candidate::Candidate;

/// Why a measurement has no result. It crosses the pipe between a worker and its supervisor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MeasureError {
    /// This configuration cannot be measured here; others may.
    #[error("{0}")]
    Configuration(String),
    /// The process is lost, or its device with it; another process may go on.
    #[error("the worker is lost: {}", .0.detail)]
    Lost(LostWorker),
    /// The run was ended from outside.
    #[error("it was interrupted")]
    Interrupted,
    /// No candidate can run any more.
    #[error("{0}")]
    Over(String),
}

/// A lost process or device, and the candidate that ran on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostWorker {
    /// The candidate; `None` where something else ran, such as the set-up of a cloud.
    pub candidate: Option<Candidate>,
    /// The class of the failure.
    pub reason: Reason,
    /// What was seen.
    pub detail: String,
    /// Whether another process may have caused it.
    pub from_outside: bool,
}

impl LostWorker {
    /// A loss that no candidate caused.
    pub(crate) fn without_candidate(detail: impl Into<String>) -> Self {
        let (reason, detail) = (Reason::LaunchFailure, detail.into());
        Self { candidate: None, reason, detail, from_outside: false }
    }
}

/// A set-up that the device refused.
impl From<ConvError> for MeasureError {
    fn from(error: ConvError) -> Self {
        let detail = error.to_string();
        if error.is_device_lost() {
            Self::Lost(LostWorker::without_candidate(detail))
        } else {
            Self::Configuration(detail)
        }
    }
}

/// A cloud that cannot be had.
impl From<CloudError> for MeasureError {
    fn from(error: CloudError) -> Self {
        Self::Configuration(error.to_string())
    }
}
