//! Coordinates a run: hands configurations out, saves results, reports progress.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use voxtune_cache::{CacheError, Evidence, InvalidRecord, Update};
use voxtune_types::{AlgoId, Arch};

use crate::evidence::commit::{commit, winner};
use crate::evidence::entry::Measured;
use crate::inputs::error::MeasureError;
use crate::measure::estimate::Estimate;
use crate::plan::expand::Plan;
use crate::plan::job::Job;
use crate::run::device_pool::DevicePool;
use crate::run::eta::Eta;
use crate::run::event::{EntryReport, Event, Observer, Outcome, Summary};
use crate::run::populate::{Populate, PopulateError};
use crate::run::queue::Queue;
use crate::run::save_beside::save_beside;
use crate::run::worker_loop::{Shared, WorkerLoop};
use crate::run::worker_message::{ConfigurationResult, WorkerMessage, candidate_lost};
use crate::run::write_buffer::WriteBuffer;
use crate::worker::executor::Executor;

/// How long to wait for another writer while there is something to measure.
const SHORT_WAIT: Duration = Duration::from_millis(100);

impl Populate<'_> {
    /// Measures every configuration, in the order of the plan, and saves as it goes.
    ///
    /// # Errors
    /// If results cannot be saved, or no candidate can run. What was saved stays.
    pub fn run(
        &self,
        executor: &mut Executor,
        observer: &mut dyn Observer,
    ) -> Result<Summary, PopulateError> {
        let shared = Shared::new(Queue::in_order(self.plan.configurations.len()));
        self.run_on(&shared, executor, &mut [], observer)
    }

    /// [`Self::run`] on several devices of one kind. Each configuration is measured by one of them,
    /// the costliest first. A device that fails for good leaves its work to the others. Only this
    /// process writes.
    ///
    /// # Errors
    /// If results cannot be saved, or no device is left. What was saved stays.
    pub fn run_on_pool(
        &self,
        pool: &mut DevicePool,
        observer: &mut dyn Observer,
    ) -> Result<Summary, PopulateError> {
        if pool.size() == 1 {
            return self.run(pool.split().0, observer);
        }
        let Plan { configurations, .. } = self.plan;
        let queue =
            Queue::costliest_first(configurations, &self.request.protocol.directions, pool.size());
        let shared = Shared::new(queue);
        let (primary, others) = pool.split();
        self.run_on(&shared, primary, others, observer)
    }

    fn run_on(
        &self,
        shared: &Shared,
        primary: &mut Executor,
        others: &mut [Executor],
        observer: &mut dyn Observer,
    ) -> Result<Summary, PopulateError> {
        let requested = self.plan.configurations.len();
        let mut coordinator = Coordinator {
            populate: *self,
            shared,
            observer,
            arch: primary.identity().arch,
            write_buffer: WriteBuffer::new(Duration::ZERO),
            summary: Summary { requested, ..Summary::default() },
            eta: Eta::default(),
            devices: 1 + others.len(),
            worker: None,
            saving_waits: false,
            failure: None,
        };
        // Writing before anything is measured finds a folder that cannot be written.
        let start = Instant::now();
        // Fails now, not after an hour, if the folder cannot be written.
        coordinator.update(&[], self.lock_wait)?;
        coordinator.write_buffer.saved(start.elapsed());
        let (mut primary, mut others) = (primary, others);
        loop {
            let error = match coordinator.prepare_run(primary) {
                Ok(estimate) => {
                    coordinator.run(&estimate, primary, others);
                    break;
                }
                Err(MeasureError::Interrupted) => break,
                Err(error) => error,
            };
            // Another device may still work.
            let Some((next, rest)) = std::mem::take(&mut others).split_first_mut() else {
                return Err(error.into());
            };
            (primary, others) = (next, rest);
            coordinator.device_gives_up(&error);
        }
        // Whatever ended the run, earlier results are worth keeping.
        match (coordinator.save_last(), coordinator.failure) {
            (Ok(()), None) => {}
            (Ok(()), Some(error)) => return Err(error),
            (Err(why), failure) => {
                let ended =
                    failure.map_or_else(|| "the run is over".to_owned(), |one| one.to_string());
                let unsaved = coordinator.write_buffer.len();
                let beside =
                    save_beside(self.cache, coordinator.arch, &coordinator.write_buffer.take());
                let beside = beside.map(|beside| (beside, self.cache.path().to_owned()));
                return Err(PopulateError::Unsaved { ended, unsaved, why: Box::new(why), beside });
            }
        }
        let mut summary = coordinator.summary;
        summary.failed = summary.requested - summary.measured - summary.skipped;
        summary.interrupted = self.interrupt.load(Ordering::Relaxed);
        Ok(summary)
    }
}

/// Owns the files and the progress: the only writer of a run.
struct Coordinator<'a> {
    populate: Populate<'a>,
    shared: &'a Shared,
    observer: &'a mut dyn Observer,
    arch: Arch,
    write_buffer: WriteBuffer,
    summary: Summary,
    eta: Eta,
    /// Devices that have not given up.
    devices: usize,
    /// The primary device's worker process that was reported last.
    worker: Option<u32>,
    /// Whether the observer was told that another process writes.
    saving_waits: bool,
    /// Why the run cannot go on.
    failure: Option<PopulateError>,
}

impl Coordinator<'_> {
    /// Prepares what configurations share. The primary device's worker alone compiles kernels
    /// ahead; the others find them in the folder, or compile one that they need sooner.
    fn prepare_run(&mut self, primary: &mut Executor) -> Result<Estimate, MeasureError> {
        let Populate { plan, request, interrupt, .. } = self.populate;
        primary.begin(Job::new(plan, request), interrupt)?;
        self.tell_of_worker(primary);
        let kernels = primary.compile(self.shared.queue.order(), interrupt)?;
        self.observer.event(&Event::Compiling { kernels });
        let start = Instant::now();
        let estimate = self.estimate(primary)?;
        self.summary.spent.calibrate = start.elapsed();
        self.tell_of_worker(primary);
        self.eta = Eta::new(&estimate);
        let devices = self.devices;
        self.observer.event(&Event::Started { estimate: estimate.clone(), devices });
        Ok(estimate)
    }

    /// Reports the primary device's worker process if it is another one than before.
    fn tell_of_worker(&mut self, primary: &Executor) {
        if let Some(id) = primary.worker_id().filter(|&id| self.worker != Some(id)) {
            self.worker = Some(id);
            self.observer.event(&Event::WorkerStarted { id });
        }
    }

    /// The estimate, by the first algorithm that does not take its process down.
    fn estimate(&mut self, primary: &mut Executor) -> Result<Estimate, MeasureError> {
        let mut avoid: Vec<AlgoId> = Vec::new();
        loop {
            match primary.estimate(&avoid, self.populate.interrupt) {
                Err(MeasureError::Lost(loss)) => {
                    let Some(candidate) = &loss.candidate else {
                        return Err(MeasureError::Lost(loss));
                    };
                    avoid.push(candidate.id.clone());
                    let lost = candidate_lost(&loss, None);
                    lost.iter().for_each(|event| self.observer.event(event));
                }
                other => return other,
            }
        }
    }

    /// Runs the worker threads and writes meanwhile. On a CPU everything runs in this thread:
    /// writing and measuring at the same time would disturb each other.
    fn run(&mut self, estimate: &Estimate, primary: &mut Executor, others: &mut [Executor]) {
        let (populate, shared) = (self.populate, self.shared);
        if others.is_empty() && !self.arch.is_cuda() {
            let known = self.worker;
            WorkerLoop::new(populate, shared, primary, &mut |message| self.take(message))
                .run(known);
            return;
        }
        let mut job = Job::new(populate.plan, populate.request);
        job.flops_per_second = Some(estimate.flops_per_second);
        let (sender, messages) = channel();
        std::thread::scope(|scope| {
            // A coordinator that no longer listens has closed the queue.
            let (told, known) = (sender.clone(), self.worker);
            scope.spawn(move || {
                WorkerLoop::new(populate, shared, primary, &mut |one| drop(told.send(one)))
                    .run(known);
            });
            for other in others {
                let (told, job) = (sender.clone(), job.clone());
                scope.spawn(move || {
                    let tell = &mut |message| drop(told.send(message));
                    WorkerLoop::new(populate, shared, other, tell).begin_and_run(job);
                });
            }
            drop(sender);
            for message in messages {
                self.take(message);
            }
        });
    }

    /// Handles a message of a worker thread. After a failure of its own, the coordinator hands out
    /// nothing more.
    fn take(&mut self, message: WorkerMessage) {
        match message {
            WorkerMessage::Tell(event) => self.observer.event(&event),
            WorkerMessage::EntryEnded { index, entry, took } => {
                match &took {
                    Some((spent, compiling)) => {
                        self.eta.measured(index, entry, spent, *compiling);
                    }
                    None => self.eta.skipped(index, entry),
                }
                let remaining = self.eta.remaining(self.devices);
                let (spent, compiling) = took.unzip();
                let compiling = compiling.flatten();
                let ended = Event::EntryEnded { index, entry, spent, compiling, remaining };
                self.observer.event(&ended);
            }
            WorkerMessage::Ended(ended) => {
                self.ended(ended);
                if self.write_buffer.is_due() {
                    match self.save(SHORT_WAIT) {
                        // The other writer ends some time; results are saved then, or at the end.
                        Err(PopulateError::Cache(CacheError::Locked { path, .. })) => {
                            self.tell_of_writer(path);
                        }
                        other => other.unwrap_or_else(|error| self.fail(error)),
                    }
                }
            }
            WorkerMessage::GivenUp { error, unfinished } => {
                if self.devices > 1 {
                    self.device_gives_up(&error);
                    return;
                }
                if let Some(ended) = unfinished {
                    self.ended(ended);
                }
                self.fail(error.into());
            }
        }
    }

    /// One of several devices gives up and leaves its work to the others.
    fn device_gives_up(&mut self, error: &MeasureError) {
        self.devices -= 1;
        self.observer.event(&Event::DeviceGivenUp { why: error.to_string() });
    }

    fn fail(&mut self, error: PopulateError) {
        self.failure.get_or_insert(error);
        self.shared.queue.close();
    }

    fn ended(&mut self, ended: ConfigurationResult) {
        let ConfigurationResult { index, spent, ref outcome, .. } = ended;
        match outcome {
            Outcome::Measured => self.summary.measured += 1,
            Outcome::Skipped => self.summary.skipped += 1,
            Outcome::Failed(_) | Outcome::Interrupted => {}
        }
        self.summary.spent += spent;
        self.eta.ended(index);
        let end = Instant::now() + self.eta.remaining(self.devices);
        self.write_buffer.push(ended, end);
    }

    fn tell_of_writer(&mut self, lock: PathBuf) {
        if !std::mem::replace(&mut self.saving_waits, true) {
            let unsaved = self.write_buffer.len();
            self.observer.event(&Event::SavingWaits { lock, unsaved });
        }
    }

    /// Saves what is left. Waits as long as another process writes; after an interrupt, no longer
    /// than `lock_wait`.
    fn save_last(&mut self) -> Result<(), PopulateError> {
        let Populate { lock_wait, interrupt, .. } = self.populate;
        // Some configurations have ended since the observer was told.
        self.saving_waits = false;
        let (start, mut ended_at) = (Instant::now(), None);
        loop {
            let path = match self.save(SHORT_WAIT) {
                Err(PopulateError::Cache(CacheError::Locked { path, .. })) => path,
                other => return other,
            };
            self.tell_of_writer(path.clone());
            if interrupt.load(Ordering::Relaxed)
                && ended_at.get_or_insert_with(Instant::now).elapsed() >= lock_wait
            {
                return Err(CacheError::Locked { path, waited: start.elapsed() }.into());
            }
        }
    }

    /// Saves the buffered results and reports them. Waits `lock_wait` for other writers.
    fn save(&mut self, lock_wait: Duration) -> Result<(), PopulateError> {
        let unsaved = self.write_buffer.take();
        let start = Instant::now();
        let updated = if unsaved.iter().any(|(one, _)| !one.measured.is_empty()) {
            self.update(&unsaved, lock_wait)
        } else {
            Ok(unsaved.iter().map(|_| Vec::new()).collect())
        };
        let cost = start.elapsed();
        let reports: Vec<Vec<EntryReport>> = match updated {
            Ok(reports) => reports,
            Err(error) => {
                self.write_buffer.put_back(unsaved);
                self.write_buffer.saved(cost);
                return Err(error);
            }
        };
        self.saving_waits = false;
        self.summary.spent.write += cost;
        self.write_buffer.saved(cost);
        for ((one, end), reports) in unsaved.into_iter().zip(reports) {
            let ConfigurationResult { index, outcome, .. } = one;
            let configuration = self.populate.plan.configurations[index].configuration;
            self.observer.event(&Event::ConfigurationEnded {
                index,
                configuration,
                outcome,
                reports,
                remaining: end.saturating_duration_since(Instant::now()),
            });
        }
        Ok(())
    }

    /// Merges results into the files, and keeps the evidence that they hold then.
    fn update(
        &mut self,
        unsaved: &[(ConfigurationResult, Instant)],
        lock_wait: Duration,
    ) -> Result<Vec<Vec<EntryReport>>, PopulateError> {
        let cache = self.populate.cache;
        let change = |evidence: &mut Evidence| -> Result<_, InvalidRecord> {
            let mut commit = |measured: &Measured| {
                let committed = commit(evidence, measured)?;
                Ok(EntryReport { measured: measured.clone(), committed, winner: None })
            };
            let reports: Result<Vec<Vec<EntryReport>>, InvalidRecord> = unsaved
                .iter()
                .map(|(one, _)| one.measured.iter().map(&mut commit).collect())
                .collect();
            let mut reports = reports?;
            // A key may have several workloads: its winner is known after the last of them.
            for report in reports.iter_mut().flatten() {
                report.winner = winner(evidence, &report.measured.entry);
            }
            Ok((reports, evidence.clone()))
        };
        let Update { value, set_aside, .. } = cache.update(self.arch, lock_wait, change)?;
        for file in set_aside {
            self.observer.event(&Event::SetAside(file));
        }
        let (reports, stored) = value?;
        self.shared.set_stored(stored);
        Ok(reports)
    }
}
