//! Messages from worker threads to the coordinator.

use std::time::Duration;

use voxtune::Operation;

use crate::evidence::entry::Measured;
use crate::evidence::phase_times::PhaseTimes;
use crate::inputs::error::{LostWorker, MeasureError};
use crate::run::event::{Event, Outcome};

/// A message of a worker thread.
#[derive(Debug)]
pub(crate) enum WorkerMessage {
    /// The observer is to be told this.
    Tell(Event),
    /// An entry of a configuration ended, by number: in the order in which they are measured.
    EntryEnded {
        index: usize,
        entry: usize,
        /// What it took, the first with the clouds of its configuration, and how much longer this
        /// worker compiles kernels, if it does; none if it was left alone.
        took: Option<(PhaseTimes, Option<Duration>)>,
    },
    /// A configuration ended: its results are to be saved.
    Ended(ConfigurationResult),
    /// The worker thread ends: nothing can run on its device.
    GivenUp {
        error: MeasureError,
        /// The configuration in progress with its results so far. Another worker thread, if one is
        /// left, measures it again.
        unfinished: Option<ConfigurationResult>,
    },
}

/// How a configuration ended.
#[derive(Debug)]
pub(crate) struct ConfigurationResult {
    /// Its number in the plan.
    pub(crate) index: usize,
    pub(crate) outcome: Outcome,
    pub(crate) measured: Vec<Measured>,
    pub(crate) spent: PhaseTimes,
}

/// A candidate that took its process down, of an operation or in calibration.
pub(crate) fn candidate_lost(loss: &LostWorker, operation: Option<Operation>) -> Option<Event> {
    let LostWorker { candidate, reason, detail, .. } = loss;
    let algo = candidate.as_ref()?.id.clone();
    Some(Event::CandidateLost { algo, operation, reason: *reason, detail: detail.clone() })
}
