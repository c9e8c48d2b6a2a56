//! Several processes that write into one file at once.

use std::fs::File;
use std::process::Stdio;

use voxtune_tune::run::event::Event;

use crate::command::voxtune;
use crate::faulty::{Fault, Injected, spec};
use crate::injected::{LOCK_WAIT, Run};
use crate::populating::evidence;
use crate::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("concurrency::eight_processes_lose_nothing", eight_processes_lose_nothing);
    suite.test("concurrency::a_long_writer_costs_nothing", a_long_writer_costs_nothing);
}

/// Somebody holds the lock for longer than a run waits for it, and lets it go long after the last measurement.
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
