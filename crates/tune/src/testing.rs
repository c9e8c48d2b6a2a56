//! An entry for tests to hang records on, and records.

use voxtune::{DType, DeviceIdentity, Direction, KernelSize, ShapeKey};
use voxtune_cache::{EntryKey, Environment, KernelHash, Outcome, Record, Timing, Workload};
use voxtune_types::{Arch, CpuIsa, Operation};

/// 32→32 forward on a thousand rows, on a processor.
pub fn entry() -> EntryKey {
    let kernel = KernelSize::submanifold(3).unwrap();
    let operation = Operation::submanifold(Direction::Forward, DType::Float16, 32, 32, kernel);
    EntryKey {
        device: DeviceIdentity {
            arch: Arch::Cpu(CpuIsa::X86Avx2),
            name: "a processor".to_owned(),
            units: 2,
        },
        key: ShapeKey::new(operation, 1000, 1000, 5000),
        workload: Workload {
            cloud: "uniform".to_owned(),
            rows_in: 1000,
            rows_out: 1000,
            pairs: 5000,
            batch: 1,
            cold: false,
        },
    }
}

/// A candidate that took this long every time. The one called `default` is the default.
pub fn record(algo: &str, hash: u64, median_ns: u64) -> Record {
    Record {
        algo: algo.parse().unwrap(),
        kernel_hash: KernelHash::new(hash),
        default: algo == "default",
        shipped: false,
        requires: None,
        environment: Environment {
            tool: "test".to_owned(),
            driver: String::new(),
            toolkit: String::new(),
        },
        outcome: Outcome::Measured(timing(median_ns)),
    }
}

/// Of five samples without any noise.
pub fn timing(median_ns: u64) -> Timing {
    Timing {
        median_ns,
        spread_ns: 0,
        min_ns: median_ns,
        samples: 5,
        clock_mhz: None,
        ratio_to_default: None,
        max_error: 0.0,
        charge: None,
    }
}
