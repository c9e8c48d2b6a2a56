//! Advisory locks with a bounded wait.
//!
//! A lock lies on a file of its own that is not replaced: a lock on a file that is renamed over is
//! lost with it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::regular::open_with;

/// How long to sleep before the second try; doubled after every further one.
const FIRST_SLEEP: Duration = Duration::from_millis(1);

/// The longest sleep between two tries.
const LONGEST_SLEEP: Duration = Duration::from_millis(32);

/// The lock of a file, held until dropped or until the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// A lock that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// There is no lock file, and none can be made; or something else lies in its place.
    #[error("cannot open the lock file: {0}")]
    Open(#[source] io::Error),
    /// The lock file is there, and this process may not open it as the file system's locks ask.
    #[error(
        "cannot take the lock: {source}; the lock file's own {who} keeps this process out, not the \
         folder: have its owner give read and write permission (chmod g+rw, or a+rw)"
    )]
    Mode {
        /// Owner and mode of the lock file.
        who: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file system does not lock.
    #[error("cannot lock the file: {0}")]
    Lock(#[source] io::Error),
    /// Another process held it for as long as the caller was ready to wait.
    #[error("still locked by another process after {:.1} s", waited.as_secs_f64())]
    Held {
        /// How long this process tried.
        waited: Duration,
    },
}

/// How a lock file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// One that is there, for writing, as locks of network file systems ask.
    Write,
    /// A new one.
    Create,
    /// One that is there, for reading, which is enough for locks of local file systems.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exclusive,
    Shared,
}

impl FileLock {
    /// Waits for the exclusive lock of a file, at most this long. Makes the file where there is
    /// none, for the group too if the folder is the group's.
    ///
    /// # Errors
    /// If the file cannot be opened or locked, or was not free in time.
    pub fn acquire(path: &Path, wait: Duration) -> Result<Self, LockError> {
        Self::acquire_with(path, wait, open)
    }

    /// Waits for a share of the lock of a file that is there, at most this long: others may read
    /// meanwhile, and none may write.
    ///
    /// # Errors
    /// If the file is not there, cannot be opened or locked, or was not free in time.
    pub fn share(path: &Path, wait: Duration) -> Result<Self, LockError> {
        let file = open(path, Access::Read).map_err(LockError::Open)?;
        wait_for(&file, Kind::Shared, wait)?;
        Ok(Self { _file: file })
    }

    fn acquire_with(
        path: &Path,
        wait: Duration,
        open: impl Fn(&Path, Access) -> io::Result<File>,
    ) -> Result<Self, LockError> {
        let (file, refusal) = open_or_create(path, open)?;
        match (wait_for(&file, Kind::Exclusive, wait), refusal) {
            (Ok(()), _) => Ok(Self { _file: file }),
            // Network file systems lock only what is open for writing.
            (Err(LockError::Lock(_)), Some(refusal)) => Err(refused(path, refusal)),
            (Err(error), _) => Err(error),
        }
    }
}

/// A lock on a file that its owner has opened for something else, such as appending to it.
#[derive(Debug)]
pub struct HeldLock<'f>(&'f File);

impl Drop for HeldLock<'_> {
    fn drop(&mut self) {
        // Closing the file gives it back at the latest.
        _ = self.0.unlock();
    }
}

/// Waits for the exclusive lock of an open file, at most this long.
///
/// # Errors
/// If the file cannot be locked, or was not free in time.
pub fn lock_open_file(file: &File, wait: Duration) -> Result<HeldLock<'_>, LockError> {
    wait_for(file, Kind::Exclusive, wait)?;
    Ok(HeldLock(file))
}

fn open(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(access != Access::Read).create_new(access == Access::Create);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o644);
    }
    open_with(path, &mut options)
}

/// The lock file, made where there is none; with it why it is open for reading alone, if it is.
fn open_or_create(
    path: &Path,
    open: impl Fn(&Path, Access) -> io::Result<File>,
) -> Result<(File, Option<io::Error>), LockError> {
    // If there is no file, it is made, unless another process was faster: then it is there.
    for _ in 0..2 {
        match open(path, Access::Write) {
            Ok(file) => return Ok((file, None)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return match open(path, Access::Read) {
                    Ok(file) => Ok((file, Some(error))),
                    Err(_) => Err(refused(path, error)),
                };
            }
            Err(error) => return Err(LockError::Open(error)),
        }
        match open(path, Access::Create) {
            Ok(file) => {
                share_with_group(&file, path);
                return Ok((file, None));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(LockError::Open(error)),
        }
    }
    let why = "it is a link that leads nowhere: remove it";
    Err(LockError::Open(io::Error::new(io::ErrorKind::NotFound, why)))
}

/// Whether the file or the way to it keeps a process out.
fn refused(path: &Path, source: io::Error) -> LockError {
    match fs::metadata(path) {
        Ok(metadata) => LockError::Mode { who: owner_and_mode(&metadata), source },
        Err(_) => LockError::Open(source),
    }
}

#[cfg(unix)]
fn owner_and_mode(metadata: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!("mode {:o} of user {}", metadata.mode() & 0o777, metadata.uid())
}

#[cfg(not(unix))]
fn owner_and_mode(_metadata: &fs::Metadata) -> String {
    "mode".to_owned()
}

/// Gives a new lock file the group's write permission that its folder has, whatever the process's
/// mask is. Without it the lock still serves on local file systems, so that a failure is none.
#[cfg(unix)]
fn share_with_group(file: &File, path: &Path) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    const GROUP_WRITE: u32 = 0o020;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::metadata(folder.unwrap_or(Path::new(".")));
    let (Ok(folder), Ok(metadata)) = (folder, file.metadata()) else { return };
    if folder.mode() & GROUP_WRITE != 0 && folder.gid() == metadata.gid() {
        _ = file.set_permissions(fs::Permissions::from_mode(0o664));
    }
}

#[cfg(not(unix))]
fn share_with_group(_file: &File, _path: &Path) {}

fn wait_for(file: &File, kind: Kind, wait: Duration) -> Result<(), LockError> {
    let start = Instant::now();
    let mut sleep = FIRST_SLEEP;
    loop {
        let tried = match kind {
            Kind::Exclusive => file.try_lock(),
            Kind::Shared => file.try_lock_shared(),
        };
        match tried {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(LockError::Lock(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = start.elapsed();
        let Some(left) = wait.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Err(LockError::Held { waited });
        };
        std::thread::sleep(sleep.min(left));
        sleep = (sleep * 2).min(LONGEST_SLEEP);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn one_at_a_time_and_readers_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        assert!(matches!(FileLock::share(&path, AT_ONCE), Err(LockError::Open(_))));
        let held = FileLock::acquire(&path, AT_ONCE).unwrap();
        assert!(matches!(FileLock::acquire(&path, AT_ONCE), Err(LockError::Held { .. })));
        assert!(matches!(FileLock::share(&path, AT_ONCE), Err(LockError::Held { .. })));
        drop(held);
        let shares = [(); 2].map(|()| FileLock::share(&path, AT_ONCE).unwrap());
        assert!(matches!(FileLock::acquire(&path, AT_ONCE), Err(LockError::Held { .. })));
        drop(shares);
        FileLock::acquire(&path, AT_ONCE).unwrap();
    }

    #[test]
    fn f04_a_lock_is_the_groups_where_the_folder_is() {
        for (folder_mode, expected) in [(0o755, 0o644), (0o775, 0o664), (0o2775, 0o664)] {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(folder_mode)).unwrap();
            let path = folder.path().join("a.lock");
            FileLock::acquire(&path, AT_ONCE).unwrap();
            // The mask of this process may take the reading away, never add the writing.
            assert_eq!(mode(&path) & 0o022, expected & 0o022, "{folder_mode:o}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            FileLock::acquire(&path, AT_ONCE).unwrap();
            assert_eq!(mode(&path), 0o600, "what is there is left as it is");
        }
    }

    /// The lock file of another user, which permissions of the superuser would open.
    fn open_as_another(path: &Path, access: Access) -> io::Result<File> {
        match access {
            Access::Write if path.exists() => Err(io::ErrorKind::PermissionDenied.into()),
            _ => open(path, access),
        }
    }

    #[test]
    fn f04_a_lock_that_may_only_be_read_is_locked_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        File::create(&path).unwrap();
        let held = FileLock::acquire_with(&path, AT_ONCE, open_as_another).unwrap();
        assert!(matches!(FileLock::acquire(&path, AT_ONCE), Err(LockError::Held { .. })));
        drop(held);
        FileLock::acquire(&path, AT_ONCE).unwrap();
    }

    #[test]
    fn f04_a_lock_that_cannot_be_opened_is_to_blame_and_not_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let denied = |_: &Path, _| Err(io::ErrorKind::PermissionDenied.into());
        let text =
            |path: &Path| FileLock::acquire_with(path, AT_ONCE, denied).unwrap_err().to_string();
        let missing = text(&path);
        assert!(!missing.contains("mode"), "{missing}");
        File::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let there = text(&path);
        assert!(there.contains("own mode 600 of user") && there.contains("chmod"), "{there}");
    }

    #[test]
    fn f16_nothing_but_a_file_is_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        fs::create_dir(&path).unwrap();
        let error = FileLock::acquire(&path, AT_ONCE).unwrap_err().to_string();
        assert!(error.contains("expected a regular file, found a folder"), "{error}");
        let link = folder.path().join("b.lock");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let error = FileLock::acquire(&link, AT_ONCE).unwrap_err().to_string();
        assert!(error.contains("leads nowhere"), "{error}");
    }
}
