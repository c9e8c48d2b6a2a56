//! Exit statuses, and failures that carry one.

use std::fmt::Display;
use std::process::ExitCode;

/// What the status of the process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every requested thing is accounted for.
    Success = 0,
    /// Something failed.
    Failure = 1,
    /// The command line asks for what does not exist or contradicts itself; nothing was written.
    Usage = 2,
    /// The demanded device does not exist.
    NoDevice = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    /// The same, of what a flag says.
    pub(crate) fn at(self, flag: &str) -> Self {
        Self { message: format!("{flag}: {}", self.message), ..self }
    }

    pub(crate) fn failed(message: impl Display) -> Self {
        Self { exit: Exit::Failure, message: message.to_string() }
    }

    pub(crate) fn no_device(message: impl Display) -> Self {
        Self { exit: Exit::NoDevice, message: message.to_string() }
    }
}
