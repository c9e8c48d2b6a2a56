//! Made-up measurements.

use voxtune_cache::{
    EntryKey, Environment, Evidence, KernelHash, Outcome, Reason, Record, Timing, Workload,
};
use voxtune_types::{
    AlgoId, Arch, DType, DeviceIdentity, Direction, KernelSize, Operation, ShapeKey,
};

pub(crate) const ARCH: Arch = Arch::sm(9, 0);

pub(crate) fn device() -> DeviceIdentity {
    device_of(ARCH, "NVIDIA H100 80GB HBM3", 132)
}

pub(crate) fn device_of(arch: Arch, name: &str, units: u32) -> DeviceIdentity {
    DeviceIdentity { arch, name: name.to_owned(), units }
}

pub(crate) fn algo(text: &str) -> AlgoId {
    text.parse().unwrap()
}

pub(crate) fn operation(c_in: u32, c_out: u32) -> Operation {
    let kernel = KernelSize::submanifold(3).unwrap();
    Operation::submanifold(Direction::Forward, DType::Float16, c_in, c_out, kernel)
}

/// The key and the workload of a layer on a cloud.
pub(crate) fn entry(device: &DeviceIdentity, operation: Operation, rows: usize) -> EntryKey {
    entry_on("uniform", device, operation, rows, rows * 5)
}

pub(crate) fn entry_on(
    cloud: &str,
    device: &DeviceIdentity,
    operation: Operation,
    rows: usize,
    pairs: usize,
) -> EntryKey {
    EntryKey {
        device: device.clone(),
        key: ShapeKey::new(operation, rows, rows, pairs),
        workload: Workload {
            cloud: cloud.to_owned(),
            rows_in: rows as u64,
            rows_out: rows as u64,
            pairs: pairs as u64,
            batch: 1,
            cold: true,
        },
    }
}

pub(crate) fn timing(median_ns: u64) -> Timing {
    Timing {
        median_ns,
        spread_ns: median_ns / 500,
        min_ns: median_ns,
        samples: 9,
        clock_mhz: Some(1980),
        ratio_to_default: None,
        max_error: 4.0e-4,
        charge: None,
    }
}

pub(crate) fn measured(id: &str, median_ns: u64) -> Record {
    record(id, Outcome::Measured(timing(median_ns)))
}

pub(crate) fn quarantined(id: &str, reason: Reason) -> Record {
    record(id, Outcome::Quarantined { reason, detail: "what it said".to_owned() })
}

pub(crate) fn record(id: &str, outcome: Outcome) -> Record {
    Record {
        algo: algo(id),
        kernel_hash: KernelHash::new(0x0123_4567_89AB_CDEF),
        default: false,
        shipped: false,
        requires: None,
        environment: Environment {
            tool: "0.1.0".to_owned(),
            driver: "580.95".to_owned(),
            toolkit: "13.0".to_owned(),
        },
        outcome,
    }
}

/// A small set: one entry, two records.
pub(crate) fn small() -> Evidence {
    let mut evidence = Evidence::new();
    let entry = entry(&device(), operation(32, 64), 100_000);
    evidence.insert(entry.clone(), measured("explicit_gemm", 90_000)).unwrap();
    evidence.insert(entry, measured("mask_gemm:rows=128", 30_000)).unwrap();
    evidence
}
