//! Where a GPU's compiled kernels come from.
//!
//! Code that runs comes from packs in the program, from bytes that the program gives, or from a
//! folder that the program or its user names. It never comes from a folder that merely is there.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use voxtune_cuda::{Compiled, CudaError, Instance, KernelCompiler, find_compiled};
use voxtune_types::ComputeCapability;

use super::compile_ahead::CompileProgress;
use super::packs::Packs;
use crate::resolve_cache::{Obtained, ResolveCache};

/// Where kernels are looked for: a folder, a compiler for those that it lacks, packs.
#[derive(Clone, Debug, Default)]
pub struct KernelSource {
    folder: Option<PathBuf>,
    compiler: Option<Arc<dyn KernelCompiler>>,
    /// Names, for messages, and bytes.
    packs: Vec<(String, Cow<'static, [u8]>)>,
    embedded: bool,
}

impl KernelSource {
    /// The packs in the program, and nothing else.
    #[must_use]
    pub fn embedded() -> Self {
        Self { embedded: true, ..Self::default() }
    }

    /// Instances that were compiled beforehand, such as `voxtune kernels` leaves, and the packs
    /// in the program for those that the folder lacks. No compiler is needed or looked for.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::embedded() }
    }

    /// A folder whose missing instances are compiled into it, such as by the `Nvcc` of
    /// `voxtune-nvcc`. The program's packs are not looked at: what is measured is what the sources
    /// say.
    #[must_use]
    pub fn compiling(folder: impl Into<PathBuf>, compiler: Arc<dyn KernelCompiler>) -> Self {
        Self { folder: Some(folder.into()), compiler: Some(compiler), ..Self::default() }
    }

    /// The folder that `VOXTUNE_KERNELS` names, if it does, then the packs in the program.
    #[must_use]
    pub fn from_env() -> Self {
        let named = std::env::var_os("VOXTUNE_KERNELS").filter(|folder| !folder.is_empty());
        named.map_or_else(Self::embedded, Self::folder)
    }

    /// Adds a pack of the program's own, such as `voxtune pack` makes, looked at after the
    /// folder and before the packs that voxtune brings. `name` is for messages. One that cannot be
    /// read or is for other GPUs is left out, with a warning in the log.
    #[must_use]
    pub fn pack(mut self, name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.packs.push((name.into(), bytes.into()));
        self
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the instances of one device come from. Each is read or compiled once, by the first call
/// that needs it, and remembered in the device's [`ResolveCache`].
#[derive(Debug)]
pub(crate) struct KernelStore {
    source: KernelSource,
    capability: ComputeCapability,
    packs: Packs,
    resolve_cache: Arc<ResolveCache>,
    /// Instances that a thread reads or compiles now.
    in_flight: Mutex<HashSet<Instance>>,
    /// Rung whenever a thread is done with an instance.
    done: Condvar,
    /// How long calls that needed instances were kept waiting, in nanoseconds.
    waited_ns: AtomicU64,
}

/// An instance that is being read or compiled; dropping this ends that, however it ended.
struct InFlight<'a> {
    store: &'a KernelStore,
    instance: &'a Instance,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        locked(&self.store.in_flight).remove(self.instance);
        self.store.done.notify_all();
    }
}

impl KernelStore {
    pub(crate) fn new(mut source: KernelSource, capability: ComputeCapability) -> Self {
        let packs = Packs::new(std::mem::take(&mut source.packs), source.embedded, capability);
        Self {
            source,
            capability,
            packs,
            resolve_cache: Arc::default(),
            in_flight: Mutex::default(),
            done: Condvar::new(),
            waited_ns: AtomicU64::new(0),
        }
    }

    /// Whether an instance can be had. Where compiling was asked for it always can, as far as is
    /// known before trying.
    pub(crate) fn has(&self, instance: &Instance) -> bool {
        if self.source.compiler.is_some() {
            return true;
        }
        let in_folder = || self.in_folder(instance).is_ok_and(|found| found.is_some());
        self.resolve_cache.has_code(instance, || self.packs.has(instance) || in_folder())
    }

    /// What the device remembers.
    pub(crate) const fn resolve_cache(&self) -> &Arc<ResolveCache> {
        &self.resolve_cache
    }

    fn in_folder(&self, instance: &Instance) -> Result<Option<Compiled>, CudaError> {
        let folder = self.source.folder.as_ref();
        folder.map_or(Ok(None), |folder| find_compiled(instance, self.capability, folder))
    }

    /// From the folder, else from a pack: a folder that cannot be read is worth a warning where a
    /// pack serves.
    fn find(&self, instance: &Instance) -> Result<Compiled, CudaError> {
        let unreadable = match self.in_folder(instance) {
            Ok(Some(compiled)) => return Ok(compiled),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        match (self.packs.get(instance)?, unreadable) {
            (Some(packed), None) => Ok(packed),
            (Some(packed), Some(error)) => {
                tracing::warn!(%instance, %error, "a kernel is taken from a pack");
                Ok(packed)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Err(self.lacks(instance)),
        }
    }

    /// The compiler's version, or nothing where there is none.
    pub(super) fn toolkit_version(&self) -> String {
        let release = self.source.compiler.as_ref().and_then(|compiler| compiler.release());
        release.map_or_else(String::new, |(major, minor)| format!("CUDA {major}.{minor}"))
    }

    /// An instance that is needed now.
    pub(super) fn get(&self, instance: &Instance) -> Result<Arc<Compiled>, CudaError> {
        if let Some(Ok(compiled)) = self.resolve_cache.code(instance) {
            return Ok(compiled);
        }
        let start = Instant::now();
        let obtained = self.get_or_obtain(instance);
        let waited_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited_ns.fetch_add(waited_ns, Ordering::Relaxed);
        obtained
    }

    /// How long [`Self::get`] has waited for instances so far.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))
    }

    /// An instance. Waits for a thread that is obtaining it already.
    fn get_or_obtain(&self, instance: &Instance) -> Result<Arc<Compiled>, CudaError> {
        let mut in_flight = locked(&self.in_flight);
        loop {
            match self.resolve_cache.code(instance) {
                Some(Ok(compiled)) => return Ok(compiled),
                Some(Err(output)) => {
                    let (instance, output) = (instance.to_string(), output.to_string());
                    return Err(CudaError::NvccFailed { instance, output });
                }
                None => {}
            }
            if in_flight.insert(instance.clone()) {
                break;
            }
            in_flight = self.done.wait(in_flight).unwrap_or_else(PoisonError::into_inner);
        }
        drop(in_flight);
        // What is found out is remembered before another thread may try.
        let _in_flight = InFlight { store: self, instance };
        match self.obtain(instance) {
            Ok(compiled) => {
                let compiled = Arc::new(compiled);
                self.resolve_cache.keep_code(instance, Obtained::Ok(Arc::clone(&compiled)));
                Ok(compiled)
            }
            Err(CudaError::NvccFailed { instance: name, output }) => {
                self.resolve_cache.keep_code(instance, Obtained::Err(output.as_str().into()));
                Err(CudaError::NvccFailed { instance: name, output })
            }
            Err(error) => Err(error),
        }
    }

    /// Obtains instances in their order, `jobs` at a time, until all are there or it is told to
    /// stop. Failures are met again by the calls that use what failed.
    pub(super) fn get_all(&self, instances: &[Instance], jobs: usize, progress: &CompileProgress) {
        progress.begin(instances.len());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(instance) = instances.get(next.fetch_add(1, Ordering::Relaxed)) {
                if progress.is_stopped() {
                    break;
                }
                let _ = self.get_or_obtain(instance);
                progress.one_is_there();
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs.min(instances.len()) {
                scope.spawn(work);
            }
            work();
        });
    }

    fn obtain(&self, instance: &Instance) -> Result<Compiled, CudaError> {
        let KernelSource { compiler: Some(compiler), folder: Some(folder), .. } = &self.source
        else {
            return self.find(instance);
        };
        match compiler.compile(instance, self.capability, folder) {
            Err(error) if compiler.release().is_none() => self.packs.get(instance)?.ok_or(error),
            made => made,
        }
    }

    fn lacks(&self, instance: &Instance) -> CudaError {
        let (instance, capability) = (instance.to_string(), self.capability);
        match &self.source.folder {
            Some(folder) if self.packs.is_empty() => {
                CudaError::NoKernel { instance, capability, folder: folder.clone() }
            }
            _ => CudaError::NotPacked { instance, capability, packs: self.packs.names() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use voxtune_types::{DType, Direction, Operation};

    use super::*;
    use crate::KernelSize;

    const HOPPER: ComputeCapability = ComputeCapability { major: 9, minor: 0 };

    fn layer(c_in: u32, c_out: u32) -> Operation {
        let kernel = KernelSize::submanifold(3).unwrap();
        Operation::submanifold(Direction::Forward, DType::Float16, c_in, c_out, kernel)
    }

    fn instance(algorithm: &voxtune_cuda::Algorithm, operation: &Operation) -> Instance {
        algorithm.instance(operation).unwrap()
    }

    /// A program without a folder has what is in its packs, and says of the rest where it looked.
    #[cfg(feature = "sm_90")]
    #[test]
    fn kernels_come_from_the_pack_of_the_device() {
        let store = KernelStore::new(KernelSource::embedded(), HOPPER);
        let default = instance(voxtune_cuda::default_algorithm(&layer(64, 128)), &layer(64, 128));
        assert!(store.has(&default));
        let compiled = store.get(&default).unwrap();
        assert_eq!((&compiled.instance, compiled.arch), (&default, HOPPER));

        // Loads of two elements are in no pack: the instance for any channels stands in.
        let odd = layer(34, 38);
        let fallback = instance(voxtune_cuda::fallback_algorithm(), &odd);
        let stand_in = fallback.for_any_channels().unwrap();
        assert_ne!(fallback, stand_in);
        assert_eq!(store.get(&fallback).unwrap().instance, stand_in);
        let lacking = instance(voxtune_cuda::default_algorithm(&odd), &odd);
        assert!(!store.has(&lacking));
        let error = store.get(&lacking).unwrap_err();
        assert!(matches!(error, CudaError::NotPacked { .. }), "{error}");
        assert!(error.to_string().contains("is not in sm_90.kernels"), "{error}");
    }

    /// A folder of another user, or what is no folder at all, costs a warning where a pack serves.
    #[cfg(feature = "sm_90")]
    #[test]
    fn f02_a_folder_that_cannot_be_read_leaves_the_packs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let default = instance(voxtune_cuda::default_algorithm(&layer(64, 128)), &layer(64, 128));
        for named in [file.join("below"), file] {
            let store = KernelStore::new(KernelSource::folder(named), HOPPER);
            assert!(store.has(&default));
            assert_eq!(store.get(&default).unwrap().instance, default);
        }
    }

    #[derive(Debug)]
    struct NoCompiler;

    impl KernelCompiler for NoCompiler {
        fn release(&self) -> Option<(u32, u32)> {
            None
        }

        fn compile(
            &self,
            instance: &Instance,
            capability: ComputeCapability,
            folder: &Path,
        ) -> Result<Compiled, CudaError> {
            let (instance, folder) = (instance.to_string(), folder.to_owned());
            Err(CudaError::NoKernel { instance, capability, folder })
        }
    }

    /// Without packs nothing is there, whatever folders there may be; where a compiler was asked
    /// for, everything may be.
    #[test]
    fn a_source_is_what_was_named() {
        let map = Instance::kernel_map();
        let nothing = KernelStore::new(KernelSource::default(), HOPPER);
        assert!(!nothing.has(&map));
        assert!(matches!(nothing.get(&map), Err(CudaError::NotPacked { .. })));
        let folder = tempfile::tempdir().unwrap();
        let given = KernelSource::default().pack("mine", b"no pack".as_slice());
        assert!(!KernelStore::new(given, HOPPER).has(&map));
        let compiling = KernelSource::compiling(folder.path(), Arc::new(NoCompiler));
        assert!(KernelStore::new(compiling, HOPPER).has(&map));
    }
}
