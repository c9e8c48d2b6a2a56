//! `migrate`: brings cache files to the current version of their formats.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use voxtune::Arch;
use voxtune_cache::{CacheDir, CacheError, FileKind, FileName, file_version, read_file};
use voxtune_types::printable_path;

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, must_exist};
use crate::output;

/// How long to wait for a populate that is writing the same file.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub struct MigrateArguments {
    /// Folders of caches [default: where populate would write]
    #[arg(value_name = "DIR", conflicts_with_all = ["out", "user"])]
    paths: Vec<PathBuf>,
    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

pub(crate) fn run(arguments: &MigrateArguments) -> Result<Exit, Failure> {
    let folders = if arguments.paths.is_empty() {
        vec![arguments.folder.resolve()?]
    } else {
        arguments.paths.clone()
    };
    let mut exit = Exit::Success;
    let mut found = Vec::new();
    for folder in &folders {
        must_exist(folder)?;
        let cache = CacheDir::new(folder);
        for arch in cache.archs().map_err(Failure::failed)? {
            if let Err(error) = migrate(&cache, arch, arguments, &mut found) {
                output::complain("error", error);
                exit = Exit::Failure;
            }
        }
    }
    if arguments.json {
        output::json(&found)?;
    }
    Ok(exit)
}

/// A file, its version, and that of today, which it has where this is no dry run.
#[derive(Debug, Serialize)]
struct Versioned {
    path: String,
    version: u32,
    current: u32,
}

/// Writes an architecture's files anew if one of them is of an earlier version.
fn migrate(
    cache: &CacheDir,
    arch: Arch,
    arguments: &MigrateArguments,
    found: &mut Vec<Versioned>,
) -> Result<(), CacheError> {
    let MigrateArguments { dry_run, json, .. } = *arguments;
    let mut older = false;
    for kind in [FileKind::Decisions, FileKind::Evidence] {
        let path = cache.path().join(FileName { arch, kind }.to_string());
        let Some(version) = version_at(&path)? else { continue };
        let current = kind.version();
        older |= version != current;
        let text = if version == current {
            format!("version {version}, current")
        } else {
            let verb = if dry_run { "would become" } else { "becomes" };
            format!("version {version} {verb} {current}")
        };
        if !json {
            output::result(format_args!("{}: {text}", printable_path(&path)));
        }
        let path = path.display().to_string();
        found.push(Versioned { path, version, current });
    }
    if older && !dry_run {
        // A writer writes the current version, whatever it has read.
        let update = cache.update(arch, LOCK_WAIT, |_| ())?;
        output::set_aside(&update.set_aside);
    }
    Ok(())
}

/// The version of a file; `None` where there is none.
fn version_at(path: &Path) -> Result<Option<u32>, CacheError> {
    let version = |bytes: Vec<u8>| file_version(&bytes, path).map(|(_, version)| version);
    read_file(path)?.map(version).transpose()
}
