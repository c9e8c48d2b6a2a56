//! The times of one entry's candidates.

use voxtune::AlgoId;
use voxtune_cache::{EntryKey, Records};
use voxtune_tune::race::statistics::median;

use super::Point;
use crate::samples::RaceSamples;

/// The median time of each candidate of an entry with what it was charged, those that failed left
/// out.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    /// What was measured.
    pub entry: EntryKey,
    /// The default, if it has a time.
    pub default: Option<AlgoId>,
    /// The fastest first; one at least.
    times: Vec<(AlgoId, f64)>,
}

impl Race {
    fn new(
        entry: &EntryKey,
        default: Option<AlgoId>,
        mut times: Vec<(AlgoId, f64)>,
    ) -> Option<Self> {
        times.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        (!times.is_empty()).then(|| Self { entry: entry.clone(), default, times })
    }

    /// What a recorded race says; `None` where no candidate has a time.
    #[must_use]
    pub fn of_samples(race: &RaceSamples) -> Option<Self> {
        let sound = || race.candidates.iter().filter(|candidate| !candidate.failed);
        let times = sound().filter_map(|candidate| {
            let values: Vec<f64> = candidate.samples().map(|ns| ns as f64).collect();
            let share_ns = candidate.charge.map_or(0, |charge| charge.share_ns);
            Some((candidate.algo.clone(), median(&values)? + share_ns as f64))
        });
        let default = sound().find(|candidate| candidate.default);
        Self::new(&race.entry, default.map(|one| one.algo.clone()), times.collect())
    }

    /// What stored evidence says; `None` where no candidate has a time.
    #[must_use]
    pub fn of_evidence(entry: &EntryKey, records: &Records) -> Option<Self> {
        let preferred = records.preferred();
        let timed = preferred.iter().filter_map(|record| Some((record, record.timing()?)));
        let times = timed.map(|(record, timing)| (record.algo.clone(), timing.charged_centre_ns()));
        let default = preferred.iter().find(|record| record.default && record.timing().is_some());
        Self::new(entry, default.map(|record| record.algo.clone()), times.collect())
    }

    /// The time of a candidate, in nanoseconds.
    pub(super) fn time(&self, algo: &AlgoId) -> Option<f64> {
        self.times.iter().find(|(one, _)| one == algo).map(|(_, ns)| *ns)
    }

    pub(super) fn point(&self, choice: &AlgoId) -> Option<Point> {
        let (best, best_ns) = &self.times[0];
        Some(Point {
            key: self.entry.key,
            cloud: self.entry.workload.cloud.clone(),
            rows_out: self.entry.workload.rows_out,
            pairs: self.entry.workload.pairs,
            choice: choice.clone(),
            best: best.clone(),
            regret: self.time(choice)? / best_ns - 1.0,
        })
    }
}
