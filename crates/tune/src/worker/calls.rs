//! What a session does, asked of a worker.

use std::sync::atomic::AtomicBool;

use voxtune_types::AlgoId;

use super::Worker;
use super::protocol::{Command, Response};
use crate::evidence::entry::Measured;
use crate::evidence::entry::PreparedEntry;
use crate::inputs::error::{LostWorker, MeasureError};
use crate::measure::estimate::Estimate;
use crate::measure::session::Task;
use crate::plan::job::Job;

impl Worker {
    pub(crate) fn begin(&mut self, job: &Job, interrupt: &AtomicBool) -> Result<(), MeasureError> {
        match self.call(&Command::Begin(Box::new(job.to_references())), interrupt)? {
            Response::Begun => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn compile(
        &mut self,
        order: &[usize],
        interrupt: &AtomicBool,
    ) -> Result<usize, MeasureError> {
        match self.call(&Command::Compile { order: order.to_vec() }, interrupt)? {
            Response::Compiling { kernels } => Ok(kernels),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn estimate(
        &mut self,
        avoid: &[AlgoId],
        interrupt: &AtomicBool,
    ) -> Result<Estimate, MeasureError> {
        match self.call(&Command::Estimate { avoid: avoid.to_vec() }, interrupt)? {
            Response::Estimated(estimate) => Ok(estimate),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn prepare(
        &mut self,
        configuration: usize,
        interrupt: &AtomicBool,
    ) -> Result<Vec<PreparedEntry>, MeasureError> {
        match self.call(&Command::Prepare { configuration }, interrupt)? {
            Response::Prepared(entries) => Ok(entries),
            other => Err(other.unexpected()),
        }
    }

    pub(crate) fn measure(
        &mut self,
        task: &Task,
        interrupt: &AtomicBool,
    ) -> Result<Measured, MeasureError> {
        match self.call(&Command::Measure(task.clone()), interrupt)? {
            Response::Measured(measured) => Ok(*measured),
            other => Err(other.unexpected()),
        }
    }
}

impl Response {
    /// The error that an unexpected response stands for.
    fn unexpected(self) -> MeasureError {
        match self {
            Self::Failed(error) => error,
            _ => MeasureError::Lost(LostWorker::without_candidate(
                "the worker answered another question",
            )),
        }
    }
}
