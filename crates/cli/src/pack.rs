//! `pack`: makes the kernel packs that ship, with nvcc and without a GPU.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytesize::ByteSize;
use serde::Serialize;
use voxtune_analyze::pack::{Made, PackPlan, Role, Target};
use voxtune_cache::CacheDir;
use voxtune_nvcc::Toolchain;
use voxtune_types::printable_path;

use crate::duration::coarse;
use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, must_exist};
use crate::kernel_folders::KernelFolders;
use crate::output;
use crate::output_file::OutputFile;

/// Arguments of `pack`.
#[derive(Debug, clap::Args)]
pub struct PackArguments {
    /// What to make packs for: sm_80, sm_86, sm_89, sm_90, sm_100, sm_120, ptx [default: all]
    #[arg(long = "arch", value_name = "ARCH", num_args = 1..)]
    archs: Vec<Target>,
    /// Leave out winners that cost measured layers less than that, such as 1%: the root of the sum
    /// of the squares of what they lose without a winner
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    prune: Option<f64>,
    /// Folder of the caches that name the winners [default: where the packs are written]
    #[arg(long, value_name = "DIR")]
    caches: Option<PathBuf>,
    /// Say what packs would hold, and neither compile nor write
    #[arg(long)]
    dry_run: bool,
    /// How many compilers run at a time [default: all processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
    #[command(flatten)]
    kernels: KernelFolders,
}

/// What is printed of a pack as JSON.
#[derive(Debug, Serialize)]
struct Report {
    target: String,
    /// Kernels that run where nothing was measured.
    defaults: usize,
    /// Kernels of maps and features.
    utilities: usize,
    /// Winners, or what a model of cost chooses.
    choices: usize,
    /// For channels that were not measured.
    unmeasured: usize,
    /// Winners that are left out, with what that costs.
    left_out: Vec<String>,
    /// None of a dry run.
    file: Option<File>,
}

/// The file that was made.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    bytes: usize,
    uncompressed_bytes: usize,
    kernels: usize,
    /// Of these, those that were compiled already.
    cached: usize,
    seconds: f64,
}

impl Report {
    fn of(plan: &PackPlan) -> Self {
        let count = |role| plan.contents.count(role);
        Self {
            target: plan.target.to_string(),
            defaults: count(Role::Default),
            utilities: count(Role::Utility),
            choices: count(Role::Choice),
            unmeasured: count(Role::Unmeasured),
            left_out: plan.pruned.iter().map(ToString::to_string).collect(),
            file: None,
        }
    }
}

/// A fraction out of `1%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let valid = number.filter(|number| (0.0..=100.0).contains(number));
    valid.map(|number| number / 100.0).ok_or_else(|| "expected a percentage, such as 1%".to_owned())
}

pub(crate) fn run(arguments: &PackArguments) -> Result<Exit, Failure> {
    let out = arguments.folder.resolve()?;
    let caches = arguments.caches.as_deref().unwrap_or(&out);
    // Without winners a pack is made all the same, and it would not show that they are missing.
    must_exist(caches)?;
    let caches = CacheDir::new(caches);
    let targets = if arguments.archs.is_empty() { &Target::ALL[..] } else { &arguments.archs };
    let toolchain = match arguments.dry_run {
        true => None,
        false => {
            let toolkit = arguments.kernels.toolkit();
            Some(Toolchain::find(Some(&toolkit)).map_err(Failure::failed)?)
        }
    };
    if !arguments.dry_run {
        // Compiling takes minutes, and a folder that cannot be written is seen at once.
        std::fs::create_dir_all(&out)
            .map_err(|error| Failure::failed(format!("{}: {error}", printable_path(&out))))?;
        for target in targets {
            OutputFile::checked("--out", &out.join(target.file_name()))?;
        }
    }
    let mut reports = Vec::new();
    for &target in targets {
        let plan = PackPlan::shipped(target, &caches, arguments.prune).map_err(Failure::failed)?;
        let mut report = Report::of(&plan);
        if !arguments.json {
            for one in &plan.pruned {
                output::result(format_args!("{target}: left out {one}"));
            }
            output::result(&plan);
        }
        if let Some(toolchain) = &toolchain {
            let start = Instant::now();
            let path = out.join(target.file_name());
            let made = make(&plan, &path, toolchain, arguments)?;
            made.write(&path).map_err(Failure::failed)?;
            if !arguments.json {
                output::result(format_args!(
                    "{}: {}, {} uncompressed; {} of {} kernels were compiled already; {}",
                    printable_path(&path),
                    ByteSize(made.bytes.len() as u64),
                    ByteSize(made.raw_bytes as u64),
                    made.cached,
                    made.kernels,
                    coarse(start.elapsed())
                ));
            }
            report.file = Some(File {
                path: path.display().to_string(),
                bytes: made.bytes.len(),
                uncompressed_bytes: made.raw_bytes,
                kernels: made.kernels,
                cached: made.cached,
                seconds: start.elapsed().as_secs_f64(),
            });
        }
        reports.push(report);
    }
    if arguments.json {
        output::json(&reports)?;
    }
    Ok(Exit::Success)
}

/// Makes a pack and tells how far it has come.
fn make(
    plan: &PackPlan,
    path: &Path,
    toolchain: &Toolchain,
    arguments: &PackArguments,
) -> Result<Made, Failure> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let (folder, jobs) = (arguments.kernels.kernels(), arguments.jobs.unwrap_or(all));
    let told = AtomicUsize::new(0);
    let progress = |progress: voxtune_nvcc::Progress| {
        // One line every tenth is enough to see that it goes on.
        let tenth = progress.done * 10 / progress.total.max(1);
        if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
            let (done, total) = (progress.done, progress.total);
            output::status("Compiled", format_args!("{done} of {total} for {}", plan.target));
        }
    };
    plan.make(path, toolchain, (&folder, jobs), &progress).map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_its_sign() {
        assert_eq!(percent("1%"), Ok(0.01));
        for text in ["1", "0.01", "-1%", "101%", "x%", "%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
