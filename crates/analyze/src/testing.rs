//! Races for tests.

use voxtune::KernelHash;

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
    }
}
