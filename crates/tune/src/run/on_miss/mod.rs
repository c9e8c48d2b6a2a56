//! Tuning while a program runs: what [`MissPolicy::TuneNow`](voxtune::MissPolicy::TuneNow) calls.

mod patience;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::plan::grid::{ChannelPair, Configuration};
use voxtune::{KernelHash, Miss, TuneError, TuneOnMiss};
use voxtune_cache::{
    CacheDir, CacheError, Decisions, Evidence, InvalidRecord, Update, create_folder, decide,
};
use voxtune_files::{FileLock, LockError};
use voxtune_types::{AlgoId, Arch, DeviceIdentity, ShapeKey};

use crate::evidence::commit::commit;
use crate::evidence::entry::Measured;
use crate::inputs::candidate::Candidate;
use crate::inputs::error::{LostWorker, MeasureError};
use crate::inputs::monitor::Unwatched;
use crate::inputs::planned_cloud::{FileCloud, PlannedCloud};
use crate::measure::session::{Session, Task};
use crate::plan::expand::PlannedConfiguration;
use crate::plan::job::Job;
use crate::plan::protocol::Protocol;
use crate::run::on_miss::patience::Patience;

/// Measures keys on the voxels of the call that misses them, in the process that calls, and keeps
/// the results in a folder. Where that cannot be written, they hold for the process, with one
/// warning in the log.
///
/// Of several processes that miss at once one measures; the others wait for it and take what it
/// found. A process that has waited in vain does not wait again for a while. A candidate that
/// crashes takes the program with it: where that matters, record the misses and measure them
/// offline.
#[derive(Clone, Debug)]
pub struct TuneNow {
    cache: CacheDir,
    budget: Duration,
    wait: Duration,
    state: Arc<State>,
}

/// What one key teaches for the next.
#[derive(Debug, Default)]
struct State {
    patience: Patience,
    /// Whether it was said that nothing can be kept.
    warned: AtomicBool,
}

/// A key that could not be tuned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneNowError {
    /// The folder cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A measurement is malformed: a defect of the tuner.
    #[error("a measurement is malformed: {0}")]
    Record(#[from] InvalidRecord),
    /// Another process tunes.
    #[error("{path}: another process still tunes {since}")]
    Busy {
        /// The lock's file.
        path: String,
        /// How long it was waited for.
        since: String,
    },
    /// The key cannot be measured here.
    #[error("{0}")]
    Measure(String),
}

impl TuneNow {
    /// Results go to this folder, such as [`voxtune::user_folder`] names.
    #[must_use]
    pub fn new(cache: CacheDir) -> Self {
        let (budget, wait) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { cache, budget, wait, state: Arc::default() }
    }

    /// Time for one key, beyond a few samples of each candidate. A second, unless told otherwise.
    #[must_use]
    pub const fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// How long to wait for another process that tunes. A minute, unless told otherwise. After a
    /// wait in vain, and for ten minutes, a key that another process blocks runs the best grade at
    /// once.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    fn tuned(&self, miss: &Miss<'_>) -> Result<Decisions, TuneNowError> {
        let (device, key) = (miss.device.identity(), miss.key);
        let lock = self.lock(device.arch);
        // Another process may have measured this very key.
        match self.stored(device, key) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => self.warn(&error),
        }
        let _lock = lock?;
        let measured = self.measure(miss)?;
        let decided =
            match self.keep(device.arch, &measured).and_then(|()| self.stored(device, key)) {
                Ok(decided) => decided,
                Err(TuneNowError::Cache(error)) => {
                    self.warn(&error);
                    decided_alone(&measured)?
                }
                Err(error) => return Err(error),
            };
        decided.ok_or_else(|| TuneNowError::Measure(format!("every candidate failed for {key}")))
    }

    /// The right to tune for an architecture. `None` in a folder that has no room for a lock: there
    /// is nobody to wait for there. The file is not the lock of the caches, which is held for the
    /// milliseconds of a write.
    fn lock(&self, arch: Arch) -> Result<Option<FileLock>, TuneNowError> {
        let path = self.cache.path().join(format!("{arch}.tuning.lock"));
        if let Err(error) = create_folder(self.cache.path()) {
            self.warn(&format_args!("{}: {error}", self.cache.path().display()));
            return Ok(None);
        }
        let (wait, path_text) = (self.state.patience.for_now(self.wait), path.display());
        match FileLock::acquire(&path, wait) {
            Ok(lock) => {
                self.state.patience.restored();
                Ok(Some(lock))
            }
            Err(LockError::Held { waited }) => {
                let since = if wait < self.wait {
                    "and was waited for in vain before".to_owned()
                } else {
                    self.state.patience.lost();
                    format!("after {:.1} s", waited.as_secs_f64())
                };
                Err(TuneNowError::Busy { path: path_text.to_string(), since })
            }
            Err(error) => {
                self.warn(&format_args!("{path_text}: {error}"));
                Ok(None)
            }
        }
    }

    /// Brings a measurement into the folder.
    fn keep(&self, arch: Arch, measured: &Measured) -> Result<(), TuneNowError> {
        let wait = self.state.patience.for_now(self.wait);
        let update = self.cache.update(arch, wait, |all| commit(all, measured));
        if matches!(update, Err(CacheError::Locked { .. })) {
            self.state.patience.lost();
        }
        let Update { value, set_aside, .. } = update?;
        for file in &set_aside {
            tracing::warn!(from = %file.from.display(), to = %file.to.display(), "a damaged cache is set aside");
        }
        value?;
        Ok(())
    }

    /// Says once that the folder cannot be used, and why.
    fn warn(&self, error: &dyn std::fmt::Display) {
        if self.state.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "what is tuned is not kept");
        } else {
            tracing::warn!(%error, "what is tuned holds for this process and is not kept");
        }
    }

    /// What the folder decides for a key.
    fn stored(
        &self,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Result<Option<Decisions>, TuneNowError> {
        let stored = match self.cache.read_decisions(device.arch) {
            // The update sets a damaged file aside.
            Err(CacheError::Corrupt { .. }) => None,
            other => other?,
        };
        let decision = stored.and_then(|decisions| decisions.get(device, key));
        Ok(decision.map(|decision| std::iter::once(decision).collect()))
    }

    fn measure(&self, miss: &Miss<'_>) -> Result<Measured, TuneNowError> {
        let interrupt = AtomicBool::new(false);
        let mut monitor = Unwatched { interrupt: &interrupt };
        let mut session = Session::new(miss.device.clone(), self.job(miss)?);
        session.compile(&[0]);
        let mut entries = session.prepare(0, &mut monitor)?;
        let entry = entries
            .pop()
            .ok_or_else(|| TuneNowError::Measure("there is nothing to measure".to_owned()))?;
        let refused = self.refused(miss);
        let is_refused =
            |one: &Candidate| refused.iter().any(|(id, hash)| one.is_version(id, *hash));
        let candidates = entry.pool.into_iter().filter(|one| !is_refused(one)).map(|one| one.id);
        let task = Task {
            configuration: 0,
            cloud: 0,
            direction: miss.key.operation.direction,
            candidates: candidates.collect(),
            avoid: refused.clone(),
            incumbent: None,
        };
        Ok(session.measure(&task, &mut monitor)?)
    }

    /// The code that is in quarantine for this key, by name and hash, as far as can be read.
    fn refused(&self, miss: &Miss<'_>) -> Vec<(AlgoId, KernelHash)> {
        let device = miss.device.identity();
        let stored = match self.cache.read_evidence(device.arch) {
            Err(CacheError::Corrupt { .. }) => None,
            Ok(stored) => stored,
            Err(error) => {
                self.warn(&error);
                None
            }
        };
        let evidence = stored.unwrap_or_default();
        let of_key = evidence
            .quarantine()
            .filter(|(entry, _)| entry.device == *device && entry.key == *miss.key);
        of_key.map(|(_, record)| (record.algo.clone(), record.kernel_hash)).collect()
    }

    fn job(&self, miss: &Miss<'_>) -> Result<Job, TuneNowError> {
        /// The name of the cloud in the evidence.
        const LABEL: &str = "call";
        let operation = miss.key.operation;
        let configuration = Configuration {
            voxels: miss.voxels.len(),
            channels: ChannelPair { c_in: operation.c_in, c_out: operation.c_out },
            groups: operation.groups,
            layer: miss.geometry,
            dtype: operation.dtype,
        };
        let cells =
            miss.voxels.cells().map_err(|error| TuneNowError::Measure(error.to_string()))?;
        let cloud = FileCloud::given(LABEL, cells.to_vec()).within(miss.voxels.shape());
        let clouds = vec![PlannedCloud::File(Arc::new(cloud))];
        Ok(Job {
            configurations: vec![PlannedConfiguration::usual(configuration, clouds)],
            protocol: Protocol {
                directions: vec![operation.direction],
                budget: self.budget,
                ..Protocol::default()
            },
            flops_per_second: None,
        })
    }
}

/// What a measurement decides by itself.
fn decided_alone(measured: &Measured) -> Result<Option<Decisions>, TuneNowError> {
    let mut evidence = Evidence::new();
    commit(&mut evidence, measured)?;
    let decision = decide(&evidence).get(&measured.entry.device, &measured.entry.key);
    Ok(decision.map(|decision| std::iter::once(decision).collect()))
}

impl TuneOnMiss for TuneNow {
    fn tune(&self, miss: &Miss<'_>) -> Result<Decisions, TuneError> {
        self.tuned(miss).map_err(|error| TuneError(Box::new(error)))
    }
}

impl From<MeasureError> for TuneNowError {
    fn from(error: MeasureError) -> Self {
        match error {
            MeasureError::Lost(LostWorker { candidate, detail, .. }) => {
                let who = candidate.map_or_else(String::new, |one| format!("{}: ", one.id));
                Self::Measure(format!("the device is lost: {who}{detail}"))
            }
            other => Self::Measure(other.to_string()),
        }
    }
}
