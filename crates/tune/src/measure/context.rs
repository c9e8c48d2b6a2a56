//! What the measurement of an entry needs beside its candidates.

use voxtune::L2State;
use voxtune_cache::{EntryKey, Workload};
use voxtune_types::AlgoId;

use crate::inputs::subject::Subject;
use crate::race::Policy;

/// Everything that an entry's measurement needs beside its candidates.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What they compute, and where.
    pub subject: Subject<'a>,
    /// Samples in a generated cloud.
    pub batch_size: usize,
    /// What a GPU's L2 cache holds when a sample begins.
    pub l2_state: L2State,
    /// When a candidate is sampled, when it leaves the race, and when that ends.
    pub policy: Policy,
    /// The winner by stored evidence.
    pub incumbent: Option<&'a AlgoId>,
}

impl Entry<'_> {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> EntryKey {
        let Subject { device, operation, cloud, setup, .. } = self.subject;
        let counts = setup.map.counts();
        EntryKey {
            device: device.identity().clone(),
            key: counts.key(*operation),
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
