//! Making a tuner.

use std::path::PathBuf;

use voxtune_cache::{CacheDir, CacheError, Decisions, decode_decisions};
use voxtune_caches::EmbeddedFile;
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoMode, Direction};

use super::decision_cache::DecisionCache;
use super::journal::MissJournal;
use super::policy::MissPolicy;
use super::resolve::{Inner, Tuner};
use super::{TunerError, embedded};
use crate::KernelSource;
use crate::folder::{check_file, check_folder};

/// Chooses the caches and the policy of a [`Tuner`].
///
/// Where several caches hold a key, decisions given in code go first, then bytes given in code.
/// Then come folders in their order, then the decisions in the binary.
///
/// ```
/// use voxtune::{AlgoMode, Direction, MissPolicy, Tuner};
///
/// let tuner = Tuner::builder()
///     .folder("/opt/product/caches")
///     .embedded()
///     .pin(Direction::Wgrad, "explicit_gemm".parse::<AlgoMode>()?)
///     .policy(MissPolicy::Fail)
///     .build();
/// // A folder that is not there is empty; files that cannot be used are told.
/// assert!(tuner.warnings().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct TunerBuilder {
    decisions: Vec<Decisions>,
    files: Vec<EmbeddedFile>,
    folders: Vec<Folder>,
    embedded: bool,
    modes: AlgoModes,
    policy: MissPolicy,
    journal: Option<MissJournal>,
    kernels: Option<KernelSource>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Whether it counts only if it is the user's own.
    checked: bool,
}

impl TunerBuilder {
    /// Adds the decision files of a folder that the program vouches for. A file that cannot be used
    /// is left out and kept as a [warning](Tuner::warnings); a folder that does not exist is empty.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(Folder { path: folder.into(), checked: false });
        self
    }

    /// Adds the decision files of a user's folder, such as [`user_folder`](crate::user_folder)
    /// names. It counts only if it and its files belong to this user or the superuser, and no other
    /// user can write to them. Else it is left out with one [warning](Tuner::warnings).
    #[must_use]
    pub fn user_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(Folder { path: folder.into(), checked: true });
        self
    }

    /// Adds decisions of the caller's.
    #[must_use]
    pub fn decisions(mut self, decisions: Decisions) -> Self {
        self.decisions.push(decisions);
        self
    }

    /// Adds the bytes of decision files, such as [`embed_caches!`](crate::embed_caches) gives.
    /// Bytes that cannot be used are left out and kept as a [warning](Tuner::warnings).
    #[must_use]
    pub fn files(mut self, files: &[EmbeddedFile]) -> Self {
        self.files.extend(files);
        self
    }

    /// Adds the decisions in the binary, below all others.
    #[must_use]
    pub const fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// Restricts the algorithms that may run, in every direction.
    #[must_use]
    pub fn modes(mut self, modes: AlgoModes) -> Self {
        self.modes = modes;
        self
    }

    /// Restricts the algorithms that may run in one direction, whatever [`Self::modes`] said of it
    /// before.
    #[must_use]
    pub fn pin(mut self, direction: Direction, mode: AlgoMode) -> Self {
        self.modes = self.modes.with(direction, mode);
        self
    }

    /// What to do where no cache knows the exact key.
    #[must_use]
    pub fn policy(mut self, policy: MissPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Records the keys that no cache holds.
    #[must_use]
    pub fn journal(mut self, journal: MissJournal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Where devices that [`Tuner::open_device`] opens find their kernels.
    #[must_use]
    pub fn kernels(mut self, kernels: KernelSource) -> Self {
        self.kernels = Some(kernels);
        self
    }

    /// [`Self::kernels`] from a folder that the program vouches for, and from the packs in the
    /// program what the folder lacks.
    #[must_use]
    pub fn kernel_folder(self, folder: impl Into<PathBuf>) -> Self {
        self.kernels(KernelSource::folder(folder))
    }

    /// Adds the bytes of kernel packs, such as [`embed_packs!`](crate::embed_packs) gives, to
    /// [`Self::kernels`], or else to what [`KernelSource::from_env`] finds: the kernels of what
    /// [`Self::files`] decides.
    #[must_use]
    pub fn packs(mut self, packs: &[EmbeddedFile]) -> Self {
        let kernels = self.kernels.unwrap_or_else(KernelSource::from_env);
        let add = |kernels: KernelSource, pack: &EmbeddedFile| kernels.pack(pack.name, pack.bytes);
        self.kernels = Some(packs.iter().fold(kernels, add));
        self
    }

    /// Reads the folders and builds the tuner. What cannot be used is left out and kept as a
    /// [warning](Tuner::warnings): a bad cache costs speed and no results.
    #[must_use]
    pub fn build(self) -> Tuner {
        self.build_with(|error, warnings| {
            tracing::warn!(%error, "a cache is left out");
            warnings.push(error);
            Ok::<(), std::convert::Infallible>(())
        })
        .unwrap_or_else(|never| match never {})
    }

    /// [`Self::build`], and nothing is left out.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn build_strict(self) -> Result<Tuner, TunerError> {
        self.build_with(|error, _| Err(error))
    }

    fn build_with<E>(
        self,
        mut on_error: impl FnMut(TunerError, &mut Vec<TunerError>) -> Result<(), E>,
    ) -> Result<Tuner, E> {
        let mut decisions = self.decisions;
        let mut warnings = Vec::new();
        let decoded = self.files.iter().map(|file| Ok(decode_decisions(file.bytes, file.name)?));
        let read = self.folders.iter().flat_map(Folder::read);
        for found in decoded.chain(read) {
            match found {
                Ok(found) => decisions.push(found),
                Err(error) => on_error(error, &mut warnings)?,
            }
        }
        Ok(Tuner::of(Inner {
            user: DecisionCache::new(decisions),
            embedded: self.embedded.then(embedded::decision_cache),
            modes: self.modes,
            policy: self.policy,
            journal: self.journal,
            kernels: self.kernels,
            folders: self.folders.into_iter().map(|folder| CacheDir::new(folder.path)).collect(),
            warnings,
            ..Inner::default()
        }))
    }
}

impl Folder {
    /// The decisions of each architecture, or why they are left out.
    fn read(&self) -> Vec<Result<Decisions, TunerError>> {
        let cache = CacheDir::new(&self.path);
        if self.checked
            && let Err(error) = check_folder(&self.path)
        {
            return vec![Err(error.into())];
        }
        let archs = match cache.archs() {
            Ok(archs) => archs,
            Err(error) => return vec![Err(error.into())],
        };
        let read = |arch| {
            if self.checked {
                check_file(&cache.decisions_path(arch))?;
            }
            Ok(cache.read_decisions(arch)?)
        };
        archs.into_iter().filter_map(|arch| read(arch).transpose()).collect()
    }
}

impl From<CacheError> for TunerError {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}
