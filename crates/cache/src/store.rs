//! A folder of caches.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
#[cfg(feature = "write")]
use std::time::Duration;

use voxtune_types::Arch;
#[cfg(feature = "write")]
use voxtune_types::DeviceIdentity;

use crate::codec::{decode_decisions, decode_evidence};
#[cfg(feature = "write")]
use crate::codec::{encode_decisions, encode_evidence};
#[cfg(feature = "write")]
use crate::decide::decide;
#[cfg(feature = "write")]
use crate::decision::Decision;
use crate::decision::Decisions;
use crate::error::CacheError;
use crate::evidence::Evidence;
use crate::file_name::{FileKind, FileName, lock_name};
use crate::link;
#[cfg(feature = "write")]
use crate::lock::Locks;
#[cfg(feature = "write")]
use crate::replace::{replace, set_aside, sweep_temporaries};

/// A folder with two cache files and a lock an architecture.
///
/// | file | what it is | who opens it |
/// |---|---|---|
/// | `<arch>.msgpack` | decisions | every reader, without a lock; the holder of the lock |
/// | `<arch>.evidence.msgpack` | evidence | tools, without a lock; the holder of the lock |
/// | `<arch>.lock` | empty and permanent | writers; tools that read files together |
/// | `<name>.corrupt-N` | a damaged file, set aside | nobody |
/// | `.<name>.….tmp` | a file being written | the holder of the lock |
///
/// ```
/// use voxtune_cache::CacheDir;
///
/// let caches = CacheDir::new("/nowhere/caches");
/// // A folder that does not exist holds nothing, which is no error.
/// for arch in caches.archs()? {
///     let decisions = caches.read_decisions(arch)?.unwrap_or_default();
///     println!("{arch}: {} keys", decisions.len());
/// }
/// # Ok::<(), voxtune_cache::CacheError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDir {
    path: PathBuf,
}

#[cfg(feature = "write")]
/// What [`CacheDir::update`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "files that were set aside should be reported"]
pub struct Update<R> {
    /// What the caller's function returned.
    pub value: R,
    /// Damaged files that were renamed to make room.
    pub set_aside: Vec<SetAside>,
    /// Whether the decision file changed.
    pub decisions_written: bool,
    /// Whether the evidence file changed.
    pub evidence_written: bool,
}

#[cfg(feature = "write")]
/// A damaged file that was renamed, its bytes untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is.
    pub to: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl CacheDir {
    /// The caches in this folder, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where an architecture's decisions are.
    #[must_use]
    pub fn decisions_path(&self, arch: Arch) -> PathBuf {
        self.path.join(FileName { arch, kind: FileKind::Decisions }.to_string())
    }

    /// Where an architecture's evidence is.
    #[must_use]
    pub fn evidence_path(&self, arch: Arch) -> PathBuf {
        self.path.join(FileName { arch, kind: FileKind::Evidence }.to_string())
    }

    /// Where an architecture's lock is.
    #[must_use]
    pub fn lock_path(&self, arch: Arch) -> PathBuf {
        self.path.join(lock_name(arch))
    }

    /// The architectures of which there is any cache file, sorted. A folder that does not exist has
    /// none.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn archs(&self) -> Result<Vec<Arch>, CacheError> {
        let list_error = || CacheError::io("list the folder", &self.path);
        let files = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(list_error())?,
        };
        let mut archs = BTreeSet::new();
        for file in files {
            let file = file.map_err(list_error())?;
            archs.extend(FileName::of(Path::new(&file.file_name())).map(|name| name.arch));
        }
        Ok(archs.into_iter().collect())
    }

    /// Reads an architecture's decisions, without a lock; `None` where there is no file. What
    /// belongs together is read by [`Self::read_together`].
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged, of a later version, misnamed or no cache.
    pub fn read_decisions(&self, arch: Arch) -> Result<Option<Decisions>, CacheError> {
        let path = self.decisions_path(arch);
        read_file(&path)?.map(|bytes| decode_decisions(&bytes, &path)).transpose()
    }

    /// Reads an architecture's evidence, without a lock; `None` where there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged, of a later version, misnamed or no cache.
    pub fn read_evidence(&self, arch: Arch) -> Result<Option<Evidence>, CacheError> {
        let path = self.evidence_path(arch);
        read_file(&path)?.map(|bytes| decode_evidence(&bytes, &path)).transpose()
    }

    #[cfg(feature = "write")]
    /// Changes an architecture's evidence by `change`, and its decisions with it: the only way to
    /// write either. Creates the folder where it is missing.
    ///
    /// Runs under the architecture's lock, so that concurrent updates follow one another. Each file
    /// is replaced in one step, or left alone where its bytes stay the same. A damaged file is
    /// first renamed, and reported in [`Update::set_aside`].
    ///
    /// The decisions are those that follow from the evidence, and those for keys that had no
    /// evidence before and have none now. A decision file may have come from another machine alone.
    /// An update that was killed between the two files is made good by the next one.
    ///
    /// # Errors
    /// If the lock was not free within `wait`; if a file cannot be read or written, is of a later
    /// version, misnamed or no cache. If `change` adds a device of another architecture. Then the
    /// files are as they were, unless writing failed between the two.
    pub fn update<R>(
        &self,
        arch: Arch,
        wait: Duration,
        change: impl FnOnce(&mut Evidence) -> R,
    ) -> Result<Update<R>, CacheError> {
        self.rewrite(arch, wait, change, |_| true)
    }

    #[cfg(feature = "write")]
    /// Removes all that is known of a device: its entries, and the decisions that came without any.
    /// Answers how many entries and how many such decisions there were. What is of other devices
    /// stays.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn clear(
        &self,
        device: &DeviceIdentity,
        wait: Duration,
    ) -> Result<Update<(usize, usize)>, CacheError> {
        let mut lone_decisions = 0;
        let stays = |decision: &Decision| {
            let stays = decision.device != *device;
            lone_decisions += usize::from(!stays);
            stays
        };
        let remove = |evidence: &mut Evidence| {
            let before = evidence.len();
            evidence.retain(|entry, _| entry.device != *device);
            before - evidence.len()
        };
        let Update { value, set_aside, decisions_written, evidence_written } =
            self.rewrite(device.arch, wait, remove, stays)?;
        let value = (value, lone_decisions);
        Ok(Update { value, set_aside, decisions_written, evidence_written })
    }

    #[cfg(feature = "write")]
    /// As [`Self::update`]; of decisions that never had evidence, those stay for which `stays` says
    /// so.
    fn rewrite<R>(
        &self,
        arch: Arch,
        wait: Duration,
        change: impl FnOnce(&mut Evidence) -> R,
        stays: impl FnMut(&Decision) -> bool,
    ) -> Result<Update<R>, CacheError> {
        create_folder(&self.path).map_err(CacheError::io("create the folder", &self.path))?;
        let _locks = Locks::acquire(self.path(), arch, wait)?;
        sweep_temporaries(&self.path, &arch.to_string());

        let mut evidence_file =
            Slot::load(self.evidence_path(arch), |bytes, path| decode_evidence(bytes, path))?;
        let mut decisions_file =
            Slot::load(self.decisions_path(arch), |bytes, path| decode_decisions(bytes, path))?;
        let mut evidence = evidence_file.value.take().unwrap_or_default();
        let old = decisions_file.value.take().unwrap_or_default();
        let (derived, mut foreign): (Vec<_>, Vec<_>) =
            old.iter().partition(|old| evidence.has_key(&old.device, &old.key));
        foreign.retain(stays);
        let value = change(&mut evidence);

        // What still has evidence is decided anew, and what never had any is kept.
        let new: Decisions = foreign.iter().cloned().chain(decide(&evidence).iter()).collect();
        let evidence_bytes = encode_evidence(arch, &evidence)?;
        let decisions_bytes = encode_decisions(arch, &new)?;

        // Nothing was touched so far.
        let mut aside = Vec::new();
        aside.extend(evidence_file.make_room()?);
        aside.extend(decisions_file.make_room()?);

        // Decisions that lose their evidence go first. Were they still there after a crash, they
        // would look like some that never had any.
        let mut decisions_written = false;
        if derived.iter().any(|old| !evidence.has_key(&old.device, &old.key)) {
            let kept = derived.into_iter().filter(|old| evidence.has_key(&old.device, &old.key));
            let kept: Decisions = foreign.into_iter().chain(kept).collect();
            decisions_written |= decisions_file.store(encode_decisions(arch, &kept)?, true)?;
        }
        let evidence_written = evidence_file.store(evidence_bytes, !evidence.is_empty())?;
        decisions_written |= decisions_file.store(decisions_bytes, !new.is_empty())?;
        Ok(Update { value, set_aside: aside, decisions_written, evidence_written })
    }
}

#[cfg(feature = "write")]
/// Creates a folder that is not there, with those above it. Nobody else may write to it, whatever
/// the process's mask is: a runtime trusts a user's own folder alone.
///
/// # Errors
/// If the system refuses.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o755);
    }
    builder.create(path)
}

#[cfg(feature = "write")]
/// One file in the course of an update.
pub(crate) struct Slot<T> {
    /// Where it lies: a link stays, and what it leads to is replaced.
    target: PathBuf,
    /// The bytes in place; `None` where no file is.
    bytes: Option<Vec<u8>>,
    pub(crate) value: Option<T>,
    damage: Option<String>,
}

#[cfg(feature = "write")]
impl<T> Slot<T> {
    /// Reads a file; only damage that an update may set aside is no error.
    pub(crate) fn load(
        path: PathBuf,
        decode: impl FnOnce(&[u8], &Path) -> Result<T, CacheError>,
    ) -> Result<Self, CacheError> {
        let bytes = read_file(&path)?;
        let target = link::target(&path).map_err(CacheError::io("read the file", &path))?;
        match bytes.as_deref().map(|bytes| decode(bytes, &path)).transpose() {
            Ok(value) => Ok(Self { target, bytes, value, damage: None }),
            Err(CacheError::Corrupt { reason, .. }) => {
                Ok(Self { target, bytes, value: None, damage: Some(reason) })
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the file aside if it is damaged.
    pub(crate) fn make_room(&mut self) -> Result<Option<SetAside>, CacheError> {
        let Some(reason) = self.damage.take() else { return Ok(None) };
        let to = set_aside(&self.target)?;
        self.bytes = None;
        Ok(Some(SetAside { from: self.target.clone(), to, reason }))
    }

    /// Puts these bytes in place if they are new; where no file is, only if they are `worth` one.
    /// Whether it wrote.
    pub(crate) fn store(&mut self, bytes: Vec<u8>, worth: bool) -> Result<bool, CacheError> {
        let write = match &self.bytes {
            Some(old) => *old != bytes,
            None => worth,
        };
        if write {
            replace(&self.target, &bytes)?;
            self.bytes = Some(bytes);
        }
        Ok(write)
    }
}

/// The bytes of a file; `None` where there is none.
///
/// # Errors
/// If it cannot be read, is no regular file, such as a pipe, or a link that leads nowhere.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    match voxtune_files::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !link::is_link(path) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(CacheError::io("read the file", path)(link::leads_nowhere(path)))
        }
        Err(error) => Err(CacheError::io("read the file", path)(error)),
    }
}
