//! The caches of a process and the policy for what they do not hold.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use voxtune_cache::{CacheDir, CacheError, Decision, Decisions, Table};
use voxtune_shape::mode::{AlgoModes, MalformedAlgoModeVariable};
use voxtune_shape::{AlgoId, AlgoMode, DeviceIdentity, ShapeKey};

use super::near::guess;
use super::{Grade, Resolution, Source, embedded};
use crate::{Algorithm, ConvError, Device, Registry, user_folder};

/// What to do where no cache knows the exact key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissPolicy {
    /// Take the best grade there is.
    #[default]
    BestGrade,
    /// Fail with [`ConvError::Miss`].
    Fail,
}

/// Answers which algorithm a call runs. Never tunes. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Tuner {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    user: Table,
    embedded: Option<&'static Table>,
    modes: AlgoModes,
    policy: MissPolicy,
    warnings: Vec<CacheError>,
}

/// Chooses the caches and the policy of a [`Tuner`].
#[derive(Debug, Default)]
pub struct TunerBuilder {
    folders: Vec<PathBuf>,
    decisions: Vec<Decisions>,
    embedded: bool,
    modes: AlgoModes,
    policy: MissPolicy,
}

impl Tuner {
    /// A builder without any cache.
    #[must_use]
    pub fn builder() -> TunerBuilder {
        TunerBuilder::default()
    }

    /// A tuner without any cache: every call runs what a model of cost chooses, or the default. The
    /// tool that writes caches uses it, so that a bad cache cannot stop the tool that repairs it.
    #[must_use]
    pub fn empty() -> Self {
        Self { inner: Arc::default() }
    }

    /// The tuner of layers that name none: the [user's folder](user_folder) over the embedded
    /// caches, with the `WARPCONVNET_*_ALGO_MODE` variables, read once a process.
    ///
    /// # Errors
    /// If one of the variables is malformed.
    pub fn global() -> Result<&'static Self, MalformedAlgoModeVariable> {
        static GLOBAL: OnceLock<Result<Tuner, MalformedAlgoModeVariable>> = OnceLock::new();
        GLOBAL
            .get_or_init(|| {
                // What is not Unicode is no mode either: it is to be refused, not passed over.
                let variable =
                    |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
                let modes = AlgoModes::resolve(None, variable)?;
                let mut builder = Self::builder().embedded().modes(modes);
                if let Ok(folder) = user_folder(|name| std::env::var_os(name)) {
                    builder = builder.folder(folder);
                }
                Ok(builder.build())
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Cache files that were left out, with the reason.
    #[must_use]
    pub fn warnings(&self) -> &[CacheError] {
        &self.inner.warnings
    }

    /// The algorithm that a key runs on a device.
    ///
    /// # Errors
    /// If nothing can run the operation, or the policy forbids a guess.
    pub fn resolve(&self, device: &Device, key: &ShapeKey) -> Result<Resolution, ConvError> {
        let mode = self.inner.modes.of(key.operation.direction);
        let found = |(algorithm, grade)| Resolution { algorithm, grade, key: *key };
        let registry = device.registry();
        if let AlgoMode::Named(names) = mode {
            let pinned = self.pinned(registry, device.identity(), key, names);
            return pinned.map(found).ok_or_else(|| ConvError::Pinned {
                names: mode.to_string(),
                device: device.identity().clone(),
                operation: key.operation,
            });
        }
        if let Some(exact) = self.exact(registry, device.identity(), key) {
            return Ok(found(exact));
        }
        if self.inner.policy == MissPolicy::Fail {
            return Err(ConvError::Miss { device: device.identity().clone(), key: *key });
        }
        self.sibling(registry, device.identity(), key)
            .or_else(|| self.near(registry, device.identity(), key))
            .or_else(|| Some((Arc::clone(registry.modelled_for(device, key)?), Grade::Model)))
            .or_else(|| Some((Arc::clone(registry.default_for(&key.operation)?), Grade::Default)))
            .map(found)
            .ok_or_else(|| ConvError::NoAlgorithm {
                device: device.identity().clone(),
                operation: key.operation,
            })
    }

    /// Among the named algorithms: the cached winner if it is one of them, else the first usable.
    fn pinned(
        &self,
        registry: &Registry,
        device: &DeviceIdentity,
        key: &ShapeKey,
        names: &[AlgoId],
    ) -> Option<(Arc<dyn Algorithm>, Grade)> {
        let mode = AlgoMode::Named(names.to_vec());
        let cached = self.exact(registry, device, key).map(|(algorithm, _)| algorithm);
        cached
            .filter(|algorithm| mode.admits(algorithm.id()))
            .or_else(|| {
                let applicable = |algorithm: &&Arc<dyn Algorithm>| {
                    algorithm.applies(&key.operation) && algorithm.is_available()
                };
                names.iter().find_map(|name| {
                    let named = AlgoMode::Named(vec![name.clone()]);
                    let mut usable = registry.algorithms().filter(applicable);
                    usable.find(|algorithm| named.admits(algorithm.id())).cloned()
                })
            })
            .map(|algorithm| (algorithm, Grade::Pinned))
    }

    fn exact(
        &self,
        registry: &Registry,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Option<(Arc<dyn Algorithm>, Grade)> {
        self.layers().find_map(|(source, table)| {
            let decision = table.exact(device, key)?;
            let algorithm = usable(registry, preferred(decision), key)?;
            Some((algorithm, Grade::Exact { source }))
        })
    }

    fn sibling(
        &self,
        registry: &Registry,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Option<(Arc<dyn Algorithm>, Grade)> {
        self.layers().find_map(|(source, table)| {
            let decision = table.same_arch(device, key)?;
            let algorithm = usable(registry, preferred(decision), key)?;
            let device = decision.device.to_string();
            Some((algorithm, Grade::Sibling { source, device }))
        })
    }

    fn near(
        &self,
        registry: &Registry,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Option<(Arc<dyn Algorithm>, Grade)> {
        self.layers().find_map(|(source, table)| {
            let guess = guess(table, device, key)?;
            let algorithm = usable(registry, guess.names.into_iter(), key)?;
            Some((algorithm, Grade::Near { source, key: *guess.from }))
        })
    }

    fn layers(&self) -> impl Iterator<Item = (Source, &Table)> {
        let user = std::iter::once((Source::User, &self.inner.user));
        user.chain(self.inner.embedded.map(|table| (Source::Embedded, table)))
    }
}

/// The names of a decision in the order in which to try them: a retired or unavailable winner is
/// followed by what came next.
pub(super) fn preferred(decision: &Decision) -> impl Iterator<Item = &AlgoId> {
    std::iter::once(&decision.winner)
        .chain(decision.runner_up.as_ref())
        .chain(decision.without_libraries.as_ref())
}

fn usable<'a>(
    registry: &Registry,
    mut names: impl Iterator<Item = &'a AlgoId>,
    key: &ShapeKey,
) -> Option<Arc<dyn Algorithm>> {
    names.find_map(|id| registry.usable(id, &key.operation)).cloned()
}

impl TunerBuilder {
    /// Adds the decision files of a folder. A file that cannot be used is left out and kept as a
    /// [warning](Tuner::warnings); a folder that does not exist is empty.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Adds decisions of the caller's, before those of folders.
    #[must_use]
    pub fn decisions(mut self, decisions: Decisions) -> Self {
        self.decisions.push(decisions);
        self
    }

    /// Adds the decisions in the binary, below all others.
    #[must_use]
    pub const fn embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// Restricts the algorithms that may run.
    #[must_use]
    pub fn modes(mut self, modes: AlgoModes) -> Self {
        self.modes = modes;
        self
    }

    /// What to do where no cache knows the exact key.
    #[must_use]
    pub const fn policy(mut self, policy: MissPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Reads the folders and builds the tuner.
    #[must_use]
    pub fn build(self) -> Tuner {
        let mut decisions = self.decisions;
        let mut warnings = Vec::new();
        for folder in &self.folders {
            let cache = CacheDir::new(folder);
            let archs = cache.archs().unwrap_or_else(|error| {
                tracing::warn!(%error, "a folder of caches is left out");
                warnings.push(error);
                Vec::new()
            });
            for arch in archs {
                match cache.read_decisions(arch) {
                    Ok(found) => decisions.extend(found),
                    Err(error) => {
                        tracing::warn!(%error, "a cache is left out");
                        warnings.push(error);
                    }
                }
            }
        }
        let inner = Inner {
            user: Table::new(decisions),
            embedded: self.embedded.then(embedded::table),
            modes: self.modes,
            policy: self.policy,
            warnings,
        };
        Tuner { inner: Arc::new(inner) }
    }
}
