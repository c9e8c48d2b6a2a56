//! Devices with faulty algorithms, in this process or in a worker.

use std::path::Path;

use voxtune::DeviceChoice;
use voxtune_tune::DeviceSpec;

pub(crate) use voxtune_tests::faulty::{Fault, Injected, open};

use crate::needs::worker_program;

/// What a worker that has these candidates, and no others, is told.
pub(crate) fn spec(injected: &[Injected]) -> DeviceSpec {
    DeviceSpec {
        choice: DeviceChoice::Cpu,
        threads: Some(1),
        note: serde_json::to_string(injected).unwrap(),
        worker: Some(worker_program()),
        ..DeviceSpec::default()
    }
}

/// The same with a folder of the device, in which candidates leave their marks.
pub(crate) fn with_folder(spec: DeviceSpec, folder: &Path) -> DeviceSpec {
    DeviceSpec { kernels: Some(folder.to_owned()), ..spec }
}
