//! Kernels that go astray on a real GPU, and what they cost.

use voxtune::{AlgoId, DType, DeviceChoice};
use voxtune_cache::Reason;
use voxtune_tune::DeviceSpec;
use voxtune_types::AlgoMode;
use voxtune_types::mode::AlgoModes;

use crate::faulty::{Fault, Injected, spec};
use crate::injected::{Run, reason};
use crate::needs::{TOOLKIT, kernels_folder};

fn gpu_spec(injected: &[Injected]) -> DeviceSpec {
    DeviceSpec {
        choice: DeviceChoice::Cuda(0),
        threads: None,
        kernels: Some(kernels_folder()),
        toolkit: Some(TOOLKIT.into()),
        ..spec(injected)
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_crash_a_hang_and_a_race_cost_their_candidates_alone() {
    let spec = gpu_spec(&[
        Injected::new("good", Fault::None),
        Injected::new("astray", Fault::IllegalAddress),
        Injected::new("racy", Fault::GpuRacy),
        Injected::new("endless", Fault::GpuHangs),
        Injected::new("panics", Fault::Panics),
    ]);
    let mut run = Run::new(20_000, "32,32", DType::Float16);
    run.request.protocol.time_limit = std::time::Duration::from_secs(5);
    // All of the GPU's own candidates would have to be compiled.
    run.request.protocol.modes = AlgoModes::uniform(AlgoMode::Auto);
    let ended = run.in_worker(&spec);
    assert_eq!((ended.summary.measured, ended.summary.failed), (1, 0), "{:?}", ended.outcomes);
    assert_eq!(reason(&ended.outcomes["good"]), None, "{:?}", ended.outcomes);
    assert_eq!(reason(&ended.outcomes["astray"]), Some(Reason::LaunchFailure));
    assert_eq!(reason(&ended.outcomes["racy"]), Some(Reason::WrongResult));
    assert_eq!(reason(&ended.outcomes["endless"]), Some(Reason::Timeout));
    assert_eq!(reason(&ended.outcomes["panics"]), Some(Reason::Crash));
    let lost: Vec<&str> = ended.lost.iter().map(AlgoId::as_str).collect();
    assert_eq!(lost, ["astray", "endless"], "who took a worker down");
    let own = ended.outcomes.iter().filter(|(name, _)| name.contains("gemm"));
    assert!(own.clone().count() >= 2);
    assert!(own.into_iter().all(|(_, outcome)| reason(outcome).is_none()), "{:?}", ended.outcomes);
}
