//! How an example ends.

use std::process::ExitCode;

/// Whatever goes wrong.
pub(crate) type Anything = Box<dyn std::error::Error>;

/// Failure if there was an error, which is then printed.
pub(crate) fn exit_code(outcome: Result<(), Anything>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
