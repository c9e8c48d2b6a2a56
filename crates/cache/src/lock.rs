//! The locks under which an architecture's files are written, and read together.
//!
//! A lock is a file of its own that is never deleted. A lock on the cache itself would be lost when
//! the cache is replaced. A lock file that comes and goes can be locked by two at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use voxtune_files::FileLock;
#[cfg(feature = "write")]
use voxtune_files::LockError;
use voxtune_types::Arch;

#[cfg(feature = "write")]
use crate::error::CacheError;
use crate::file_name::{FileKind, FileName, lock_name};
use crate::link;

/// Held while an architecture's files of a folder are written.
#[derive(Debug)]
pub(crate) struct Locks {
    _locks: Vec<FileLock>,
}

impl Locks {
    /// Waits for the right to write, at most this long.
    #[cfg(feature = "write")]
    pub(crate) fn acquire(folder: &Path, arch: Arch, wait: Duration) -> Result<Self, CacheError> {
        let start = Instant::now();
        let take = |path: &PathBuf| {
            let left = wait.saturating_sub(start.elapsed());
            FileLock::acquire(path, left).map_err(|error| in_words(error, path, start))
        };
        let locks = lock_files(folder, arch).iter().map(take).collect::<Result<_, _>>()?;
        Ok(Self { _locks: locks })
    }

    /// Waits until no process writes, and keeps writers out. Nothing where that cannot be had: a
    /// reader may lack the permission, and one that waits for ever is of no use.
    pub(crate) fn share(folder: &Path, arch: Arch, wait: Duration) -> Self {
        let start = Instant::now();
        let take =
            |path: &PathBuf| FileLock::share(path, wait.saturating_sub(start.elapsed())).ok();
        Self { _locks: lock_files(folder, arch).iter().filter_map(take).collect() }
    }
}

/// The folder's own lock, and those of the folders that its files are links into, whose writers
/// take theirs. They are taken in an order of all processes, so that no two wait for each other.
fn lock_files(folder: &Path, arch: Arch) -> Vec<PathBuf> {
    let own = folder.join(lock_name(arch));
    let mut files = BTreeMap::from([(canonical_folder(&own), own)]);
    for kind in [FileKind::Decisions, FileKind::Evidence] {
        let path = folder.join(FileName { arch, kind }.to_string());
        // A link that leads nowhere is an error where the file is read or written.
        if let Ok(target) = link::target(&path) {
            let lock = target.with_file_name(lock_name(arch));
            files.entry(canonical_folder(&lock)).or_insert(lock);
        }
    }
    files.into_values().collect()
}

fn canonical_folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

/// All of the wait counts, not that for the last lock alone.
#[cfg(feature = "write")]
fn in_words(error: LockError, path: &Path, start: Instant) -> CacheError {
    let path = path.to_owned();
    match error {
        LockError::Held { .. } => CacheError::Locked { path, waited: start.elapsed() },
        LockError::Open(source) => CacheError::Io { path, action: "open the lock file", source },
        LockError::Lock(source) => CacheError::Io { path, action: "lock the file", source },
        other => CacheError::LockRefused { path, reason: other.to_string() },
    }
}
