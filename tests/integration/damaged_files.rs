//! Damaged, foreign and newer files: reported, never destroyed, never in the way of the runtime.

use std::fs;
use std::path::{Path, PathBuf};

use voxtune::{DType, Device, Direction, Grade, KernelSize, Operation, ShapeKey, Source, Tuner};
use voxtune_cache::CacheDir;

use crate::command::{Finished, run, small_populate};

#[test]
fn damaged_decisions_are_set_aside_and_made_anew() {
    for (name, damage) in DAMAGES {
        populate_over(name, *damage, "");
    }
}

#[test]
fn damaged_evidence_is_set_aside_and_made_anew() {
    for (name, damage) in DAMAGES {
        populate_over(name, *damage, ".evidence");
    }
}

type Damage = fn(&mut Vec<u8>);

const DAMAGES: &[(&str, Damage)] = &[
    ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
    ("bit_flipped", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
    }),
    ("lengthened", |bytes| bytes.extend(b"tail")),
    ("empty", Vec::clear),
];

/// A populated folder and the path of one of its files.
fn populated(infix: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    assert!(small_populate(folder.path()).output().unwrap().status.success());
    let arch = CacheDir::new(folder.path()).archs().unwrap()[0];
    let path = folder.path().join(format!("{arch}{infix}.msgpack"));
    assert!(path.is_file());
    (folder, path)
}

fn populate_again(folder: &Path) -> Finished {
    Finished::of(small_populate(folder).arg("--resume").output().unwrap())
}

/// Whether some file of the folder has exactly these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| fs::read(path).unwrap() == bytes)
}

fn populate_over(damage_name: &str, damage: Damage, infix: &str) {
    let (folder, path) = populated(infix);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, &bytes).unwrap();

    let name = path.to_str().unwrap();
    let inspected = run(&["inspect", folder.path().to_str().unwrap()]);
    assert_eq!(inspected.status, Some(1), "{damage_name}: {inspected:?}");
    assert!(
        inspected.stderr.contains(name) && inspected.stderr.contains("corrupt"),
        "{damage_name}: {inspected:?}"
    );

    let finished = populate_again(folder.path());
    assert_eq!(finished.status, Some(0), "{damage_name}: {finished:?}");
    assert!(
        finished.stderr.contains(name) && finished.stderr.contains("corrupt"),
        "{damage_name}: {finished:?}"
    );
    assert!(holds(folder.path(), &bytes), "{damage_name}: the damaged bytes are gone");
    run(&["inspect", folder.path().to_str().unwrap()]).success();
    let expected = if infix.is_empty() { "skipped 3" } else { "measured 3" };
    assert!(finished.last_line().contains(expected), "{damage_name}: {finished:?}");
}

/// The bytes of a file with another version number and a checksum that is right for it.
fn of_later_version(bytes: &[u8]) -> Vec<u8> {
    let mark = b"version";
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    let mut later = bytes.to_vec();
    assert!(later[at] < 0x7f, "the version is a small number");
    later[at] += 1;
    let checksum = xxh3(&later[19..]);
    later[11..19].copy_from_slice(&checksum.to_be_bytes());
    later
}

fn xxh3(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[test]
fn a_newer_file_is_left_alone() {
    for infix in ["", ".evidence"] {
        let (folder, path) = populated(infix);
        let later = of_later_version(&fs::read(&path).unwrap());
        fs::write(&path, &later).unwrap();
        let finished = populate_again(folder.path());
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(path.to_str().unwrap()), "{finished:?}");
        assert!(finished.stderr.contains("version"), "{finished:?}");
        assert_eq!(fs::read(&path).unwrap(), later);
    }
}

#[test]
fn a_foreign_file_is_left_alone() {
    for foreign in ["#!/bin/sh\necho a script\n", "{\"json\": true}"] {
        let (folder, path) = populated("");
        fs::write(&path, foreign).unwrap();
        let finished = populate_again(folder.path());
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(path.to_str().unwrap()), "{finished:?}");
        assert!(finished.stderr.contains("not a voxtune cache"), "{finished:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
}

#[test]
fn the_runtime_goes_on_without_a_damaged_file() {
    let (folder, path) = populated("");
    let device = Device::cpu_with_threads(1).unwrap();
    let kernel = KernelSize::submanifold(3).unwrap();
    let operation = Operation::submanifold(Direction::Forward, DType::Float32, 4, 4, kernel);
    let key = ShapeKey::new(operation, 1000, 1000, 4300);
    let tuner = || Tuner::builder().folder(folder.path()).build();

    let good = tuner();
    assert!(good.warnings().is_empty());
    let resolution = good.resolve(&device, &key).unwrap();
    assert_eq!(*resolution.grade(), Grade::Exact { source: Source::User });

    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let damaged = tuner();
    assert_eq!(damaged.warnings().len(), 1);
    assert!(damaged.warnings()[0].to_string().contains(path.to_str().unwrap()));
    assert_eq!(*damaged.resolve(&device, &key).unwrap().grade(), Grade::Default);
    assert_eq!(fs::read(&path).unwrap(), bytes, "the runtime writes nothing");
}

#[test]
fn a_lone_decision_file_survives() {
    let (from, path) = populated("");
    let to = tempfile::tempdir().unwrap();
    fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    let mut command = small_populate(to.path());
    command.args(["--channels", "5,5"]);
    Finished::of(command.output().unwrap()).success();
    let arch = CacheDir::new(from.path()).archs().unwrap()[0];
    let decisions = CacheDir::new(to.path()).read_decisions(arch).unwrap().unwrap();
    assert_eq!(decisions.len(), 18);
}
