//! `inspect`: shows what caches hold.

mod text;
mod view;

use std::path::{Path, PathBuf};

use voxtune_cache::CacheDir;

use crate::exit::{Exit, Failure};
use crate::folder::{FolderArguments, is_file};
use crate::output;
use crate::selection::Selection;
use view::View;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArguments {
    /// Cache files or folders [default: where populate would write]
    #[arg(value_name = "FILE|DIR", conflicts_with_all = ["out", "user"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// Winners without the candidates that they beat
    #[arg(long, conflicts_with = "top_k")]
    best_only: bool,
    /// At most this many candidates of each entry, best first
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top_k: Option<u16>,
    /// Only the quarantined candidates, with the reasons; populate --retry-quarantined tries them
    /// again
    #[arg(long, conflicts_with_all = ["best_only", "top_k"])]
    quarantined: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    folder: FolderArguments,
}

pub(crate) fn run(arguments: &InspectArguments) -> Result<Exit, Failure> {
    let paths = if arguments.paths.is_empty() {
        vec![arguments.folder.resolve()?]
    } else {
        arguments.paths.clone()
    };
    let limit = if arguments.best_only { Some(1) } else { arguments.top_k.map(usize::from) };
    let mut views = Vec::new();
    let mut exit = Exit::Success;
    for path in &paths {
        for result in open(path)? {
            match result {
                Ok(view) => {
                    let view = view.narrowed(&arguments.selection, limit);
                    views.push(if arguments.quarantined { view.quarantine_alone() } else { view });
                }
                Err(message) => {
                    output::complain("error", message);
                    exit = Exit::Failure;
                }
            }
        }
    }
    if arguments.json {
        output::json(&views)?;
    } else {
        output::print(&text::render(&views));
    }
    Ok(exit)
}

/// What a file, or each architecture of a folder, holds. One that cannot be read does not hide the
/// others.
fn open(path: &Path) -> Result<Vec<Result<View, String>>, Failure> {
    if is_file(path)? {
        return Ok(vec![View::of_file(path)]);
    }
    let cache = CacheDir::new(path);
    let archs = cache.archs().map_err(Failure::failed)?;
    Ok(archs.into_iter().flat_map(|arch| View::of_arch(&cache, arch)).collect())
}
