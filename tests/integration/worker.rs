//! Candidates that take their process down, and what that costs the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use voxtune::{AlgoId, KernelHash};
use voxtune_cache::{Outcome as Recorded, Reason, Record};
use voxtune_tune::{Event, Remeasure};

use crate::command::{run, small_populate, voxtune};
use crate::faulty::{Fault, Injected, spec};
use crate::injected::{Run, reason, timing};
use crate::populating::evidence;

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let list = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    list.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn record(folder: &Path, name: &str) -> Record {
    let evidence = evidence(folder);
    let mut records = evidence.entries().flat_map(|(_, records)| records.iter());
    let mut named = records.by_ref().filter(|record| record.algo.as_str() == name);
    let record = named.next().unwrap().clone();
    assert!(named.next().is_none(), "{name} has one version in one entry");
    record
}

#[test]
fn a_right_candidate_fares_as_in_process() {
    let spec = spec(&[
        Injected::new("plain", Fault::Takes(60)).default(),
        Injected::new("quick", Fault::Takes(30)),
        Injected::new("wrong", Fault::OneElementWrong),
    ]);
    let (here, there) = (Run::small().here(&spec), Run::small().in_worker(&spec));
    for ended in [&here, &there] {
        assert_eq!((ended.summary.measured, ended.entries), (1, 1));
        assert_eq!(reason(&ended.outcomes["wrong"]), Some(Reason::WrongResult));
        assert!(timing(ended, "quick").ratio_to_default.unwrap().median < 1.0);
        assert!(ended.lost.is_empty());
    }
    assert_eq!((here.workers.len(), there.workers.len()), (0, 1));
}

#[test]
fn each_fault_costs_itself() {
    let spec = spec(&[
        Injected::new("plain", Fault::None).default(),
        Injected::new("aborts", Fault::Aborts),
        Injected::new("exits", Fault::Exits),
        Injected::new("gets_killed", Fault::GetsKilled),
        Injected::new("starves", Fault::Starves),
        Injected::new("hangs", Fault::Hangs),
        Injected::new("loses_context", Fault::LosesContext),
        Injected::new("fills_memory", Fault::FillsMemory),
        Injected::new("does_not_compile", Fault::DoesNotCompile),
        Injected::new("panics", Fault::Panics),
        Injected::new("wrong", Fault::OneElementWrong),
        Injected::new("also_plain", Fault::None),
    ]);
    let mut run = Run::small();
    run.request.protocol.time_limit = Duration::from_millis(1_500);
    let ended = run.in_worker(&spec);
    assert_eq!((ended.summary.measured, ended.summary.failed), (1, 0), "{:?}", ended.outcomes);
    let reason = |name: &str| reason(&ended.outcomes[name]);
    assert_eq!(reason("plain"), None);
    assert_eq!(reason("also_plain"), None);
    assert_eq!(reason("aborts"), Some(Reason::Crash));
    assert_eq!(reason("exits"), Some(Reason::Crash));
    assert_eq!(reason("gets_killed"), Some(Reason::OutOfMemory), "it had a second chance");
    assert_eq!(reason("starves"), Some(Reason::OutOfMemory));
    assert_eq!(reason("hangs"), Some(Reason::Timeout));
    assert_eq!(reason("loses_context"), Some(Reason::LaunchFailure));
    assert_eq!(reason("fills_memory"), Some(Reason::OutOfMemory));
    assert_eq!(reason("does_not_compile"), Some(Reason::CompileError));
    assert_eq!(reason("panics"), Some(Reason::Crash));
    assert_eq!(reason("wrong"), Some(Reason::WrongResult));
    let detail = |name: &str| match &ended.outcomes[name] {
        Recorded::Quarantined { detail, .. } => detail.as_str(),
        Recorded::Measured(_) | Recorded::Beaten(_) => "",
    };
    assert!(detail("exits").contains("exit status: 0"), "{}", detail("exits"));
    assert!(detail("starves").contains("memory allocation of"), "{}", detail("starves"));
    assert!(detail("hangs").contains("nothing was heard of it for"), "{}", detail("hangs"));
    if cfg!(unix) {
        assert!(detail("aborts").contains("SIGABRT"), "{}", detail("aborts"));
    }
    let lost: Vec<&str> = ended.lost.iter().map(AlgoId::as_str).collect();
    assert_eq!(lost, ["aborts", "exits", "gets_killed", "starves", "hangs", "loses_context"]);

    // What is in quarantine is listed, as text and as JSON.
    let path = run.folder().to_str().unwrap();
    let text = crate::command::run(&["inspect", path, "--quarantined"]).success().stdout;
    assert!(text.contains("1 entries, 10 quarantined"), "{text}");
    assert!(text.contains("quarantined (timeout): hangs: nothing"), "{text}");
    assert_eq!(text.matches(" quarantined (").count(), 10, "{text}");
    assert!(!text.contains(" n="), "nothing measured is listed: {text}");
    let json = crate::command::run(&["inspect", path, "--json"]).success().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let listed = json[0]["quarantined"].as_array().unwrap();
    assert_eq!(listed.len(), 10);
    let hangs = listed.iter().find(|one| one["algo"] == "hangs").unwrap();
    assert_eq!(
        (&hangs["reason"], &hangs["kernel_hash"]),
        (&serde_json::json!("timeout"), &serde_json::json!(KernelHash::new(7).to_string()))
    );
}

/// Without a worker, a lost device is the end of the run, and says who did it.
#[test]
fn a_lost_device_ends_an_unprotected_run() {
    let faults = [
        Injected::new("plain", Fault::None).default(),
        Injected::new("loses_context", Fault::LosesContext),
    ];
    let run = Run::small();
    let error = run.failing_here(&spec(&faults)).to_string();
    assert!(error.contains("loses_context took the device down"), "{error}");
    assert!(error.contains("isolation"), "{error}");
    assert!(evidence(run.folder()).is_empty(), "nothing unverified is written");
}

#[test]
fn a_candidate_is_given_up_after_three_losses() {
    let faults =
        [Injected::new("plain", Fault::None).default(), Injected::new("aborts", Fault::Aborts)];
    let mut run = Run::small();
    run.request.grid.voxels = vec![300, 600, 1_200, 2_400, 4_800];
    let ended = run.in_worker(&spec(&faults));
    assert_eq!((ended.summary.measured, ended.entries), (5, 5));
    assert_eq!(ended.lost.len(), 3, "then it is not tried any more");
    let evidence = evidence(run.folder());
    assert_eq!(evidence.quarantine().count(), 5);
    let not_run = evidence.quarantine().filter(|(_, record)| {
        matches!(&record.outcome, Recorded::Quarantined { detail, .. } if detail.contains("not run"))
    });
    assert_eq!(not_run.count(), 2);
}

#[test]
fn quarantine_is_kept_retried_and_lifted() {
    // So long that the other one is faster on a busy machine, too.
    let plain = || Injected::new("plain", Fault::Takes(20)).default();
    let broken = || Injected::new("other", Fault::Aborts);
    let repaired = || Injected::new("other", Fault::None);
    let mut run = Run::small();
    let first = run.in_worker(&spec(&[plain(), broken()]));
    assert_eq!(reason(&first.outcomes["other"]), Some(Reason::Crash));

    // It is not run again: in this very process, that would be the end.
    for remeasure in [Remeasure::All, Remeasure::Incomplete, Remeasure::New] {
        run.request.remeasure = remeasure;
        let again = run.here(&spec(&[plain(), broken()]));
        assert_eq!(reason(&again.outcomes["other"]), Some(Reason::Crash));
        assert_eq!(again.entries, usize::from(remeasure == Remeasure::All));
    }

    // A retry that fails leaves everything as it is, and one that succeeds lifts it.
    run.request.retry_quarantined = true;
    let before = record(run.folder(), "other");
    let failed = run.in_worker(&spec(&[plain(), broken()]));
    assert_eq!((failed.entries, failed.lost.len()), (1, 1));
    assert_eq!(record(run.folder(), "other"), before);
    let retried = run.in_worker(&spec(&[plain(), repaired()]));
    assert_eq!(retried.entries, 1);
    assert!(timing(&retried, "other").ratio_to_default.unwrap().median < 1.0);

    // So does another version of the code, by itself.
    run.request.retry_quarantined = false;
    let broken = run.in_worker(&spec(&[plain(), broken().with_hash(8)]));
    assert_eq!(reason(&broken.outcomes["other"]), Some(Reason::Crash));
    let changed = run.here(&spec(&[plain(), repaired().with_hash(9)]));
    assert_eq!(changed.entries, 1);
    timing(&changed, "other");
    assert_eq!(evidence(run.folder()).quarantine().count(), 0);
}

#[test]
fn topping_up_measures_what_has_changed() {
    let candidates = |near: Injected, far_fault| {
        spec(&[
            Injected::new("default", Fault::Takes(72)).default(),
            Injected::new("first", Fault::Takes(48)),
            near,
            Injected::new("far", far_fault),
        ])
    };
    let near = |milliseconds| Injected::new("near", Fault::Takes(milliseconds));
    let mut run = Run::small();
    // Long enough that a noisy machine makes no tenth of difference.
    run.request.protocol.budget = Duration::from_secs(2);
    run.here(&candidates(near(60), Fault::Takes(80)));
    let before = record(run.folder(), "far");

    // A candidate with another code meets the first and the default. One that is far behind, and
    // would crash, is not run.
    run.request.remeasure = Remeasure::New;
    let topped_up = run.in_worker(&candidates(near(24).with_hash(8), Fault::Aborts));
    assert_eq!((topped_up.summary.measured, topped_up.entries), (1, 1));
    assert_eq!(record(run.folder(), "near").kernel_hash, KernelHash::new(8));
    assert_eq!(record(run.folder(), "far"), before);
    let decisions = voxtune_cache::decide(&evidence(run.folder()));
    assert_eq!(decisions.iter().next().unwrap().winner.as_str(), "near");

    // With nothing new there is nothing to do, to the byte.
    let bytes = files(run.folder());
    let nothing = run.here(&candidates(near(24).with_hash(8), Fault::Aborts));
    assert_eq!((nothing.summary.skipped, nothing.entries), (1, 0));
    assert_eq!(files(run.folder()), bytes);
}

#[test]
fn without_a_worker_nothing_else_changes() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let path = |number: usize| folders[number].path().to_str().unwrap();
    assert!(small_populate(folders[0].path()).output().unwrap().status.success());
    let unprotected = small_populate(folders[1].path()).arg("--no-isolation").output().unwrap();
    assert!(unprotected.status.success());
    let keys = |number: usize| {
        let text = run(&["inspect", path(number), "--best-only"]).success().stdout;
        text.lines().filter(|line| line.contains(" voxels, ")).count()
    };
    assert_eq!((keys(0), keys(1)), (9, 9));
    let top_up = small_populate(folders[0].path()).arg("--top-up").output().unwrap();
    let stdout = String::from_utf8(top_up.stdout).unwrap();
    assert!(stdout.contains("measured 0 + skipped 3"), "{stdout}");
}

#[cfg(unix)]
#[cfg(unix)]
#[test]
fn a_killed_worker_blames_no_candidate() {
    let spec = spec(&[
        Injected::new("plain", Fault::Takes(100)).default(),
        Injected::new("other", Fault::Takes(100)),
    ]);
    let run = Run::small();
    let mut id = None;
    let ended = run.watched_in_worker(&spec, &mut |event| match event {
        Event::WorkerStarted { id: started } => {
            id.get_or_insert(*started);
        }
        Event::EntryStarted { .. } => {
            let id = id.unwrap().to_string();
            std::thread::spawn(move || {
                // In the middle of the verification of the first candidate.
                std::thread::sleep(Duration::from_millis(150));
                Command::new("kill").args(["-KILL", &id]).status().unwrap();
            });
        }
        _ => {}
    });
    assert_eq!((ended.summary.measured, ended.summary.failed), (1, 0));
    assert_eq!(ended.workers.len(), 2, "another one took over");
    assert!(ended.outcomes.values().all(|outcome| reason(outcome).is_none()));
    assert!(ended.lost.is_empty());
}

/// Whatever happens to the supervisor: here it is killed, and cannot say so.
#[cfg(target_os = "linux")]
#[cfg(target_os = "linux")]
#[test]
fn a_worker_does_not_outlive_its_supervisor() {
    fn children(id: u32) -> Vec<u32> {
        let path = format!("/proc/{id}/task/{id}/children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }
    fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = voxtune();
    command
        .args(["populate", "--device", "cpu", "--preset", "default", "--out"])
        .arg(folder.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut supervisor = command.spawn().unwrap();
    let worker = until("no worker was started", || children(supervisor.id()).first().copied());
    // Wherever it is by now.
    std::thread::sleep(Duration::from_millis(300));
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    until("the worker lives on", || {
        let status = std::fs::read_to_string(format!("/proc/{worker}/stat"));
        // Nobody may be there to reap it.
        let is_gone = status.as_ref().map_or(true, |stat| stat.contains(") Z "));
        is_gone.then_some(())
    });
}
