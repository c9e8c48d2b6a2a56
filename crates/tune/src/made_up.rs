//! An entry for tests to hang records on.

use voxtune::{DType, DeviceIdentity, Direction, KernelSize, ShapeKey};
use voxtune_cache::{EntryKey, Workload};
use voxtune_shape::{Arch, CpuIsa, Operation};

/// 32→32 forward on a thousand rows, on a processor.
pub(crate) fn entry() -> EntryKey {
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
