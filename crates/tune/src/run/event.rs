//! Events of a run, for its observer.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::grid::Configuration;
use voxtune::Operation;
use voxtune_cache::{Reason, SetAside};
use voxtune_types::AlgoId;

use crate::evidence::commit::Committed;
use crate::evidence::entry::Measured;
use crate::evidence::phase_times::PhaseTimes;
use crate::measure::estimate::Estimate;

/// How a configuration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every entry has a winner, and at least one was measured in this run.
    Measured,
    /// Valid evidence was stored for all of it.
    Skipped,
    /// At least one entry has no winner.
    Failed(String),
    /// The run ended before.
    Interrupted,
}

/// An entry after its results were saved.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryReport {
    /// What every candidate did in this run.
    pub measured: Measured,
    /// What became of the measurements.
    pub committed: Committed,
    /// The winner of the entry's key by the stored evidence: what the file decides.
    pub winner: Option<AlgoId>,
}

/// What happens during a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Compilation of all candidates' kernels begins, where they are not part of the program: in
    /// the order of need, while the first ones are measured.
    Compiling {
        /// Candidates of all operations.
        kernels: usize,
    },
    /// The run begins.
    Started {
        /// What it will need of one device.
        estimate: Estimate,
        /// How many devices share it.
        devices: usize,
    },
    /// A damaged file was moved out of the way.
    SetAside(SetAside),
    /// A configuration begins.
    ConfigurationStarted {
        /// Its number, from 0.
        index: usize,
        /// What it is.
        configuration: Configuration,
    },
    /// Candidates of an entry begin to run.
    EntryStarted {
        /// What they compute.
        operation: Operation,
        /// The cloud that they compute it on.
        cloud: String,
    },
    /// An entry ended, and waits to be saved with its configuration.
    EntryEnded {
        /// Number of the configuration, from 0.
        index: usize,
        /// Number of the entry in it, from 0: each cloud in each direction.
        entry: usize,
        /// What it took, the first of a configuration with its clouds; none if it was left alone.
        spent: Option<PhaseTimes>,
        /// How much longer kernels compile beside the measurements; none if its worker compiles
        /// none.
        compiling: Option<Duration>,
        /// Expected time until the end of the run.
        remaining: Duration,
    },
    /// A worker process started: candidates run in it.
    WorkerStarted {
        /// Its process id.
        id: u32,
    },
    /// A device cannot be used any more: the others measure its configuration in progress and the
    /// rest.
    DeviceGivenUp {
        /// What was seen.
        why: String,
    },
    /// Another process writes the same files: results are saved when it is done. Reported once for
    /// each such time.
    SavingWaits {
        /// The file that it has locked.
        lock: PathBuf,
        /// Configurations that ended and are not saved yet.
        unsaved: usize,
    },
    /// A candidate took its process down: it is quarantined, and the entry is measured without it.
    CandidateLost {
        /// Which one.
        algo: AlgoId,
        /// What it computed; `None` if it was lost in calibration, before the run.
        operation: Option<Operation>,
        /// The class of what it did.
        reason: Reason,
        /// What was seen.
        detail: String,
    },
    /// A configuration ended, and its results are on disk.
    ConfigurationEnded {
        /// Its number, from 0.
        index: usize,
        /// What it is.
        configuration: Configuration,
        /// How it ended.
        outcome: Outcome,
        /// Its entries that were measured now.
        reports: Vec<EntryReport>,
        /// Expected time until the end of the run.
        remaining: Duration,
    },
}

/// Shows the progress of a run.
pub trait Observer {
    /// Handles an event.
    fn event(&mut self, event: &Event);
}

/// How many configurations ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Configurations of the plan.
    pub requested: usize,
    /// Of these, measured.
    pub measured: usize,
    /// Of these, left alone because of `resume`.
    pub skipped: usize,
    /// Of these, failed or not reached.
    pub failed: usize,
    /// Whether the run was ended from outside.
    pub interrupted: bool,
    /// Where its time went, that of several devices added up.
    pub spent: PhaseTimes,
}
