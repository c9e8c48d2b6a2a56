//! Several devices of one host at work on one run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use voxtune::DeviceChoice;
use voxtune_cache::Reason;
use voxtune_tune::run::device_pool::DevicePoolError;
use voxtune_tune::{DevicePool, DeviceSpec, Event, Gpus};
use voxtune_types::AlgoMode;
use voxtune_types::mode::AlgoModes;

use crate::command::run;
use crate::faulty::{Fault, Injected, spec, with_folder};
use crate::injected::{Run, reason};
use crate::needs::{TOOLKIT, kernels_folder};
use crate::populating::evidence;

/// Configurations over clouds of so many sizes.
fn sizes(count: u32) -> Run {
    let mut run = Run::small();
    run.request.grid.voxels = (0..count).map(|number| 100 << number).collect();
    run
}

/// What was measured, by entry, candidate and code.
fn keys(folder: &Path) -> BTreeSet<String> {
    let evidence = evidence(folder);
    let each = evidence.entries().flat_map(|(key, records)| {
        records.iter().map(move |one| format!("{key:?} {} {}", one.algo, one.kernel_hash))
    });
    each.collect()
}

#[test]
fn two_do_what_one_does_in_about_half_the_time() {
    // A machine that is busy with other things may be so for one of two runs.
    let is_about_half = (0..3).any(|_| time_of_two() < 0.75);
    assert!(is_about_half, "two take more than three quarters of the time of one, three times");
}

/// The time that two devices take, as a fraction of what one takes for the same.
fn time_of_two() -> f64 {
    let signatures = tempfile::tempdir().unwrap();
    let plain = || Injected::new("plain", Fault::Takes(25)).default();
    let alone = spec(&[plain(), Injected::new("signs", Fault::Takes(20))]);
    let shared =
        with_folder(spec(&[plain(), Injected::new("signs", Fault::Signs(20))]), signatures.path());
    let (one, two) = (sizes(6), sizes(6));
    let first = one.in_worker(&alone);
    let second = two.in_workers(&[shared.clone(), shared], &mut |_| ());
    for ended in [&first, &second] {
        assert_eq!((ended.summary.measured, ended.summary.failed), (6, 0));
        assert_eq!(ended.entries, 6, "each is measured once");
    }
    assert_eq!(keys(two.folder()), keys(one.folder()));
    assert_eq!(second.workers.len(), 2);
    let signed = std::fs::read_dir(signatures.path()).unwrap();
    let signed: BTreeSet<String> =
        signed.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let workers = second.workers.iter().map(u32::to_string).collect();
    assert_eq!(signed, workers, "both have measured something");
    // Candidates sleep most of the time, so that two cores are not needed for it.
    second.took.as_secs_f64() / first.took.as_secs_f64()
}

#[test]
fn a_crash_costs_its_candidate_alone() {
    let faults =
        [Injected::new("plain", Fault::Takes(2)).default(), Injected::new("aborts", Fault::Aborts)];
    let run = sizes(5);
    let ended = run.in_workers(&[spec(&faults), spec(&faults)], &mut |_| ());
    assert_eq!((ended.summary.measured, ended.summary.failed), (5, 0));
    assert_eq!((ended.entries, ended.given_up.len()), (5, 0), "workers are started anew");
    assert_eq!(reason(&ended.outcomes["plain"]), None);
    assert_eq!(reason(&ended.outcomes["aborts"]), Some(Reason::Crash));
    assert_eq!(evidence(run.folder()).quarantine().count(), 5);
    // After three losses, whichever worker they were, nobody tries it: but both may be at it then.
    assert!((3..=4).contains(&ended.lost.len()), "{:?}", ended.lost);
}

/// Of two devices, the second goes with the first candidate that runs there.
fn half_gone(folder: &Path) -> [DeviceSpec; 2] {
    let healthy = spec(&[
        Injected::new("plain", Fault::Takes(20)).default(),
        Injected::new("other", Fault::TakesDeviceAway),
    ]);
    [healthy.clone(), with_folder(healthy, folder)]
}

#[test]
fn a_lost_device_leaves_its_work_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let run = sizes(4);
    let ended = run.in_workers(&half_gone(folder.path()), &mut |_| ());
    assert_eq!((ended.summary.measured, ended.summary.failed), (4, 0), "{:?}", ended.outcomes);
    assert_eq!(ended.entries, 5, "one was begun twice");
    assert_eq!(ended.given_up.len(), 1);
    assert!(ended.given_up[0].contains("fallen off the bus"), "{:?}", ended.given_up);
    // Elsewhere the candidate that ran last is as good as any.
    assert_eq!(keys(run.folder()).len(), 8);
    assert_eq!(evidence(run.folder()).quarantine().count(), 0);
}

/// The first device is lost in calibration, before the first configuration.
#[test]
fn a_device_that_is_lost_in_calibration_costs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let healthy = spec(&[
        Injected::new("plain", Fault::TakesDeviceAway).default(),
        Injected::new("other", Fault::None),
    ]);
    let run = sizes(4);
    let specs = [with_folder(healthy.clone(), folder.path()), healthy];
    let ended = run.in_workers(&specs, &mut |_| ());
    assert_eq!((ended.summary.measured, ended.summary.failed), (4, 0), "{:?}", ended.outcomes);
    assert_eq!((ended.entries, ended.given_up.len()), (4, 1));
    assert!(ended.given_up[0].contains("fallen off the bus"), "{:?}", ended.given_up);
    assert_eq!(evidence(run.folder()).quarantine().count(), 0);
}

#[test]
fn the_last_lost_device_ends_the_run() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [healthy, _] = half_gone(folders[0].path());
    let specs = folders.each_ref().map(|folder| with_folder(healthy.clone(), folder.path()));
    let run = sizes(4);
    let error = run.failing_in_workers(&specs).to_string();
    assert!(error.contains("fallen off the bus"), "{error}");
}

#[test]
fn an_interrupt_ends_all() {
    let faults =
        [Injected::new("plain", Fault::Takes(20)).default(), Injected::new("hangs", Fault::Hangs)];
    let run = sizes(4);
    let mut begun = 0;
    let mut stopped = None;
    let ended = run.in_workers(&[spec(&faults), spec(&faults)], &mut |event| {
        if let Event::EntryStarted { .. } = event {
            begun += 1;
            if begun == 2 {
                run.interrupt.store(true, Ordering::Relaxed);
                stopped = Some(Instant::now());
            }
        }
    });
    assert!(stopped.unwrap().elapsed() < Duration::from_secs(5), "hung ones are not waited for");
    assert!(ended.summary.interrupted);
    assert_eq!((ended.summary.measured, ended.summary.failed), (0, 4));
    assert!(ended.lost.is_empty() && ended.given_up.is_empty(), "nobody is blamed: {ended:?}");
}

#[test]
fn devices_of_two_kinds_are_refused() {
    let one = spec(&[Injected::new("plain", Fault::None).default()]);
    let other = DeviceSpec { threads: Some(2), ..one.clone() };
    let error = DevicePool::start(&[one, other]).unwrap_err();
    assert!(matches!(error, DevicePoolError::Mixed(_)) && !error.is_not_found(), "{error}");
    let text = error.to_string();
    assert!(text.contains("1 threads") && text.contains("2 threads"), "{text}");
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    for with in [&["--device", "cpu"] as &[&str], &["--no-isolation"]] {
        let both = run(&[&["populate", "--gpus", "0"], with].concat());
        assert_eq!(both.status, Some(2), "{both:?}");
        assert!(both.stderr.contains("cannot be used with"), "{both:?}");
    }
    assert_eq!(run(&["populate", "--gpus", "0,0"]).status, Some(2));
    let absent = run(&["populate", "--gpus", "97", "--dry-run"]);
    assert_eq!(absent.status, Some(3), "{absent:?}");
    assert!(absent.stderr.contains("cuda:97"), "{absent:?}");
}

/// On a host with one GPU, that one alone.
#[test]
#[ignore = "needs a GPU"]
fn every_gpu_of_the_host_shares_the_work() {
    let devices = Gpus::All.devices().unwrap();
    let device = |choice: DeviceChoice| DeviceSpec {
        choice,
        threads: None,
        kernels: Some(kernels_folder()),
        toolkit: Some(TOOLKIT.into()),
        note: String::new(),
        ..spec(&[])
    };
    let specs: Vec<DeviceSpec> = devices.iter().copied().map(device).collect();
    let sized = || {
        let mut run = Run::new(20_000, "32,32", voxtune::DType::Float16);
        run.request.grid.voxels = vec![10_000, 20_000, 40_000, 80_000];
        run.request.protocol.modes = AlgoModes::uniform(AlgoMode::Auto);
        run
    };
    let (one, all) = (sized(), sized());
    let alone = one.in_workers(&specs[..1], &mut |_| ());
    let together = all.in_workers(&specs, &mut |_| ());
    assert_eq!((alone.summary.measured, together.summary.measured), (4, 4));
    assert_eq!(together.workers.len(), specs.len());
    assert_eq!(keys(all.folder()), keys(one.folder()));
}
