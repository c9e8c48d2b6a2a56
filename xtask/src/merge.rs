//! `merge`: brings the evidence of several caches together, such as those of several machines.

use std::path::PathBuf;
use std::time::Duration;

use voxtune_cache::{CacheDir, Evidence};

use crate::exit::{Exit, Failure};
use crate::output;

/// Arguments of `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArguments {
    /// Cache folders to read
    #[arg(value_name = "DIR", required = true, num_args = 1..)]
    inputs: Vec<PathBuf>,
    /// Cache folder to add them to; it may hold a cache, which stays
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &MergeArguments) -> Result<Exit, Failure> {
    let target = CacheDir::new(&arguments.out);
    for input in &arguments.inputs {
        let source = CacheDir::new(input);
        let archs = source.archs().map_err(Failure::failed)?;
        if archs.is_empty() {
            return Err(Failure::failed(format!("{}: no caches here", input.display())));
        }
        for arch in archs {
            let Some(evidence) = source.read_evidence(arch).map_err(Failure::failed)? else {
                let name = source.decisions_path(arch);
                output::complain(
                    "warning",
                    format_args!("{} has no evidence and is left out", name.display()),
                );
                continue;
            };
            let report = merged(&target, arch, evidence)?;
            output::result(format_args!("{arch} of {}: {report}", input.display()));
        }
    }
    Ok(Exit::Success)
}

fn merged(target: &CacheDir, arch: voxtune::Arch, evidence: Evidence) -> Result<String, Failure> {
    let update = target.update(arch, Duration::from_secs(30), |stored| {
        let (before, added) = (stored.len(), evidence.len());
        let changed = stored.merge(evidence);
        (before, added, stored.len(), changed)
    });
    let update = update.map_err(Failure::failed)?;
    output::set_aside(&update.set_aside);
    let (before, added, after, changed) = update.value;
    let unchanged = if changed { "" } else { ", nothing new" };
    Ok(format!("{added} entries into {before} make {after}{unchanged}"))
}
