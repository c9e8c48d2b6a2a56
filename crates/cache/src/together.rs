//! Reading several files of an architecture as they were at one moment.

use std::fs;
use std::time::{Duration, SystemTime};

use voxtune_types::Arch;

use crate::file_name::{FileKind, FileName};
use crate::lock::Locks;
use crate::store::CacheDir;

/// How long to wait for a writer, who takes milliseconds.
const WAIT: Duration = Duration::from_secs(10);

/// How often to read anew where files change and no lock can be had.
const TRIES: u32 = 20;

/// What changes with a file: where it lies on its disk, how long it is and when it was written.
type Stamp = Option<(u64, u64, Option<SystemTime>)>;

impl CacheDir {
    /// What `read` reads of an architecture's files, all of one moment. A save in between would
    /// make decisions look as if they did not follow from the evidence.
    ///
    /// Takes a share of the lock if it can be had. Where it cannot, and a file has changed
    /// meanwhile, `read` is called again.
    pub fn read_together<R>(&self, arch: Arch, read: impl FnMut(&Self) -> R) -> R {
        let _share = Locks::share(self.path(), arch, WAIT);
        self.read_unchanged(arch, read)
    }

    fn read_unchanged<R>(&self, arch: Arch, mut read: impl FnMut(&Self) -> R) -> R {
        let mut before = self.stamps(arch);
        let mut tries = 1;
        loop {
            let found = read(self);
            let after = self.stamps(arch);
            if before == after || tries == TRIES {
                return found;
            }
            (before, tries) = (after, tries + 1);
        }
    }

    fn stamps(&self, arch: Arch) -> [Stamp; 2] {
        [FileKind::Decisions, FileKind::Evidence].map(|kind| {
            let path = self.path().join(FileName { arch, kind }.to_string());
            let metadata = fs::metadata(path).ok()?;
            #[cfg(unix)]
            let place = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let place = 0;
            Some((place, metadata.len(), metadata.modified().ok()))
        })
    }
}

#[cfg(test)]
mod tests {
    use voxtune_files::FileLock;

    use super::*;
    use crate::replace::replace;

    const ARCH: Arch = Arch::sm(9, 0);

    /// A save between two reads, by a writer whose lock this reader cannot take.
    #[test]
    fn f07_files_that_change_while_they_are_read_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let caches = CacheDir::new(folder.path());
        let (first, second) = (caches.decisions_path(ARCH), caches.evidence_path(ARCH));
        let save = |bytes: &[u8]| {
            replace(&first, bytes).unwrap();
            replace(&second, bytes).unwrap();
        };
        save(b"old");
        let mut saved = false;
        let found = caches.read_together(ARCH, |_| {
            let one = fs::read(&first).unwrap();
            if !std::mem::replace(&mut saved, true) {
                save(b"new");
            }
            [one, fs::read(&second).unwrap()]
        });
        assert_eq!(found, [b"new", b"new"]);
    }

    /// Between its two files a writer changes nothing, so that stamps alone say nothing.
    #[test]
    fn f07_a_reader_waits_for_a_writer_between_its_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let caches = CacheDir::new(folder.path());
        let (first, second) = (caches.decisions_path(ARCH), caches.evidence_path(ARCH));
        let save = |path: &std::path::Path, bytes: &[u8]| replace(path, bytes).unwrap();
        save(&first, b"old");
        save(&second, b"old");
        let lock = FileLock::acquire(&caches.lock_path(ARCH), WAIT).unwrap();
        save(&second, b"new");
        let reader = std::thread::spawn(move || {
            caches.read_together(ARCH, |caches| {
                let (first, second) = (caches.decisions_path(ARCH), caches.evidence_path(ARCH));
                [first, second].map(|path| fs::read(path).unwrap())
            })
        });
        // Time for a reader that does not wait to come to its wrong end.
        std::thread::sleep(Duration::from_millis(30));
        save(&first, b"new");
        drop(lock);
        assert_eq!(reader.join().unwrap(), [b"new", b"new"]);
    }

    #[test]
    fn f07_a_folder_without_a_lock_is_read_and_gets_none() {
        let folder = tempfile::tempdir().unwrap();
        let caches = CacheDir::new(folder.path());
        assert!(
            caches.read_together(ARCH, |caches| caches.read_decisions(ARCH)).unwrap().is_none()
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
