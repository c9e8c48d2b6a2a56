//! `cargo xtask`, built as a program of the test package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxtune_cli::run(voxtune_cli::program::IN_REPOSITORY, std::env::args_os())
}
