//! One key, measured on one cloud.

use std::sync::Arc;
use std::time::Instant;

use voxtune::{Algorithm, Device, KernelHash, Noise, Operation};
use voxtune_cache::decide::Timer;
use voxtune_cache::{Outcome, Reason, Timing};
use voxtune_types::AlgoId;

use crate::evidence::commit::challenger;
use crate::evidence::entry::{Measured, Rounds};
use crate::evidence::phase_times::Spent;
use crate::inputs::bytes::human_bytes;
use crate::inputs::candidate::{Candidate, environment};
use crate::inputs::cloud_setup::SetupError;
use crate::inputs::monitor::Monitor;
use crate::inputs::operands::Workbench;
use crate::measure::context::{Entry, entry_key};
use crate::measure::device_sampler::{DeviceTrack, Notes, Racer};
use crate::measure::error::EntryError;
use crate::race::summarize::summarize;
use crate::race::{Grid, Lane, Policy, holds_its_place, race, ranks};
use crate::verify::context::Stand;
use crate::verify::float64::Verifier;
use crate::verify::full_size::AtScale;
use crate::verify::rejection::{Rejection, Verdict};

/// Who takes part in an entry's measurement.
#[derive(Clone, Debug)]
pub struct Field {
    /// Those that race, in the order of the registry; behind them, if they are without the default and
    /// it may run, the default, which is compared with and does not race.
    algorithms: Vec<Arc<dyn Algorithm>>,
    /// The same, by name.
    candidates: Vec<Candidate>,
    racers: usize,
}

impl Field {
    /// The candidates of these names that can run here, and the default, without code that is to be avoided.
    #[must_use]
    pub fn new(
        device: &Device,
        operation: &Operation,
        names: &[AlgoId],
        avoid: &[(AlgoId, KernelHash)],
    ) -> Self {
        let registry = device.registry();
        let candidate = |algorithm: &Arc<dyn Algorithm>| {
            let candidate = Candidate::new(device, operation, &**algorithm);
            let is_avoided = avoid.iter().any(|(id, hash)| candidate.is_version(id, *hash));
            (!is_avoided).then(|| (Arc::clone(algorithm), candidate))
        };
        let usable = names.iter().filter_map(|id| registry.usable(id, operation));
        let mut field: Vec<(Arc<dyn Algorithm>, Candidate)> =
            usable.filter_map(candidate).collect();
        let racers = field.len();
        // Only GPUs are fast enough to compare everybody at full size.
        if device.identity().arch.is_cuda()
            && let Some(default) = registry.default_for(operation)
            && !names.contains(default.id())
        {
            field.extend(candidate(default));
        }
        let (algorithms, candidates) = field.into_iter().unzip();
        Self { algorithms, candidates, racers }
    }

    /// Everyone who takes part.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The names of these.
    fn names(&self, numbers: &[usize]) -> Vec<&AlgoId> {
        numbers.iter().map(|&number| &self.candidates[number].id).collect()
    }

    /// Numbers of those that may be compared with: the default first.
    fn trusted(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.candidates.len()).collect();
        numbers.sort_by_key(|&number| !self.candidates[number].default);
        numbers
    }
}

impl Entry<'_> {
    /// Verifies and races the candidates of a field. `None` if interrupted.
    ///
    /// # Errors
    /// If clouds or operands cannot be set up, or the device is lost; what else candidates do is in
    /// their records.
    pub fn measure(
        &self,
        verifier: &mut Verifier,
        bench: &mut Workbench,
        field: &Field,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Measured>, EntryError> {
        let Self { device, job, setup, operation, limits, .. } = *self;
        monitor.field(&field.candidates);
        let mut spent = Spent::default();
        let start = Instant::now();
        let Some(mut verdicts) = self.verify(verifier, bench, field, monitor)? else {
            return Ok(None);
        };
        spent.verify = start.elapsed();
        monitor.working(limits.of_set_up(0.0));
        let start = Instant::now();
        let counts = setup.map.counts();
        let filled = bench.operands.fill(device, operation, counts, Noise::Uniform, job.seed);
        filled.map_err(SetupError::from)?;
        let is_cuda = device.identity().arch.is_cuda();
        let at_scale = if is_cuda {
            let (all, trusted) = (&field.algorithms, field.trusted());
            let stand = self.stand();
            AtScale::new(&stand, setup, bench, all, &trusted, &mut verdicts, monitor)
                .map_err(SetupError::from)?
        } else {
            None
        };
        field.check_device(&verdicts)?;
        let racers: Vec<usize> =
            (0..field.racers).filter(|&index| verdicts[index].is_ok()).collect();
        let default = racers.iter().position(|&index| field.candidates[index].default);
        spent.operands = start.elapsed();
        let start = Instant::now();
        let mut track = DeviceTrack {
            entry: *self,
            racers: racers
                .iter()
                .map(|&index| Racer::new(index, &*field.algorithms[index]))
                .collect(),
            bench: &mut *bench,
            at_scale: at_scale.as_ref(),
            start,
            limit: limits.of(operation.flops(counts.pairs) as f64),
            monitor: &mut *monitor,
            notes: Notes::default(),
            device_lost: false,
        };
        let policy = Policy::of(device.identity().arch, job.budget);
        let ranks = ranks(&field.names(&racers));
        let lanes = race(Grid { ranks: &ranks, default }, &policy, &mut track);
        let clock_mhz = track.notes.steady.fastest_mhz;
        let mut ended = Ended { field, verdicts, racers, default, lanes, policy, clock_mhz, spent };
        let defended = self.defend(&mut ended, &mut track);
        let Notes { steady, proofs } = track.notes;
        ended.spent.race = start.elapsed().saturating_sub(steady.spoiled + proofs);
        (ended.spent.throttled, ended.spent.proofs) = (steady.spoiled, proofs);
        if let Some(at_scale) = at_scale {
            at_scale.give_back(bench);
        }
        monitor.working(limits.of_set_up(0.0));
        for (lane, &index) in ended.lanes.iter().zip(&ended.racers) {
            if let Some(rejection) = lane.failure.clone().filter(|one| one.device_lost) {
                return Err(field.device_lost(index, rejection));
            }
        }
        if monitor.interrupted() {
            return Ok(None);
        }
        Ok(Some(Measured { defended, ..self.measured(&ended) }))
    }

    /// The stored winner, if it raced, is about to lose its place by what it did there, and holds it.
    fn defend(&self, ended: &mut Ended<'_>, track: &mut DeviceTrack<'_>) -> Option<AlgoId> {
        let incumbent = self.incumbent?;
        let Measured { entry, records, .. } = self.measured(ended);
        // What a device says of itself is never malformed, or committing it will tell.
        let challenger = challenger(incumbent, &entry, &records).ok()??;
        let lane_of = |id: &AlgoId| {
            ended.racers.iter().position(|&index| ended.field.candidates[index].id == *id)
        };
        let two = [lane_of(incumbent)?, lane_of(&challenger)?];
        // Whoever failed has no place to hold.
        if two.iter().any(|&lane| ended.lanes[lane].failure.is_some()) {
            return None;
        }
        let margin = Timer::of(&entry.device.arch).incumbent_margin();
        holds_its_place(&mut ended.lanes, two, margin, track).then(|| incumbent.clone())
    }

    fn stand(&self) -> Stand<'_> {
        let Self { device, job, cloud, operation, limits, .. } = *self;
        Stand { device, operation, cloud, seed: job.seed, limits }
    }

    /// The verdict on everybody by a problem of the size of verification. `None` if interrupted.
    fn verify(
        &self,
        verifier: &mut Verifier,
        bench: &Workbench,
        field: &Field,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Vec<Verdict>>, EntryError> {
        let stand = self.stand();
        // To ask takes a driver as long as a small layer.
        let free_bytes = self.device.free_memory_bytes() + bench.held_bytes();
        let mut verdicts = Vec::with_capacity(field.algorithms.len());
        for (number, algorithm) in field.algorithms.iter().enumerate() {
            if monitor.interrupted() {
                return Ok(None);
            }
            let verdict = match self.check_memory(&**algorithm, free_bytes) {
                Ok(()) => verifier.verdict(&stand, (number, &**algorithm), monitor)?,
                Err(too_large) => Err(too_large),
            };
            verdicts.push(verdict);
            field.check_device(&verdicts)?;
        }
        verifier.release();
        Ok(Some(verdicts))
    }

    fn measured(&self, ended: &Ended<'_>) -> Measured {
        let Self { device, job, cloud, setup, operation, .. } = *self;
        let Ended { field, racers, lanes, .. } = ended;
        let rounds = racers.iter().zip(lanes).map(|(&index, lane)| Rounds {
            algo: field.candidates[index].id.clone(),
            rounds_ns: lane.rounds.clone(),
        });
        let environment = environment(device);
        let records = field.candidates.iter().zip(ended.outcomes());
        Measured {
            entry: entry_key(device, operation, cloud, setup, job),
            records: records
                .filter_map(|(candidate, outcome)| Some(candidate.record(&environment, outcome?)))
                .collect(),
            rounds: rounds.collect(),
            defended: None,
            spent: ended.spent,
        }
    }

    /// Whether a candidate's scratch memory fits beside the operands.
    fn check_memory(&self, algorithm: &dyn Algorithm, free_bytes: u64) -> Result<(), Rejection> {
        let Self { setup, operation, .. } = *self;
        let counts = setup.map.counts();
        let elements =
            counts.n_in * operation.c_in as usize + counts.n_out * operation.c_out as usize;
        let workspace_bytes = algorithm.workspace_bytes(operation, &setup.map);
        let needed_bytes = (elements * operation.dtype.bytes()) as u64 + workspace_bytes;
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        let (needed, free) = (human_bytes(needed_bytes), human_bytes(free_bytes));
        let detail = format!("needs {needed} of memory, {free} are free");
        Err(Rejection::new(Reason::OutOfMemory, detail))
    }
}

impl Field {
    fn device_lost(&self, index: usize, rejection: Rejection) -> EntryError {
        EntryError::DeviceLost { candidate: self.candidates[index].id.clone(), rejection }
    }

    /// Whether the device still works, as far as verdicts tell.
    fn check_device(&self, verdicts: &[Verdict]) -> Result<(), EntryError> {
        let lost = verdicts.iter().enumerate().find_map(|(index, verdict)| {
            let rejection = verdict.as_ref().err().filter(|rejection| rejection.device_lost)?;
            Some(self.device_lost(index, rejection.clone()))
        });
        lost.map_or(Ok(()), Err)
    }
}

/// A race that is over.
struct Ended<'a> {
    field: &'a Field,
    verdicts: Vec<Verdict>,
    /// Numbers in the field of those that raced.
    racers: Vec<usize>,
    /// Which of these is the default.
    default: Option<usize>,
    lanes: Vec<Lane<Rejection>>,
    policy: Policy,
    clock_mhz: Option<u32>,
    spent: Spent,
}

impl Ended<'_> {
    /// What becomes of each candidate; nothing for one that had no sample, and for a default that only
    /// was compared with and stood.
    fn outcomes(&self) -> Vec<Option<Outcome>> {
        let rejected = |verdict: &Verdict| verdict.clone().err().map(Rejection::into_outcome);
        let mut outcomes: Vec<Option<Outcome>> = self.verdicts.iter().map(rejected).collect();
        let default_rounds = self.default.map(|default| &*self.lanes[default].rounds);
        for (lane, &index) in self.lanes.iter().zip(&self.racers) {
            let max_error = *self.verdicts[index].as_ref().unwrap_or(&f64::INFINITY);
            outcomes[index] = match &lane.failure {
                Some(rejection) => Some(rejection.clone().into_outcome()),
                None => summarize(&lane.rounds, default_rounds, max_error, self.clock_mhz)
                    .map(|timing| verified(lane, &self.policy, timing)),
            };
        }
        outcomes
    }
}

/// The outcome of a candidate that did not fail: without all of its proofs it may not win.
const fn verified(lane: &Lane<Rejection>, policy: &Policy, timing: Timing) -> Outcome {
    if lane.proofs >= policy.proofs { Outcome::Measured(timing) } else { Outcome::Beaten(timing) }
}
