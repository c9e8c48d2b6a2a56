//! `cargo xtask`: the command line of voxtune, built from this repository.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxtune_cli::run(std::env::args_os())
}
