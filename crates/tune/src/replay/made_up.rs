//! Made-up records.

use voxtune::{
    Arch, DType, DeviceIdentity, Direction, KernelHash, KernelSize, Operation, ShapeKey,
};
use voxtune_cache::{EntryKey, Workload};

use crate::samples::{LaneSamples, RaceSamples};

pub(crate) fn race(lanes: Vec<LaneSamples>) -> RaceSamples {
    let kernel = KernelSize::submanifold(3).unwrap();
    let operation = Operation::submanifold(Direction::Forward, DType::Float16, 32, 32, kernel);
    let entry = EntryKey {
        device: DeviceIdentity { arch: Arch::sm(9, 0), name: "a device".to_owned(), units: 100 },
        key: ShapeKey::new(operation, 1000, 1000, 5000),
        workload: Workload {
            cloud: "uniform".to_owned(),
            rows_in: 1000,
            rows_out: 1000,
            pairs: 5000,
            batch: 1,
            cold: true,
        },
    };
    RaceSamples { entry, lanes }
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
