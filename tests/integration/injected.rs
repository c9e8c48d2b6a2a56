//! Candidates that a tuner must withstand without a worker: wrong, racy, panicking, failing,
//! dominated, and those that look worse than they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use voxtune::{AlgoId, DType, Direction, KernelHash};
use voxtune_cache::{CacheDir, Outcome as Recorded, Reason, Record, Timing};
use voxtune_pointcloud::{FileOptions, Generator, Source};
use voxtune_tune::Preset;
use voxtune_tune::run::populate::PopulateError;
use voxtune_tune::{
    DevicePool, DeviceSpec, Event, Executor, Observer, Plan, Populate, Protocol, Remeasure,
    Request, Summary, Worker,
};
use voxtune_types::AlgoMode;
use voxtune_types::mode::AlgoModes;

use crate::faulty::{Fault, Injected, open, spec, with_folder};
use crate::populating::evidence;

/// How long runs wait for other writers.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(1);

/// One entry to be measured, and where its results go.
pub(crate) struct Run {
    pub(crate) request: Request,
    pub(crate) interrupt: AtomicBool,
    folder: tempfile::TempDir,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) summary: Summary,
    /// By name.
    pub(crate) outcomes: BTreeMap<String, Recorded>,
    /// The worker processes, in their order.
    pub(crate) workers: Vec<u32>,
    /// Candidates that took a worker down, in their order.
    pub(crate) lost: Vec<AlgoId>,
    /// Entries that were begun.
    pub(crate) entries: usize,
    /// Devices that were given up, and why.
    pub(crate) given_up: Vec<String>,
    /// How long it took, without the start of workers.
    pub(crate) took: Duration,
}

impl Run {
    pub(crate) fn new(voxels: usize, channels: &str, dtype: DType) -> Self {
        let mut grid = Preset::Quick.grid();
        grid.voxels = vec![voxels];
        grid.channels = vec![channels.parse().unwrap()];
        grid.dtypes = vec![dtype];
        let request = Request {
            grid,
            clouds: vec![Source::Generated(Generator::Uniform)],
            file_options: FileOptions::default(),
            protocol: Protocol {
                directions: vec![Direction::Forward],
                modes: AlgoModes::uniform(AlgoMode::All),
                budget: Duration::from_millis(200),
                charges: true,
                ..Protocol::default()
            },
            remeasure: Remeasure::All,
            retry_quarantined: false,
        };
        let interrupt = AtomicBool::new(false);
        Self { request, interrupt, folder: tempfile::tempdir().unwrap() }
    }

    /// A layer small enough for any test.
    pub(crate) fn small() -> Self {
        Self::new(2_000, "8,8", DType::Float32)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn here(&self, spec: &DeviceSpec) -> Ended {
        self.on(open(spec).unwrap().0.into(), &mut |_| ())
    }

    pub(crate) fn watched_here(&self, spec: &DeviceSpec, watch: &mut dyn FnMut(&Event)) -> Ended {
        self.on(open(spec).unwrap().0.into(), watch)
    }

    /// Why a run in this process cannot go on.
    pub(crate) fn failing_here(&self, spec: &DeviceSpec) -> PopulateError {
        let executor: Executor = open(spec).unwrap().0.into();
        self.result(executor.into(), &mut |_| ()).err().unwrap()
    }

    pub(crate) fn in_worker(&self, spec: &DeviceSpec) -> Ended {
        self.watched_in_worker(spec, &mut |_| ())
    }

    pub(crate) fn watched_in_worker(
        &self,
        spec: &DeviceSpec,
        watch: &mut dyn FnMut(&Event),
    ) -> Ended {
        self.on(Worker::start(spec).unwrap().into(), watch)
    }

    /// On several devices, each with a worker of its own.
    pub(crate) fn in_workers(&self, specs: &[DeviceSpec], watch: &mut dyn FnMut(&Event)) -> Ended {
        self.result(DevicePool::start(specs).unwrap(), watch).unwrap()
    }

    /// Why a watched run in a worker cannot go on.
    #[cfg(unix)]
    pub(crate) fn failing_when_watched(
        &self,
        spec: &DeviceSpec,
        watch: &mut dyn FnMut(&Event),
    ) -> PopulateError {
        let executor: Executor = Worker::start(spec).unwrap().into();
        self.result(executor.into(), watch).err().unwrap()
    }

    /// Why a run on several devices cannot go on.
    pub(crate) fn failing_in_workers(&self, specs: &[DeviceSpec]) -> PopulateError {
        self.result(DevicePool::start(specs).unwrap(), &mut |_| ()).err().unwrap()
    }

    /// On a device of this process, or in a worker.
    pub(crate) fn on(&self, executor: Executor, watch: &mut dyn FnMut(&Event)) -> Ended {
        self.result(executor.into(), watch).unwrap()
    }

    fn result(
        &self,
        mut pool: DevicePool,
        watch: &mut dyn FnMut(&Event),
    ) -> Result<Ended, PopulateError> {
        let plan = Plan::new(&self.request).unwrap();
        let populate = Populate {
            plan: &plan,
            request: &self.request,
            cache: &CacheDir::new(self.folder()),
            lock_wait: LOCK_WAIT,
            interrupt: &self.interrupt,
        };
        let (workers, lost, given_up) = (Vec::new(), Vec::new(), Vec::new());
        let mut recorder = Recorder { watch, workers, lost, given_up, entries: 0 };
        let start = Instant::now();
        let summary = populate.run_on_pool(&mut pool, &mut recorder)?;
        let took = start.elapsed();
        let Recorder { workers, lost, given_up, entries, .. } = recorder;
        let evidence = evidence(self.folder());
        let records = evidence.entries().flat_map(|(_, records)| records.iter());
        let outcomes = records.map(|r| (r.algo.to_string(), r.outcome.clone())).collect();
        Ok(Ended { summary, outcomes, workers, lost, entries, given_up, took })
    }
}

struct Recorder<'a> {
    watch: &'a mut dyn FnMut(&Event),
    workers: Vec<u32>,
    lost: Vec<AlgoId>,
    entries: usize,
    given_up: Vec<String>,
}

impl Observer for Recorder<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::WorkerStarted { id } => self.workers.push(*id),
            Event::CandidateLost { algo, .. } => self.lost.push(algo.clone()),
            Event::EntryStarted { .. } => self.entries += 1,
            Event::DeviceGivenUp { why } => self.given_up.push(why.clone()),
            _ => {}
        }
        (self.watch)(event);
    }
}

/// Why a candidate is in quarantine, if it is.
pub(crate) fn reason(outcome: &Recorded) -> Option<Reason> {
    match outcome {
        Recorded::Quarantined { reason, detail } => {
            assert!(!detail.is_empty());
            Some(*reason)
        }
        Recorded::Measured(_) | Recorded::Beaten(_) => None,
    }
}

/// How long a candidate took.
#[track_caller]
pub(crate) fn timing(ended: &Ended, name: &str) -> Timing {
    match &ended.outcomes[name] {
        Recorded::Measured(timing) => *timing,
        quarantined => panic!("{name}: {quarantined:?}"),
    }
}

#[test]
fn each_fault_is_told_apart() {
    let spec = spec(&[
        Injected::new("plain", Fault::None).default(),
        Injected::new("one_element_wrong", Fault::OneElementWrong),
        Injected::new("racy", Fault::Racy),
        Injected::new("forgetful", Fault::Forgetful),
        Injected::new("panics", Fault::Panics),
        Injected::new("fails", Fault::Fails),
        Injected::new("slow", Fault::Takes(60)),
    ]);
    // Verification looks at 16,384 rows of 16 channels: one element of more than 200,000 is wrong.
    let ended = Run::new(20_000, "8,16", DType::Float32).here(&spec);
    assert_eq!((ended.summary.measured, ended.summary.failed), (1, 0));
    let reason = |name: &str| reason(&ended.outcomes[name]);
    assert_eq!(reason("plain"), None);
    assert_eq!(reason("one_element_wrong"), Some(Reason::WrongResult));
    assert_eq!(reason("racy"), Some(Reason::WrongResult));
    assert_eq!(reason("forgetful"), Some(Reason::WrongResult));
    assert_eq!(reason("panics"), Some(Reason::Crash));
    assert_eq!(reason("fails"), Some(Reason::LaunchFailure));
    let slow = timing(&ended, "slow").samples;
    assert_eq!(slow, 1, "a dominated candidate leaves after one sample");
    assert!(timing(&ended, "plain").samples >= 3);
}

#[test]
fn a_configuration_without_survivors_fails() {
    let faults = [("panics", Fault::Panics), ("fails", Fault::Fails)];
    let ended = Run::small().here(&spec(&faults.map(|(name, fault)| Injected::new(name, fault))));
    let Summary { requested, measured, failed, .. } = ended.summary;
    assert_eq!((requested, measured, failed), (1, 0, 1));
    assert!(ended.outcomes.values().all(|outcome| reason(outcome).is_some()));
}

#[test]
fn a_slow_first_sample_is_forgiven() {
    let spec = spec(&[
        Injected::new("plain", Fault::Takes(9)).default(),
        Injected::new("late", Fault::SlowFirst),
    ]);
    let ended = Run::small().here(&spec);
    let late = timing(&ended, "late");
    assert!(late.samples >= 3, "{late:?}");
    assert!(late.ratio_to_default.unwrap().median < 1.0, "{late:?}");
}

#[test]
fn a_falling_clock_changes_no_ratio() {
    // So long that what else runs on the machine is a small part of it.
    let spec = spec(&[
        Injected::new("plain", Fault::Drifts(80)).default(),
        Injected::new("quick", Fault::Drifts(60)),
    ]);
    let ended = Run::small().here(&spec);
    let (plain, quick) = (timing(&ended, "plain"), timing(&ended, "quick"));
    assert!(plain.samples >= 3, "{plain:?}");
    assert!(quick.samples >= 3 && quick.median_ns > quick.min_ns * 101 / 100, "{quick:?}");
    let ratio = quick.ratio_to_default.unwrap();
    assert!((0.6..0.9).contains(&ratio.median), "{ratio:?}");
}

#[test]
fn a_stored_winner_is_confirmed() {
    let with = |fault| {
        spec(&[Injected::new("plain", Fault::Takes(5)).default(), Injected::new("quick", fault)])
    };
    let run = Run::small();
    let of_file = |ended: &Ended| timing(ended, "quick").median_ns;
    let first = of_file(&run.here(&with(Fault::None)));
    let bytes = |name: &str| std::fs::read(run.folder().join(name)).unwrap();
    let files = || {
        let names =
            std::fs::read_dir(run.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names.retain(|name| name.ends_with(".msgpack"));
        names.into_iter().map(|name| (bytes(&name), name)).collect::<Vec<_>>()
    };
    let stored = files();
    assert!(!stored.is_empty());
    let unlucky = run.here(&with(Fault::LosesItsRace));
    assert_eq!((of_file(&unlucky), files() == stored), (first, true), "it only was unlucky");
    let slower = run.here(&with(Fault::Takes(30)));
    assert!(of_file(&slower) > 30_000_000 && files() != stored, "it has become slow");
}

/// The code that the winner has today is known to crash, and a time of its other code is stored, as
/// after a merge with another release. A candidate that is measured by name does not meet it.
#[test]
fn quarantined_code_displaces_no_measured_winner() {
    let signatures = tempfile::tempdir().unwrap();
    let with = |hash| {
        let spec = spec(&[
            Injected::new("plain", Fault::Takes(5)).default(),
            Injected::new("quick", Fault::Signs(0)).with_hash(hash),
        ]);
        with_folder(spec, signatures.path())
    };
    let signed = || std::fs::read_dir(signatures.path()).unwrap().count();
    let mut run = Run::small();
    run.here(&with(1));
    assert_eq!(signed(), 1);
    std::fs::remove_file(signatures.path().join(std::process::id().to_string())).unwrap();

    let known = evidence(run.folder());
    let (entry, records) = known.entries().next().unwrap();
    let quick = records.iter().find(|record| record.algo.as_str() == "quick").unwrap();
    let (reason, detail) = (Reason::Crash, "boom".to_owned());
    let today = KernelHash::new(2);
    let outcome = Recorded::Quarantined { reason, detail };
    let crashed = Record { kernel_hash: today, outcome, ..quick.clone() };
    CacheDir::new(run.folder())
        .update(entry.device.arch, LOCK_WAIT, |stored| stored.insert(entry.clone(), crashed))
        .unwrap()
        .value
        .unwrap();

    run.request.protocol.modes = AlgoModes::uniform("plain".parse().unwrap());
    run.here(&with(2));
    assert_eq!(signed(), 0, "it ran");
    // Other code of it is not known to crash.
    run.here(&with(3));
    assert_eq!(signed(), 1);
}
