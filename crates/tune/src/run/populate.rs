//! A run's inputs, and the errors that end it.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use voxtune_cache::{CacheDir, CacheError, InvalidRecord};

use crate::inputs::error::MeasureError;
use crate::plan::expand::{Plan, Request};

/// The inputs of a run, without the executors of its candidates.
#[derive(Clone, Copy, Debug)]
pub struct Populate<'a> {
    /// What is measured.
    pub plan: &'a Plan,
    /// How it is measured.
    pub request: &'a Request,
    /// Where results go.
    pub cache: &'a CacheDir,
    /// How long to wait for another writer of the same file before the run; saving results waits
    /// longer.
    pub lock_wait: Duration,
    /// Set by any thread to end the run: complete results are saved, the rest is dropped.
    pub interrupt: &'a AtomicBool,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PopulateError {
    /// Results cannot be saved.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A result is malformed: a defect of the tuner.
    #[error("a measurement is malformed: {0}")]
    Record(#[from] InvalidRecord),
    /// Nothing can be measured, or not any more.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// Why a run ended, and why its results could not be saved.
    #[error(
        "{ended}; and {unsaved} configurations that were measured are not saved: {why}{}",
        rescue(beside)
    )]
    Unsaved {
        /// Why the run ended.
        ended: String,
        /// How many configurations are not saved.
        unsaved: usize,
        /// Why they cannot be saved.
        why: Box<PopulateError>,
        /// The folder that holds the results instead, and the one that they were meant for.
        beside: Option<(PathBuf, PathBuf)>,
    },
}

/// How to merge the results from the other folder.
fn rescue(beside: &Option<(PathBuf, PathBuf)>) -> String {
    beside.as_ref().map_or_else(String::new, |(beside, folder)| {
        let (beside, folder) = (beside.display(), folder.display());
        format!("; they are in {beside}: bring them in by `voxtune merge {beside} --out {folder}`")
    })
}
