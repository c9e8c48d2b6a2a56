//! What a run tells whoever watches it.

use std::path::Path;
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
    /// Every entry has a winner, and at least one was measured now.
    Measured,
    /// Valid evidence was there for all of it.
    Skipped,
    /// At least one entry has no winner.
    Failed(String),
    /// The run ended before it did.
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
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The code of all candidates begins to be compiled, where it is not part of the program: in the order
    /// in which it is needed, while the first ones are measured.
    Compiling {
        /// Candidates of all operations.
        kernels: usize,
    },
    /// The run begins.
    Started {
        /// What it will need of one device.
        estimate: &'a Estimate,
        /// How many share it.
        devices: usize,
    },
    /// A damaged file was moved out of the way.
    SetAside(&'a SetAside),
    /// A configuration begins.
    ConfigurationStarted {
        /// Its number, from 0.
        index: usize,
        /// What it is.
        configuration: &'a Configuration,
    },
    /// Candidates of an entry begin to run.
    EntryStarted {
        /// What they compute.
        operation: &'a Operation,
        /// The cloud that they compute it on.
        cloud: &'a str,
    },
    /// Candidates run in this process.
    WorkerStarted {
        /// Its number, as the system knows it.
        id: u32,
    },
    /// A device cannot be used any more: the others measure what it had at hand and what it would have had.
    DeviceGivenUp {
        /// What was seen.
        why: &'a str,
    },
    /// Another process writes the same files: what ended meanwhile is saved when it is done. Told once for each such
    /// time.
    SavingWaits {
        /// The file that it has locked.
        lock: &'a Path,
        /// Configurations that ended and are not saved.
        unsaved: usize,
    },
    /// A candidate took its process down: it is quarantined, and the others are measured without it.
    CandidateLost {
        /// Which one.
        algo: &'a AlgoId,
        /// What it computed; nothing, if it was lost in the trial before the run.
        operation: Option<&'a Operation>,
        /// The class of what it did.
        reason: Reason,
        /// What was seen.
        detail: &'a str,
    },
    /// A configuration ended, and its results are on disk.
    ConfigurationEnded {
        /// Its number, from 0.
        index: usize,
        /// What it is.
        configuration: &'a Configuration,
        /// How it ended.
        outcome: &'a Outcome,
        /// Its entries that were measured now.
        reports: &'a [EntryReport],
        /// Expected time until the end of the run.
        remaining: Duration,
    },
}

/// Whoever shows the progress of a run.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);
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
