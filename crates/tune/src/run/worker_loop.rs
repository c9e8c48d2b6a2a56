//! One worker's way through a run: configuration after configuration, as they are handed out.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use voxtune_cache::{EntryKey, Evidence};
use voxtune_types::AlgoId;

use crate::evidence::commit::winner;
use crate::evidence::entry::Measured;
use crate::evidence::entry::PreparedEntry;
use crate::evidence::phase_times::Spent;
use crate::evidence::select::{Selection, Wish, disproved, incumbent, is_comparable, select};
use crate::plan::expand::Request;
use crate::plan::job::Job;
use crate::run::event::Outcome;
use crate::run::populate::{Populate, PopulateError};
use crate::run::queue::Queue;
use crate::run::retry::{Losses, Trial};
use crate::run::worker_event::{Ended, Note};
use crate::worker::executor::Executor;
use crate::worker::failure::Trouble;

/// What the lanes of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) losses: Losses,
    /// The evidence on disk, as of the last writing. What is not saved yet is of other entries than those
    /// to come.
    stored: Mutex<Arc<Evidence>>,
}

impl Shared {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, losses: Losses::default(), stored: Mutex::default() }
    }

    pub(crate) fn set_stored(&self, evidence: Evidence) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(evidence);
    }

    fn stored(&self) -> Arc<Evidence> {
        Arc::clone(&self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a configuration has no result.
pub(crate) enum Failure {
    /// Of its own.
    Configuration(String),
    /// The run was ended from outside.
    Interrupted,
    /// Nothing can run here any more.
    Lane(PopulateError),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Configuration(why) => Self::Configuration(why),
            Trouble::Lost(loss) => {
                Self::Configuration(format!("the worker is lost: {}", loss.detail))
            }
            Trouble::Interrupted => Self::Interrupted,
            Trouble::Over(error) => Self::Lane(error.into()),
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
    spent: Spent,
}

/// A worker, or this process, at work on a run.
pub(crate) struct Lane<'a> {
    populate: Populate<'a>,
    shared: &'a Shared,
    executor: &'a mut Executor,
    tell: &'a mut dyn FnMut(Note),
    /// The worker's process that was told of last.
    worker: Option<u32>,
}

impl<'a> Lane<'a> {
    pub(crate) fn new(
        populate: Populate<'a>,
        shared: &'a Shared,
        executor: &'a mut Executor,
        tell: &'a mut dyn FnMut(Note),
    ) -> Self {
        Self { populate, shared, executor, tell, worker: None }
    }

    /// Takes a job up and measures until there is nothing left.
    pub(crate) fn begin_and_run(&mut self, job: Job) {
        match self.executor.begin(job, self.populate.interrupt).map_err(Failure::from) {
            Ok(()) => self.run(None),
            Err(Failure::Interrupted) => {}
            Err(Failure::Lane(error)) => self.give_up(error, None),
            Err(Failure::Configuration(why)) => self.give_up(PopulateError::SetUp(why), None),
        }
    }

    /// Measures until there is nothing left, with a worker that was told of already, if it is this one.
    pub(crate) fn run(&mut self, known: Option<u32>) {
        self.worker = known;
        self.tell_of_worker();
        let mut group = None;
        while !self.populate.interrupt.load(Ordering::Relaxed) {
            let Some(turn) = self.shared.queue.next(group) else { break };
            group = Some(turn.group());
            let index = turn.index();
            (self.tell)(Note::ConfigurationStarted { index });
            let (ended, error) = self.configuration(index);
            if let Some(error) = error {
                self.give_up(error, Some((index, ended)));
                break;
            }
            self.tell_of_worker();
            (self.tell)(Note::ConfigurationEnded { index, ended });
            turn.done();
        }
    }

    fn give_up(&mut self, error: PopulateError, unfinished: Option<(usize, Ended)>) {
        (self.tell)(Note::GivenUp { error, unfinished });
    }

    /// Says so if the worker is another one than before.
    fn tell_of_worker(&mut self) {
        let id = self.executor.worker_id();
        if let Some(id) = id.filter(|_| id != self.worker) {
            (self.tell)(Note::WorkerStarted { id });
        }
        self.worker = id;
    }

    /// Measures a configuration. An error says that it was the last one here.
    fn configuration(&mut self, index: usize) -> (Ended, Option<PopulateError>) {
        let start = Instant::now();

        let mut entries = Entries::default();
        let (failed, error) = match self.entries(index, &mut entries) {
            Ok(()) => (None, None),
            Err(Failure::Configuration(why)) => (Some(why), None),
            Err(Failure::Interrupted) => {
                entries.interrupted = true;
                (None, None)
            }
            Err(Failure::Lane(error)) => (Some(error.to_string()), Some(error)),
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
        (Ended { outcome, measured, took: start.elapsed(), spent }, error)
    }

    /// Measures the entries of a configuration: each of its clouds in each direction.
    fn entries(&mut self, index: usize, entries: &mut Entries) -> Result<(), Failure> {
        let start = Instant::now();
        let prepared = self.prepare(index)?;
        entries.spent.clouds += start.elapsed();
        let stored = self.shared.stored();
        for entry in &prepared {
            let (candidates, all) = match self.select(&stored, entry) {
                Selection::Nothing => {
                    entries.skipped += 1;
                    if winner(&stored, &entry.key).is_none() {
                        entries.winnerless.push(entry.key.clone());
                    }
                    continue;
                }
                Selection::Race(all) => (all, None),
                Selection::TopUp { some, all } => (some, Some(all)),
            };
            let operation = entry.key.key.operation;
            (self.tell)(Note::EntryStarted { index, cloud: entry.cloud, operation });
            let spent = &mut entries.spent;
            let mut measured = self.measure(index, entry, candidates, &stored, spent)?;
            if let Some(all) = all
                && !is_comparable(&stored, &entry.key, &measured.records)
            {
                measured = self.measure(index, entry, all, &stored, spent)?;
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

    fn select(&self, stored: &Evidence, entry: &PreparedEntry) -> Selection {
        let Request { extent, retry_quarantined, modes, .. } = self.populate.request;
        let mode = modes.of(entry.key.key.operation.direction);
        let wish = Wish { extent: *extent, retry_quarantined: *retry_quarantined, mode };
        select(wish, stored, entry)
    }

    fn measure(
        &mut self,
        index: usize,
        entry: &PreparedEntry,
        candidates: Vec<AlgoId>,
        stored: &Evidence,
        spent: &mut Spent,
    ) -> Result<Measured, Failure> {
        let retry = self.populate.request.retry_quarantined;
        let mut trial = Trial::new(index, entry, candidates, incumbent(stored, entry));
        if !retry {
            trial.avoid_quarantined(stored);
        }
        let (losses, interrupt) = (&self.shared.losses, self.populate.interrupt);
        let mut measured = trial.run(self.executor, losses, interrupt, self.tell)?;
        // Said again, so that other code of theirs does not outlive it.
        for record in disproved(stored, entry) {
            if measured.records.iter().all(|one| one.algo != record.algo) {
                measured.records.push(record.clone());
            }
        }
        // Whoever needs a kernel that is not there yet waits for it while an entry is prepared.
        spent.clouds = spent.clouds.saturating_sub(measured.spent.compile);
        *spent += measured.spent;
        Ok(measured)
    }
}
