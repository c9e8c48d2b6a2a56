//! What a session does, asked of a worker.

use std::sync::atomic::AtomicBool;

use voxtune_types::AlgoId;

use super::Worker;
use super::protocol::{Answer, Command};
use super::wire::WireJob;
use crate::evidence::entry::Measured;
use crate::evidence::entry::PreparedEntry;
use crate::measure::estimate::Estimate;
use crate::measure::session::Task;
use crate::plan::job::Job;
use crate::worker::failure::{Loss, Trouble};

impl Worker {
    pub(crate) fn begin(&mut self, job: &Job, interrupt: &AtomicBool) -> Result<(), Trouble> {
        match self.call(&Command::Begin(Box::new(WireJob::from(job))), interrupt)? {
            Answer::Begun => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn compile(
        &mut self,
        order: &[usize],
        interrupt: &AtomicBool,
    ) -> Result<usize, Trouble> {
        match self.call(&Command::Compile { order: order.to_vec() }, interrupt)? {
            Answer::Compiling { kernels } => Ok(kernels),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn estimate(
        &mut self,
        avoid: &[AlgoId],
        interrupt: &AtomicBool,
    ) -> Result<Estimate, Trouble> {
        match self.call(&Command::Estimate { avoid: avoid.to_vec() }, interrupt)? {
            Answer::Estimated(estimate) => Ok(estimate),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn prepare(
        &mut self,
        configuration: usize,
        interrupt: &AtomicBool,
    ) -> Result<Vec<PreparedEntry>, Trouble> {
        match self.call(&Command::Prepare { configuration }, interrupt)? {
            Answer::Prepared(entries) => Ok(entries),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn measure(
        &mut self,
        task: &Task,
        interrupt: &AtomicBool,
    ) -> Result<Measured, Trouble> {
        match self.call(&Command::Measure(task.clone()), interrupt)? {
            Answer::Measured(measured) => Ok(*measured),
            other => Err(other.unexpected()),
        }
    }
}

impl Answer {
    /// What to make of an answer that is no result.
    fn unexpected(self) -> Trouble {
        match self {
            Self::Failed(why) => Trouble::Configuration(why),
            _ => Trouble::Lost(Loss::of_nobody("the worker answered another question")),
        }
    }
}
