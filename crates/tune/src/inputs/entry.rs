//! One cloud in one direction of a layer: what candidates are verified and raced on.

use voxtune::{Device, L2State, Operation};
use voxtune_cache::{EntryKey, Workload};
use voxtune_types::AlgoId;

use crate::inputs::cloud_setup::CloudSetup;
use crate::inputs::monitor::Limits;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::inputs::readers::Readers;

/// What candidates compute, on which device, over which cloud and how.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where they run.
    pub device: &'a Device,
    /// What they compute.
    pub operation: &'a Operation,
    /// The cloud, for samples of it of another size.
    pub cloud: &'a PlannedCloud,
    /// The cloud on the device.
    pub setup: &'a CloudSetup,
    /// Samples in a generated cloud.
    pub batch_size: usize,
    /// Seed of the measurement; verification takes another.
    pub seed: u64,
    /// How long candidates may take.
    pub limits: Limits,
    /// What a GPU's L2 cache holds when a sample begins.
    pub l2_state: L2State,
    /// How many layers share what candidates read beyond the kernel map; `None` if nobody is
    /// charged for that.
    pub readers: Option<Readers>,
    /// The winner by stored evidence.
    pub incumbent: Option<&'a AlgoId>,
    /// The winner by the decisions that this program ships: it wins ties.
    pub shipped: Option<&'a AlgoId>,
}

impl Entry<'_> {
    /// The name that its results are stored under.
    #[must_use]
    pub fn key(&self) -> EntryKey {
        let Self { device, operation, cloud, setup, .. } = self;
        let counts = setup.map.counts();
        EntryKey {
            device: device.identity().clone(),
            key: counts.key(**operation),
            workload: Workload {
                cloud: cloud.label().to_owned(),
                rows_in: counts.n_in as u64,
                rows_out: counts.n_out as u64,
                pairs: counts.pairs as u64,
                batch: cloud.batches(self.batch_size),
                // Host caches are far smaller than any cloud that is worth tuning for.
                cold: device.identity().arch.is_cuda() && self.l2_state == L2State::Cold,
            },
        }
    }
}
