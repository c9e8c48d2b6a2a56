//! Races for tests.

use voxtune::KernelHash;

use crate::samples::{LaneSamples, RaceSamples};
use voxtune_tune::testing::entry;

pub(crate) fn race(lanes: Vec<LaneSamples>) -> RaceSamples {
    RaceSamples { entry: entry(), lanes }
}

pub(crate) fn lane(algo: &str, default: bool, samples_ns: &[u64]) -> LaneSamples {
    LaneSamples {
        algo: algo.parse().unwrap(),
        kernel_hash: KernelHash::new(1),
        default,
        failed: false,
        rounds_ns: samples_ns.iter().copied().map(Some).collect(),
    }
}
