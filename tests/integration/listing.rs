//! Dry runs, help and inspection.

use std::process::Stdio;

use crate::command::{Finished, run, small_populate, voxtune};
use crate::populating::evidence;

#[test]
fn presets_list_as_many_configurations_as_they_say() {
    let default = run(&["populate", "--dry-run"]).success();
    assert_eq!(default.last_line(), "364 configurations");
    assert_eq!(default.stdout.lines().count(), 365);
    assert!(default.stdout.lines().take(364).all(|line| line.ends_with("uniform, surface")));
    let quick = run(&["populate", "--preset", "quick", "--dry-run"]).success();
    assert_eq!(quick.last_line(), "6 configurations");
    insta::assert_snapshot!("quick", quick.stdout);
}

#[test]
fn flags_override_presets_and_counts_of_one_bucket_merge() {
    let listed = run(&[
        "populate",
        "--dry-run",
        "--num-voxels",
        "100000",
        "120000",
        "200000",
        "--channels",
        "64,128",
        "128,256",
        "256,256",
        "--kernel-sizes",
        "3",
        "5",
        "--dtypes",
        "float16",
        "--forward-only",
        "--clouds",
        "surface",
        "--batch-size",
        "2",
    ])
    .success();
    assert_eq!(listed.last_line(), "12 configurations");
    assert!(listed.stderr.contains("120000 voxels are measured as 100000"), "{listed:?}");
    insta::assert_snapshot!("overrides", listed.stdout);
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("caches");
    small_populate(&out).arg("--dry-run").output().unwrap();
    assert!(!out.exists());
    let resumed = run(&["populate", "--preset", "quick", "--dry-run", "--resume"]).success();
    assert_eq!(resumed.last_line(), "6 configurations");
    assert!(resumed.stderr.contains("does not look at evidence"), "{resumed:?}");
}

/// A part of a small plan may be empty: then there is no file to name.
#[test]
fn no_file_is_named_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let populate = |part: &str| {
        let mut command = small_populate(folder.path());
        Finished::of(command.args(["--partition", part]).output().unwrap()).success().stdout
    };
    assert!(!populate("slice:9/9").contains("cache "));
    assert!(populate("slice:1/9").contains("cache "));
}

#[test]
fn help_goes_to_stdout() {
    let help = run(&["populate", "--help"]).success();
    assert!(help.stdout.contains("--num-voxels") && help.stderr.is_empty());
}

/// A reader of the output has seen enough: the measuring goes on.
#[test]
fn a_closed_pipe_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = small_populate(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(evidence(folder.path()).len(), 9);
}

/// Results that cannot be written are a failure, told in a line.
#[cfg(target_os = "linux")]
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = voxtune();
    command.args(["populate", "--dry-run"]).stdout(full);
    let finished = Finished::of(command.output().unwrap());
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert_eq!(finished.stderr.matches("failed to write").count(), 1, "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

#[test]
fn inspect_shows_what_populate_wrote() {
    let folder = tempfile::tempdir().unwrap();
    assert!(small_populate(folder.path()).output().unwrap().status.success());
    let path = folder.path().to_str().unwrap();

    let text = run(&["inspect", path]).success().stdout;
    assert!(text.contains(": 9 keys, 9 entries"), "{text}");
    let narrowed = run(&["inspect", path, "--direction", "wgrad", "--best-only"]).success().stdout;
    assert!(narrowed.contains(": 3 keys, 3 entries"), "{narrowed}");
    assert_eq!(narrowed.matches("│  * ").count(), 3, "{narrowed}");
    let none = run(&["inspect", path, "--device", "H100"]).success().stdout;
    assert!(none.contains(": 0 keys, 0 entries"), "{none}");

    let json = run(&["inspect", path, "--json", "--top-k", "2", "--dtype", "float32"]).success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let keys = json[0]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 9);
    for key in keys {
        let candidates = key["workloads"][0]["candidates"].as_array().unwrap();
        assert!(!candidates.is_empty() && candidates.len() <= 2);
        assert_eq!(candidates[0]["algo"], key["decision"]["winner"]);
    }
    let files: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ext| ext == "msgpack")) {
        let text = run(&["inspect", file.to_str().unwrap()]).success().stdout;
        assert!(text.contains(": 9 keys"), "{text}");
    }
}
