//! Search policies on recorded samples: what they cost and what they lose, without a device.
//!
//! A recorded race is run again under a policy, each candidate's next sample being the next one of
//! the record. The choice that comes out is compared with the best candidate by all samples of the
//! record, and with the choice from other samples of the same candidates (after Kernel Tuner's
//! simulation mode, Willemsen et al. 2021).
//!
//! A record of a race that candidates left early holds few samples of the losers. A policy that
//! asks for more than there are gets the same ones again, and the report says how many.

mod policy;
mod sampler;

#[cfg(test)]
mod tests;

use serde::Serialize;
use voxtune::AlgoId;
use voxtune_cache::{Evidence, Outcome, Record};

pub use policy::{Changes, MalformedPolicy, Pick, Search, SearchPolicy};

use crate::distribution::Distribution;
use crate::samples::{RaceSamples, RecordedSamples};
use sampler::Replayed;
use voxtune_tune::evidence::commit::winner;
use voxtune_tune::race::statistics::median;
use voxtune_tune::race::summarize::summarize;

/// What a policy did on a set of recorded races.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    /// The policy, as it is written.
    pub policy: String,
    /// Races that it was run on.
    pub races: usize,
    /// Races in which it chose nobody.
    pub undecided: usize,
    /// Samples that it took.
    pub samples: usize,
    /// Of these, beyond what is recorded: recorded ones taken once more.
    pub repeated_samples: usize,
    /// Time of the kernels in its samples; warm-up runs are not recorded and not counted.
    ///
    /// # Units
    /// Seconds.
    pub kernel_seconds: f64,
    /// The same over all recorded samples.
    pub recorded_kernel_seconds: f64,
    /// How much slower its choice is than the best by all samples, as a fraction of the best.
    pub regret: Option<Distribution>,
    /// Where it loses most.
    pub worst_entry: Option<String>,
    /// Races with two samples of somebody, so that they can be halved.
    pub halved: usize,
    /// Of these, the ones whose halves give two choices.
    pub flips: usize,
}

/// Runs policies on recorded races.
///
/// # Errors
/// The first of the races' own.
pub fn replay<E>(
    races: impl IntoIterator<Item = Result<RaceSamples, E>>,
    policies: &[SearchPolicy],
) -> Result<Vec<PolicyReport>, E> {
    let mut tallies: Vec<Tally<'_>> = policies.iter().map(Tally::new).collect();
    for race in races {
        let race = race?;
        for tally in &mut tallies {
            tally.add(&race);
        }
    }
    Ok(tallies.into_iter().map(Tally::report).collect())
}

/// What a policy did so far.
struct Tally<'p> {
    policy: &'p SearchPolicy,
    races: usize,
    undecided: usize,
    samples: usize,
    repeated_samples: usize,
    kernel_ns: u128,
    recorded_kernel_ns: u128,
    regrets: Vec<f64>,
    worst: Option<(f64, String)>,
    halved: usize,
    flips: usize,
}

impl<'p> Tally<'p> {
    const fn new(policy: &'p SearchPolicy) -> Self {
        Self {
            policy,
            races: 0,
            undecided: 0,
            samples: 0,
            repeated_samples: 0,
            kernel_ns: 0,
            recorded_kernel_ns: 0,
            regrets: Vec::new(),
            worst: None,
            halved: 0,
            flips: 0,
        }
    }

    fn add(&mut self, race: &RaceSamples) {
        let outcome = Replayed::run(race, self.policy);
        self.races += 1;
        self.samples += outcome.samples;
        self.repeated_samples += outcome.repeated_samples;
        self.kernel_ns += u128::from(outcome.kernel_ns);
        self.recorded_kernel_ns +=
            race.candidates.iter().flat_map(RecordedSamples::samples).map(u128::from).sum::<u128>();
        let choice = choose(race, &outcome.rounds_ns, self.policy.pick);
        match choice.as_ref().and_then(|choice| regret(race, choice)) {
            Some(regret) => {
                if self.worst.as_ref().is_none_or(|(worst, _)| regret > *worst) {
                    let entry = &race.entry;
                    let text = format!("{} on {}", entry.key, entry.workload.cloud);
                    self.worst = Some((regret, text));
                }
                self.regrets.push(regret);
            }
            None => self.undecided += 1,
        }
        if let Some(halves) = halves(race) {
            let [first, second] = halves.map(|half| {
                let outcome = Replayed::run(&half, self.policy);
                choose(&half, &outcome.rounds_ns, self.policy.pick)
            });
            self.halved += 1;
            self.flips += usize::from(first != second);
        }
    }

    fn report(self) -> PolicyReport {
        PolicyReport {
            policy: self.policy.to_string(),
            races: self.races,
            undecided: self.undecided,
            samples: self.samples,
            repeated_samples: self.repeated_samples,
            kernel_seconds: self.kernel_ns as f64 / 1e9,
            recorded_kernel_seconds: self.recorded_kernel_ns as f64 / 1e9,
            regret: Distribution::of(self.regrets),
            worst_entry: self.worst.map(|(_, entry)| entry),
            halved: self.halved,
            flips: self.flips,
        }
    }
}

/// The candidate that a rule picks by these samples, those that failed being out.
fn choose(race: &RaceSamples, rounds_ns: &[Vec<Option<u64>>], pick: Pick) -> Option<AlgoId> {
    match pick {
        Pick::Decide => decided(race, rounds_ns),
        Pick::Fastest => {
            let medians =
                race.candidates.iter().zip(rounds_ns).filter(|(candidate, _)| !candidate.failed);
            let medians = medians.filter_map(|(candidate, rounds)| {
                let values: Vec<f64> = rounds.iter().flatten().map(|&ns| ns as f64).collect();
                Some((median(&values)?, &candidate.algo))
            });
            medians.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, algo)| algo.clone())
        }
    }
}

/// The choice of the tuner itself: evidence of these samples, decided.
fn decided(race: &RaceSamples, rounds_ns: &[Vec<Option<u64>>]) -> Option<AlgoId> {
    let default =
        race.candidates.iter().position(|candidate| candidate.default && !candidate.failed);
    let default_rounds = default.map(|default| &*rounds_ns[default]);
    let mut evidence = Evidence::new();
    for (candidate, rounds_ns) in
        race.candidates.iter().zip(rounds_ns).filter(|(candidate, _)| !candidate.failed)
    {
        let timing = summarize(rounds_ns, default_rounds, 0.0, None);
        let Some(timing) = timing else { continue };
        let record = Record {
            algo: candidate.algo.clone(),
            kernel_hash: candidate.kernel_hash,
            default: candidate.default,
            requires: None,
            environment: voxtune_cache::Environment {
                tool: String::new(),
                driver: String::new(),
                toolkit: String::new(),
            },
            outcome: Outcome::Measured(timing),
        };
        evidence.insert(race.entry.clone(), record).ok()?;
    }
    winner(&evidence, &race.entry)
}

/// How much slower a candidate is than the best, by the medians of all its samples.
fn regret(race: &RaceSamples, choice: &AlgoId) -> Option<f64> {
    let medians: Vec<(&AlgoId, f64)> = race
        .candidates
        .iter()
        .filter(|candidate| !candidate.failed)
        .filter_map(|candidate| {
            let values: Vec<f64> = candidate.samples().map(|ns| ns as f64).collect();
            Some((&candidate.algo, median(&values)?))
        })
        .collect();
    let best = medians.iter().map(|(_, ns)| *ns).min_by(f64::total_cmp)?;
    let chosen = medians.iter().find(|(algo, _)| *algo == choice)?.1;
    Some(chosen / best - 1.0)
}

/// The same race by the even and by the odd samples of each candidate, taken in turn, so that a
/// drift strikes both alike. A candidate with one sample has it in both; if nobody has two, there
/// are no halves.
fn halves(race: &RaceSamples) -> Option<[RaceSamples; 2]> {
    let can_be_halved =
        race.candidates.iter().any(|candidate| candidate.samples().nth(1).is_some());
    can_be_halved.then(|| {
        [0, 1].map(|parity| {
            let candidates = race.candidates.iter().map(|candidate| {
                let own = candidate.samples().skip(parity).step_by(2);
                let mut rounds_ns: Vec<Option<u64>> = own.map(Some).collect();
                if rounds_ns.is_empty() {
                    rounds_ns.extend(candidate.samples().map(Some));
                }
                RecordedSamples { rounds_ns, ..candidate.clone() }
            });
            RaceSamples { entry: race.entry.clone(), candidates: candidates.collect() }
        })
    })
}
