//! The command line of voxtune. Everything it can do is in the library beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxtune_cli::run(voxtune_cli::program::INSTALLED, std::env::args_os())
}
