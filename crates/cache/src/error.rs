//! What can go wrong with a cache, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use voxtune_types::{Arch, DeviceIdentity};

/// A cache that cannot be read or written. Every message names the path, what was expected and
/// what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The file began as a cache and is damaged.
    #[error(
        "{}: corrupt cache: {reason}; delete the file, or populate again, which sets it aside",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with its bytes.
        reason: String,
    },
    /// The file was written by a later release. It is left alone.
    #[error(
        "{}: the cache has format version {found}, and this release reads up to {supported}; \
         upgrade voxtune, or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version that this release reads.
        supported: u32,
    },
    /// The file is something else. It is left alone.
    #[error(
        "{}: not a voxtune cache: it does not begin as one; move the file away",
        path.display()
    )]
    NotACache {
        /// The file.
        path: PathBuf,
    },
    /// The file is sound and has another file's name. It is left alone.
    #[error("{}: misnamed cache: {found}; rename the file to {expected}", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// The name for what it holds.
        expected: String,
    },
    /// Something of another architecture was to be written into the file of this one.
    #[error(
        "{}: cannot hold {device}, only devices of {arch}; write it to the file of its own \
         architecture",
        path.display()
    )]
    ForeignDevice {
        /// The file.
        path: PathBuf,
        /// The file's architecture.
        arch: Arch,
        /// The device of another one.
        device: Box<DeviceIdentity>,
    },
    /// Another process held the lock for as long as the caller was ready to wait.
    #[error(
        "{}: still locked by another process after {:.1} s; wait for it to end, or write to \
         another folder",
        path.display(),
        waited.as_secs_f64()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long this process tried.
        waited: Duration,
    },
    /// The lock file is there and this process may not open or lock it.
    #[error("{}: {reason}, or write to another folder", path.display())]
    LockRefused {
        /// The lock file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused. A file that was there before is intact.
    #[error(
        "{}: cannot {action}: {source}; check that the folder exists, is writable and has room, \
         or choose another one",
        path.display()
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl CacheError {
    /// For `map_err`: an [`CacheError::Io`] of this action on this path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }

    /// The file or folder that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Corrupt { path, .. }
            | Self::Newer { path, .. }
            | Self::NotACache { path }
            | Self::Misnamed { path, .. }
            | Self::ForeignDevice { path, .. }
            | Self::Locked { path, .. }
            | Self::LockRefused { path, .. }
            | Self::Io { path, .. } => path,
        }
    }
}
