//! What some tests need: a GPU with its kernels, or a scan.
//!
//! Such tests are ignored, with the reason, where `cargo test` is called as usual.
//! `docs/contributing/testing.md` says how to run them; then, what they need and do not find is a
//! failure.

use std::path::PathBuf;

use voxtune::{Device, DeviceChoice, DeviceError, KernelSource};
use voxtune_nvcc::Nvcc;

/// The scan that `VOXTUNE_SCAN` names.
pub(crate) fn scan_file() -> PathBuf {
    let path = std::env::var_os("VOXTUNE_SCAN").filter(|path| !path.is_empty());
    PathBuf::from(path.expect("VOXTUNE_SCAN names a scan file"))
}

/// The program of workers with faulty candidates: that of this build, or what `VOXTUNE_WORKER`
/// names on a machine that has only programs of another.
pub(crate) fn worker_program() -> PathBuf {
    std::env::var_os("VOXTUNE_WORKER")
        .map_or_else(|| env!("CARGO_BIN_EXE_faulty-worker").into(), PathBuf::from)
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
