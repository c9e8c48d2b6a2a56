//! The caches of a process and the policy for what they do not hold.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use voxtune_cache::CacheDir;
use voxtune_types::mode::AlgoModes;
use voxtune_types::{DeviceIdentity, Geometry, LayerKind, Operation, PitchClass, ShapeKey};

use super::decision_cache::DecisionCache;
use super::explain::Explanation;
use super::journal::{MissJournal, Missed};
use super::pins::{PinError, modes_of_process};
use super::policy::{Miss, MissPolicy};
use super::search::{Found, Query, Search, SkippedStep};
use super::tuned::Tuned;
use super::{Grade, Resolution, Source, TunerBuilder, TunerError};
use crate::{
    Algorithm, ConvError, Device, DeviceChoice, DeviceError, KernelSource, MapCounts, Registry,
    Voxels, user_folder,
};

/// The variable that names the file of the [global](Tuner::global) tuner's misses.
const JOURNAL_VARIABLE: &str = "VOXTUNE_MISS_JOURNAL";

/// What is known of a call beside its key.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) counts: MapCounts,
    /// The cloud that the call can be measured over, and where its rows meet.
    pub(crate) cloud: Option<(&'a Voxels, Geometry)>,
    /// Whether it may wait until the device has counted the map's pairs.
    pub(crate) waits: bool,
}

/// Keys of an operation on clouds of a thousand to a million voxels, each twice as many as the one
/// before. The clouds are thin lines, surfaces and thick ones. A strided layer leaves a quarter of
/// the voxels.
fn usual_keys(operation: &Operation) -> Vec<ShapeKey> {
    /// The part of a voxel's other neighbours that is there.
    const FILLED: [f64; 3] = [0.2, 0.37, 0.6];
    let others = operation.kernel.volume().saturating_sub(1) as f64;
    let is_strided = operation.stride.iter().any(|stride| *stride > 1);
    let key = |octave: u32, filled: f64| {
        let many = 1_usize << octave;
        let few = if is_strided { many / 4 } else { many };
        let (n_in, n_out) = match operation.kind {
            LayerKind::Inverse | LayerKind::Transposed => (few, many),
            _ => (many, few),
        };
        let pairs = n_out as f64 * filled.mul_add(others, 1.0);
        ShapeKey::new(*operation, n_in, n_out, pairs as usize)
    };
    (10..=20).flat_map(|octave| FILLED.map(|filled| key(octave, filled))).collect()
}

/// Answers which algorithm a call runs. Cloning shares it.
///
/// ```
/// use voxtune::{DType, Device, Direction, KernelSize, Operation, ShapeKey, Tuner};
///
/// let device = Device::cpu()?;
/// let tuner = Tuner::builder().embedded().build();
/// let kernel = KernelSize::submanifold(3)?;
/// let operation = Operation::submanifold(Direction::Forward, DType::Float32, 32, 64, kernel);
/// // 10,000 voxels, that have 5 neighbours each.
/// let key = ShapeKey::new(operation, 10_000, 10_000, 50_000);
/// let resolution = tuner.resolve(&device, &key)?;
/// println!("{resolution}");
/// // The same with what was passed over, and why.
/// println!("{}", tuner.explain(&device, &key));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tuner {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Decisions of the caller's, then those of folders.
    pub(super) user: DecisionCache,
    pub(super) embedded: Option<&'static DecisionCache>,
    pub(super) modes: AlgoModes,
    pub(super) policy: MissPolicy,
    pub(super) tuned: Tuned,
    pub(super) journal: Option<MissJournal>,
    pub(super) kernels: Option<KernelSource>,
    /// Where evidence may lie.
    pub(super) folders: Vec<CacheDir>,
    pub(super) warnings: Vec<TunerError>,
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

    pub(super) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The tuner of layers that name none, made once per process: the [user's folder](user_folder)
    /// over the embedded caches. Algorithms are pinned by the `WARPCONVNET_*_ALGO_MODE` variables,
    /// else by the file `algo-modes` in the user's folder. Misses go to the journal that
    /// `VOXTUNE_MISS_JOURNAL` names, if it does.
    ///
    /// # Errors
    /// If one of the variables, or the file, is malformed.
    pub fn global() -> Result<&'static Self, PinError> {
        static GLOBAL: OnceLock<Result<Tuner, PinError>> = OnceLock::new();
        let make = || {
            let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
            let folder = user_folder(variable).ok();
            let mut builder =
                Self::builder().embedded().modes(modes_of_process(folder.as_deref())?);
            if let Some(folder) = folder {
                builder = builder.user_folder(folder);
            }
            if let Some(path) = variable(JOURNAL_VARIABLE) {
                builder = builder.journal(MissJournal::new(path));
            }
            Ok(builder.build())
        };
        GLOBAL.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// The device asked for, as [`Device::open`] opens it, with the kernels that the
    /// [builder](TunerBuilder::kernels) was told of, if it was.
    ///
    /// # Errors
    /// If a demanded device does not exist or cannot be used.
    pub fn open_device(
        &self,
        choice: DeviceChoice,
    ) -> Result<(Device, Option<String>), DeviceError> {
        match &self.inner.kernels {
            Some(kernels) => Device::open_with(choice, kernels),
            None => Device::open(choice),
        }
    }

    /// What was to be used and was left out, with the reason.
    #[must_use]
    pub fn warnings(&self) -> &[TunerError] {
        &self.inner.warnings
    }

    /// The devices that the caches hold decisions for, those of the user first.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceIdentity> {
        self.decision_caches()
            .flat_map(|(_, decision_cache)| decision_cache.table.devices())
            .map(|device| &**device)
    }

    /// The algorithm that a key runs on a device. A key alone is never tuned: that takes voxels.
    ///
    /// # Errors
    /// If nothing can run the operation, or the policy forbids a guess.
    pub fn resolve(&self, device: &Device, key: &ShapeKey) -> Result<Resolution, ConvError> {
        self.resolve_call(device, key, None)
    }

    /// The algorithm that an operation runs over these voxels, on the map of a layer whose windows
    /// are centred ([`Voxels::typical_map`]). Here a key that no cache holds is measured, if the
    /// policy says so.
    ///
    /// # Errors
    /// If the kernel map cannot be built, nothing can run the operation, or the policy forbids a
    /// guess.
    pub fn resolve_over(
        &self,
        device: &Device,
        operation: Operation,
        voxels: &Voxels,
    ) -> Result<Resolution, ConvError> {
        let map = voxels.typical_map(&operation)?;
        let (counts, cloud) = (map.counts(), Some((voxels, map.geometry())));
        let call = Call { counts, cloud, waits: true };
        self.resolve_call(device, &counts.key(operation), Some(call))
    }

    pub(crate) fn resolve_call(
        &self,
        device: &Device,
        key: &ShapeKey,
        call: Option<Call<'_>>,
    ) -> Result<Resolution, ConvError> {
        let waits = call.is_none_or(|call| call.waits);
        let query = Query { device: device.identity(), registry: device.registry(), waits };
        let asked = &self.asked(query.device, key);
        let mut found = self.search(query, asked, |_| ());
        let missed = match &found {
            Ok(found) => found.grade.is_miss(),
            Err(error) => matches!(error, ConvError::Miss { .. }),
        };
        if missed {
            if let Some(journal) = &self.inner.journal {
                let grade = found.as_ref().ok().map(|found| found.grade.kind());
                let counts = call.map(|call| call.counts);
                journal.record(&Missed { device: query.device, key: asked, counts, grade });
            }
            if self.tunes(device, asked, call) {
                found = self.search(query, asked, |_| ());
            }
        }
        found.map(|Found { algorithm, grade, .. }| {
            let grade = match grade {
                Grade::Exact { source } if asked != key => Grade::Near { source, key: *asked },
                grade => grade,
            };
            Resolution { algorithm, grade, key: *key }
        })
    }

    /// The key whose decisions answer for a key. Rows a pitch apart are answered as dense ones are
    /// until they are measured: the same instructions run over either.
    fn asked(&self, device: &DeviceIdentity, key: &ShapeKey) -> ShapeKey {
        let is_known =
            || self.decision_caches().any(|(_, decisions)| decisions.decision(device, key).is_ok());
        if key.operation.pitch == PitchClass::Dense || is_known() {
            return *key;
        }
        ShapeKey { operation: Operation { pitch: PitchClass::Dense, ..key.operation }, ..*key }
    }

    /// Tunes a key now, if that is the policy and can be done. True if it is worth looking again.
    fn tunes(&self, device: &Device, key: &ShapeKey, call: Option<Call<'_>>) -> bool {
        let MissPolicy::TuneNow(hook) = &self.inner.policy else { return false };
        let Some(Call { counts, cloud: Some((voxels, geometry)), waits: true }) = call else {
            return false;
        };
        if device.is_capturing() {
            tracing::debug!(%key, "a key is not tuned inside a graph capture");
            return false;
        }
        self.inner.tuned.tune(&**hook, &Miss { device, key, counts, voxels, geometry })
    }

    /// The algorithm that a key runs as things are, where calls may wait for counts or may not:
    /// nothing is recorded or tuned.
    pub(crate) fn peek(
        &self,
        device: &Device,
        key: &ShapeKey,
        waits: bool,
    ) -> Result<Arc<dyn Algorithm>, ConvError> {
        let query = Query { device: device.identity(), registry: device.registry(), waits };
        Ok(self.search(query, key, |_| ())?.algorithm)
    }

    /// Every algorithm that an operation is likely to run on a device. These are those for the keys
    /// that were measured, on the device or else on its siblings, and those for [usual
    /// clouds](usual_keys). What these come to is remembered, so that a first frame looks it up.
    pub(crate) fn algorithms_for(
        &self,
        device: &Device,
        operation: &Operation,
    ) -> Vec<Arc<dyn Algorithm>> {
        let identity = device.identity();
        let any = ShapeKey::new(*operation, 1, 1, 1);
        let measured: Vec<_> = self
            .decision_caches()
            .flat_map(|(_, decision_cache)| decision_cache.table.near(identity.arch, &any))
            .map(|decision| (decision.device() == identity, decision.key()))
            .collect();
        let has_own = measured.iter().any(|(own, _)| *own);
        let keys = measured.into_iter().filter(|(own, _)| *own || !has_own).map(|(_, key)| key);
        let keys: Vec<ShapeKey> = keys.chain([any]).chain(usual_keys(operation)).collect();
        // A model that answers looks at every algorithm.
        let resolve = |key: &ShapeKey| self.peek(device, key, true).ok();
        let resolved: Vec<_> = device.install(|| keys.par_iter().map(resolve).collect::<Vec<_>>());
        let mut all: Vec<Arc<dyn Algorithm>> = Vec::new();
        for algorithm in resolved.into_iter().flatten() {
            if all.iter().all(|one| one.id() != algorithm.id()) {
                all.push(algorithm);
            }
        }
        all
    }

    /// Why a key runs what it runs on a device.
    #[must_use]
    pub fn explain(&self, device: &Device, key: &ShapeKey) -> Explanation {
        self.explain_at(device.identity(), device.registry(), key)
    }

    /// [`Self::explain`] for a device that need not be here, with the algorithms that it would
    /// have, such as [`Registry::of_device`].
    #[must_use]
    pub fn explain_at(
        &self,
        device: &DeviceIdentity,
        registry: &Registry,
        key: &ShapeKey,
    ) -> Explanation {
        let mut skipped = Vec::new();
        let found =
            self.search(Query { device, registry, waits: true }, key, |one| skipped.push(one));
        Explanation::new(device, key, skipped, found, &self.inner.folders)
    }

    fn search(
        &self,
        query: Query<'_>,
        key: &ShapeKey,
        skipped: impl FnMut(SkippedStep),
    ) -> Result<Found<'_>, ConvError> {
        let Inner { modes, policy, .. } = &*self.inner;
        let key = &self.asked(query.device, key);
        let mode = modes.of(key.operation.direction);
        let decision_caches = || self.decision_caches();
        Search { query, key, mode, policy, decision_caches }.run(skipped)
    }

    /// The caches in the order of their authority.
    pub(super) fn decision_caches(&self) -> impl Iterator<Item = (Source, &DecisionCache)> {
        let Inner { user, embedded, tuned, .. } = &*self.inner;
        let own = std::iter::once(user)
            .chain(tuned.decision_caches())
            .map(|decision_cache| (Source::User, decision_cache));
        own.chain(embedded.map(|decision_cache| (Source::Embedded, decision_cache)))
    }

    /// Whether two are one, shared.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
