//! Tuning while a program runs: what [`MissPolicy::TuneNow`](voxtune::MissPolicy::TuneNow) calls.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::grid::{ChannelPair, Configuration};
use voxtune::{CacheRegime, KernelHash, Miss, TuneError, TuneOnMiss};
use voxtune_cache::{CacheDir, CacheError, Decisions, InvalidRecord, Update, create_folder};
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoId, Arch, DeviceIdentity, ShapeKey};

use crate::candidate::Candidate;
use crate::commit::commit;
use crate::entry::Measured;
use crate::job::Job;
use crate::monitor::Unwatched;
use crate::plan::{FileCloud, PlannedCloud, PlannedConfiguration, TIME_LIMIT};
use crate::session::{Session, SessionError, Task};

/// Measures keys on the voxels of the call that misses them, in the process that calls, and keeps
/// the results in a folder.
///
/// Of several processes that miss at once one measures; the others wait for it and take what it
/// found. A candidate that crashes takes the program with it: where that matters, record the misses
/// and measure them offline.
#[derive(Clone, Debug)]
pub struct TuneNow {
    cache: CacheDir,
    budget: Duration,
    wait: Duration,
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
    /// The lock that keeps processes apart cannot be had.
    #[error("{path}: {detail}")]
    Lock {
        /// The lock's file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The key cannot be measured here.
    #[error("{0}")]
    Measure(String),
}

impl TuneNow {
    /// Results go to this folder, such as [`voxtune::user_folder`] names.
    #[must_use]
    pub fn new(cache: CacheDir) -> Self {
        Self { cache, budget: Duration::from_secs(1), wait: Duration::from_secs(60) }
    }

    /// Time for one key, beyond a few samples of each candidate. A second, unless told otherwise.
    #[must_use]
    pub const fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// How long to wait for another process that tunes. A minute, unless told otherwise.
    #[must_use]
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    fn tuned(&self, miss: &Miss<'_>) -> Result<Decisions, TuneNowError> {
        let (device, key) = (miss.device.identity(), miss.key);
        let _lock = TuningLock::acquire(self.cache.path(), device.arch, self.wait)?;
        // Whoever had the lock before may have measured this very key.
        if let Some(found) = self.stored(device, key)? {
            return Ok(found);
        }
        let measured = self.measure(miss)?;
        let update = self.cache.update(device.arch, self.wait, |all| commit(all, &measured))?;
        let Update { value, set_aside, .. } = update;
        for file in &set_aside {
            tracing::warn!(from = %file.from.display(), to = %file.to.display(), "a damaged cache is set aside");
        }
        value?;
        let nobody = || TuneNowError::Measure(format!("every candidate failed for {key}"));
        self.stored(device, key)?.ok_or_else(nobody)
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
        let mut session = Session::new(miss.device.clone(), self.job(miss));
        session.compile(&[0]);
        let mut entries = session.prepare(0, &mut monitor)?;
        let entry = entries
            .pop()
            .ok_or_else(|| TuneNowError::Measure("there is nothing to measure".to_owned()))?;
        let refused = self.refused(miss)?;
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
        let measured = session.measure(&task, &mut monitor)?;
        measured.ok_or_else(|| TuneNowError::Measure("it was interrupted".to_owned()))
    }

    /// The code that is in quarantine for this key, by name and hash.
    fn refused(&self, miss: &Miss<'_>) -> Result<Vec<(AlgoId, KernelHash)>, TuneNowError> {
        let device = miss.device.identity();
        let stored = match self.cache.read_evidence(device.arch) {
            Err(CacheError::Corrupt { .. }) => None,
            other => other?,
        };
        let evidence = stored.unwrap_or_default();
        let of_key = evidence
            .quarantine()
            .filter(|(entry, _)| entry.device == *device && entry.key == *miss.key);
        Ok(of_key.map(|(_, record)| (record.algo.clone(), record.kernel_hash)).collect())
    }

    fn job(&self, miss: &Miss<'_>) -> Job {
        /// The name of the cloud in the evidence.
        const LABEL: &str = "call";
        let operation = miss.key.operation;
        let configuration = Configuration {
            voxels: miss.voxels.len(),
            channels: ChannelPair { c_in: operation.c_in, c_out: operation.c_out },
            kernel: operation.kernel,
            dtype: operation.dtype,
        };
        let cloud = FileCloud::given(LABEL, miss.voxels.cells().to_vec());
        let clouds = vec![PlannedCloud::File(Arc::new(cloud))];
        Job {
            configurations: vec![PlannedConfiguration { configuration, clouds }],
            batch_size: 1,
            seed: 0,
            directions: vec![operation.direction],
            modes: AlgoModes::default(),
            budget: self.budget,
            regime: CacheRegime::Cold,
            time_limit: TIME_LIMIT,
            flops_per_second: None,
        }
    }
}

impl TuneOnMiss for TuneNow {
    fn tune(&self, miss: &Miss<'_>) -> Result<Decisions, TuneError> {
        self.tuned(miss).map_err(|error| TuneError(Box::new(error)))
    }
}

impl From<SessionError> for TuneNowError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Configuration(why) => Self::Measure(why),
            SessionError::DeviceLost { candidate, detail, .. } => {
                let who = candidate.map_or_else(String::new, |id| format!("{id}: "));
                Self::Measure(format!("the device is lost: {who}{detail}"))
            }
        }
    }
}

/// Held by the one process that tunes for an architecture. Another file than the lock of the caches,
/// which is held for the milliseconds of a write.
#[derive(Debug)]
struct TuningLock {
    _file: File,
}

impl TuningLock {
    fn acquire(folder: &Path, arch: Arch, wait: Duration) -> Result<Self, TuneNowError> {
        const SLEEP: Duration = Duration::from_millis(10);
        let path = folder.join(format!("{arch}.tuning.lock"));
        let failed =
            |detail: String| TuneNowError::Lock { path: path.display().to_string(), detail };
        create_folder(folder).map_err(|error| failed(error.to_string()))?;
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(|error| failed(error.to_string()))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(failed(error.to_string())),
                Err(TryLockError::WouldBlock) if start.elapsed() >= wait => {
                    let waited = start.elapsed().as_secs_f64();
                    return Err(failed(format!("another process still tunes after {waited:.1} s")));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(SLEEP),
            }
        }
    }
}
