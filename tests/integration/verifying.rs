//! Audits of caches from the command line: what is wrong ends with status 1, what is doubtful only
//! under `--strict`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use voxtune::{Arch, KernelHash};
use voxtune_cache::{CacheDir, Evidence, Outcome, Record, decide, encode_decisions};

use crate::command::{Finished, run, small_populate};

const WAIT: Duration = Duration::from_secs(30);

fn populated() -> (tempfile::TempDir, CacheDir, Arch) {
    let folder = tempfile::tempdir().unwrap();
    assert!(small_populate(folder.path()).output().unwrap().status.success());
    let cache = CacheDir::new(folder.path());
    let arch = cache.archs().unwrap()[0];
    (folder, cache, arch)
}

fn verify(folder: &Path, more: &[&str]) -> Finished {
    let mut arguments = vec!["verify", folder.to_str().unwrap(), "--kernels", "no/such/folder"];
    arguments.extend(more);
    run(&arguments)
}

/// Gives the first record of a cache another content.
fn change_one(cache: &CacheDir, arch: Arch, change: impl FnOnce(&mut Record)) {
    let update = cache.update(arch, WAIT, |evidence| {
        let (entry, records) = evidence.entries().next().unwrap();
        let (entry, mut record) = (entry.clone(), records.iter().next().unwrap().clone());
        let old = (record.algo.clone(), record.kernel_hash);
        change(&mut record);
        evidence.retain(|at, one| *at != entry || (one.algo.clone(), one.kernel_hash) != old);
        evidence.insert(entry, record).unwrap();
    });
    assert!(update.unwrap().evidence_written);
}

#[test]
fn what_populate_writes_is_sound() {
    let (folder, _, arch) = populated();
    let finished = verify(folder.path(), &["--strict"]).success();
    assert_eq!(finished.last_line(), "0 wrong, 0 stale, 0 unproven, 0 not checked");
    assert!(finished.stdout.contains(": 9 decisions, 9 entries, "), "{finished:?}");
    // A file stands for both.
    for name in [format!("{arch}.msgpack"), format!("{arch}.evidence.msgpack")] {
        let finished = verify(&folder.path().join(name), &[]).success();
        assert!(finished.stdout.contains(": 9 decisions, 9 entries, "), "{finished:?}");
    }
}

#[test]
fn a_time_that_no_device_reaches_is_wrong() {
    let (folder, cache, arch) = populated();
    change_one(&cache, arch, |record| {
        let Outcome::Measured(timing) = &mut record.outcome else { panic!("{record:?}") };
        timing.min_ns = 1;
    });
    let finished = verify(folder.path(), &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("took 1 ns"), "{finished:?}");
    assert!(finished.stdout.contains("repair  `cargo xtask forget --out "), "{finished:?}");
    assert!(finished.last_line().starts_with("1 wrong, "), "{finished:?}");
}

#[test]
fn other_decisions_are_wrong() {
    let (folder, cache, arch) = populated();
    let evidence = cache.read_evidence(arch).unwrap().unwrap();
    // What would follow if only the losers had been measured.
    let winners = cache.read_decisions(arch).unwrap().unwrap();
    let mut losers = Evidence::new();
    for (entry, records) in evidence.entries() {
        let winner = winners.get(&entry.device, &entry.key).unwrap().winner;
        for record in records.iter().filter(|record| record.algo != winner) {
            losers.insert(entry.clone(), record.clone()).unwrap();
        }
    }
    let bytes = encode_decisions(arch, &decide(&losers)).unwrap();
    fs::write(cache.decisions_path(arch), bytes).unwrap();
    let finished = verify(folder.path(), &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert_eq!(finished.stdout.matches(", and the evidence for ").count(), 9, "{finished:?}");

    fs::remove_file(cache.decisions_path(arch)).unwrap();
    let finished = verify(folder.path(), &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert_eq!(finished.stdout.matches("not decided").count(), 9, "{finished:?}");

    // It says what repairs that, once.
    let place = folder.path().to_str().unwrap();
    let repair = format!("repair  `cargo xtask merge {place} -o {place}` decides");
    assert_eq!(finished.stdout.matches(&repair).count(), 1, "{finished:?}");
    run(&["merge", place, "-o", place]).success();
    verify(folder.path(), &["--strict"]).success();
}

#[test]
fn damage_is_wrong() {
    let (folder, cache, arch) = populated();
    for path in [cache.decisions_path(arch), cache.evidence_path(arch)] {
        let sound = fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let finished = verify(folder.path(), &[]);
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stdout.contains(path.to_str().unwrap()), "{finished:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "auditing changes nothing");
        fs::write(&path, sound).unwrap();
    }
    fs::write(folder.path().join("sm_9x.msgpack"), b"").unwrap();
    let finished = verify(folder.path(), &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stdout.contains("sm_9x.msgpack"), "{finished:?}");
}

#[test]
fn other_code_is_stale() {
    let (folder, cache, arch) = populated();
    let mut name = String::new();
    change_one(&cache, arch, |record| {
        record.kernel_hash = KernelHash::new(!record.kernel_hash.get());
        name = record.algo.to_string();
    });
    let finished = verify(folder.path(), &[]).success();
    assert!(finished.last_line().contains(" 1 stale, "), "{finished:?}");
    let line = finished.stdout.lines().find(|line| line.contains("stale  ")).unwrap();
    assert!(line.contains(&name), "{finished:?}");
    assert!(finished.stdout.contains("repair  `cargo xtask populate --top-up"), "{finished:?}");
    assert_eq!(verify(folder.path(), &["--strict"]).status, Some(1));
}

#[test]
fn lone_decisions_are_unproven() {
    let (folder, cache, arch) = populated();
    fs::remove_file(cache.evidence_path(arch)).unwrap();
    let finished = verify(folder.path(), &[]).success();
    assert!(finished.last_line().contains(" 9 unproven, "), "{finished:?}");
    assert_eq!(verify(folder.path(), &["--strict"]).status, Some(1));
}

#[test]
fn coverage_names_what_is_missing() {
    let (folder, ..) = populated();
    let finished = verify(folder.path(), &["--coverage", "quick"]).success();
    assert!(finished.stdout.contains("quick: 0 of 18 entries on "), "{finished:?}");
    assert!(
        finished.stdout.contains("missing  wgrad float16 128→256 k3 on 500000 voxels of uniform"),
        "{finished:?}"
    );
    let json = verify(folder.path(), &["--coverage", "default", "--json"]).success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["coverage"][0]["missing"].as_array().unwrap().len(), 364 * 3 * 2);
    assert_eq!(json["totals"]["wrong"], 0);
    assert_eq!(json["archs"][0]["entry_count"], 9);
    assert_eq!(verify(folder.path(), &["--coverage", "quick", "--strict"]).status, Some(1));
}

#[test]
fn a_folder_without_caches_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("nowhere")] {
        let finished = verify(&path, &[]);
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(path.to_str().unwrap()), "{finished:?}");
    }
}
