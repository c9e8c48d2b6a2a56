//! Workers that are stopped for a while, and are not to blame for their silence.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::faulty::{Fault, Injected, spec, with_folder};
use crate::injected::{Run, reason};

/// Stops the worker in the middle of a candidate for several times as long as that one may take.
#[cfg(target_os = "linux")]
#[test]
fn f18_a_stopped_worker_loses_nobody() {
    let marks = tempfile::tempdir().unwrap();
    let spec = spec(&[
        Injected::new("plain", Fault::None).default(),
        Injected::new("signs", Fault::Signs(100)),
    ]);
    let mut run = Run::small();
    run.request.protocol.time_limit = Duration::from_millis(400);
    let folder = marks.path().to_owned();
    let stopper = std::thread::spawn(move || {
        let id = worker_at_work(&folder);
        signal(&id, "-STOP");
        // Three time limits of its life.
        std::thread::sleep(Duration::from_millis(1_200));
        signal(&id, "-CONT");
    });
    let ended = run.in_worker(&with_folder(spec, marks.path()));
    stopper.join().unwrap();
    assert_eq!((ended.summary.measured, ended.summary.failed), (1, 0), "{:?}", ended.outcomes);
    assert!(ended.outcomes.values().all(|one| reason(one).is_none()), "{:?}", ended.outcomes);
    assert!(ended.lost.is_empty());
    assert_eq!(ended.workers.len(), 1, "it went on by itself");
}

/// The number of the worker, once the candidate that signs runs.
fn worker_at_work(folder: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        if let Some(file) = files.first() {
            return file.file_name().unwrap().to_str().unwrap().to_owned();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the candidate was not run");
}

fn signal(id: &str, which: &str) {
    assert!(Command::new("kill").args([which, id]).status().unwrap().success());
}
