//! The worker of tests whose candidates are faulty.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxtune_tune::worker::serve_if_asked_with(voxtune_tests::faulty::open);
    // Nobody but a test has a use for it.
    ExitCode::FAILURE
}
