//! Messages from worker threads to the coordinator.

use std::time::Duration;

use voxtune::Operation;
use voxtune_cache::Reason;
use voxtune_types::AlgoId;

use crate::evidence::entry::Measured;
use crate::evidence::phase_times::PhaseTimes;
use crate::run::event::Outcome;
use crate::run::populate::PopulateError;
use crate::worker::failure::LostProcess;

/// A message of a worker thread. Unlike an [`Event`](crate::Event) it owns its data, since it
/// crosses threads.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// Candidates run in this process.
    WorkerStarted { id: u32 },
    /// A candidate took its process down.
    CandidateLost {
        algo: AlgoId,
        /// `None` if it was lost in calibration.
        operation: Option<Operation>,
        reason: Reason,
        detail: String,
    },
    /// A configuration begins.
    ConfigurationStarted { index: usize },
    /// Candidates of an entry begin to run.
    EntryStarted { index: usize, cloud: usize, operation: Operation },
    /// A configuration ended.
    ConfigurationEnded { index: usize, ended: ConfigurationResult },
    /// The worker thread ends: nothing can run on its device.
    GivenUp {
        error: PopulateError,
        /// The configuration in progress with its results so far. Another worker thread, if one is
        /// left, measures it again.
        unfinished: Option<(usize, ConfigurationResult)>,
    },
}

/// How a configuration ended.
#[derive(Debug)]
pub(crate) struct ConfigurationResult {
    pub(crate) outcome: Outcome,
    pub(crate) measured: Vec<Measured>,
    /// How long it took.
    pub(crate) took: Duration,
    pub(crate) spent: PhaseTimes,
}

impl WorkerEvent {
    /// A candidate lost in calibration, before the run.
    pub(crate) fn lost_in_calibration(algo: AlgoId, loss: LostProcess) -> Self {
        Self::CandidateLost { algo, operation: None, reason: loss.reason, detail: loss.detail }
    }
}
