//! What the measurement of an entry needs beside its candidates.

use voxtune::{Device, L2State, Operation};
use voxtune_cache::{EntryKey, Workload};
use voxtune_types::AlgoId;

use crate::inputs::cloud_setup::CloudSetup;
use crate::inputs::monitor::Limits;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::plan::job::Job;

/// Everything that an entry's measurement needs beside its candidates.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where candidates run.
    pub device: &'a Device,
    /// Budget, batch size and seed.
    pub job: &'a Job,
    /// The cloud, for samples of it of another size.
    pub cloud: &'a PlannedCloud,
    /// The cloud on the device.
    pub setup: &'a CloudSetup,
    /// What candidates compute.
    pub operation: &'a Operation,
    /// How long they may take.
    pub limits: Limits,
    /// The winner by stored evidence.
    pub incumbent: Option<&'a AlgoId>,
}

/// The name of an entry.
#[must_use]
pub fn entry_key(
    device: &Device,
    operation: &Operation,
    cloud: &PlannedCloud,
    setup: &CloudSetup,
    job: &Job,
) -> EntryKey {
    let counts = setup.map.counts();
    EntryKey {
        device: device.identity().clone(),
        key: counts.key(*operation),
        workload: Workload {
            cloud: cloud.label().to_owned(),
            rows_in: counts.n_in as u64,
            rows_out: counts.n_out as u64,
            pairs: counts.pairs as u64,
            batch: cloud.batches(job.protocol.batch_size),
            // Host caches are far smaller than any cloud that is worth tuning for.
            cold: device.identity().arch.is_cuda() && job.protocol.l2_state == L2State::Cold,
        },
    }
}
