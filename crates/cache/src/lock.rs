//! The lock under which an architecture's files are written.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::CacheError;

/// How long to sleep before the second try; doubled after every further one.
const FIRST_SLEEP: Duration = Duration::from_millis(1);

/// The longest sleep between two tries.
const LONGEST_SLEEP: Duration = Duration::from_millis(32);

/// An exclusive lock, held until dropped or until the process ends, however it ends.
///
/// It lies on a file of its own that is never deleted: a lock on the cache itself would be lost
/// when the cache is replaced, and a lock file that comes and goes can be locked by two at once.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock, at most this long.
    pub(crate) fn acquire(path: &Path, wait: Duration) -> Result<Self, CacheError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(CacheError::io("open the lock file", path))?;
        let start = Instant::now();
        let mut sleep = FIRST_SLEEP;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => {
                    return Err(CacheError::io("lock the file", path)(source));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            let waited = start.elapsed();
            let Some(left) = wait.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Err(CacheError::Locked { path: path.to_owned(), waited });
            };
            std::thread::sleep(sleep.min(left));
            sleep = (sleep * 2).min(LONGEST_SLEEP);
        }
    }
}
