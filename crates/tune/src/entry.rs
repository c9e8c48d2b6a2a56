//! One key, measured on one cloud.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use voxtune::{Algorithm, Device, KernelHash, Launch, Operation};
use voxtune_cache::{EntryKey, Environment, Outcome, Record, Timing, Workload};

use crate::plan::{PlannedCloud, Request};
use crate::race::{Lane, Policy, Track, race};
use crate::setup::{CloudSetup, Operands, SetupError};
use crate::statistics::{median, median_absolute_deviation, median_interval};
use crate::verify::{Rejection, Verifier, compare_at_scale, guarded};

/// An entry whose measurement ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// What was measured.
    pub entry: EntryKey,
    /// What each candidate did, in the order of the registry.
    pub records: Vec<Record>,
}

/// Stands for the code of a candidate that could not be compiled: no code has this hash.
pub(crate) const NOT_COMPILED: KernelHash = KernelHash::new(0);

/// The name of an entry.
#[must_use]
pub fn entry_key(
    device: &Device,
    operation: &Operation,
    cloud: &PlannedCloud,
    setup: &CloudSetup,
    batch_size: usize,
) -> EntryKey {
    let counts = setup.map.counts();
    EntryKey {
        device: device.identity().clone(),
        key: counts.key(*operation),
        workload: Workload {
            cloud: cloud.label().to_owned(),
            rows_in: counts.n_in as u64,
            rows_out: counts.n_out as u64,
            pairs: counts.pairs as u64,
            batch: cloud.batches(batch_size),
            // Host caches are far smaller than any cloud that is worth tuning for.
            cold: device.identity().arch.is_cuda(),
        },
    }
}

/// Everything that an entry's measurement needs beside its candidates.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Where candidates run.
    pub device: &'a Device,
    /// Budget, batch size and seed.
    pub request: &'a Request,
    /// The cloud, for smaller samples of it.
    pub cloud: &'a PlannedCloud,
    /// The cloud on the device.
    pub setup: &'a CloudSetup,
    /// What candidates compute.
    pub operation: &'a Operation,
    /// Set by anyone to give up.
    pub interrupt: &'a AtomicBool,
}

impl Entry<'_> {
    /// Verifies and races a pool of candidates. `None` if interrupted.
    ///
    /// # Errors
    /// If clouds or operands cannot be set up; what candidates do is in their records.
    pub fn measure(
        &self,
        verifier: &mut Verifier,
        pool: &[Arc<dyn Algorithm>],
    ) -> Result<Option<Measured>, SetupError> {
        let start = Instant::now();
        let Self { device, request, cloud, setup, operation, interrupt } = *self;
        let mut verdicts = Vec::with_capacity(pool.len());
        for algorithm in pool {
            if interrupt.load(Ordering::Relaxed) {
                return Ok(None);
            }
            verdicts.push(verifier.verdict(
                device,
                &**algorithm,
                operation,
                cloud,
                request.seed,
            )?);
        }
        verifier.release();
        let mut operands = Operands::random(device, operation, setup.map.counts(), request.seed)?;
        if device.identity().arch.is_cuda()
            && let Some(default) = device.registry().default_for(operation)
        {
            let verdicts = &mut verdicts;
            compare_at_scale(device, &**default, pool, operation, setup, &mut operands, verdicts)?;
        }
        let racers: Vec<usize> = (0..pool.len()).filter(|&index| verdicts[index].is_ok()).collect();
        let mut track = DeviceTrack {
            entry: *self,
            racers: racers.iter().map(|&index| &*pool[index]).collect(),
            operands,
            clock_mhz: None,
            start,
        };
        let field = race(racers.len(), &Policy::with_budget(request.budget), &mut track);
        if interrupt.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut outcomes: Vec<Option<Outcome>> =
            verdicts.iter().map(|verdict| verdict.clone().err().map(quarantined)).collect();
        let default = racers.iter().position(|&index| pool[index].is_default(operation));
        for (lane, &index) in racers.iter().enumerate() {
            let max_error = *verdicts[index].as_ref().unwrap_or(&f64::INFINITY);
            let default = default.map(|default| &field[default]);
            outcomes[index] = outcome(&field[lane], default, max_error, track.clock_mhz);
        }
        let entry = entry_key(device, operation, cloud, setup, request.batch_size);
        Ok(Some(Measured { entry, records: self.records(pool, outcomes) }))
    }

    fn records(&self, pool: &[Arc<dyn Algorithm>], outcomes: Vec<Option<Outcome>>) -> Vec<Record> {
        let (driver, toolkit) = self.device.driver_and_toolkit();
        let tool = format!("voxtune {}", env!("CARGO_PKG_VERSION"));
        let environment = Environment { tool, driver, toolkit };
        let record = |(algorithm, outcome): (&Arc<dyn Algorithm>, Option<Outcome>)| {
            Some(Record {
                algo: algorithm.id().clone(),
                kernel_hash: algorithm
                    .kernel_hash(self.device, self.operation)
                    .unwrap_or(NOT_COMPILED),
                default: algorithm.is_default(self.operation),
                requires: algorithm.requires(),
                environment: environment.clone(),
                outcome: outcome?,
            })
        };
        pool.iter().zip(outcomes).filter_map(record).collect()
    }
}

/// A sample taken below this share of the fastest clock of the race says more about the clock than about
/// the candidate, and is dropped.
const THROTTLED_BELOW: f64 = 0.9;

/// How often a sample is tried before a throttled one is taken after all: a device that has slowed down for
/// good is as fast as it will be.
const ATTEMPTS: usize = 4;

/// Pause after a throttled sample.
const COOL_DOWN: Duration = Duration::from_millis(5);

/// The real thing: candidates on a device, timed by the device's clock.
struct DeviceTrack<'a> {
    entry: Entry<'a>,
    racers: Vec<&'a dyn Algorithm>,
    operands: Operands,
    clock_mhz: Option<u32>,
    start: Instant,
}

impl Track for DeviceTrack<'_> {
    type Failure = Rejection;

    fn sample(&mut self, lane: usize) -> Result<u64, Rejection> {
        let Entry { device, setup, operation, .. } = self.entry;
        let racer = self.racers[lane];
        let mut attempt = 0;
        loop {
            let Operands { a, b, out } = &mut self.operands;
            let launch = Launch { operation, map: &setup.map, a, b, out };
            let sample = guarded(|| device.time(|| device.registry().run(racer, device, launch)))?;
            let fastest_mhz = self.clock_mhz.max(sample.clock_mhz);
            self.clock_mhz = fastest_mhz;
            let throttled = sample.clock_mhz.zip(fastest_mhz).is_some_and(|(now, fastest)| {
                f64::from(now) < f64::from(fastest) * THROTTLED_BELOW
            });
            attempt += 1;
            if !throttled || attempt == ATTEMPTS {
                return Ok(sample.elapsed_ns.max(1));
            }
            std::thread::sleep(COOL_DOWN);
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn interrupted(&self) -> bool {
        self.entry.interrupt.load(Ordering::Relaxed)
    }
}

fn quarantined(rejection: Rejection) -> Outcome {
    Outcome::Quarantined { reason: rejection.reason, detail: rejection.detail }
}

fn outcome(
    lane: &Lane<Rejection>,
    default_lane: Option<&Lane<Rejection>>,
    max_error: f64,
    clock_mhz: Option<u32>,
) -> Option<Outcome> {
    if let Some(rejection) = &lane.failure {
        return Some(quarantined(rejection.clone()));
    }
    let samples: Vec<f64> = lane.samples().map(|ns| ns as f64).collect();
    let ratios = default_lane.map(|default| lane.ratios_to(default));
    Some(Outcome::Measured(Timing {
        median_ns: median(&samples)? as u64,
        spread_ns: median_absolute_deviation(&samples)? as u64,
        min_ns: lane.samples().min()?,
        samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        clock_mhz,
        ratio_to_default: ratios.and_then(|ratios| median_interval(&ratios)),
        max_error,
    }))
}
