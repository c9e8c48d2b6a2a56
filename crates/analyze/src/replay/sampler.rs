//! A [`Sampler`] of recorded samples.

use std::time::Duration;

use super::policy::{Search, SearchPolicy};
use crate::samples::RaceSamples;
use voxtune_tune::race::{CandidateSamples, Policy, Sampler, TieOrder, race, ranks};

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
        let mut sampler = Recorded::new(recorded);
        let rounds_ns = match policy.search {
            Search::Race(changes) => {
                let default = recorded.candidates.iter().position(|candidate| candidate.default);
                let names: Vec<_> =
                    recorded.candidates.iter().map(|candidate| &candidate.algo).collect();
                let policy = changes.on(recorded.entry.device.arch);
                sampler.race(&policy, TieOrder { ranks: &ranks(&names), default })
            }
            Search::Rounds(samples) => sampler.rounds(|_| samples),
            Search::Exhaustive => sampler.rounds(<[u64]>::len),
        };
        let Recorded { samples, repeated_samples, kernel_ns, .. } = sampler;
        Self { rounds_ns, samples, repeated_samples, kernel_ns }
    }
}

/// Candidates whose every sample is known.
struct Recorded {
    candidates: Vec<ReplayedSamples>,
    samples: usize,
    repeated_samples: usize,
    kernel_ns: u64,
}

struct ReplayedSamples {
    samples_ns: Vec<u64>,
    failed: bool,
    next: usize,
}

/// A candidate failed in the record, behind its last sample.
#[derive(Debug)]
struct FailedThen;

impl Recorded {
    fn new(race: &RaceSamples) -> Self {
        let candidates = race.candidates.iter().map(|candidate| ReplayedSamples {
            samples_ns: candidate.samples().collect(),
            failed: candidate.failed,
            next: 0,
        });
        Self { candidates: candidates.collect(), samples: 0, repeated_samples: 0, kernel_ns: 0 }
    }

    fn race(&mut self, policy: &Policy, order: TieOrder<'_>) -> Vec<Vec<Option<u64>>> {
        // Warm-up runs are not in the record.
        let policy = Policy { warm_up_below: Duration::ZERO, ..*policy };
        let candidates = race(order, &policy, self);
        candidates
            .into_iter()
            .map(|candidate: CandidateSamples<FailedThen>| candidate.rounds)
            .collect()
    }

    /// As many rounds of each candidate as are `wanted` of its samples.
    fn rounds(&mut self, wanted: impl Fn(&[u64]) -> usize) -> Vec<Vec<Option<u64>>> {
        (0..self.candidates.len())
            .map(|candidate| {
                let count = wanted(&self.candidates[candidate].samples_ns);
                (0..count).map(|_| self.sample(candidate).ok()).collect()
            })
            .collect()
    }
}

impl Sampler for Recorded {
    type Failure = FailedThen;

    fn sample(&mut self, candidate: usize) -> Result<u64, FailedThen> {
        let candidate = &mut self.candidates[candidate];
        let number = candidate.next;
        candidate.next += 1;
        let is_recorded = number < candidate.samples_ns.len();
        if !is_recorded && candidate.failed {
            return Err(FailedThen);
        }
        let ns = candidate.samples_ns[number % candidate.samples_ns.len()];
        self.samples += 1;
        self.repeated_samples += usize::from(!is_recorded);
        self.kernel_ns = self.kernel_ns.saturating_add(ns);
        Ok(ns)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.kernel_ns)
    }
}
