//! The commands.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench::BenchArguments;
use crate::check::CheckArguments;
use crate::cuda_toolkit::CudaToolkitArguments;
use crate::explain::ExplainArguments;
use crate::fit::FitArguments;
use crate::forget::ForgetArguments;
use crate::inspect::InspectArguments;
use crate::kernels::KernelsArguments;
use crate::merge::MergeArguments;
use crate::migrate::MigrateArguments;
use crate::pack::PackArguments;
use crate::page::width_of_stdout;
use crate::populate::PopulateArguments;
use crate::regret::RegretArguments;
use crate::report::ReportArguments;
use crate::verify::VerifyArguments;

/// Columns of help: longer lines are hard to read.
const WIDEST_HELP: usize = 100;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    about = "Measures sparse convolution kernels and keeps what won",
    help_expected = true,
    version
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print results, warnings and errors, and nothing of progress and status
    #[arg(short, long, global = true)]
    pub quiet: bool,
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
        let width = width_of_stdout().min(WIDEST_HELP);
        let mut command = Self::command_of(program).term_width(width);
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
    /// Judge how much slower what runs is than the best that there is
    Regret(RegretArguments),
    /// Show caches, regret and benches as one page of HTML
    Report(ReportArguments),
    /// Check every kernel of a GPU against float64 and the host
    Check(CheckArguments),
    /// Time layers on clouds, beside the device's ceilings and other libraries' times
    Bench(Box<BenchArguments>),
    /// Compile the CUDA kernels of a preset, without a GPU
    Kernels(KernelsArguments),
    /// Learn from a GPU's evidence what unmeasured layers run, without a GPU
    Fit(FitArguments),
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
        let mut command = Cli::command_of(IN_REPOSITORY).term_width(WIDEST_HELP);
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

    /// The cells of the tables of the guide for users of WarpConvNet, theirs first.
    fn from_warpconvnet() -> Option<Vec<Vec<String>>> {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide");
        // A package has no documents.
        let text = fs::read_to_string(guide.join("from-warpconvnet.md")).ok()?;
        let row = |line: &str| {
            let cells = line.replace("\\|", "/");
            cells.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        Some(text.lines().filter(|line| line.starts_with("| `")).map(row).collect())
    }

    /// What stands in backticks.
    fn code(cell: &str) -> impl Iterator<Item = &str> {
        cell.split('`').skip(1).step_by(2)
    }

    #[test]
    fn the_guide_for_users_of_warpconvnet_names_flags_that_exist() {
        let Some(rows) = from_warpconvnet() else { return };
        let command = Cli::command();
        let mut named = 0;
        for span in rows.iter().flat_map(|row| row[1..].iter().flat_map(|cell| code(cell))) {
            let mut words = span.split_whitespace();
            let first = words.next().unwrap_or_default();
            assert!(!first.starts_with("--"), "`{span}` names no command");
            let known = command.find_subcommand(first);
            for flag in words.filter_map(|word| word.strip_prefix("--")) {
                let known = known.unwrap_or_else(|| panic!("`{span}` names no command"));
                let is_there = known.get_arguments().chain(command.get_arguments());
                let is_there = is_there.filter_map(|arg| arg.get_long()).any(|long| long == flag);
                assert!(is_there, "{first} has no --{flag}, which the guide names");
                named += 1;
            }
        }
        assert!(named > 25, "{named}");
    }

    /// What their script, their documentation of variables and their folder of scripts have.
    #[test]
    fn the_guide_for_users_of_warpconvnet_leaves_nothing_out() {
        let Some(rows) = from_warpconvnet() else { return };
        let theirs: Vec<&str> = rows.iter().flat_map(|row| code(&row[0])).collect();
        for name in [
            "--preset default",
            "--preset quick",
            "--num-voxels",
            "--channels",
            "--kernel-sizes",
            "--dtypes",
            "--algo-mode",
            "--clear-cache",
            "--forward-only",
            "--backward-only",
            "--batch-size",
            "--dry-run",
            "--resume",
            "--device",
            "--gpus",
            "WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE",
            "WARPCONVNET_BENCHMARK_CACHE_DIR",
            "WARPCONVNET_FWD_ALGO_MODE",
            "WARPCONVNET_DGRAD_ALGO_MODE",
            "WARPCONVNET_WGRAD_ALGO_MODE",
            "WARPCONVNET_BWD_ALGO_MODE",
            "WARPCONVNET_AUTOTUNE_LOG",
            "WARPCONVNET_USE_FP16_ACCUM",
            "inspect_benchmark_cache.py",
            "analyze_benchmark_cache.py",
            "migrate_benchmark_cache.py",
        ] {
            let is_named = |cell: &&str| *cell == name || cell.starts_with(&format!("{name} "));
            assert!(theirs.iter().any(is_named), "{name}");
        }
    }

    #[test]
    fn lines_of_help_fit_a_page() {
        let long = |line: &&str| line.chars().count() > 120;
        let reference = reference();
        assert_eq!(reference.lines().filter(long).collect::<Vec<_>>(), [""; 0]);
    }
}
