//! `verify`: audits caches, without a device.

mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use voxtune::Arch;
use voxtune_analyze::audit::{
    ArchAudit, BuiltCode, Coverage, Finding, Severity, audit_arch, audit_names, coverage,
};
use voxtune_analyze::pack::{self, Target};
use voxtune_cache::{CacheDir, FileName};
use voxtune_nvcc::Toolchain;
use voxtune_tune::Preset;
use voxtune_types::printable_path;

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, is_file};
use crate::kernel_folders::KernelFolders;
use crate::output;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {
    /// Cache files, each together with its other half, or folders [default: where populate would
    /// write]
    #[arg(value_name = "FILE|DIR", conflicts_with_all = ["out", "user"])]
    paths: Vec<PathBuf>,
    /// Fail for whatever is not known to be right: stale, unproven or unchecked timings, and what
    /// --coverage misses
    #[arg(long)]
    strict: bool,
    /// Print which configurations of presets are missing: default, quick, script, lidar and unet,
    /// or several such as lidar,unet
    #[arg(long, value_name = "PRESET", value_delimiter = ',')]
    coverage: Vec<Preset>,
    /// Compile the kernels that the folder of compiled ones lacks, to tell whether their code has
    /// changed; may take long
    #[arg(long)]
    compile: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
    #[command(flatten)]
    kernels: KernelFolders,
}

/// Everything that was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    archs: Vec<ArchAudit>,
    /// Files that are no caches.
    files: Vec<Finding>,
    coverage: Vec<Coverage>,
    /// Where compiled kernels were looked for.
    kernels: String,
    totals: Totals,
}

/// How much was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    wrong: usize,
    stale: usize,
    unproven: usize,
    /// Timings of code that is not compiled here.
    unchecked: usize,
    /// Entries of the preset that are not there.
    missing: usize,
}

pub(crate) fn run(arguments: &VerifyArguments) -> Result<Exit, Failure> {
    let paths = if arguments.paths.is_empty() {
        vec![arguments.folder.resolve()?]
    } else {
        arguments.paths.clone()
    };
    let mut report = Report::default();
    let mut places = BTreeSet::new();
    for path in &paths {
        let (found, strange) = places_of(path)?;
        places.extend(found);
        report.files.extend(strange);
    }
    let folder = arguments.kernels.kernels();
    report.kernels = folder.display().to_string();
    let mut code = BuiltCode::new(&folder);
    for (folder, arch) in places {
        let cache = CacheDir::new(folder);
        if arguments.compile {
            compile(&cache, arch, &mut code, &arguments.kernels)?;
        }
        let audit = audit_arch(&cache, arch, &mut code);
        for &preset in &arguments.coverage {
            report.coverage.extend(coverage(preset, &audit.decisions, &audit.evidence));
        }
        report.archs.push(audit);
    }
    report.totals = Totals::of(&report);
    if arguments.json {
        output::json(&report)?;
    } else {
        output::print(&text::render(&report));
    }
    Ok(report.totals.exit(arguments.strict))
}

type FolderArch = (PathBuf, Arch);

/// The architectures that a path stands for, and what in it is no cache.
fn places_of(path: &Path) -> Result<(Vec<FolderArch>, Vec<Finding>), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("{}: {error}", printable_path(path)))
    };
    if !is_file(path)? {
        let mut strange = audit_names(path).map_err(|error| failed(&error))?;
        strange.extend(Target::ALL.into_iter().filter_map(|target| pack::check(path, target)));
        let archs = CacheDir::new(path).archs().map_err(Failure::failed)?;
        if archs.is_empty() && strange.is_empty() {
            return Err(failed(&"no caches here: name a folder that populate has written"));
        }
        return Ok((archs.into_iter().map(|arch| (path.to_owned(), arch)).collect(), strange));
    }
    let Some(name) = FileName::of(path) else {
        return Err(failed(
            &"not the name of a cache: expected ARCH.msgpack or ARCH.evidence.msgpack",
        ));
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    Ok((vec![(folder.to_owned(), name.arch)], Vec::new()))
}

/// Compiles the kernels of an architecture's timings. Evidence that cannot be read has none; the
/// audit will say so.
fn compile(
    cache: &CacheDir,
    arch: Arch,
    code: &mut BuiltCode,
    folders: &KernelFolders,
) -> Result<(), Failure> {
    let evidence = cache.read_evidence(arch).ok().flatten().unwrap_or_default();
    if !arch.is_cuda() || evidence.is_empty() {
        return Ok(());
    }
    let toolchain = Toolchain::find(Some(&folders.toolkit())).map_err(Failure::failed)?;
    output::status("Compiling", format_args!("the kernels of {arch}"));
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let count = code.compile(&evidence, &toolchain, jobs);
    output::status("Compiled", format_args!("{count} kernels of {arch}"));
    Ok(())
}

impl Totals {
    fn of(report: &Report) -> Self {
        let files = |severity| report.files.iter().filter(|one| one.severity() == severity).count();
        let count = |severity| {
            files(severity) + report.archs.iter().map(|audit| audit.count(severity)).sum::<usize>()
        };
        Self {
            wrong: count(Severity::Wrong),
            stale: count(Severity::Stale),
            unproven: count(Severity::Unproven),
            unchecked: report.archs.iter().map(|audit| audit.unknown_code_count).sum(),
            missing: report.coverage.iter().map(|coverage| coverage.missing.len()).sum(),
        }
    }

    const fn exit(self, strict: bool) -> Exit {
        let Self { wrong, stale, unproven, unchecked, missing } = self;
        if wrong > 0 || (strict && stale + unproven + unchecked + missing > 0) {
            Exit::Failure
        } else {
            Exit::Success
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_fails_unless_strict() {
        let none = Totals::default();
        assert_eq!((none.exit(false), none.exit(true)), (Exit::Success, Exit::Success));
        let wrong = Totals { wrong: 1, ..none };
        assert_eq!(wrong.exit(false), Exit::Failure);
        for doubtful in [
            Totals { stale: 1, ..none },
            Totals { unproven: 1, ..none },
            Totals { unchecked: 1, ..none },
            Totals { missing: 1, ..none },
        ] {
            let exits = (doubtful.exit(false), doubtful.exit(true));
            assert_eq!(exits, (Exit::Success, Exit::Failure), "{doubtful:?}");
        }
    }
}
