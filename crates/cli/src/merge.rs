//! `merge`: brings the evidence of several caches together, such as those of several machines.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use voxtune::Arch;
use voxtune_cache::{CacheDir, Conflict, Evidence, Outcome, Record, conflicts};
use voxtune_types::{printable, printable_path};

use crate::duration::{charge, fine};
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
    /// JSON instead of text; a folder that is not UTF-8 has its bytes beside it, as input_bytes
    #[arg(long)]
    json: bool,
}

/// How long to wait for another writer of the same file.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The cache of an architecture in one of the folders.
struct Input {
    arch: Arch,
    folder: PathBuf,
    evidence: Evidence,
}

/// What adding one input did.
#[derive(Debug, Serialize)]
struct Merged {
    arch: Arch,
    /// The folder; bytes that are not UTF-8 are replaced.
    input: String,
    /// The folder's bytes, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_bytes: Option<Vec<u8>>,
    entries_before: usize,
    entries_added: usize,
    entries_after: usize,
    changed: bool,
    conflicts: Vec<NamedConflict>,
}

/// A conflict with the files of both sides.
#[derive(Debug, Serialize)]
struct NamedConflict {
    #[serde(flatten)]
    conflict: Conflict,
    kept_from: String,
    dropped_from: String,
}

pub(crate) fn run(arguments: &MergeArguments) -> Result<Exit, Failure> {
    let target = CacheDir::new(&arguments.out);
    // Everything is read before anything is written: one bad input spoils nothing.
    let mut inputs = Vec::new();
    for folder in &arguments.inputs {
        inputs.extend(read(folder)?);
    }
    if inputs.is_empty() {
        return Err(Failure::failed("there is no evidence to merge: name folders that hold some"));
    }
    let mut all = Vec::new();
    for input in inputs {
        let merged = merge(&target, input)?;
        if !arguments.json {
            output::results(&text(&merged));
        }
        all.push(merged);
    }
    if arguments.json {
        output::json(&all)?;
    }
    Ok(Exit::Success)
}

/// What a folder holds, of all architectures.
fn read(folder: &Path) -> Result<Vec<Input>, Failure> {
    let source = CacheDir::new(folder);
    let archs = source.archs().map_err(Failure::failed)?;
    if archs.is_empty() {
        return Err(Failure::failed(format!("{}: no caches here", printable_path(folder))));
    }
    let mut inputs = Vec::new();
    for arch in archs {
        match source.read_evidence(arch).map_err(Failure::failed)? {
            Some(evidence) => inputs.push(Input { arch, folder: folder.to_owned(), evidence }),
            None => {
                let name = source.decisions_path(arch);
                let why = "has no evidence and is left out";
                output::complain("warning", format_args!("{} {why}", printable_path(&name)));
            }
        }
    }
    Ok(inputs)
}

fn merge(target: &CacheDir, input: Input) -> Result<Merged, Failure> {
    let Input { arch, folder, evidence } = input;
    let update = target.update(arch, LOCK_WAIT, |stored| {
        let conflicts = conflicts(stored, &evidence);
        let (entries_before, entries_added) = (stored.len(), evidence.len());
        let changed = stored.merge(evidence);
        (conflicts, entries_before, entries_added, stored.len(), changed)
    });
    let update = update.map_err(Failure::failed)?;
    output::set_aside(&update.set_aside);
    let (conflicts, entries_before, entries_added, entries_after, changed) = update.value;
    let ours = target.evidence_path(arch).display().to_string();
    let theirs = CacheDir::new(&folder).evidence_path(arch).display().to_string();
    let named = |conflict: Conflict| {
        let (kept_from, dropped_from) =
            if conflict.kept_is_ours { (&ours, &theirs) } else { (&theirs, &ours) };
        let (kept_from, dropped_from) = (kept_from.clone(), dropped_from.clone());
        NamedConflict { conflict, kept_from, dropped_from }
    };
    let conflicts = conflicts.into_iter().map(named).collect();
    Ok(Merged {
        arch,
        input: folder.to_string_lossy().into_owned(),
        input_bytes: bytes_beside_text(&folder),
        entries_before,
        entries_added,
        entries_after,
        changed,
        conflicts,
    })
}

/// The bytes of a path that no text can be: what reads JSON can open the folder by them.
fn bytes_beside_text(path: &Path) -> Option<Vec<u8>> {
    path.to_str().is_none().then(|| path.as_os_str().as_encoded_bytes().to_vec())
}

fn text(merged: &Merged) -> String {
    let Merged { arch, input, entries_before, entries_added, entries_after, changed, .. } = merged;
    let unchanged = if *changed { "" } else { ", nothing new" };
    let collisions = match merged.conflicts.len() {
        0 => String::new(),
        count => format!(", {count} measured twice"),
    };
    let mut text = format!(
        "{arch} of {}: {entries_added} entries into {entries_before} make \
         {entries_after}{unchanged}{collisions}\n",
        printable(input)
    );
    for NamedConflict { conflict, kept_from, dropped_from } in &merged.conflicts {
        let Conflict { entry, kept, dropped, rule, .. } = conflict;
        let (algo, cloud) = (&kept.algo, printable(&entry.workload.cloud));
        text.push_str(&format!("  {} on {cloud}: {algo} {}\n", entry.key, kept.kernel_hash));
        let mut side = |verb: &str, record: &Record, from: &str, why: &dyn Display| {
            let what = what(record);
            text.push_str(&format!("    {verb} {what} of {}{why}\n", printable(from)));
        };
        side("kept   ", kept, kept_from, &format_args!(": {rule}"));
        side("dropped", dropped, dropped_from, &"");
    }
    text
}

/// What the rule looks at.
fn what(record: &Record) -> String {
    match &record.outcome {
        Outcome::Measured(timing) | Outcome::Beaten(timing) => {
            let (median, spread) = (fine(timing.median_ns), fine(timing.spread_ns));
            format!("{median} ±{spread} n={}{}", timing.samples, charge(timing))
        }
        Outcome::Quarantined { reason, .. } => format!("quarantine ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decisions without evidence are left out with a warning; if that is all, nothing was merged.
    #[test]
    fn folders_without_evidence_are_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = vec![folder.path().to_owned()];
        let out = folder.path().join("out");
        std::fs::write(folder.path().join("sm_90.msgpack"), "decisions").unwrap();
        let failure = run(&MergeArguments { inputs, out: out.clone(), json: false }).unwrap_err();
        assert_eq!((failure.exit, out.exists()), (Exit::Failure, false));
    }

    #[test]
    #[cfg(unix)]
    fn f19_a_folder_that_is_not_utf8_has_its_bytes_in_json() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let merged = |folder: &[u8]| {
            let folder = Path::new(OsStr::from_bytes(folder));
            let merged = Merged {
                arch: Arch::sm(9, 0),
                input: folder.to_string_lossy().into_owned(),
                input_bytes: bytes_beside_text(folder),
                entries_before: 0,
                entries_added: 1,
                entries_after: 1,
                changed: true,
                conflicts: Vec::new(),
            };
            serde_json::to_value(merged).unwrap()
        };
        let odd = merged(b"a\xff");
        assert_eq!(
            (&odd["input"], &odd["input_bytes"]),
            (&"a\u{fffd}".into(), &vec![97, 255].into())
        );
        assert!(merged(b"a").get("input_bytes").is_none());
    }
}
