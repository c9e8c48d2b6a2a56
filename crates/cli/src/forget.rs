//! `forget`: removes entries, so that the next populate measures them again.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use voxtune::Arch;
use voxtune_cache::{CacheDir, EntryKey};
use voxtune_types::{printable, printable_path};

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, must_exist};
use crate::output;
use crate::selection::Selection;

/// Arguments of `forget`.
#[derive(Debug, clap::Args)]
pub struct ForgetArguments {
    #[command(flatten)]
    selection: Selection,
    /// Every entry: needed where no filter is given
    #[arg(long)]
    all: bool,
    /// List the entries that would be removed, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Report {
    folder: String,
    dry_run: bool,
    /// Entries that went, or would go.
    removed: Vec<EntryKey>,
    /// Decisions that are selected and stay, since they came without evidence.
    staying: usize,
}

pub(crate) fn run(arguments: &ForgetArguments) -> Result<Exit, Failure> {
    if arguments.selection.is_everything() && !arguments.all {
        return Err(Failure::usage(
            "nothing is selected: give a filter such as --direction wgrad, or --all",
        ));
    }
    let cache = CacheDir::new(arguments.folder.resolve()?);
    must_exist(cache.path())?;
    let (mut removed, mut staying) = (Vec::new(), 0);
    for arch in cache.archs().map_err(Failure::failed)? {
        let found = match arguments.dry_run {
            true => list(&cache, arch, &arguments.selection)?,
            false => remove(&cache, arch, &arguments.selection)?,
        };
        removed.extend(found.removed);
        staying += found.staying;
    }
    if arguments.json {
        let folder = cache.path().display().to_string();
        output::json(&Report { folder, dry_run: arguments.dry_run, removed, staying })?;
    } else {
        tell(&removed, cache.path(), arguments.dry_run);
    }
    if staying > 0 {
        let why = "came without evidence and stay: delete the decision file to be rid of them";
        output::complain("warning", format_args!("{staying} decisions {why}"));
    }
    Ok(Exit::Success)
}

/// What was removed as text: entries one by one where they are still there.
fn tell(removed: &[EntryKey], folder: &Path, dry_run: bool) {
    if dry_run {
        for entry in removed {
            let cloud = printable(&entry.workload.cloud);
            output::result(format_args!("{} on {cloud}, {}", entry.key, entry.device));
        }
    }
    let (path, verb) = (printable_path(folder), if dry_run { "would be " } else { "" });
    output::result(format_args!("{} entries {verb}removed from {path}", removed.len()));
}

/// What a selection means to the files of an architecture.
struct Forgotten {
    /// Entries that go.
    removed: Vec<EntryKey>,
    /// Decisions that are selected and stay, since no entry stands behind them.
    staying: usize,
}

/// Removes what is selected.
fn remove(cache: &CacheDir, arch: Arch, selection: &Selection) -> Result<Forgotten, Failure> {
    let update = cache.update(arch, Duration::from_secs(30), |evidence| {
        let selected = evidence.entries().map(|(entry, _)| entry.clone());
        let removed = selected.filter(|entry| selection.admits_entry(entry)).collect();
        evidence.retain(|entry, _| !selection.admits_entry(entry));
        removed
    });
    let update = update.map_err(Failure::failed)?;
    output::set_aside(&update.set_aside);
    let decisions = cache.read_decisions(arch).map_err(Failure::failed)?.unwrap_or_default();
    let left = decisions.iter().filter(|one| selection.admits(&one.device, &one.key));
    Ok(Forgotten { removed: update.value, staying: left.count() })
}

/// Lists what [`remove`] would remove. A damaged file is an error here, since nothing sets it
/// aside.
fn list(cache: &CacheDir, arch: Arch, selection: &Selection) -> Result<Forgotten, Failure> {
    let (evidence, decisions) =
        cache.read_together(arch, |cache| (cache.read_evidence(arch), cache.read_decisions(arch)));
    let evidence = evidence.map_err(Failure::failed)?.unwrap_or_default();
    let decisions = decisions.map_err(Failure::failed)?.unwrap_or_default();
    let selected = evidence.entries().map(|(entry, _)| entry.clone());
    let removed = selected.filter(|entry| selection.admits_entry(entry)).collect();
    let staying = decisions.iter().filter(|one| {
        selection.admits(&one.device, &one.key) && !evidence.has_key(&one.device, &one.key)
    });
    Ok(Forgotten { removed, staying: staying.count() })
}
