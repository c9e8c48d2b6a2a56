//! What was measured: a layer on a cloud, on a device.

use serde::{Deserialize, Serialize};
use voxtune_types::{DeviceIdentity, ShapeKey};

use crate::invalid::{InvalidRecord, check_key};

/// The rows and pairs behind a measurement, which the classes of a [`ShapeKey`] stand for.
///
/// One key may be measured on several workloads: a uniform cloud and a surface of the same size may
/// share their classes, and so may two batch sizes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Name of the generator, or of the scan's file.
    pub cloud: String,
    /// Rows of the input features.
    pub rows_in: u64,
    /// Rows of the output features.
    pub rows_out: u64,
    /// Pairs of the kernel map, over all offsets.
    pub pairs: u64,
    /// Samples in the batch.
    pub batch: u32,
    /// Whether the last-level cache was flushed before every sample. Warm times decide nothing
    /// beside cold ones of the same key.
    pub cold: bool,
}

impl Workload {
    /// The first workload in the order of the file.
    pub(crate) const LEAST: Self =
        Self { cloud: String::new(), rows_in: 0, rows_out: 0, pairs: 0, batch: 0, cold: false };
}

/// Under what a measurement is stored: device, key and workload, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryKey {
    /// Where it was measured.
    pub device: DeviceIdentity,
    /// What a decision for it is stored under.
    pub key: ShapeKey,
    /// What exactly ran.
    pub workload: Workload,
}

impl EntryKey {
    /// Whether a layer can have this key.
    pub(crate) fn validate(&self) -> Result<(), InvalidRecord> {
        check_key(&self.key)
    }
}
