//! An entry before its measurement, and after it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune_cache::{EntryKey, Record};
use voxtune_types::AlgoId;

use crate::evidence::phase_times::PhaseTimes;
use crate::inputs::candidate::Candidate;

/// One of a configuration's clouds in one direction, ready to be measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedEntry {
    /// The name that its results are stored under.
    pub key: EntryKey,
    /// Number of the cloud in the configuration.
    pub cloud: usize,
    /// The candidates that the job asks for, in the order of the registry.
    pub pool: Vec<Candidate>,
}

/// An entry whose measurement ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured.
    pub entry: EntryKey,
    /// What each candidate did, in the order of the registry.
    pub records: Vec<Record>,
    /// The samples behind the records, of those that raced.
    pub rounds: Vec<Rounds>,
    /// The stored winner, if the race beat it but the confirmation rounds did not.
    pub confirmed: Option<AlgoId>,
    /// Where the time went.
    pub spent: PhaseTimes,
    /// How much longer kernels compile in the background; `None` if another worker compiles them.
    pub compiling: Option<Duration>,
}

/// The samples of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounds {
    /// Which algorithm.
    pub algo: AlgoId,
    /// Its time in each round of the race; nothing where it sat a round out.
    ///
    /// # Units
    /// Nanoseconds.
    pub rounds_ns: Vec<Option<u64>>,
}

/// Whether a record is a quarantine.
#[must_use]
pub(crate) const fn is_quarantine(record: &Record) -> bool {
    record.timing().is_none()
}
