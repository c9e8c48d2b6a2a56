//! The commands.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench::BenchArguments;
use crate::check::CheckArguments;
use crate::cuda_toolkit::CudaToolkitArguments;
use crate::explain::ExplainArguments;
use crate::forget::ForgetArguments;
use crate::inspect::InspectArguments;
use crate::kernels::KernelsArguments;
use crate::merge::MergeArguments;
use crate::migrate::MigrateArguments;
use crate::pack::PackArguments;
use crate::populate::PopulateArguments;
use crate::regret::RegretArguments;
use crate::report::ReportArguments;
use crate::verify::VerifyArguments;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    about = "Measures sparse convolution kernels and keeps what won",
    help_expected = true,
    max_term_width = 100,
    version
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The description of the command line of a program of this name.
    fn command_of(program: &'static str) -> clap::Command {
        Self::command().name(program).bin_name(program)
    }

    /// Parses a command line, the program's name first.
    pub(crate) fn parse_as(
        program: &'static str,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> clap::error::Result<Self> {
        let mut command = Self::command_of(program);
        let matches = command.try_get_matches_from_mut(arguments)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a grid of layers and write the winners into the cache
    Populate(Box<PopulateArguments>),
    /// Show what caches hold
    Inspect(InspectArguments),
    /// Say which algorithm a layer runs, and why
    Explain(Box<ExplainArguments>),
    /// Remove entries from a cache, so that they are measured again
    Forget(ForgetArguments),
    /// Bring the evidence of several caches together
    Merge(MergeArguments),
    /// Bring cache files of earlier format versions to the current one
    Migrate(MigrateArguments),
    /// Audit caches without a device: exit 1 for what is wrong
    Verify(Box<VerifyArguments>),
    /// Measure how much slower stored choices are than the best that there is
    Regret(RegretArguments),
    /// Show caches, regret and benches as one page of HTML
    Report(ReportArguments),
    /// Check every kernel of a GPU against float64 and the host
    Check(CheckArguments),
    /// Time layers on clouds, beside the device's ceilings and other libraries' times
    Bench(Box<BenchArguments>),
    /// Compile the CUDA kernels of a preset, without a GPU
    Kernels(KernelsArguments),
    /// Make the kernel packs that ship, without a GPU
    Pack(PackArguments),
    /// Install NVIDIA's compiler from its Python wheels, without administrator rights
    CudaToolkit(CudaToolkitArguments),
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::program::{IN_REPOSITORY, INSTALLED};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_and_complaints_name_the_program() {
        for program in [INSTALLED, IN_REPOSITORY] {
            let parse = |arguments: &[&str]| {
                let all = std::iter::once(&program).chain(arguments).map(OsString::from);
                Cli::parse_as(program, all).unwrap_err().to_string()
            };
            let help = parse(&["populate", "--help"]);
            assert!(help.contains(&format!("Usage: {program} populate ")), "{help}");
            let complaint = parse(&["populate", "--no-such-flag"]);
            assert!(complaint.contains(&format!("Usage: {program} populate ")), "{complaint}");
            assert!(parse(&["--version"]).starts_with(&format!("{program} ")));
        }
    }

    /// `docs/reference/commands.md`: each command's help.
    fn reference() -> String {
        let mut command = Cli::command_of(IN_REPOSITORY).term_width(100);
        command.build();
        let mut text = "# Commands\n\nEach command with its flags, as `--help` prints them. Inside the \
            repository they are `cargo xtask …`, elsewhere\n`voxtune …`. `cargo test -p voxtune-cli` \
            writes this page anew.\n\nExit status: 0 everything was done, 1 something failed or is \
            wrong, 2 the command line makes no sense, 3 no such device.\nResults go to stdout, \
            progress and status to stderr.\n"
            .to_owned();
        for command in command.get_subcommands_mut().filter(|one| one.get_name() != "help") {
            let help = command.render_long_help().to_string();
            let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
            text.push_str(&format!("\n## {}\n\n```text\n", command.get_name()));
            text.push_str(lines.join("\n").trim_end());
            text.push_str("\n```\n");
        }
        text
    }

    #[test]
    fn the_reference_has_todays_commands() {
        let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
        // A package has no documents.
        if !documents.is_dir() {
            return;
        }
        let path = documents.join("commands.md");
        let written = fs::read_to_string(&path).unwrap_or_default();
        let todays = reference();
        if written.replace("\r\n", "\n") != todays {
            fs::write(&path, todays).unwrap();
            panic!(
                "docs/reference/commands.md was of other commands, and is written anew: commit it"
            );
        }
    }

    #[test]
    fn lines_of_help_fit_a_page() {
        let long = |line: &&str| line.chars().count() > 120;
        let reference = reference();
        assert_eq!(reference.lines().filter(long).collect::<Vec<_>>(), [""; 0]);
    }
}
