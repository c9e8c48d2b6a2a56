//! The whole run: every configuration of a plan, saved as it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use voxtune::{Algorithm, Device, Operation};
use voxtune_cache::{CacheDir, CacheError, EntryKey, Evidence, InvalidRecord, SetAside, Update};
use voxtune_shape::grid::Configuration;
use voxtune_shape::{AlgoId, AlgoMode};

use crate::commit::{Committed, commit, is_covered, winner};
use crate::entry::{Entry, Measured, entry_key};
use crate::estimate::{
    Estimate, configuration_bytes, estimate, human_bytes, operation_of, wanted_kernels,
};
use crate::plan::{Plan, PlannedCloud, PlannedConfiguration, Request};
use crate::setup::{CloudSetup, SetupCache, SetupError};
use crate::verify::Verifier;

/// Everything that a run needs.
#[derive(Clone, Copy, Debug)]
pub struct Populate<'a> {
    /// Where candidates run.
    pub device: &'a Device,
    /// What is measured.
    pub plan: &'a Plan,
    /// How it is measured.
    pub request: &'a Request,
    /// Where results go.
    pub cache: &'a CacheDir,
    /// How long to wait for another writer of the same file.
    pub lock_wait: Duration,
    /// Set by anyone to end the run: what is complete is saved, the rest is given up.
    pub interrupt: &'a AtomicBool,
}

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
    /// The winner by the stored evidence.
    pub winner: Option<AlgoId>,
}

/// What happens during a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The code of all candidates is being compiled, where it is not part of the program.
    Compiling {
        /// Candidates of all operations.
        kernels: usize,
    },
    /// It is.
    Compiled {
        /// How long that took.
        elapsed: Duration,
    },
    /// The run begins.
    Started {
        /// What it will need.
        estimate: &'a Estimate,
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
}

/// A run that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PopulateError {
    /// Results cannot be saved.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A result is malformed: a defect of the tuner.
    #[error("a measurement is malformed: {0}")]
    Record(#[from] InvalidRecord),
    /// The device does not work at all.
    #[error(transparent)]
    SetUp(#[from] SetupError),
}

/// Why a configuration has no result, to be told apart from why the run cannot go on.
enum Failure {
    Configuration(String),
    Run(PopulateError),
}

/// The entries of a configuration.
struct Entries {
    measured: Vec<Measured>,
    skipped: usize,
    complete: bool,
    winnerless: Vec<EntryKey>,
}

impl Populate<'_> {
    /// Measures every configuration and saves after each.
    ///
    /// # Errors
    /// If results cannot be saved, or the device does not work at all. What was saved stays.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Summary, PopulateError> {
        // Nobody wants to hear after an hour that the folder cannot be written.
        self.update(observer, |_| Ok(()))?;
        let wanted = wanted_kernels(self.device, self.plan, self.request);
        let start = Instant::now();
        observer.event(&Event::Compiling { kernels: wanted.len() });
        self.device.compile(&wanted);
        observer.event(&Event::Compiled { elapsed: start.elapsed() });
        let estimate = estimate(self.device, self.plan, self.request)?;
        observer.event(&Event::Started { estimate: &estimate });
        let mut summary =
            Summary { requested: self.plan.configurations.len(), ..Summary::default() };
        let mut state = (SetupCache::default(), Verifier::default());
        let mut pace = Pace::new(&estimate);
        for (index, planned) in self.plan.configurations.iter().enumerate() {
            if self.is_interrupted() {
                break;
            }
            let configuration = &planned.configuration;
            observer.event(&Event::ConfigurationStarted { index, configuration });
            let start = Instant::now();
            let (outcome, reports) = self.configuration(planned, &mut state, observer)?;
            match outcome {
                Outcome::Measured => summary.measured += 1,
                Outcome::Skipped => summary.skipped += 1,
                Outcome::Failed(_) | Outcome::Interrupted => {}
            }
            let remaining = pace.after(index, &outcome, start.elapsed());
            observer.event(&Event::ConfigurationEnded {
                index,
                configuration,
                outcome: &outcome,
                reports: &reports,
                remaining,
            });
        }
        summary.failed = summary.requested - summary.measured - summary.skipped;
        summary.interrupted = self.is_interrupted();
        Ok(summary)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    fn configuration(
        &self,
        planned: &PlannedConfiguration,
        state: &mut (SetupCache, Verifier),
        observer: &mut dyn Observer,
    ) -> Result<(Outcome, Vec<EntryReport>), PopulateError> {
        let entries = match self.entries(planned, state, observer) {
            Ok(entries) => entries,
            Err(Failure::Configuration(why)) => return Ok((Outcome::Failed(why), Vec::new())),
            Err(Failure::Run(error)) => return Err(error),
        };
        let reports = self.save(entries.measured, observer)?;
        let outcome = if !entries.complete {
            Outcome::Interrupted
        } else if let Some(entry) = entries.winnerless.first() {
            Outcome::Failed(format!("{}: every candidate failed", entry.key))
        } else if reports.is_empty() && entries.skipped > 0 {
            Outcome::Skipped
        } else {
            Outcome::Measured
        };
        Ok((outcome, reports))
    }

    /// Measures the entries of a configuration: each of its clouds in each direction.
    fn entries(
        &self,
        planned: &PlannedConfiguration,
        (setups, verifier): &mut (SetupCache, Verifier),
        observer: &mut dyn Observer,
    ) -> Result<Entries, Failure> {
        let kernel = planned.configuration.kernel;
        setups.keep_only(&planned.clouds, kernel);
        self.check_memory(configuration_bytes(planned, &self.request.directions))?;
        let stored = self.stored_evidence()?;
        let mut entries =
            Entries { measured: Vec::new(), skipped: 0, complete: true, winnerless: Vec::new() };
        for cloud in &planned.clouds {
            let (batch_size, seed) = (self.request.batch_size, self.request.seed);
            let setup = setups
                .get(self.device, cloud, kernel, batch_size, seed)
                .map_err(|error| Failure::Configuration(error.to_string()))?;
            for &direction in &self.request.directions {
                let operation = operation_of(&planned.configuration, direction);
                let entry = entry_key(self.device, &operation, cloud, &setup, batch_size);
                let requested = self.pool(&operation, &setup)?;
                let candidates = requested.iter().map(|candidate| &**candidate);
                if self.request.resume
                    && is_covered(self.device, &stored, &entry, &operation, candidates)
                {
                    entries.skipped += 1;
                    if winner(&stored, &entry).is_none() {
                        entries.winnerless.push(entry);
                    }
                    continue;
                }
                let pool = self.with_incumbent(requested, &stored, &entry, &operation);
                observer
                    .event(&Event::EntryStarted { operation: &operation, cloud: cloud.label() });
                let Some(measured) = self.measure(verifier, cloud, &setup, &operation, &pool)?
                else {
                    entries.complete = false;
                    return Ok(entries);
                };
                if measured.records.iter().all(|record| record.timing().is_none()) {
                    entries.winnerless.push(entry);
                }
                entries.measured.push(measured);
            }
        }
        Ok(entries)
    }

    fn measure(
        &self,
        verifier: &mut Verifier,
        cloud: &PlannedCloud,
        setup: &CloudSetup,
        operation: &Operation,
        pool: &[Arc<dyn Algorithm>],
    ) -> Result<Option<Measured>, Failure> {
        let counts = setup.map.counts();
        let workspace = pool.iter().map(|one| one.workspace_bytes(operation, &setup.map)).max();
        let elements =
            counts.n_in * operation.c_in as usize + counts.n_out * operation.c_out as usize;
        self.check_memory((elements * operation.dtype.bytes()) as u64 + workspace.unwrap_or(0))?;
        let entry = Entry {
            device: self.device,
            request: self.request,
            cloud,
            setup,
            operation,
            interrupt: self.interrupt,
        };
        entry.measure(verifier, pool).map_err(|error| Failure::Configuration(error.to_string()))
    }

    /// The candidates that the request asks for.
    fn pool(
        &self,
        operation: &Operation,
        setup: &CloudSetup,
    ) -> Result<Vec<Arc<dyn Algorithm>>, Failure> {
        let mode = self.request.modes.of(operation.direction);
        let pool = self.device.registry().pool(mode, operation, setup.map.counts());
        if pool.is_empty() {
            return Err(Failure::Configuration(format!(
                "{mode} has no candidate for {operation} on {}",
                self.device.identity().arch
            )));
        }
        Ok(pool)
    }

    /// The pool with the stored winner: whoever is to take its place must beat it in the same race.
    fn with_incumbent(
        &self,
        mut pool: Vec<Arc<dyn Algorithm>>,
        stored: &Evidence,
        entry: &EntryKey,
        operation: &Operation,
    ) -> Vec<Arc<dyn Algorithm>> {
        let restricted = matches!(self.request.modes.of(operation.direction), AlgoMode::Named(_));
        let incumbent = winner(stored, entry)
            .filter(|id| restricted && pool.iter().all(|candidate| candidate.id() != id))
            .and_then(|id| self.device.registry().usable(&id, operation).cloned());
        pool.extend(incumbent);
        pool
    }

    fn check_memory(&self, needed_bytes: u64) -> Result<(), Failure> {
        let free_bytes = self.device.free_memory_bytes();
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        Err(Failure::Configuration(format!(
            "needs {} of memory, {} are free",
            human_bytes(needed_bytes),
            human_bytes(free_bytes)
        )))
    }

    fn stored_evidence(&self) -> Result<Evidence, Failure> {
        let stored = self.cache.read_evidence(self.device.identity().arch);
        Ok(stored.map_err(|error| Failure::Run(error.into()))?.unwrap_or_default())
    }

    fn save(
        &self,
        measured: Vec<Measured>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<EntryReport>, PopulateError> {
        if measured.is_empty() {
            return Ok(Vec::new());
        }
        self.update(observer, |evidence| {
            measured
                .into_iter()
                .map(|measured| {
                    let committed = commit(evidence, &measured)?;
                    let winner = winner(evidence, &measured.entry);
                    Ok(EntryReport { measured, committed, winner })
                })
                .collect()
        })
    }

    fn update<R>(
        &self,
        observer: &mut dyn Observer,
        change: impl FnOnce(&mut Evidence) -> Result<R, InvalidRecord>,
    ) -> Result<R, PopulateError> {
        let arch = self.device.identity().arch;
        let Update { value, set_aside, .. } = self.cache.update(arch, self.lock_wait, change)?;
        for file in &set_aside {
            observer.event(&Event::SetAside(file));
        }
        Ok(value?)
    }
}

/// Time until the end, from the estimate and how it has held so far.
struct Pace<'a> {
    estimate: &'a Estimate,
    spent: Duration,
    expected: Duration,
}

impl<'a> Pace<'a> {
    const fn new(estimate: &'a Estimate) -> Self {
        Self { estimate, spent: Duration::ZERO, expected: Duration::ZERO }
    }

    fn after(&mut self, index: usize, outcome: &Outcome, took: Duration) -> Duration {
        if *outcome == Outcome::Measured {
            self.spent += took;
            self.expected += self.estimate.configurations[index];
        }
        let ahead: Duration = self.estimate.configurations[index + 1..].iter().sum();
        if self.expected.is_zero() {
            return ahead;
        }
        ahead.mul_f64(self.spent.as_secs_f64() / self.expected.as_secs_f64())
    }
}
