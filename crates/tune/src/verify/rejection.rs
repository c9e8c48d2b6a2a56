//! Why a candidate may not compete.

use std::panic::{AssertUnwindSafe, catch_unwind};

use voxtune::ConvError;
use voxtune_cache::{Outcome, Reason};

use crate::inputs::candidate::Candidate;
use crate::inputs::error::{LostWorker, MeasureError};

/// Why a candidate may not compete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The class of the failure.
    pub reason: Reason,
    /// What was seen.
    pub detail: String,
    /// Whether it took the device with it: later results there mean nothing.
    pub device_lost: bool,
}

impl Rejection {
    /// A rejection that left the device usable.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), device_lost: false }
    }

    /// The error of a candidate that took the device with it.
    pub(crate) fn into_loss(self, candidate: Candidate) -> MeasureError {
        let Self { reason, detail, .. } = self;
        MeasureError::Lost(LostWorker {
            candidate: Some(candidate),
            reason,
            detail,
            from_outside: false,
        })
    }

    /// The outcome that evidence keeps.
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        Outcome::Quarantined { reason: self.reason, detail: self.detail }
    }
}

/// The worst normalised error of a right candidate, or why it may not compete.
pub type Verdict = Result<f64, Rejection>;

/// Runs a candidate and turns its panic into a rejection.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, ConvError>) -> Result<T, Rejection> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(failed),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            let detail = format!("panicked: {}", text.unwrap_or("no message"));
            Err(Rejection::new(Reason::Crash, detail))
        }
    }
}

pub(super) fn failed(error: ConvError) -> Rejection {
    let reason = if error.is_compilation() {
        Reason::CompileError
    } else if error.is_out_of_memory() {
        Reason::OutOfMemory
    } else {
        Reason::LaunchFailure
    };
    Rejection { reason, detail: error.to_string(), device_lost: error.is_device_lost() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_verdicts() {
        let verdict = guarded::<()>(|| panic!("boom {}", 1));
        assert_eq!(verdict.unwrap_err().reason, Reason::Crash);
    }
}
