//! The command line where there is no workspace of voxtune.

use std::path::Path;
use std::process::Command;

use crate::command::{Finished, small_populate, voxtune};

/// Runs a command in a folder below which there is nothing, for a user of that home.
fn run_outside(mut command: Command, folder: &Path, home: Option<&Path>) -> Finished {
    for variable in ["CARGO_MANIFEST_DIR", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(variable);
    }
    command.current_dir(folder);
    if let Some(home) = home {
        command.env("HOME", home);
    }
    Finished::of(command.output().expect("the program starts"))
}

#[test]
fn populate_writes_to_the_user_folder() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let caches = home.path().join(".cache/voxtune");
    let mut command = small_populate(Path::new("unused"));
    let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let (out, arguments) =
        arguments.split_last().map(|(_, rest)| rest.split_last().unwrap()).unwrap();
    assert_eq!(out, "--out");
    command = voxtune();
    command.args(arguments);
    let finished = run_outside(command, folder.path(), Some(home.path())).success();
    let told = format!("Folder {}, the user's: no workspace here", caches.display());
    assert!(finished.stderr.contains(&told), "{finished:?}");
    let written = caches.read_dir().unwrap().map(|file| file.unwrap().file_name());
    assert!(
        written.filter_map(|name| name.into_string().ok()).any(|name| name.ends_with(".msgpack"))
    );

    // Who reads looks in the same place.
    let mut inspect = voxtune();
    inspect.arg("inspect");
    let finished = run_outside(inspect, folder.path(), Some(home.path())).success();
    assert!(finished.stdout.contains("├─"), "{finished:?}");
}

#[test]
fn without_a_home_it_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = voxtune();
    command.arg("inspect");
    let finished = run_outside(command, folder.path(), None);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("no workspace of voxtune here"), "{finished:?}");
    assert!(finished.stderr.contains("--out DIR"), "{finished:?}");
}
