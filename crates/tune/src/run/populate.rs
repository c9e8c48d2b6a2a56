//! A run, and what ends it.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use voxtune_cache::{CacheDir, CacheError, InvalidRecord};

use crate::plan::expand::{Plan, Request};
use crate::worker::failure::ExecutorError;

/// Everything that a run needs beside whoever runs its candidates.
#[derive(Clone, Copy, Debug)]
pub struct Populate<'a> {
    /// What is measured.
    pub plan: &'a Plan,
    /// How it is measured.
    pub request: &'a Request,
    /// Where results go.
    pub cache: &'a CacheDir,
    /// How long to wait for another writer of the same file before the run; what was measured waits longer.
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
    /// What ended the run, and why what was measured before is lost.
    #[error(
        "{ended}; and {unsaved} configurations that were measured are not saved: {why}{}",
        rescue(beside)
    )]
    Unsaved {
        /// What ended it.
        ended: String,
        /// How many.
        unsaved: usize,
        /// Why they cannot be saved.
        why: Box<PopulateError>,
        /// A folder of their own that holds them instead, and the one that they were meant for.
        beside: Option<(PathBuf, PathBuf)>,
    },
}

/// How what lies beside gets in.
fn rescue(beside: &Option<(PathBuf, PathBuf)>) -> String {
    beside.as_ref().map_or_else(String::new, |(beside, folder)| {
        let (beside, folder) = (beside.display(), folder.display());
        format!("; they are in {beside}: bring them in by `voxtune merge {beside} --out {folder}`")
    })
}
