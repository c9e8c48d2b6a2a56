//! Samples of every candidate alike, taken now.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser};
use voxtune_types::{AlgoId, printable_path};

use super::under_way::UnderWay;
use crate::exit::{Exit, Failure};
use crate::kernel_folders::in_target;
use crate::output;
use crate::populate::{self, PopulateArguments};
use crate::program;
use crate::samples_file::sound_races;

/// The file of samples while they are taken, and of a complete run.
pub(super) const SAMPLES: &str = "oracle.jsonl";

/// The samples of a run that was not completed.
const INCOMPLETE: &str = "incomplete.jsonl";

/// Races that take samples of every candidate alike, for `regret`, by flags of populate
#[derive(Debug, Parser)]
struct Measure {
    #[command(flatten)]
    arguments: PopulateArguments,
}

impl Measure {
    /// The flags of a caller, behind some of our own.
    fn parse(own: &[&OsStr], flags: &[OsString]) -> Result<PopulateArguments, clap::Error> {
        let name = std::iter::once(OsStr::new("regret"));
        let line = name.chain(own.iter().copied()).chain(flags.iter().map(OsString::as_os_str));
        let typed = format!("{} regret --", program::name());
        let mut command = Self::command().override_usage(format!("{typed} [POPULATE FLAGS]"));
        command = command.bin_name(typed);
        let matches = command.try_get_matches_from_mut(line)?;
        let measure = Self::from_arg_matches(&matches);
        measure.map(|one| one.arguments).map_err(|error| error.format(&mut command))
    }
}

/// Takes samples into a scratch folder of its own. Samples of before, maybe of an hour, make room
/// for those of a run that measured something and was completed alone; others lie beside them.
/// `None` after a dry run.
///
/// `also` race beside those that the flags ask for.
pub(super) fn measure(
    flags: &[OsString],
    also: &BTreeSet<AlgoId>,
) -> Result<Option<(Exit, PathBuf)>, Failure> {
    // By themselves first, so that errors name no flags that were not given. Help is no failure,
    // and clap tells both apart.
    let arguments = Measure::parse(&[], flags).unwrap_or_else(|error| error.exit());
    if arguments.is_dry_run() {
        return populate::run(&arguments).map(|_| None);
    }
    let folder = in_target("regret");
    let under_way = UnderWay::begin(&folder)?;
    let samples = under_way.path().join(SAMPLES);
    let caches = under_way.path().join("caches");
    let mut own = vec![
        OsStr::new("--exhaustive"),
        OsStr::new("--samples"),
        samples.as_os_str(),
        OsStr::new("--out"),
        caches.as_os_str(),
    ];
    if !also.is_empty() {
        own.push(OsStr::new("--also"));
        own.extend(also.iter().map(|algo| OsStr::new(algo.as_str())));
    }
    let arguments =
        Measure::parse(&own, flags).map_err(|error| Failure::usage(conflict(&error, flags)))?;
    let place = printable_path(under_way.path());
    output::status(
        "Sampling",
        format_args!("into {place}: if this process is killed, the next run keeps what lies there"),
    );
    let result = populate::run(&arguments);
    let is_complete = matches!(result, Ok(Exit::Success));
    let name = if is_complete { SAMPLES } else { INCOMPLETE };
    let kept = match keep(&samples, &folder.join(name)) {
        Ok(kept) => kept,
        Err(why) => {
            let place = printable_path(&under_way.leave());
            return Err(Failure::failed(format!("{why}: what was measured stays in {place}")));
        }
    };
    under_way.end()?;
    if let Some(path) = &kept {
        let what = if is_complete { "" } else { ", of a run that was not completed" };
        output::status("Samples", format_args!("{}{what}", printable_path(path)));
    }
    let exit = result?;
    let nothing = || Failure::failed("nothing was measured, so that there is nothing to judge by");
    Ok(Some((exit, kept.ok_or_else(nothing)?)))
}

/// Which of a caller's flags do not go with our own.
fn conflict(error: &clap::Error, flags: &[OsString]) -> String {
    let given = |name: &str| {
        flags.iter().any(|flag| {
            let flag = flag.to_string_lossy();
            flag.split('=').next() == Some(name)
        })
    };
    let named = [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| error.get(kind));
    let named = named.into_iter().flatten().flat_map(|value| match value {
        ContextValue::String(name) => vec![name.clone()],
        ContextValue::Strings(names) => names.clone(),
        _ => Vec::new(),
    });
    let names = named.filter_map(|usage| usage.split([' ', '=']).next().map(str::to_owned));
    let culprits: BTreeSet<String> = names.filter(|name| given(name)).collect();
    let culprits = match culprits.len() {
        0 => flags.iter().map(|flag| flag.to_string_lossy().into_owned()).collect(),
        _ => culprits.into_iter().collect::<Vec<_>>(),
    };
    format!(
        "`{}` does not go with what regret asks of populate itself, --exhaustive, --samples and \
         --out: leave it out",
        culprits.join(" ")
    )
}

/// Moves samples to where they stay; `None` where nothing was measured.
fn keep(fresh: &Path, place: &Path) -> Result<Option<PathBuf>, String> {
    if !fresh.exists() || sound_races(fresh).map_err(|failure| failure.message)?.is_empty() {
        return Ok(None);
    }
    fs::rename(fresh, place).map_err(|error| format!("{}: {error}", printable_path(place)))?;
    Ok(Some(place.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_that_regret_cannot_take_is_named() {
        let own = ["--exhaustive", "--samples", "S", "--out", "D"].map(OsStr::new);
        for (flags, culprit) in [
            (&["--device", "cpu", "--budget", "2"][..], "--budget"),
            (&["--budget=2", "--preset", "quick"], "--budget"),
            (&["--preset", "quick", "--out", "elsewhere"], "--out"),
            (&["--samples", "mine.jsonl"], "--samples"),
            (&["--user"], "--user"),
        ] {
            let flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
            let text = conflict(&Measure::parse(&own, &flags).unwrap_err(), &flags);
            assert!(text.starts_with(&format!("`{culprit}` does not go")), "{text}");
        }
    }
}
