//! `cargo xtask`: the command line of voxtune, built from this repository.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxtune_cli::run(voxtune_cli::program::IN_REPOSITORY, std::env::args_os())
}
