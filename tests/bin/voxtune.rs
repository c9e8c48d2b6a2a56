//! `cargo xtask`, built as a program of the test package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    voxtune_cli::run(std::env::args_os())
}
