//! `pack`: makes the kernel packs that ship, with nvcc and without a GPU.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use voxtune_cache::{CacheDir, decode_decisions};
use voxtune_cuda::Toolchain;
use voxtune_tune::pack::{Contents, Made, Role, Target, make, prune};
use xxhash_rust::xxh3::xxh3_64;

use crate::duration::coarse;
use crate::exit::{Exit, Failure};
use crate::folder::FolderArguments;
use crate::kernel_folders::KernelFolders;
use crate::output;

/// Arguments of `pack`.
#[derive(Debug, clap::Args)]
pub struct PackArguments {
    /// What to make packs for: sm_80, sm_86, sm_89, sm_90, sm_100, sm_120, ptx [default: all]
    #[arg(long = "arch", value_name = "ARCH", num_args = 1..)]
    archs: Vec<Target>,
    /// Leave out winners whose loss costs no measured layer that much, such as 1%
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
    #[command(flatten)]
    folder: FolderArguments,
    #[command(flatten)]
    kernels: KernelFolders,
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
    let targets = if arguments.archs.is_empty() { &Target::ALL[..] } else { &arguments.archs };
    let toolchain = match arguments.dry_run {
        true => None,
        false => {
            let toolkit = arguments.kernels.toolkit();
            Some(Toolchain::find(Some(&toolkit)).map_err(Failure::failed)?)
        }
    };
    for &target in targets {
        let plan = Plan::new(target, caches, arguments.prune)?;
        output::result(&plan);
        if let Some(toolchain) = &toolchain {
            let start = Instant::now();
            let made = plan.make(toolchain, arguments)?;
            let path = out.join(target.file_name());
            write(&path, &made.bytes)?;
            output::result(format_args!(
                "{}: {} KiB, {} KiB uncompressed; {} of {} kernels were compiled already; {}",
                path.display(),
                made.bytes.len().div_ceil(1024),
                made.raw_bytes / 1024,
                made.cached,
                made.kernels,
                coarse(start.elapsed())
            ));
        }
    }
    Ok(Exit::Success)
}

/// What a pack is to hold.
struct Plan {
    target: Target,
    contents: Contents,
    /// Hash of the decision file.
    decisions: Option<u64>,
    pruned: usize,
}

impl Plan {
    fn new(target: Target, caches: &Path, limit: Option<f64>) -> Result<Self, Failure> {
        let cache = CacheDir::new(caches);
        let file = target.arch().map(|arch| cache.decisions_path(arch));
        let bytes = match file.as_deref().map(std::fs::read) {
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::failed(format!("{}: {error}", caches.display())));
            }
            _ => None,
        };
        let decisions = bytes
            .as_ref()
            .zip(file)
            .map(|(bytes, file)| decode_decisions(bytes, file))
            .transpose()
            .map_err(Failure::failed)?;
        let mut contents = Contents::of(target, decisions.as_ref());
        let mut pruned = 0;
        if let (Some(decisions), Some(limit), Some(arch)) = (&decisions, limit, target.arch()) {
            let evidence = cache.read_evidence(arch).map_err(Failure::failed)?.unwrap_or_default();
            let left_out = prune(&mut contents, decisions, &evidence, limit);
            pruned = left_out.len();
            for one in left_out {
                output::result(format_args!("{target}: left out {one}"));
            }
        }
        let decisions = bytes.map(|bytes| xxh3_64(&bytes));
        Ok(Self { target, contents, decisions, pruned })
    }

    fn make(&self, toolchain: &Toolchain, arguments: &PackArguments) -> Result<Made, Failure> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        let (folder, jobs) = (arguments.kernels.kernels(), arguments.jobs.unwrap_or(all));
        let told = AtomicUsize::new(0);
        let progress = |progress: voxtune_cuda::Progress| {
            // One line every tenth is enough to see that it goes on.
            let tenth = progress.done * 10 / progress.total.max(1);
            if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
                let (done, total) = (progress.done, progress.total);
                output::status("Compiled", format_args!("{done} of {total} for {}", self.target));
            }
        };
        make(
            self.target,
            &self.contents,
            self.decisions,
            self.pruned,
            toolchain,
            (&folder, jobs),
            &progress,
        )
        .map_err(Failure::failed)
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |role| self.contents.count(role);
        let (choices, defaults, utilities) =
            (count(Role::Choice), count(Role::Default), count(Role::Utility));
        write!(f, "{}: {defaults} defaults, {utilities} utilities, ", self.target)?;
        match (self.decisions, self.target) {
            (Some(_), _) => write!(f, "{choices} more that won, {} left out", self.pruned),
            (None, Target::Cubin(_)) => {
                write!(f, "{choices} more by a model of cost: nothing was measured")?;
                match self.contents.without_room {
                    0 => Ok(()),
                    number => write!(f, "; no room for {number} that save least"),
                }
            }
            (None, Target::Ptx) => f.write_str("for architectures that no pack knows"),
        }
    }
}

/// Replaces a file in one step, and leaves one with these very bytes alone.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.prefix(".").suffix(".tmp").tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
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

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("ptx.kernels");
        for bytes in [&b"one"[..], b"one", b"another"] {
            write(&path, bytes).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
