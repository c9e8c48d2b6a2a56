//! Runs candidates in this process or in a worker, by the same session.

use std::sync::atomic::AtomicBool;

use voxtune::{Device, DeviceIdentity};
use voxtune_cache::Environment;
use voxtune_types::AlgoId;

use crate::evidence::entry::{Measured, PreparedEntry};
use crate::inputs::candidate::environment;
use crate::inputs::error::{LostWorker, MeasureError};
use crate::inputs::monitor::Unwatched;
use crate::measure::estimate::Estimate;
use crate::measure::session::{Session, Task};
use crate::plan::job::Job;
use crate::worker::Worker;

/// Runs candidates in this process or in a worker.
#[derive(Debug)]
pub struct Executor {
    backend: Backend,
    identity: DeviceIdentity,
    environment: Environment,
    algorithms: Vec<AlgoId>,
    job: Option<Job>,
    /// The configurations whose kernels are to be compiled ahead, in the order of need: again, if a
    /// worker starts anew.
    ahead: Vec<usize>,
}

#[derive(Debug)]
enum Backend {
    Here { device: Device, session: Option<Box<Session>> },
    Worker(Box<Worker>),
}

impl From<Device> for Executor {
    /// Runs candidates in this process: what one of them does to it, it does to the run.
    fn from(device: Device) -> Self {
        Self {
            identity: device.identity().clone(),
            environment: environment(&device),
            algorithms: device.registry().algorithms().map(|one| one.id().clone()).collect(),
            backend: Backend::Here { device, session: None },
            job: None,
            ahead: Vec::new(),
        }
    }
}

impl From<Worker> for Executor {
    /// Runs candidates in a worker: what one of them does to its process stays there.
    fn from(worker: Worker) -> Self {
        let opened = worker.opened().clone();
        Self {
            identity: opened.identity,
            environment: opened.environment,
            algorithms: opened.algorithms,
            backend: Backend::Worker(Box::new(worker)),
            job: None,
            ahead: Vec::new(),
        }
    }
}

impl Executor {
    /// What measurements are valid for.
    #[must_use]
    pub const fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// Every algorithm of the device.
    #[must_use]
    pub fn algorithms(&self) -> &[AlgoId] {
        &self.algorithms
    }

    /// The number of the worker's process, if candidates run in one.
    #[must_use]
    pub fn worker_id(&self) -> Option<u32> {
        match &self.backend {
            Backend::Here { .. } => None,
            Backend::Worker(worker) => worker.id(),
        }
    }

    pub(crate) const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Takes up a job.
    pub(crate) fn begin(&mut self, job: Job, interrupt: &AtomicBool) -> Result<(), MeasureError> {
        match &mut self.backend {
            Backend::Here { device, session } => {
                *session = Some(Box::new(Session::new(device.clone(), job.clone())));
            }
            Backend::Worker(worker) => {
                if !worker.is_running() {
                    worker.restart()?;
                }
                worker.begin(&job, interrupt)?;
            }
        }
        self.job = Some(job);
        Ok(())
    }

    /// Begins to compile ahead what configurations will need in this order, and says how many
    /// candidates these are.
    pub(crate) fn compile(
        &mut self,
        order: Vec<usize>,
        interrupt: &AtomicBool,
    ) -> Result<usize, MeasureError> {
        self.ahead.clone_from(&order);
        match self.ready(interrupt)? {
            Ready::Here(session) => Ok(session.compile(&order)),
            Ready::Worker(worker) => worker.compile(&order, interrupt),
        }
    }

    pub(crate) fn estimate(
        &mut self,
        avoid: &[AlgoId],
        interrupt: &AtomicBool,
    ) -> Result<Estimate, MeasureError> {
        let estimate = match self.ready(interrupt)? {
            Ready::Here(session) => {
                session.estimate(avoid, &mut Unwatched { interrupt }).map_err(here)?
            }
            Ready::Worker(worker) => worker.estimate(avoid, interrupt)?,
        };
        if let Some(job) = &mut self.job {
            job.flops_per_second = Some(estimate.flops_per_second);
        }
        Ok(estimate)
    }

    pub(crate) fn prepare(
        &mut self,
        configuration: usize,
        interrupt: &AtomicBool,
    ) -> Result<Vec<PreparedEntry>, MeasureError> {
        match self.ready(interrupt)? {
            Ready::Here(session) => {
                session.prepare(configuration, &mut Unwatched { interrupt }).map_err(here)
            }
            Ready::Worker(worker) => worker.prepare(configuration, interrupt),
        }
    }

    pub(crate) fn measure(
        &mut self,
        task: &Task,
        interrupt: &AtomicBool,
    ) -> Result<Measured, MeasureError> {
        match self.ready(interrupt)? {
            Ready::Here(session) => {
                session.measure(task, &mut Unwatched { interrupt }).map_err(here)
            }
            Ready::Worker(worker) => worker.measure(task, interrupt),
        }
    }

    /// Whatever runs the job, started anew if the last one is gone.
    fn ready(&mut self, interrupt: &AtomicBool) -> Result<Ready<'_>, MeasureError> {
        let job = self.job.as_ref();
        match &mut self.backend {
            Backend::Here { session, .. } => {
                let none = || MeasureError::Configuration("no job is at hand".to_owned());
                Ok(Ready::Here(session.as_mut().ok_or_else(none)?))
            }
            Backend::Worker(worker) => {
                if !worker.is_running() {
                    worker.restart()?;
                    let begun = job.map_or(Ok(()), |job| {
                        worker.begin(job, interrupt)?;
                        if self.ahead.is_empty() {
                            return Ok(());
                        }
                        worker.compile(&self.ahead, interrupt).map(|_| ())
                    });
                    // One without its job would be asked for what it does not know.
                    begun.inspect_err(|_| worker.end())?;
                }
                Ok(Ready::Worker(worker))
            }
        }
    }
}

enum Ready<'a> {
    Here(&'a mut Session),
    Worker(&'a mut Worker),
}

/// In this process, a lost device is the end.
fn here(error: MeasureError) -> MeasureError {
    match error {
        MeasureError::Lost(LostWorker { candidate, detail, .. }) => {
            let who = candidate.map_or_else(|| "setting up".to_owned(), |one| one.id.to_string());
            MeasureError::Over(format!(
                "{who} took the device down: {detail}; with isolation, that would have cost this \
                 candidate alone"
            ))
        }
        other => other,
    }
}
