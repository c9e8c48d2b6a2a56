//! Races and evidence for tests.

use std::path::{Path, PathBuf};

use voxtune::{Arch, KernelHash};
use voxtune_cache::{CacheDir, Evidence};
use voxtune_types::ComputeCapability;

use crate::samples::{RaceSamples, RecordedSamples};
use voxtune_tune::testing::entry;

pub(crate) fn race(candidates: Vec<RecordedSamples>) -> RaceSamples {
    RaceSamples { entry: entry(), candidates }
}

pub(crate) fn candidate(algo: &str, default: bool, samples_ns: &[u64]) -> RecordedSamples {
    RecordedSamples {
        algo: algo.parse().unwrap(),
        kernel_hash: KernelHash::new(1),
        default,
        failed: false,
        rounds_ns: samples_ns.iter().copied().map(Some).collect(),
        charge: None,
    }
}

pub(crate) const HOPPER: ComputeCapability = ComputeCapability { major: 9, minor: 0 };

/// The folder that ships.
pub(crate) fn caches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../caches")
}

/// What was measured on the GPUs of an architecture.
pub(crate) fn evidence() -> (Evidence, Arch) {
    let arch = Arch::Cuda(HOPPER);
    (CacheDir::new(caches()).read_evidence(arch).unwrap().unwrap(), arch)
}
