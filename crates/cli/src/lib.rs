//! The command line of voxtune: `cargo xtask <command>` in its repository, `voxtune <command>`
//! elsewhere.
//!
//! Thin on purpose: arguments become requests to [`voxtune_tune`] and [`voxtune_cache`], and what
//! they answer becomes text. Results go to stdout, progress and status to stderr. Exit statuses are
//! those of [`exit`].
#![forbid(unsafe_code)]

pub mod cli;
pub mod exit;

mod algo_modes;
mod bench;
mod bench_model;
mod bench_setup;
mod check;
mod cuda_toolkit;
mod duration;
mod explain;
mod fit;
mod folder;
mod forget;
mod inspect;
mod interrupt;
mod json_file;
mod kernel_folders;
mod kernels;
mod l2_state;
mod layers;
mod measured_clouds;
mod merge;
#[cfg(test)]
mod message_tests;
mod migrate;
mod numbers;
mod output;
mod output_file;
mod pack;
mod page;
mod populate;
pub mod program;
mod regret;
mod report;
mod samples_file;
mod selection;
mod styled;
mod texts;
mod verify;
mod versus;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::{Cli, Command};
use exit::Exit;

/// Runs a command line, the program's name first, and returns its exit status. Help and messages
/// call the program `name`: [`program::INSTALLED`] or [`program::IN_REPOSITORY`].
#[must_use]
pub fn run(name: &'static str, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    voxtune_tune::worker::serve_if_asked();
    interrupt::keep_ignored_hangups();
    program::set_name(name);
    let cli = match Cli::parse_as(name, arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout with status 0, complaints to stderr with status 2.
            output::of_parser(&error);
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() };
        }
    };
    if cli.quiet {
        output::be_quiet();
    }
    let result = match cli.command {
        Command::Populate(arguments) => populate::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Forget(arguments) => forget::run(&arguments),
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Regret(arguments) => regret::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Kernels(arguments) => kernels::run(&arguments),
        Command::Fit(arguments) => fit::run(&arguments),
        Command::Pack(arguments) => pack::run(&arguments),
        Command::CudaToolkit(arguments) => cuda_toolkit::run(&arguments),
    };
    match result {
        Ok(Exit::Success) if output::has_failed() => Exit::Failure.into(),
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain("error", &failure.message);
            failure.exit.into()
        }
    }
}
