//! The list of tests, with what each needs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};
use voxtune::{Device, DeviceChoice, DeviceError, KernelSource};
use voxtune_nvcc::Nvcc;

/// Tests to run and tests to leave out.
#[derive(Default)]
pub(crate) struct Suite {
    trials: Vec<Trial>,
    without_gpu: usize,
    /// Whether the GPU opens, or why not, once it has been tried.
    gpu: Option<Result<(), String>>,
    without_scan: usize,
}

/// The scan that `VOXTUNE_SCAN` names.
pub(crate) fn scan_file() -> Option<PathBuf> {
    std::env::var_os("VOXTUNE_SCAN").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The folder of a CUDA toolkit that is looked at last.
pub(crate) const TOOLKIT: &str = "target/cuda-toolkit";

/// The folder of compiled kernels: `VOXTUNE_KERNELS`, else where the tool puts them.
pub(crate) fn kernels_folder() -> PathBuf {
    std::env::var_os("VOXTUNE_KERNELS")
        .map_or_else(|| PathBuf::from("target/kernels"), PathBuf::from)
}

/// The first CUDA device, with kernels from that folder or a compiler.
pub(crate) fn open_gpu() -> Result<Device, DeviceError> {
    let source = KernelSource::compiling(kernels_folder(), Nvcc::new(TOOLKIT));
    Device::open_with(DeviceChoice::Cuda(0), &source).map(|(device, _)| device)
}

fn requires_gpu() -> bool {
    std::env::var("VOXTUNE_REQUIRE_GPU").is_ok_and(|value| value == "1")
}

impl Suite {
    /// A test that runs everywhere.
    pub(crate) fn test(&mut self, name: &str, test: impl FnOnce() + Send + 'static) {
        self.trials.push(trial(name, test));
    }

    /// A test that needs a scan file.
    pub(crate) fn scan_test(&mut self, name: &str, test: impl FnOnce(PathBuf) + Send + 'static) {
        match scan_file() {
            Some(path) => self.trials.push(trial(name, move || test(path)).with_kind("scan")),
            None => {
                self.without_scan += 1;
                let left_out = trial(name, || ()).with_kind("scan").with_ignored_flag(true);
                self.trials.push(left_out);
            }
        }
    }

    /// A test that needs a CUDA device.
    pub(crate) fn gpu_test(&mut self, name: &str, test: impl FnOnce() + Send + 'static) {
        let opens = || open_gpu().map(drop).map_err(|error| error.to_string());
        let runs = self.gpu.get_or_insert_with(opens).is_ok() || requires_gpu();
        self.without_gpu += usize::from(!runs);
        self.trials.push(trial(name, test).with_kind("gpu").with_ignored_flag(!runs));
    }

    /// How many tests are left out, and what would bring them in.
    pub(crate) fn left_out(&self) -> String {
        let mut text =
            format!("left out: {} GPU tests, {} scan tests", self.without_gpu, self.without_scan);
        if let Some(Err(why)) = &self.gpu {
            text.push_str("; no GPU (VOXTUNE_REQUIRE_GPU=1 makes that a failure): ");
            text.push_str(why);
        }
        if self.without_scan > 0 {
            text.push_str("; VOXTUNE_SCAN names no file");
        }
        text
    }

    pub(crate) fn into_trials(self) -> Vec<Trial> {
        self.trials
    }
}

/// A test that fails by panicking, as with the standard harness.
fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        catch_unwind(AssertUnwindSafe(test)).map_err(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Failed::from(text.unwrap_or_else(|| "panicked".to_owned()))
        })
    })
}
