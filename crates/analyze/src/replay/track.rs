//! A race on recorded samples.

use std::time::Duration;

use super::policy::{Search, SearchPolicy};
use crate::samples::RaceSamples;
use voxtune_tune::race::{Grid, Lane, Policy, Track, race, ranks};

/// What a policy's search saw.
pub(super) struct Replayed {
    /// Times of each candidate, round by round.
    pub(super) rounds_ns: Vec<Vec<Option<u64>>>,
    pub(super) samples: usize,
    pub(super) repeated_samples: usize,
    pub(super) kernel_ns: u64,
}

impl Replayed {
    pub(super) fn run(recorded: &RaceSamples, policy: &SearchPolicy) -> Self {
        let mut track = Recorded::new(recorded);
        let rounds_ns = match policy.search {
            Search::Race(changes) => {
                let default = recorded.lanes.iter().position(|lane| lane.default);
                let names: Vec<_> = recorded.lanes.iter().map(|lane| &lane.algo).collect();
                let policy = changes.on(recorded.entry.device.arch);
                track.race(&policy, Grid { ranks: &ranks(&names), default })
            }
            Search::Rounds(samples) => track.rounds(|_| samples),
            Search::Exhaustive => track.rounds(<[u64]>::len),
        };
        let Recorded { samples, repeated_samples, kernel_ns, .. } = track;
        Self { rounds_ns, samples, repeated_samples, kernel_ns }
    }
}

/// Candidates whose every sample is known.
struct Recorded {
    lanes: Vec<RecordedLane>,
    samples: usize,
    repeated_samples: usize,
    kernel_ns: u64,
}

struct RecordedLane {
    samples_ns: Vec<u64>,
    failed: bool,
    next: usize,
}

/// A candidate failed in the record, behind its last sample.
#[derive(Debug)]
struct FailedThen;

impl Recorded {
    fn new(race: &RaceSamples) -> Self {
        let lanes = race.lanes.iter().map(|lane| RecordedLane {
            samples_ns: lane.samples().collect(),
            failed: lane.failed,
            next: 0,
        });
        Self { lanes: lanes.collect(), samples: 0, repeated_samples: 0, kernel_ns: 0 }
    }

    fn race(&mut self, policy: &Policy, grid: Grid<'_>) -> Vec<Vec<Option<u64>>> {
        // Warm-up runs are not in the record.
        let policy = Policy { warm_up_below: Duration::ZERO, ..*policy };
        let field = race(grid, &policy, self);
        field.into_iter().map(|lane: Lane<FailedThen>| lane.rounds).collect()
    }

    /// As many rounds of each candidate as are `wanted` of its samples.
    fn rounds(&mut self, wanted: impl Fn(&[u64]) -> usize) -> Vec<Vec<Option<u64>>> {
        (0..self.lanes.len())
            .map(|lane| {
                let count = wanted(&self.lanes[lane].samples_ns);
                (0..count).map(|_| self.sample(lane).ok()).collect()
            })
            .collect()
    }
}

impl Track for Recorded {
    type Failure = FailedThen;

    fn sample(&mut self, lane: usize) -> Result<u64, FailedThen> {
        let lane = &mut self.lanes[lane];
        let number = lane.next;
        lane.next += 1;
        let is_recorded = number < lane.samples_ns.len();
        if !is_recorded && lane.failed {
            return Err(FailedThen);
        }
        let ns = lane.samples_ns[number % lane.samples_ns.len()];
        self.samples += 1;
        self.repeated_samples += usize::from(!is_recorded);
        self.kernel_ns = self.kernel_ns.saturating_add(ns);
        Ok(ns)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.kernel_ns)
    }
}
