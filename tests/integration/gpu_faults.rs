//! Kernels that go astray on a real GPU, and what they cost.
//!
//! What goes wrong here is not to be had in safe code: kernels that read where nothing is, or never
//! end. They are written in PTX, which the driver compiles itself.
#![expect(
    unsafe_code,
    reason = "launching a kernel that goes astray is what these tests are about"
)]

use cudarc::driver::{CudaContext, result, sys};
use voxtune::{AlgoId, DType, DeviceChoice};
use voxtune_cache::Reason;
use voxtune_tune::DeviceSpec;
use voxtune_types::AlgoMode;
use voxtune_types::mode::AlgoModes;

use crate::faulty::{Fault, Injected, spec};
use crate::injected::{Run, reason};
use crate::suite::{Suite, TOOLKIT, kernels_folder};

pub(crate) fn add(suite: &mut Suite) {
    suite.gpu_test("gpu_faults::a_crash_a_hang_and_a_race_cost_themselves", each_costs_itself);
}

/// Both kernels in a text that ends with a zero byte, as the driver wants it.
const KERNELS: &[u8] = concat!(include_str!("astray.ptx"), "\0").as_bytes();

/// Lets a kernel of the file run on the first device, and waits for it. The wait's answer is of no
/// interest: whoever uses the device next meets what went wrong.
fn run(kernel: &str) {
    let context = CudaContext::new(0).unwrap();
    let name = std::ffi::CString::new(kernel).unwrap();
    // SAFETY: the text is PTX and ends with a zero byte; the kernels have no parameters. What they
    // do to the context is what the caller is after.
    unsafe {
        let module = result::module::load_data(KERNELS.as_ptr().cast()).unwrap();
        let function = result::module::get_function(module, name).unwrap();
        let stream: sys::CUstream = std::ptr::null_mut();
        result::launch_kernel(function, (1, 1, 1), (1, 1, 1), 0, stream, &mut []).unwrap();
    }
    let _ = context.synchronize();
}

/// Writes to an address that does not exist.
pub(crate) fn touch_an_illegal_address() {
    run("touch_an_illegal_address");
}

/// Waits for a kernel that never ends.
pub(crate) fn hang() {
    run("hang");
}

fn gpu_spec(injected: &[Injected]) -> DeviceSpec {
    DeviceSpec {
        choice: DeviceChoice::Cuda(0),
        threads: None,
        kernels: Some(kernels_folder()),
        toolkit: Some(TOOLKIT.into()),
        ..spec(injected)
    }
}

fn each_costs_itself() {
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
