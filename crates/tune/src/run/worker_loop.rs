//! The loop of one worker thread: take a configuration, measure it, report.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use voxtune_cache::{EntryKey, Evidence};
use voxtune_types::AlgoId;

use crate::evidence::commit::winner;
use crate::evidence::entry::Measured;
use crate::evidence::entry::PreparedEntry;
use crate::evidence::phase_times::PhaseTimes;
use crate::evidence::select::{
    SelectOptions, Selection, incumbent, is_comparable, quarantines_over_stale, select,
};
use crate::inputs::error::MeasureError;
use crate::plan::expand::{PlannedConfiguration, Request};
use crate::plan::job::Job;
use crate::run::event::{Event, Outcome};
use crate::run::populate::Populate;
use crate::run::queue::Queue;
use crate::run::retry::{CrashHistory, EntryRetry};
use crate::run::worker_message::{ConfigurationResult, WorkerMessage};
use crate::worker::executor::Executor;

/// State that the worker threads of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) crash_history: CrashHistory,
    /// The evidence on disk, as of the last write. Results that are not saved yet are of other
    /// entries than those to come.
    stored: Mutex<Arc<Evidence>>,
}

impl Shared {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, crash_history: CrashHistory::default(), stored: Mutex::default() }
    }

    pub(crate) fn set_stored(&self, evidence: Evidence) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(evidence);
    }

    fn stored(&self) -> Arc<Evidence> {
        Arc::clone(&self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The entries of a configuration.
#[derive(Default)]
struct Entries {
    measured: Vec<Measured>,
    skipped: usize,
    interrupted: bool,
    winnerless: Vec<EntryKey>,
    spent: PhaseTimes,
}

/// One worker thread's loop, over a worker process or in this process.
pub(crate) struct WorkerLoop<'a> {
    populate: Populate<'a>,
    shared: &'a Shared,
    executor: &'a mut Executor,
    tell: &'a mut dyn FnMut(WorkerMessage),
    /// The worker process that was reported last.
    worker: Option<u32>,
}

impl<'a> WorkerLoop<'a> {
    pub(crate) fn new(
        populate: Populate<'a>,
        shared: &'a Shared,
        executor: &'a mut Executor,
        tell: &'a mut dyn FnMut(WorkerMessage),
    ) -> Self {
        Self { populate, shared, executor, tell, worker: None }
    }

    /// Takes a job up and measures until there is nothing left.
    pub(crate) fn begin_and_run(&mut self, job: Job) {
        match self.executor.begin(job, self.populate.interrupt) {
            Ok(()) => self.run(None),
            Err(MeasureError::Interrupted) => {}
            Err(error) => self.give_up(error, None),
        }
    }

    /// Measures until nothing is left. `known` is a worker process that was reported already.
    pub(crate) fn run(&mut self, known: Option<u32>) {
        self.worker = known;
        self.tell_of_worker();
        let mut group = None;
        while !self.populate.interrupt.load(Ordering::Relaxed) {
            let Some(assignment) = self.shared.queue.next(group) else { break };
            group = Some(assignment.group());
            let index = assignment.index();
            let configuration = self.planned(index).configuration;
            self.tell_observer(Event::ConfigurationStarted { index, configuration });
            let (ended, error) = self.configuration(index);
            if let Some(error) = error {
                self.give_up(error, Some(ended));
                break;
            }
            self.tell_of_worker();
            (self.tell)(WorkerMessage::Ended(ended));
            assignment.done();
        }
    }

    fn give_up(&mut self, error: MeasureError, unfinished: Option<ConfigurationResult>) {
        (self.tell)(WorkerMessage::GivenUp { error, unfinished });
    }

    fn tell_observer(&mut self, event: Event) {
        (self.tell)(WorkerMessage::Tell(event));
    }

    fn planned(&self, index: usize) -> &PlannedConfiguration {
        &self.populate.plan.configurations[index]
    }

    /// Reports the worker process if it is another one than before.
    fn tell_of_worker(&mut self) {
        let id = self.executor.worker_id();
        if let Some(id) = id.filter(|_| id != self.worker) {
            self.tell_observer(Event::WorkerStarted { id });
        }
        self.worker = id;
    }

    /// Measures a configuration. An error says that this worker loop ends.
    fn configuration(&mut self, index: usize) -> (ConfigurationResult, Option<MeasureError>) {
        let mut entries = Entries::default();
        let (failed, error) = match self.entries(index, &mut entries) {
            Ok(()) => (None, None),
            Err(MeasureError::Interrupted) => {
                entries.interrupted = true;
                (None, None)
            }
            Err(error @ MeasureError::Over(_)) => (Some(error.to_string()), Some(error)),
            Err(error) => (Some(error.to_string()), None),
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
        let Entries { measured, spent, .. } = entries;
        (ConfigurationResult { index, outcome, measured, spent }, error)
    }

    /// Measures the entries of a configuration: each of its clouds in each direction.
    fn entries(&mut self, index: usize, entries: &mut Entries) -> Result<(), MeasureError> {
        let start = Instant::now();
        let prepared = self.prepare(index)?;
        entries.spent.clouds += start.elapsed();
        let stored = self.shared.stored();
        for (number, entry) in prepared.iter().enumerate() {
            let (candidates, all) = match self.select(&stored, entry) {
                Selection::Nothing => {
                    entries.skipped += 1;
                    if winner(&stored, &entry.key).is_none() {
                        entries.winnerless.push(entry.key.clone());
                    }
                    (self.tell)(WorkerMessage::EntryEnded { index, entry: number, took: None });
                    continue;
                }
                Selection::Race(all) => (all, None),
                Selection::TopUp { some, all } => (some, Some(all)),
            };
            let operation = entry.key.key.operation;
            let cloud = self.planned(index).clouds[entry.cloud].label().to_owned();
            self.tell_observer(Event::EntryStarted { operation, cloud });
            let mut spent = PhaseTimes::default();
            if entries.measured.is_empty() {
                spent.clouds = std::mem::take(&mut entries.spent.clouds);
            }
            let mut measured = self.measure(index, entry, candidates, &stored, &mut spent)?;
            if let Some(all) = all
                && !is_comparable(&stored, &entry.key, &measured.records)
            {
                measured = self.measure(index, entry, all, &stored, &mut spent)?;
            }
            entries.spent += spent;
            let took = Some((spent, measured.compiling));
            (self.tell)(WorkerMessage::EntryEnded { index, entry: number, took });
            if measured.records.iter().all(|record| record.timing().is_none()) {
                entries.winnerless.push(entry.key.clone());
            }
            entries.measured.push(measured);
        }
        Ok(())
    }

    /// Prepares the entries of a configuration; tries once more if the worker is lost.
    fn prepare(&mut self, index: usize) -> Result<Vec<PreparedEntry>, MeasureError> {
        match self.executor.prepare(index, self.populate.interrupt) {
            Err(MeasureError::Lost(_)) => self.executor.prepare(index, self.populate.interrupt),
            other => other,
        }
    }

    fn select(&self, stored: &Evidence, entry: &PreparedEntry) -> Selection {
        let Request { remeasure, retry_quarantined, protocol, .. } = self.populate.request;
        let mode = protocol.modes.of(entry.key.key.operation.direction);
        let options =
            SelectOptions { remeasure: *remeasure, retry_quarantined: *retry_quarantined, mode };
        select(options, stored, entry)
    }

    fn measure(
        &mut self,
        index: usize,
        entry: &PreparedEntry,
        candidates: Vec<AlgoId>,
        stored: &Evidence,
        spent: &mut PhaseTimes,
    ) -> Result<Measured, MeasureError> {
        let retry = self.populate.request.retry_quarantined;
        let mut entry_retry = EntryRetry::new(index, entry, candidates, incumbent(stored, entry));
        if !retry {
            entry_retry.avoid_quarantined(stored);
        }
        let (crash_history, interrupt) = (&self.shared.crash_history, self.populate.interrupt);
        let told = &mut |event| (self.tell)(WorkerMessage::Tell(event));
        let mut measured = entry_retry.run(self.executor, crash_history, interrupt, told)?;
        // Repeated, so that a timing of other code does not outlive the quarantine.
        for record in quarantines_over_stale(stored, entry) {
            if measured.records.iter().all(|one| one.algo != record.algo) {
                measured.records.push(record.clone());
            }
        }
        // Preparing an entry waits for kernels that are still being compiled.
        spent.clouds = spent.clouds.saturating_sub(measured.spent.compile);
        *spent += measured.spent;
        Ok(measured)
    }
}
