//! Where a GPU's compiled kernels come from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use voxtune_cuda::{Compiled, CudaError, Instance, Toolchain, find_compiled};
use voxtune_shape::ComputeCapability;

/// A folder of compiled kernel instances, and a compiler for those that it lacks.
#[derive(Clone, Debug)]
pub struct KernelSource {
    folder: PathBuf,
    toolkit: Option<PathBuf>,
}

impl KernelSource {
    /// Instances that were compiled beforehand, such as `cargo xtask kernels` leaves. No compiler is
    /// needed or looked for.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), toolkit: None }
    }

    /// A folder whose missing instances are compiled into it, by an nvcc from `NVCC`, `CUDA_HOME`, `PATH`
    /// or this toolkit folder.
    #[must_use]
    pub fn compiling(folder: impl Into<PathBuf>, toolkit: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), toolkit: Some(toolkit.into()) }
    }

    /// The folder that `VOXTUNE_KERNELS` names, else `target/kernels`: where `cargo xtask kernels`
    /// leaves them.
    #[must_use]
    pub fn from_env() -> Self {
        let named = std::env::var_os("VOXTUNE_KERNELS").filter(|folder| !folder.is_empty());
        Self::folder(named.map_or_else(|| Path::new("target").join("kernels"), PathBuf::from))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The instances of one device, each read or compiled once a process.
#[derive(Debug)]
pub(super) struct KernelStore {
    source: KernelSource,
    capability: ComputeCapability,
    toolchain: Option<Toolchain>,
    held: Mutex<HashMap<Instance, Arc<Compiled>>>,
    /// What nvcc said of instances that do not compile: asking again would take seconds each time.
    refused: Mutex<HashMap<Instance, String>>,
}

impl KernelStore {
    /// Finds the compiler if one is to be used. Without one, what lies in the folder still serves.
    pub(super) fn new(source: KernelSource, capability: ComputeCapability) -> Self {
        let find = |toolkit: &PathBuf| Toolchain::find(Some(toolkit)).ok();
        let toolchain = source.toolkit.as_ref().and_then(find);
        Self { source, capability, toolchain, held: Mutex::default(), refused: Mutex::default() }
    }

    /// The compiler's version, or nothing where there is none.
    pub(super) fn toolkit_version(&self) -> String {
        self.toolchain.as_ref().map_or_else(String::new, |toolchain| {
            let (major, minor) = toolchain.release();
            format!("CUDA {major}.{minor}")
        })
    }

    pub(super) fn get(&self, instance: &Instance) -> Result<Arc<Compiled>, CudaError> {
        let mut all = self.get_all(std::slice::from_ref(instance), 1);
        all.pop().expect("one result for one instance")
    }

    /// Instances in their order, the missing ones compiled `jobs` at a time.
    pub(super) fn get_all(
        &self,
        instances: &[Instance],
        jobs: usize,
    ) -> Vec<Result<Arc<Compiled>, CudaError>> {
        let missing: Vec<Instance> = {
            let (held, refused) = (locked(&self.held), locked(&self.refused));
            let missing = |one: &&Instance| !held.contains_key(one) && !refused.contains_key(one);
            instances.iter().filter(missing).cloned().collect()
        };
        let mut failures: HashMap<Instance, CudaError> = HashMap::new();
        for (instance, result) in missing.iter().zip(self.obtain(&missing, jobs)) {
            match result {
                Ok(compiled) => {
                    locked(&self.held).insert(instance.clone(), Arc::new(compiled));
                }
                Err(CudaError::NvccFailed { output, .. }) => {
                    locked(&self.refused).insert(instance.clone(), output);
                }
                Err(error) => {
                    failures.insert(instance.clone(), error);
                }
            }
        }
        let (held, refused) = (locked(&self.held), locked(&self.refused));
        let failure = |instance: &Instance| match refused.get(instance) {
            Some(output) => {
                CudaError::NvccFailed { instance: instance.to_string(), output: output.clone() }
            }
            None => self.lacks(instance),
        };
        instances
            .iter()
            .map(|instance| match held.get(instance) {
                Some(compiled) => Ok(Arc::clone(compiled)),
                None => Err(failures.remove(instance).unwrap_or_else(|| failure(instance))),
            })
            .collect()
    }

    fn obtain(&self, missing: &[Instance], jobs: usize) -> Vec<Result<Compiled, CudaError>> {
        if missing.is_empty() {
            return Vec::new();
        }
        let folder = &self.source.folder;
        match &self.toolchain {
            Some(toolchain) => toolchain.compile(missing, self.capability, folder, jobs, &|_| ()),
            None => missing
                .iter()
                .map(|instance| {
                    find_compiled(instance, self.capability, folder)?
                        .ok_or_else(|| self.lacks(instance))
                })
                .collect(),
        }
    }

    fn lacks(&self, instance: &Instance) -> CudaError {
        // Where compiling was wanted, the way out is the compiler.
        let toolkit = self.source.toolkit.as_ref().filter(|_| self.toolchain.is_none());
        if let Some(error) = toolkit.and_then(|toolkit| Toolchain::find(Some(toolkit)).err()) {
            return error;
        }
        CudaError::NoKernel {
            instance: instance.to_string(),
            capability: self.capability,
            folder: self.source.folder.clone(),
        }
    }
}
