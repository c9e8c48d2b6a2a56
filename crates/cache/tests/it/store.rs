//! The folder: lock, replacement, damage.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use voxtune_cache::{CacheDir, CacheError, Evidence, decide, encode_decisions};
use voxtune_types::Arch;

use crate::samples::{ARCH, algo, device, device_of, entry, measured, operation, small};

const WAIT: Duration = Duration::from_secs(30);

fn folder() -> (TempDir, CacheDir) {
    let folder = tempfile::tempdir().unwrap();
    let caches = CacheDir::new(folder.path());
    (folder, caches)
}

fn merge(caches: &CacheDir, evidence: &Evidence) -> voxtune_cache::Update<bool> {
    caches.update(ARCH, WAIT, |all| all.merge(evidence.clone())).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const ALL_THREE: [&str; 3] = ["sm_90.evidence.msgpack", "sm_90.lock", "sm_90.msgpack"];

#[test]
fn an_update_writes_both_files_and_an_equal_one_neither() {
    let (folder, caches) = folder();
    let caches = CacheDir::new(caches.path().join("made").join("as needed"));
    let first = merge(&caches, &small());
    assert!(first.value && first.evidence_written && first.decisions_written);
    assert_eq!(caches.read_evidence(ARCH).unwrap().unwrap(), small());
    assert_eq!(caches.read_decisions(ARCH).unwrap().unwrap(), decide(&small()));
    assert_eq!(names(caches.path()), ALL_THREE);
    assert_eq!(caches.archs().unwrap(), [ARCH]);

    let again = merge(&caches, &small());
    assert!(!again.value && !again.evidence_written && !again.decisions_written);
    drop(folder);
}

#[test]
fn nothing_is_read_where_nothing_is() {
    let (_folder, caches) = folder();
    let absent = CacheDir::new(caches.path().join("absent"));
    assert!(absent.read_decisions(ARCH).unwrap().is_none());
    assert!(absent.read_evidence(ARCH).unwrap().is_none());
    assert!(absent.archs().unwrap().is_empty());
    assert!(!absent.path().exists());

    let update = caches.update(ARCH, WAIT, |_| ()).unwrap();
    assert!(!update.evidence_written && !update.decisions_written);
    assert_eq!(names(caches.path()), ["sm_90.lock"]);
}

/// `VOXTUNE_MERGES` is how many merges of its own each writer makes; 5 unless it says more.
#[test]
fn eight_writers_at_once_lose_nothing() {
    const WRITERS: u32 = 8;
    // Who does nothing between two merges leaves the others hardly a moment to take the lock.
    const PATIENCE: Duration = Duration::from_secs(1200);
    let merges = std::env::var("VOXTUNE_MERGES").ok().map(|count| count.parse().unwrap());
    let merges: u32 = merges.unwrap_or(5);
    let (folder, caches) = folder();
    let start = Barrier::new(WRITERS as usize);
    thread::scope(|scope| {
        for writer in 1..=WRITERS {
            let (folder, start) = (folder.path(), &start);
            scope.spawn(move || {
                let caches = CacheDir::new(folder);
                start.wait();
                for number in 1..=merges {
                    let entry = entry(&device(), operation(writer, number), 1000);
                    let add = |all: &mut Evidence| all.insert(entry, measured("a", 100)).unwrap();
                    assert!(caches.update(ARCH, PATIENCE, add).unwrap().value);
                }
            });
        }
        // A reader takes no lock and never meets half a file.
        scope.spawn(|| {
            for _ in 0..200 {
                caches.read_decisions(ARCH).unwrap();
                caches.read_evidence(ARCH).unwrap();
            }
        });
    });
    assert_eq!(caches.read_evidence(ARCH).unwrap().unwrap().len() as u32, WRITERS * merges);
    assert_eq!(caches.read_decisions(ARCH).unwrap().unwrap().len() as u32, WRITERS * merges);
    assert_eq!(names(folder.path()), ALL_THREE);
}

#[test]
fn waiting_for_the_lock_has_an_end() {
    let (_folder, caches) = folder();
    let held = File::create(caches.lock_path(ARCH)).unwrap();
    held.lock().unwrap();
    let wait = Duration::from_millis(50);
    let error = caches.update(ARCH, wait, |_| panic!("ran without the lock")).unwrap_err();
    let CacheError::Locked { path, waited } = error else { panic!("{error}") };
    assert_eq!(path, caches.lock_path(ARCH));
    assert!(waited >= wait);
    // Another architecture has another lock.
    _ = caches.update(Arch::sm(8, 0), wait, |_| ()).unwrap();
    drop(held);
    _ = caches.update(ARCH, wait, |_| ()).unwrap();
}

#[test]
fn damaged_files_are_set_aside_with_their_bytes() {
    let (_folder, caches) = folder();
    for round in 1..=2 {
        _ = merge(&caches, &small());
        let damaged: Vec<(_, Vec<u8>)> = [caches.evidence_path(ARCH), caches.decisions_path(ARCH)]
            .map(|path| {
                let mut bytes = fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 0x10;
                fs::write(&path, &bytes).unwrap();
                (path, bytes)
            })
            .into();
        assert!(matches!(caches.read_decisions(ARCH), Err(CacheError::Corrupt { .. })));

        let update = merge(&caches, &small());
        assert!(update.evidence_written && update.decisions_written);
        assert_eq!(update.set_aside.len(), 2);
        for ((path, bytes), aside) in damaged.iter().zip(&update.set_aside) {
            assert_eq!(aside.from, *path);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(aside.to, path.with_file_name(format!("{name}.corrupt-{round}")));
            assert_eq!(fs::read(&aside.to).unwrap(), *bytes);
            assert!(!aside.reason.is_empty());
        }
        assert_eq!(caches.read_evidence(ARCH).unwrap().unwrap(), small());
    }
    assert_eq!(caches.archs().unwrap(), [ARCH]);
}

#[test]
fn newer_foreign_and_misnamed_files_stop_an_update() {
    let newer =
        crate::format::sealed(b"\xA6format\xB1voxtune decisions\xA7version\x7F\xA4body\xC0");
    let foreign = b"not a cache".to_vec();
    let misnamed = encode_decisions(Arch::sm(8, 0), &Default::default()).unwrap();
    for bytes in [newer, foreign, misnamed] {
        let (folder, caches) = folder();
        // Damage beside it stays in place as well.
        fs::write(caches.evidence_path(ARCH), b"").unwrap();
        fs::write(caches.decisions_path(ARCH), &bytes).unwrap();
        let error = caches.update(ARCH, WAIT, |all| all.merge(small())).unwrap_err();
        assert_eq!(error.path(), caches.decisions_path(ARCH), "{error}");
        assert!(!matches!(error, CacheError::Corrupt { .. } | CacheError::Io { .. }), "{error}");
        assert_eq!(fs::read(caches.decisions_path(ARCH)).unwrap(), bytes);
        assert_eq!(names(folder.path()), ALL_THREE);
    }
}

#[test]
fn what_a_killed_writer_leaves_is_harmless() {
    let (folder, caches) = folder();
    _ = merge(&caches, &small());
    let residue = [".sm_90.msgpack.aB3x9Q.tmp", ".sm_90.evidence.msgpack.1.tmp"];
    let others = [".sm_80.msgpack.aB3x9Q.tmp", "notes.tmp"];
    for name in residue.iter().chain(&others) {
        fs::write(folder.path().join(name), b"\x84\xA8check").unwrap();
    }
    assert_eq!(caches.archs().unwrap(), [ARCH]);
    assert_eq!(caches.read_evidence(ARCH).unwrap().unwrap(), small());
    // Killed between the files: the evidence is there, its decisions are not.
    let mut more = small();
    more.insert(entry(&device(), operation(8, 8), 1000), measured("b", 100)).unwrap();
    let bytes = voxtune_cache::encode_evidence(ARCH, &more).unwrap();
    fs::write(caches.evidence_path(ARCH), bytes).unwrap();

    let update = caches.update(ARCH, WAIT, |_| ()).unwrap();
    assert!(update.decisions_written && !update.evidence_written);
    assert_eq!(caches.read_decisions(ARCH).unwrap().unwrap(), decide(&more));
    let left = names(folder.path());
    assert!(residue.iter().all(|name| !left.contains(&(*name).to_owned())), "{left:?}");
    assert!(others.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
}

#[test]
fn decisions_without_evidence_stay_and_removed_ones_go() {
    let (_folder, caches) = folder();
    // A decision file that came alone from another machine.
    let mut elsewhere = Evidence::new();
    let copied = entry(&device(), operation(8, 8), 1000);
    elsewhere.insert(copied.clone(), measured("copied", 100)).unwrap();
    let bytes = encode_decisions(ARCH, &decide(&elsewhere)).unwrap();
    fs::write(caches.decisions_path(ARCH), bytes).unwrap();

    _ = merge(&caches, &small());
    let decisions = caches.read_decisions(ARCH).unwrap().unwrap();
    assert_eq!(decisions.len(), 2);
    assert_eq!(decisions.get(&copied.device, &copied.key).unwrap().winner, algo("copied"));

    // Measuring its key here replaces it, and removing that measurement removes it.
    let mut here = Evidence::new();
    here.insert(copied.clone(), measured("own", 100)).unwrap();
    _ = merge(&caches, &here);
    let decisions = caches.read_decisions(ARCH).unwrap().unwrap();
    assert_eq!(decisions.get(&copied.device, &copied.key).unwrap().winner, algo("own"));
    let removed = caches.update(ARCH, WAIT, |all| all.remove_entry(&copied)).unwrap();
    assert_eq!(removed.value.unwrap().len(), 1);
    assert_eq!(caches.read_decisions(ARCH).unwrap().unwrap(), decide(&small()));
    assert_eq!(caches.read_evidence(ARCH).unwrap().unwrap(), small());
}

#[test]
fn clearing_a_device_leaves_the_others() {
    let (_folder, caches) = folder();
    let other = device_of(ARCH, "NVIDIA H200", 132);
    let mut elsewhere = Evidence::new();
    for device in [device(), other.clone()] {
        elsewhere.insert(entry(&device, operation(8, 8), 1000), measured("copied", 100)).unwrap();
    }
    let bytes = encode_decisions(ARCH, &decide(&elsewhere)).unwrap();
    fs::write(caches.decisions_path(ARCH), bytes).unwrap();
    let mut of_other = Evidence::new();
    of_other.insert(entry(&other, operation(32, 64), 1000), measured("own", 100)).unwrap();
    _ = merge(&caches, &small());
    _ = merge(&caches, &of_other);

    let cleared = caches.clear(&device(), WAIT).unwrap();
    assert_eq!(cleared.value, (1, 1), "an entry, and a decision without any");
    assert_eq!(caches.read_evidence(ARCH).unwrap().unwrap(), of_other);
    let left = caches.read_decisions(ARCH).unwrap().unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|decision| decision.device == other));
    let again = caches.clear(&device(), WAIT).unwrap();
    assert!(again.value == (0, 0) && !again.evidence_written && !again.decisions_written);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    let (folder, _) = folder();
    let file = folder.path().join("a file");
    fs::write(&file, b"contents").unwrap();
    for path in [file.clone(), file.join("below")] {
        let caches = CacheDir::new(path);
        let error = caches.update(ARCH, WAIT, |_| panic!("ran")).unwrap_err();
        assert!(matches!(error, CacheError::Io { .. }), "{error}");
        assert!(matches!(caches.read_decisions(ARCH), Err(CacheError::Io { .. })));
    }
    assert_eq!(fs::read(&file).unwrap(), b"contents");
}

#[test]
fn a_device_of_another_architecture_changes_nothing() {
    let (folder, caches) = folder();
    _ = merge(&caches, &small());
    let before = fs::read(caches.evidence_path(ARCH)).unwrap();
    let foreign = entry(
        &crate::samples::device_of(Arch::sm(8, 0), "NVIDIA A100", 108),
        operation(3, 32),
        1000,
    );
    let add = |all: &mut Evidence| all.insert(foreign, measured("a", 100)).unwrap();
    let error = caches.update(ARCH, WAIT, add).unwrap_err();
    assert!(matches!(error, CacheError::ForeignDevice { .. }), "{error}");
    assert_eq!(fs::read(caches.evidence_path(ARCH)).unwrap(), before);
    assert_eq!(names(folder.path()), ALL_THREE);
}

#[test]
fn a_change_that_panics_changes_nothing_and_frees_the_lock() {
    let (_folder, caches) = folder();
    _ = merge(&caches, &small());
    let before = fs::read(caches.evidence_path(ARCH)).unwrap();
    let panicking = || {
        caches.update(ARCH, WAIT, |all| {
            all.retain(|_, _| false);
            panic!("in the middle")
        })
    };
    std::panic::catch_unwind(panicking).unwrap_err();
    assert_eq!(fs::read(caches.evidence_path(ARCH)).unwrap(), before);
    _ = caches.update(ARCH, Duration::ZERO, |_| ()).unwrap();
}
