//! Several processes that write into one file at once.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use voxtune_cache::{CacheDir, Evidence, KernelHash};
use voxtune_tune::run::event::Event;

use crate::command::{Finished, run, small_populate, times, voxtune};
use crate::faulty::{Fault, Injected, spec};
use crate::injected::{LOCK_WAIT, Run};
use crate::populating::evidence;

/// Another process holds the lock for longer than a run waits for it, and lets it go long after the
/// last measurement.
#[test]
fn a_long_writer_costs_nothing() {
    let mut run = Run::small();
    run.request.grid.voxels = vec![500, 1_000, 2_000];
    let lock = || {
        let files = std::fs::read_dir(run.folder()).unwrap().map(|file| file.unwrap().path());
        let mut locks = files.filter(|path| path.extension().is_some_and(|end| end == "lock"));
        let file = File::open(locks.next().unwrap()).unwrap();
        file.lock().unwrap();
        file
    };
    let (mut held, mut waits) = (None, 0);
    let ended = run.watched_in_worker(
        &spec(&[Injected::new("plain", Fault::None).default()]),
        &mut |event| match event {
            Event::ConfigurationStarted { index: 0, .. } => held = Some(lock()),
            Event::SavingWaits { lock, unsaved } => {
                waits += 1;
                assert!(lock.extension().is_some_and(|end| end == "lock") && *unsaved > 0);
                let Some(held) = held.take() else { return };
                std::thread::spawn(move || {
                    std::thread::sleep(3 * LOCK_WAIT);
                    drop(held);
                });
            }
            _ => {}
        },
    );
    // Told of when it began, and of all at the end.
    assert_eq!((ended.summary.measured, ended.summary.failed, waits), (3, 0, 2));
    assert_eq!(evidence(run.folder()).len(), 3);
}

#[test]
fn eight_processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<_> = (1..=8)
        .map(|channels| {
            let mut command = voxtune();
            command
                .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
                .args(["--dtypes", "float32", "--kernel-sizes", "1", "--budget", "0"])
                .args(["--num-voxels", "50", "100", "200", "--channels"])
                .arg(format!("{channels},3"))
                .arg("--out")
                .arg(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(evidence(folder.path()).len(), 8 * 3 * 3);
}

/// How many merges each process of eight makes, one behind the other, each of a record that nobody
/// else has; `VOXTUNE_MERGES` says otherwise.
const USUAL_MERGES: usize = 3;

#[test]
fn eight_merging_processes_lose_nothing() {
    const WRITERS: usize = 8;
    let merges = times("VOXTUNE_MERGES", USUAL_MERGES);
    let root = tempfile::tempdir().unwrap();
    let seed = root.path().join("seed");
    Finished::of(small_populate(&seed).output().unwrap()).success();
    let arch = CacheDir::new(&seed).archs().unwrap()[0];
    let seed = evidence(&seed);
    // Writers share entries, so that each merges into what the others have written.
    let entries: Vec<_> = seed.entries().collect();
    let part = |writer: usize, number: usize| {
        let index = number * WRITERS + writer;
        let (entry, records) = entries[index % entries.len()];
        let mut record = records.iter().next().unwrap().clone();
        record.kernel_hash = KernelHash::new(index as u64);
        let mut part = Evidence::new();
        part.insert(entry.clone(), record).unwrap();
        part
    };
    let out = root.path().join("out");
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (part, root, out) = (&part, root.path(), &out);
            scope.spawn(move || {
                let from = root.join(format!("part-{writer}"));
                let cache = CacheDir::new(&from);
                for number in 0..merges {
                    let new = part(writer, number);
                    let replace = |all: &mut Evidence| *all = new;
                    _ = cache.update(arch, Duration::from_secs(5), replace).unwrap();
                    run(&["merge", from.to_str().unwrap(), "-o", out.to_str().unwrap()]).success();
                }
            });
        }
    });
    let mut all = Evidence::new();
    for number in 0..merges {
        for writer in 0..WRITERS {
            all.merge(part(writer, number));
        }
    }
    assert_eq!(evidence(&out), all);
    run(&["verify", out.to_str().unwrap(), "--kernels", "no/such/folder"]);
    if merges != USUAL_MERGES {
        let records: usize = all.entries().map(|(_, records)| records.len()).sum();
        println!("{WRITERS} processes, {merges} merges each: all {records} records are there");
    }
}
