//! Candidates that a tuner must withstand: wrong, racy, crashing, failing, hopeless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use voxtune::{
    AlgoId, Algorithm, ConvError, Device, Direction, KernelHash, KernelMap, Launch, MapCounts,
    Operation, Registry,
};
use voxtune_cache::{CacheDir, Outcome as Recorded, Reason};
use voxtune_cloud::{FileOptions, Generator, Source};
use voxtune_cpu::ElementsMut;
use voxtune_shape::mode::AlgoModes;
use voxtune_shape::{AlgoMode, Preset};
use voxtune_tune::{Event, Observer, Plan, Populate, Request};

use crate::populating::evidence;
use crate::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("injected::each_fault_is_told_apart", each_fault_is_told_apart);
    suite.test("injected::a_configuration_without_survivors_fails", without_survivors);
}

/// What an injected candidate does instead of its duty.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// One element of the result is off by a hundredth of its scale.
    OneElementWrong,
    /// Every third run is wrong.
    Racy,
    /// One element is never written.
    Forgetful,
    Panics,
    Fails,
    /// Right, but it takes a while.
    Slow,
}

/// The default algorithm of the host with a fault.
struct Faulty {
    id: AlgoId,
    fault: Fault,
    default: bool,
    inner: Arc<dyn Algorithm>,
    runs: AtomicUsize,
}

impl Algorithm for Faulty {
    fn id(&self) -> &AlgoId {
        &self.id
    }

    fn applies(&self, operation: &Operation) -> bool {
        self.inner.applies(operation)
    }

    fn in_auto_pool(&self, _operation: &Operation, _counts: MapCounts) -> bool {
        true
    }

    fn is_default(&self, _operation: &Operation) -> bool {
        self.default
    }

    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64 {
        self.inner.workspace_bytes(operation, map)
    }

    fn kernel_hash(
        &self,
        _device: &Device,
        _operation: &Operation,
    ) -> Result<KernelHash, ConvError> {
        Ok(KernelHash::new(7))
    }

    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let Launch { operation, map, a, b, out } = launch;
        let forward = Launch { operation, map, a, b, out: &mut *out };
        match self.fault {
            Fault::Panics => panic!("an illegal address"),
            Fault::Fails => {
                let detail = "too many resources requested".to_owned();
                return Err(ConvError::Launch { algorithm: self.id.to_string(), detail });
            }
            Fault::Slow => std::thread::sleep(Duration::from_millis(60)),
            _ => {}
        }
        self.inner.run(device, forward)?;
        let spoiled = match self.fault {
            Fault::OneElementWrong => Some(0.01),
            Fault::Racy if run % 3 == 1 => Some(0.5),
            Fault::Forgetful => Some(f32::NAN),
            _ => None,
        };
        if let (Some(offset), Some(ElementsMut::Float32(elements))) = (spoiled, out.host_mut()) {
            let last = elements.len() - 1;
            elements[last] += offset;
        }
        Ok(())
    }
}

fn device(faults: &[(&str, Fault, bool)]) -> Device {
    let host = Registry::cpu();
    let explicit: AlgoId = "explicit_gemm".parse().unwrap();
    let inner = host.algorithms().find(|algorithm| *algorithm.id() == explicit).unwrap();
    let algorithms = faults
        .iter()
        .map(|&(id, fault, default)| {
            let inner = Arc::clone(inner);
            let runs = AtomicUsize::new(0);
            let faulty = Faulty { id: id.parse().unwrap(), fault, default, inner, runs };
            Arc::new(faulty) as Arc<dyn Algorithm>
        })
        .collect();
    Device::cpu_with_registry(1, Registry::new(algorithms)).unwrap()
}

fn request() -> Request {
    let mut grid = Preset::Quick.grid();
    grid.voxels = vec![5_000];
    grid.channels = vec!["8,8".parse().unwrap()];
    grid.dtypes = vec![voxtune::DType::Float32];
    Request {
        grid,
        clouds: vec![Source::Generated(Generator::Uniform)],
        file_options: FileOptions::default(),
        batch_size: 1,
        seed: 0,
        directions: vec![Direction::Forward],
        modes: AlgoModes::uniform(AlgoMode::All),
        budget: Duration::from_millis(200),
        resume: false,
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&mut self, _event: &Event<'_>) {}
}

fn populate(device: &Device) -> (voxtune_tune::Summary, BTreeMap<String, Recorded>) {
    let folder = tempfile::tempdir().unwrap();
    let request = request();
    let plan = Plan::new(&request).unwrap();
    let populate = Populate {
        device,
        plan: &plan,
        request: &request,
        cache: &CacheDir::new(folder.path()),
        lock_wait: Duration::from_secs(1),
        interrupt: &AtomicBool::new(false),
    };
    let summary = populate.run(&mut Silent).unwrap();
    let evidence = evidence(folder.path());
    let records = evidence.entries().flat_map(|(_, records)| records.iter());
    (summary, records.map(|r| (r.algo.to_string(), r.outcome.clone())).collect())
}

fn each_fault_is_told_apart() {
    let device = device(&[
        ("plain", Fault::None, true),
        ("one_element_wrong", Fault::OneElementWrong, false),
        ("racy", Fault::Racy, false),
        ("forgetful", Fault::Forgetful, false),
        ("panics", Fault::Panics, false),
        ("fails", Fault::Fails, false),
        ("slow", Fault::Slow, false),
    ]);
    let (summary, outcomes) = populate(&device);
    assert_eq!((summary.measured, summary.failed), (1, 0));
    let reason = |name: &str| match &outcomes[name] {
        Recorded::Quarantined { reason, detail } => {
            assert!(!detail.is_empty());
            Some(*reason)
        }
        Recorded::Measured(_) => None,
    };
    assert_eq!(reason("plain"), None);
    assert_eq!(reason("one_element_wrong"), Some(Reason::WrongResult));
    assert_eq!(reason("racy"), Some(Reason::WrongResult));
    assert_eq!(reason("forgetful"), Some(Reason::WrongResult));
    assert_eq!(reason("panics"), Some(Reason::Crash));
    assert_eq!(reason("fails"), Some(Reason::LaunchFailure));
    let Recorded::Measured(slow) = &outcomes["slow"] else { panic!("{outcomes:?}") };
    assert_eq!(slow.samples, 1, "a hopeless candidate leaves after one sample");
    let Recorded::Measured(plain) = &outcomes["plain"] else { panic!("{outcomes:?}") };
    assert!(plain.samples >= 3);
}

fn without_survivors() {
    let device = device(&[("panics", Fault::Panics, true), ("fails", Fault::Fails, false)]);
    let (summary, outcomes) = populate(&device);
    assert_eq!((summary.requested, summary.measured, summary.failed), (1, 0, 1));
    assert!(outcomes.values().all(|outcome| matches!(outcome, Recorded::Quarantined { .. })));
}
