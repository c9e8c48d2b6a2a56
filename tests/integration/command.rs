//! Running the command line as a process.

use std::path::Path;
use std::process::{Command, Output};

/// The command line under test, cut off from the caller's caches and settings. It is that of this
/// build, or what `VOXTUNE_PROGRAM` names, such as an optimised one.
pub(crate) fn voxtune() -> Command {
    let built = || env!("CARGO_BIN_EXE_voxtune-under-test").into();
    let mut command = Command::new(std::env::var_os("VOXTUNE_PROGRAM").unwrap_or_else(built));
    for variable in [
        "VOXTUNE_CACHE_DIR",
        "WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE",
        "WARPCONVNET_BENCHMARK_CACHE_DIR",
        "WARPCONVNET_FWD_ALGO_MODE",
        "WARPCONVNET_BWD_ALGO_MODE",
        "WARPCONVNET_DGRAD_ALGO_MODE",
        "WARPCONVNET_WGRAD_ALGO_MODE",
    ] {
        command.env_remove(variable);
    }
    // What is said on a line stays on it.
    command.env("COLUMNS", "10000");
    command
}

/// How often a test of chance tries: what a variable says, or enough for every day.
pub(crate) fn times(variable: &str, usual: usize) -> usize {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable}={text}"));
    std::env::var(variable).map_or(usual, number)
}

/// What a finished process said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// The last line of stdout.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }
}

/// Runs the command line with these arguments.
pub(crate) fn run(arguments: &[&str]) -> Finished {
    Finished::of(voxtune().args(arguments).output().expect("the program starts"))
}

/// Arguments of a small populate on the CPU with one thread: three configurations, a fraction of a
/// second.
pub(crate) fn small_populate(out: &Path) -> Command {
    let mut command = voxtune();
    command
        .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
        .args(["--dtypes", "float32", "--channels", "4,4", "--num-voxels", "60", "250", "1000"])
        .args(["--budget", "0.01", "--out"])
        .arg(out);
    command
}
