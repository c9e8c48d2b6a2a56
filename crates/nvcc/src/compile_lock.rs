//! A lock per compiled instance, among all processes that share a folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use voxtune_files::FileLock;

/// How long to wait for another process that compiles the same file. It is longer than any kernel
/// takes, so a stopped process costs time and nothing else.
const WAIT: Duration = Duration::from_secs(600);

/// The right to compile a file, until dropped or until the process ends, however it ends.
///
/// The lock saves work and nothing depends on it: the second process finds the file that the first
/// has made. A folder on a file system without locks costs the work twice. The lock file is removed
/// with the lock. A third process may then lock a new file while a second holds the old one. At
/// worst it compiles in vain, since files appear whole or not at all.
#[derive(Debug)]
pub(crate) struct CompileLock {
    lock: Option<(PathBuf, FileLock)>,
}

impl CompileLock {
    /// Waits until no other process compiles this file.
    pub(crate) fn wait_for(made: &Path) -> Self {
        let mut name = OsString::from(".");
        name.push(made.file_name().unwrap_or_default());
        name.push(".lock");
        let path = made.with_file_name(name);
        Self { lock: FileLock::acquire(&path, WAIT).ok().map(|lock| (path, lock)) }
    }
}

impl Drop for CompileLock {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.lock {
            // Where an open file cannot be removed, the last one removes it.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn whoever_waits_finds_the_work_done() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a.cubin");
        let times = AtomicUsize::new(0);
        let work = || {
            let _lock = CompileLock::wait_for(&made);
            if !made.exists() {
                times.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
                fs::write(&made, "code").unwrap();
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(times.into_inner(), 1);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no lock stays behind: {left:?}");
    }

    #[test]
    fn a_folder_without_locks_stops_nobody() {
        assert!(CompileLock::wait_for(Path::new("no/such/folder/a.cubin")).lock.is_none());
    }

    /// A pipe in the place of a lock would wait for its reader.
    #[test]
    #[cfg(unix)]
    fn f16_a_lock_that_is_no_file_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a.cubin");
        fs::create_dir(folder.path().join(".a.cubin.lock")).unwrap();
        assert!(CompileLock::wait_for(&made).lock.is_none());
    }
}
