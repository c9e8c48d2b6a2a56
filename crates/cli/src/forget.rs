//! `forget`: removes entries, so that the next populate measures them again.

use std::time::Duration;

use voxtune_cache::CacheDir;
use voxtune_types::printable_path;

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
    #[command(flatten)]
    folder: FolderArguments,
}

pub(crate) fn run(arguments: &ForgetArguments) -> Result<Exit, Failure> {
    if arguments.selection.is_everything() && !arguments.all {
        return Err(Failure::usage(
            "nothing is selected: give a filter such as --direction wgrad, or --all",
        ));
    }
    let cache = CacheDir::new(arguments.folder.resolve()?);
    must_exist(cache.path())?;
    let (mut removed, mut staying) = (0, 0);
    for arch in cache.archs().map_err(Failure::failed)? {
        let update = cache.update(arch, Duration::from_secs(30), |evidence| {
            let before = evidence.len();
            evidence.retain(|entry, _| !arguments.selection.admits_entry(entry));
            before - evidence.len()
        });
        let update = update.map_err(Failure::failed)?;
        output::set_aside(&update.set_aside);
        removed += update.value;
        let decisions = cache.read_decisions(arch).map_err(Failure::failed)?.unwrap_or_default();
        let left = decisions.iter().filter(|one| arguments.selection.admits(&one.device, &one.key));
        staying += left.count();
    }
    output::result(format_args!("{removed} entries removed from {}", printable_path(cache.path())));
    if staying > 0 {
        let why = "came without evidence and stay: delete the decision file to be rid of them";
        output::complain("warning", format_args!("{staying} decisions {why}"));
    }
    Ok(Exit::Success)
}
