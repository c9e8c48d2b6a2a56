//! The whole run: every configuration of a plan, saved as it goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use voxtune_cache::{CacheDir, CacheError, EntryKey, Evidence, InvalidRecord, Update};
use voxtune_shape::AlgoId;

use crate::commit::{commit, winner};
use crate::entry::Measured;
use crate::estimate::Estimate;
use crate::executor::{Executor, ExecutorError, Trouble};
use crate::job::Job;
use crate::ledger::{Ledger, Unsaved};
use crate::plan::{Plan, PlannedConfiguration, Request};
use crate::report::{EntryReport, Event, Observer, Outcome, Summary};
use crate::select::{Selection, Wish, is_comparable, select};
use crate::session::PreparedEntry;
use crate::spent::Spent;
use crate::trial::{Losses, Trial};

/// Everything that a run needs beside an [`Executor`].
#[derive(Clone, Copy, Debug)]
pub struct Populate<'a> {
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
    /// No candidate can run.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The device does not work at all.
    #[error("{0}")]
    SetUp(String),
}

impl Populate<'_> {
    /// Measures every configuration and saves as it goes.
    ///
    /// # Errors
    /// If results cannot be saved, or no candidate can run. What was saved stays.
    pub fn run(
        &self,
        executor: &mut Executor,
        observer: &mut dyn Observer,
    ) -> Result<Summary, PopulateError> {
        let mut run = Run {
            populate: *self,
            executor,
            observer,
            losses: Losses::default(),
            stored: Evidence::new(),
            ledger: Ledger::new(Duration::ZERO),
            spent: Spent::default(),
        };
        // Nobody wants to hear after an hour that the folder cannot be written.
        let start = Instant::now();
        run.update(&[])?;
        run.ledger.saved(start.elapsed());
        let mut summary =
            Summary { requested: self.plan.configurations.len(), ..Summary::default() };
        if let Some(estimate) = run.begin()? {
            let result = run.configurations(&estimate, &mut summary);
            // Whatever ended the run: what was measured before is worth keeping.
            run.save()?;
            result?;
        }
        summary.spent = run.spent;
        summary.failed = summary.requested - summary.measured - summary.skipped;
        summary.interrupted = self.interrupt.load(Ordering::Relaxed);
        Ok(summary)
    }
}

/// A run under way.
struct Run<'a> {
    populate: Populate<'a>,
    executor: &'a mut Executor,
    observer: &'a mut dyn Observer,
    losses: Losses,
    /// The evidence on disk, as of the last writing. What is not saved yet is of other entries than those
    /// to come.
    stored: Evidence,
    ledger: Ledger,
    spent: Spent,
}

/// Why a configuration has no result.
enum Failure {
    /// Of its own.
    Configuration(String),
    /// The run was ended from outside.
    Interrupted,
    /// The run cannot go on.
    Run(PopulateError),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Configuration(why) => Self::Configuration(why),
            Trouble::Lost(loss) => {
                Self::Configuration(format!("the worker is lost: {}", loss.detail))
            }
            Trouble::Interrupted => Self::Interrupted,
            Trouble::Over(error) => Self::Run(error.into()),
        }
    }
}

/// The entries of a configuration.
#[derive(Default)]
struct Entries {
    measured: Vec<Measured>,
    skipped: usize,
    interrupted: bool,
    winnerless: Vec<EntryKey>,
}

impl Run<'_> {
    fn is_interrupted(&self) -> bool {
        self.populate.interrupt.load(Ordering::Relaxed)
    }

    /// Gets everything ready that configurations share. `None` if interrupted.
    fn begin(&mut self) -> Result<Option<Estimate>, PopulateError> {
        match self.prepare_run() {
            Ok(estimate) => Ok(Some(estimate)),
            Err(Failure::Interrupted) => Ok(None),
            Err(Failure::Run(error)) => Err(error),
            Err(Failure::Configuration(why)) => Err(PopulateError::SetUp(why)),
        }
    }

    fn prepare_run(&mut self) -> Result<Estimate, Failure> {
        let Populate { plan, request, interrupt, .. } = self.populate;
        let kernels = self.executor.begin(Job::new(plan, request), interrupt)?;
        let mut worker = None;
        self.tell_of_worker(&mut worker);
        self.observer.event(&Event::Compiling { kernels });
        self.executor.compile(interrupt)?;
        let start = Instant::now();
        let estimate = self.estimate()?;
        self.spent.trial = start.elapsed();
        self.tell_of_worker(&mut worker);
        self.observer.event(&Event::Started { estimate: &estimate });
        Ok(estimate)
    }

    /// The estimate, by the first algorithm that does not take its process down.
    fn estimate(&mut self) -> Result<Estimate, Failure> {
        let mut avoid: Vec<AlgoId> = Vec::new();
        loop {
            match self.executor.estimate(&avoid, self.populate.interrupt) {
                Err(Trouble::Lost(loss)) => {
                    let Some(candidate) = &loss.candidate else {
                        return Err(Trouble::Lost(loss).into());
                    };
                    let (algo, reason, detail) = (&candidate.id, loss.reason, &*loss.detail);
                    let event = Event::CandidateLost { algo, operation: None, reason, detail };
                    self.observer.event(&event);
                    avoid.push(candidate.id.clone());
                }
                other => return Ok(other?),
            }
        }
    }

    /// Says so if the worker is another one than before.
    fn tell_of_worker(&mut self, known: &mut Option<u32>) {
        let id = self.executor.worker_id();
        if let Some(id) = id.filter(|_| id != *known) {
            self.observer.event(&Event::WorkerStarted { id });
        }
        *known = id;
    }

    fn configurations(
        &mut self,
        estimate: &Estimate,
        summary: &mut Summary,
    ) -> Result<(), PopulateError> {
        let mut pace = Pace::new(estimate);
        let mut worker = self.executor.worker_id();
        for (index, planned) in self.populate.plan.configurations.iter().enumerate() {
            if self.is_interrupted() {
                break;
            }
            let configuration = &planned.configuration;
            self.observer.event(&Event::ConfigurationStarted { index, configuration });
            let start = Instant::now();
            let (outcome, measured) = self.configuration(index, planned)?;
            self.tell_of_worker(&mut worker);
            match outcome {
                Outcome::Measured => summary.measured += 1,
                Outcome::Skipped => summary.skipped += 1,
                Outcome::Failed(_) | Outcome::Interrupted => {}
            }
            let remaining = pace.after(index, &outcome, start.elapsed());
            self.ledger.push(Unsaved { index, outcome, measured, remaining });
            if self.ledger.is_due() {
                self.save()?;
            }
        }
        Ok(())
    }

    fn configuration(
        &mut self,
        index: usize,
        planned: &PlannedConfiguration,
    ) -> Result<(Outcome, Vec<Measured>), PopulateError> {
        let mut entries = Entries::default();
        let failed = match self.entries(index, planned, &mut entries) {
            Ok(()) => None,
            Err(Failure::Configuration(why)) => Some(why),
            Err(Failure::Interrupted) => {
                entries.interrupted = true;
                None
            }
            Err(Failure::Run(error)) => {
                let (outcome, remaining) = (Outcome::Failed(error.to_string()), Duration::ZERO);
                let measured = entries.measured;
                self.ledger.push(Unsaved { index, outcome, measured, remaining });
                return Err(error);
            }
        };
        let outcome = if let Some(why) = failed {
            Outcome::Failed(why)
        } else if entries.interrupted {
            Outcome::Interrupted
        } else if let Some(entry) = entries.winnerless.first() {
            Outcome::Failed(format!("{}: every candidate failed", entry.key))
        } else if entries.measured.is_empty() && entries.skipped > 0 {
            Outcome::Skipped
        } else {
            Outcome::Measured
        };
        Ok((outcome, entries.measured))
    }

    /// Measures the entries of a configuration: each of its clouds in each direction.
    fn entries(
        &mut self,
        index: usize,
        planned: &PlannedConfiguration,
        entries: &mut Entries,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let prepared = self.prepare(index)?;
        self.spent.clouds += start.elapsed();
        for entry in &prepared {
            let selection = self.select(entry);
            let (candidates, all) = match selection {
                Selection::Nothing => {
                    entries.skipped += 1;
                    if winner(&self.stored, &entry.key).is_none() {
                        entries.winnerless.push(entry.key.clone());
                    }
                    continue;
                }
                Selection::Race(all) => (all, None),
                Selection::TopUp { some, all } => (some, Some(all)),
            };
            let operation = &entry.key.key.operation;
            let cloud = planned.clouds[entry.cloud].label();
            self.observer.event(&Event::EntryStarted { operation, cloud });
            let mut measured = self.measure(index, entry, candidates)?;
            if let Some(all) = all
                && !is_comparable(&self.stored, &entry.key, &measured.records)
            {
                measured = self.measure(index, entry, all)?;
            }
            if measured.records.iter().all(|record| record.timing().is_none()) {
                entries.winnerless.push(entry.key.clone());
            }
            entries.measured.push(measured);
        }
        Ok(())
    }

    /// The entries of a configuration. A worker that is lost over it is given one more chance.
    fn prepare(&mut self, index: usize) -> Result<Vec<PreparedEntry>, Failure> {
        match self.executor.prepare(index, self.populate.interrupt) {
            Err(Trouble::Lost(_)) => Ok(self.executor.prepare(index, self.populate.interrupt)?),
            other => Ok(other?),
        }
    }

    fn select(&self, entry: &PreparedEntry) -> Selection {
        let Request { extent, retry_quarantined, modes, .. } = self.populate.request;
        let mode = modes.of(entry.key.key.operation.direction);
        let wish = Wish { extent: *extent, retry_quarantined: *retry_quarantined, mode };
        select(wish, &self.stored, entry)
    }

    fn measure(
        &mut self,
        index: usize,
        entry: &PreparedEntry,
        candidates: Vec<AlgoId>,
    ) -> Result<Measured, Failure> {
        let retry = self.populate.request.retry_quarantined;
        let mut trial = Trial::new(index, entry, candidates);
        if !retry {
            trial.avoid_quarantined(&self.stored);
        }
        let interrupt = self.populate.interrupt;
        let measured = trial.run(self.executor, &mut self.losses, interrupt, self.observer)?;
        // Whoever needs a kernel that is not there yet waits for it while an entry is prepared.
        self.spent.clouds = self.spent.clouds.saturating_sub(measured.spent.compile);
        self.spent += measured.spent;
        Ok(measured)
    }

    /// Saves what waits for it, and tells of it.
    fn save(&mut self) -> Result<(), PopulateError> {
        let unsaved = self.ledger.take();
        let start = Instant::now();
        let reports: Vec<Vec<EntryReport>> = if unsaved.iter().any(|one| !one.measured.is_empty()) {
            self.update(&unsaved)?
        } else {
            unsaved.iter().map(|_| Vec::new()).collect()
        };
        let cost = start.elapsed();
        self.spent.write += cost;
        self.ledger.saved(cost);
        for (one, reports) in unsaved.iter().zip(&reports) {
            let Unsaved { index, ref outcome, remaining, .. } = *one;
            let configuration = &self.populate.plan.configurations[index].configuration;
            self.observer.event(&Event::ConfigurationEnded {
                index,
                configuration,
                outcome,
                reports,
                remaining,
            });
        }
        Ok(())
    }

    /// Brings results into the files, and reads what else is in them.
    fn update(&mut self, unsaved: &[Unsaved]) -> Result<Vec<Vec<EntryReport>>, PopulateError> {
        let arch = self.executor.identity().arch;
        let Populate { cache, lock_wait, .. } = self.populate;
        let change = |evidence: &mut Evidence| -> Result<_, InvalidRecord> {
            let report = |measured: &Measured, evidence: &mut Evidence| {
                let committed = commit(evidence, measured)?;
                let winner = winner(evidence, &measured.entry);
                Ok(EntryReport { measured: measured.clone(), committed, winner })
            };
            let reports: Result<Vec<Vec<EntryReport>>, InvalidRecord> = unsaved
                .iter()
                .map(|one| one.measured.iter().map(|measured| report(measured, evidence)).collect())
                .collect();
            Ok((reports?, evidence.clone()))
        };
        let Update { value, set_aside, .. } = cache.update(arch, lock_wait, change)?;
        for file in &set_aside {
            self.observer.event(&Event::SetAside(file));
        }
        let (reports, stored) = value?;
        self.stored = stored;
        Ok(reports)
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
