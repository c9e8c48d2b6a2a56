//! Scratch folders of runs, and what becomes of those whose run was killed.
//!
//! Two runs at a time measure badly, but lose nothing. Each has a folder of its own, and holds a
//! lock in it for as long as it lives. A folder without a holder is of a run that was killed. The
//! next run keeps its samples under a name of their own, removes the rest, and says both.

use std::fs::{self, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use voxtune_files::{FileLock, LockError};
use voxtune_types::printable_path;

use super::measure::SAMPLES;
use crate::exit::Failure;
use crate::output;
use crate::samples_file::sound_races;

const PREFIX: &str = "under-way-";

/// The file whose lock says that a run is alive; in the folder above, that one looks for runs that
/// are not.
const LOCK: &str = "lock";

/// The scratch folder of a run. Dropping it removes it.
#[derive(Debug)]
pub(super) struct UnderWay {
    folder: TempDir,
    /// Held until this process ends. `None` where files cannot be locked: no run finds folders
    /// abandoned there, either.
    _alive: Option<FileLock>,
}

impl UnderWay {
    /// Takes care of what killed runs have left, and makes a folder for this one.
    pub(super) fn begin(parent: &Path) -> Result<Self, Failure> {
        /// Looking takes milliseconds: a process that is at it for longer has been stopped.
        const WAIT: Duration = Duration::from_secs(10);
        Self::begin_within(parent, WAIT)
    }

    fn begin_within(parent: &Path, wait: Duration) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("{}: {error}", printable_path(parent)));
        fs::create_dir_all(parent).map_err(failed)?;
        // Between its making and its lock no other run may take a folder for abandoned.
        let looking = lock(parent, wait)?;
        if looking.is_some() {
            for abandoned in abandoned(parent).map_err(failed)? {
                take_over(&abandoned, parent);
            }
        }
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(failed)?;
        let alive = lock(folder.path(), Duration::ZERO)?;
        Ok(Self { folder, _alive: alive })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the folder.
    pub(super) fn end(self) -> Result<(), Failure> {
        let path = printable_path(self.path());
        self.folder.close().map_err(|error| Failure::failed(format!("{path}: {error}")))
    }

    /// Leaves the folder where it is.
    pub(super) fn leave(self) -> PathBuf {
        self.folder.keep()
    }
}

/// The lock of a folder; nothing where files cannot be locked, or another holds it for so long.
fn lock(folder: &Path, wait: Duration) -> Result<Option<FileLock>, Failure> {
    let path = folder.join(LOCK);
    match FileLock::acquire(&path, wait) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { .. } | LockError::Lock(_)) => Ok(None),
        Err(error) => Err(Failure::failed(format!("{}: {error}", printable_path(&path)))),
    }
}

/// The folders of runs that have ended without removing them.
fn abandoned(parent: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(PREFIX.as_bytes()) && path.is_dir() && !is_alive(&path) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a run holds a folder, or may do so.
fn is_alive(folder: &Path) -> bool {
    let lock = match voxtune_files::open(&folder.join(LOCK)) {
        Ok(lock) => lock,
        // Of a version that had no locks.
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    match lock.try_lock() {
        Ok(()) => false,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
    }
}

/// Keeps the samples of an abandoned folder beside it and removes the rest. What cannot be read
/// stays.
fn take_over(abandoned: &Path, parent: &Path) {
    let left = printable_path(abandoned);
    let samples = abandoned.join(SAMPLES);
    let races = match fs::metadata(&samples)
        .map_or(Ok(0), |_| sound_races(&samples).map(|all| all.len()))
    {
        Ok(races) => races,
        Err(failure) => {
            let why = failure.message;
            let text = format!("{left} is left of a run that was killed, and stays: {why}");
            return output::complain("warning", text);
        }
    };
    if races > 0 {
        let name = abandoned.file_name().unwrap_or_default().to_string_lossy();
        let place = parent.join(name.replace(PREFIX, "killed-") + ".jsonl");
        if let Err(error) = fs::rename(&samples, &place) {
            let text = format!("{left} is left of a run that was killed, and stays: {error}");
            return output::complain("warning", text);
        }
        let place = printable_path(&place);
        let text =
            format!("{races} races of a run that was killed: `regret {place}` judges by them");
        output::status("Kept", text);
    }
    match fs::remove_dir_all(abandoned) {
        Ok(()) => output::status("Removed", format_args!("{left}, left of a run that was killed")),
        Err(error) => output::complain("warning", format_args!("cannot remove {left}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn f13_a_living_run_keeps_its_folder_and_an_abandoned_one_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let first = UnderWay::begin(parent.path()).unwrap();
        let killed = parent.path().join("under-way-killed");
        fs::create_dir(&killed).unwrap();
        File::create(killed.join(LOCK)).unwrap();
        let old = parent.path().join("under-way-old");
        fs::create_dir_all(old.join("caches")).unwrap();
        let second = UnderWay::begin(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        assert!(!killed.exists() && !old.exists());
        first.end().unwrap();
        second.end().unwrap();
        assert_eq!(names(parent.path()), ["lock"]);
    }

    /// The process that looks through the folder is stopped in the middle of it.
    #[test]
    fn f12_a_frozen_run_stops_nobody() {
        let parent = tempfile::tempdir().unwrap();
        let frozen = FileLock::acquire(&parent.path().join(LOCK), Duration::ZERO).unwrap();
        let abandoned = parent.path().join("under-way-killed");
        fs::create_dir(&abandoned).unwrap();
        let run = UnderWay::begin_within(parent.path(), Duration::from_millis(5)).unwrap();
        assert!(run.path().exists() && abandoned.exists());
        drop(frozen);
        UnderWay::begin(parent.path()).unwrap().end().unwrap();
        assert!(run.path().exists() && !abandoned.exists());
    }

    #[test]
    #[cfg(unix)]
    fn f16_nothing_but_a_file_is_a_lock_of_runs() {
        let fifo = |path: &Path| {
            let status = std::process::Command::new("mkfifo").arg(path).status();
            assert!(status.unwrap().success());
        };
        let parent = tempfile::tempdir().unwrap();
        let odd = parent.path().join("under-way-odd");
        fs::create_dir(&odd).unwrap();
        fifo(&odd.join(LOCK));
        UnderWay::begin(parent.path()).unwrap().end().unwrap();
        assert!(odd.exists(), "nobody knows whose it is");
        fs::remove_file(parent.path().join(LOCK)).unwrap();
        fifo(&parent.path().join(LOCK));
        let failure = UnderWay::begin(parent.path()).unwrap_err();
        assert!(failure.message.contains("found a named pipe"), "{}", failure.message);
    }

    #[test]
    fn f13_samples_that_cannot_be_read_stay() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join("under-way-killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(SAMPLES), "of a later version").unwrap();
        UnderWay::begin(parent.path()).unwrap().end().unwrap();
        assert!(killed.join(SAMPLES).exists());
    }

    #[test]
    #[cfg(unix)]
    fn f13_a_folder_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt as _;
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join(std::ffi::OsStr::from_bytes(b"t\xff"));
        let under_way = UnderWay::begin(&folder).unwrap();
        assert!(under_way.path().starts_with(&folder));
    }
}
