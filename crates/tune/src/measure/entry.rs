//! One key, measured on one cloud.

use std::time::{Duration, Instant};

use voxtune::{Algorithm, Noise};
use voxtune_cache::decide::Timer;
use voxtune_cache::{Charge, Outcome, Reason, Record, Timing};
use voxtune_types::AlgoId;

use crate::evidence::commit::challenger;
use crate::evidence::entry::{Measured, Rounds};
use crate::evidence::phase_times::PhaseTimes;
use crate::inputs::candidate::{Candidate, environment};
use crate::inputs::entry::Entry;
use crate::inputs::error::MeasureError;
use crate::inputs::memory::lack_of_memory;
use crate::inputs::monitor::Monitor;
use crate::inputs::operands::OperandBuffers;
use crate::measure::candidate_set::CandidateSet;
use crate::measure::device_sampler::DeviceSampler;
use crate::measure::throttle::ThrottleFilter;
use crate::race::charged::without_share;
use crate::race::summarize::summarize;
use crate::race::{CandidateSamples, Charged, Policy, TieOrder, confirm_incumbent, race, ranks};
use crate::verify::float64::Verifier;
use crate::verify::full_size::FullSizeReference;
use crate::verify::rejection::{Rejection, Verdict};

/// Who raced, and by what.
struct Raced<'a> {
    set: &'a CandidateSet,
    /// Numbers in the set of those that raced.
    racing: &'a [usize],
    verdicts: &'a [Verdict],
    charges: &'a [Option<Charge>],
    policy: &'a Policy,
}

impl Entry<'_> {
    /// Verifies and races the candidates of a set.
    ///
    /// # Errors
    /// If operands cannot be set up, the device is lost or the run interrupted; what else
    /// candidates do is in their records.
    pub fn measure(
        &self,
        verifier: &mut Verifier,
        buffers: &mut OperandBuffers,
        throttle_filter: &mut ThrottleFilter,
        set: &CandidateSet,
        policy: &Policy,
        monitor: &mut dyn Monitor,
    ) -> Result<Measured, MeasureError> {
        let Self { device, operation, setup, seed, limits, .. } = *self;
        monitor.announce(&set.candidates);
        let mut spent = PhaseTimes::default();
        let start = Instant::now();
        let mut verdicts = self.verify(verifier, buffers, set, monitor)?;
        spent.verify = start.elapsed();
        monitor.working(limits.of_set_up(0.0));
        let start = Instant::now();
        let counts = setup.map.counts();
        buffers.operands.fill(device, operation, counts, Noise::Uniform, seed)?;
        let is_cuda = device.identity().arch.is_cuda();
        let full_size = if is_cuda {
            let (all, trusted) = (&set.algorithms, set.trusted());
            FullSizeReference::new(self, buffers, all, &trusted, &mut verdicts, monitor)?
        } else {
            None
        };
        set.check_device(&verdicts)?;
        let charges =
            self.charges(set, &mut verdicts, &mut throttle_filter.next(), &mut *monitor)?;
        let racing: Vec<usize> = (0..set.racing).filter(|&index| verdicts[index].is_ok()).collect();
        let default = racing.iter().position(|&index| set.candidates[index].default);
        spent.operands = start.elapsed();
        let start = Instant::now();
        let mut sampler = DeviceSampler {
            entry: *self,
            set,
            has_run: vec![false; racing.len()],
            racing: &racing,
            buffers: &mut *buffers,
            full_size: full_size.as_ref(),
            start,
            limit: limits.of(operation.flops(counts.pairs) as f64),
            monitor: &mut *monitor,
            throttle_filter: &mut *throttle_filter,
            comparing: Duration::ZERO,
            device_lost: false,
        };
        let preference = |&index: &usize| self.preference(&set.candidates[index]);
        let ranks = ranks(&racing.iter().map(preference).collect::<Vec<_>>());
        let share_ns = |index: &usize| charges[*index].map_or(0, |charge| charge.share_ns);
        let shares_ns: Vec<u64> = racing.iter().map(share_ns).collect();
        let mut charged = Charged { sampler: &mut sampler, shares_ns: &shares_ns };
        let mut samples = race(TieOrder { ranks: &ranks, default }, policy, &mut charged);
        let clock_mhz = charged.sampler.throttle_filter.fastest_mhz;
        let raced = Raced { set, racing: &racing, verdicts: &verdicts, charges: &charges, policy };
        let records = self.records(&raced, &samples, clock_mhz);
        let confirmed = self.confirm(&raced, &records, &mut samples, &mut charged);
        let (discarded, comparing) = (sampler.throttle_filter.discarded, sampler.comparing);
        spent.race = start.elapsed().saturating_sub(discarded + comparing);
        (spent.throttled, spent.comparing) = (discarded, comparing);
        if let Some(full_size) = full_size {
            full_size.give_back(buffers);
        }
        monitor.working(limits.of_set_up(0.0));
        for (samples, &index) in samples.iter().zip(&racing) {
            if let Some(rejection) = samples.failure.clone().filter(|one| one.device_lost) {
                return Err(set.device_lost(index, rejection));
            }
        }
        if monitor.interrupted() {
            return Err(MeasureError::Interrupted);
        }
        // Again, since a candidate may have failed in the confirmation rounds.
        let records = self.records(&raced, &samples, clock_mhz);
        let rounds = racing.iter().zip(samples).zip(&shares_ns);
        let rounds = rounds.map(|((&index, samples), &share_ns)| Rounds {
            algo: set.candidates[index].id.clone(),
            rounds_ns: without_share(&samples.rounds, share_ns),
        });
        Ok(Measured {
            entry: self.key(),
            records,
            rounds: rounds.collect(),
            confirmed,
            spent,
            compiling: None,
        })
    }

    /// Returns the stored winner if the race beat it but the confirmation rounds did not.
    fn confirm(
        &self,
        Raced { set, racing, .. }: &Raced<'_>,
        records: &[Record],
        samples: &mut [CandidateSamples<Rejection>],
        sampler: &mut Charged<'_, DeviceSampler<'_>>,
    ) -> Option<AlgoId> {
        let (incumbent, entry) = (self.incumbent?, self.key());
        // A device's own words are never malformed; committing them would tell.
        let challenger = challenger(incumbent, &entry, records).ok()??;
        let place_of =
            |id: &AlgoId| racing.iter().position(|&index| set.candidates[index].id == *id);
        let two = [place_of(incumbent)?, place_of(&challenger)?];
        // A candidate that failed is not confirmed.
        if two.iter().any(|&place| samples[place].failure.is_some()) {
            return None;
        }
        let margin = Timer::of(&entry.device.arch).incumbent_margin();
        confirm_incumbent(samples, two, margin, sampler).then(|| incumbent.clone())
    }

    /// Verifies every candidate on the smaller problem.
    fn verify(
        &self,
        verifier: &mut Verifier,
        buffers: &OperandBuffers,
        set: &CandidateSet,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<Verdict>, MeasureError> {
        // One query for all: it takes the driver as long as a small layer.
        let free_bytes = self.device.free_memory_bytes() + buffers.held_bytes();
        let mut verdicts = Vec::with_capacity(set.algorithms.len());
        for (number, algorithm) in set.algorithms.iter().enumerate() {
            if monitor.interrupted() {
                return Err(MeasureError::Interrupted);
            }
            let verdict = match self.check_memory(&**algorithm, free_bytes) {
                Ok(()) => verifier.verdict(self, (number, &**algorithm), monitor)?,
                Err(too_large) => Err(too_large),
            };
            verdicts.push(verdict);
            set.check_device(&verdicts)?;
        }
        verifier.release();
        Ok(verdicts)
    }

    /// What evidence keeps of each candidate: nothing of one without a sample, or of a default that
    /// served as reference alone and did not fail.
    fn records(
        &self,
        &Raced { set, racing, verdicts, charges, policy }: &Raced<'_>,
        samples: &[CandidateSamples<Rejection>],
        clock_mhz: Option<u32>,
    ) -> Vec<Record> {
        let rejected = |verdict: &Verdict| verdict.clone().err().map(Rejection::into_outcome);
        let mut outcomes: Vec<Option<Outcome>> = verdicts.iter().map(rejected).collect();
        let default = racing.iter().position(|&index| set.candidates[index].default);
        let default_rounds = default.map(|default| &*samples[default].rounds);
        for (samples, &index) in samples.iter().zip(racing) {
            let max_error = *verdicts[index].as_ref().unwrap_or(&f64::INFINITY);
            outcomes[index] = match &samples.failure {
                Some(rejection) => Some(rejection.clone().into_outcome()),
                None => {
                    let (rounds, charge) = (&samples.rounds, charges[index]);
                    summarize(rounds, default_rounds, charge, max_error, clock_mhz)
                        .map(|timing| verified(samples, policy, timing))
                }
            };
        }
        let environment = environment(self.device);
        let records = set.candidates.iter().zip(outcomes);
        records
            .filter_map(|(candidate, outcome)| {
                let shipped = self.shipped == Some(&candidate.id);
                Some(Record { shipped, ..candidate.record(&environment, outcome?) })
            })
            .collect()
    }

    /// What orders candidates that noise does not tell apart, as decisions do: the least wins.
    fn preference<'c>(&self, candidate: &'c Candidate) -> (bool, bool, &'c AlgoId) {
        let Candidate { id, default, .. } = candidate;
        (self.shipped != Some(id), !default, id)
    }

    /// Whether a candidate's scratch memory fits beside the operands.
    fn check_memory(&self, algorithm: &dyn Algorithm, free_bytes: u64) -> Result<(), Rejection> {
        let Self { setup, operation, .. } = *self;
        let counts = setup.map.counts();
        let elements =
            counts.n_in * operation.c_in as usize + counts.n_out * operation.c_out as usize;
        let workspace_bytes = algorithm.workspace_bytes(operation, &setup.map);
        let needed_bytes = (elements * operation.dtype.bytes()) as u64 + workspace_bytes;
        let lack = lack_of_memory(needed_bytes, free_bytes);
        lack.map_or(Ok(()), |lack| Err(Rejection::new(Reason::OutOfMemory, lack)))
    }
}

/// The outcome of a candidate that did not fail: without all verified samples it may not win.
const fn verified(
    samples: &CandidateSamples<Rejection>,
    policy: &Policy,
    timing: Timing,
) -> Outcome {
    if samples.verified_samples >= policy.verified_samples {
        Outcome::Measured(timing)
    } else {
        Outcome::Beaten(timing)
    }
}
