//! nvcc as the compiler of a runtime that tunes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use voxtune_cuda::{Code, Compiled, CudaError, Instance, KernelCompiler, Result, find_compiled};
use voxtune_types::ComputeCapability;

use crate::find::Toolchain;

/// The nvcc that [`Toolchain::find`] finds, looked for at the first use. Where there is none, what
/// a folder holds still serves.
#[derive(Debug)]
pub struct Nvcc {
    toolkit: PathBuf,
    found: OnceLock<Option<Toolchain>>,
}

impl Nvcc {
    /// An nvcc from `NVCC`, `CUDA_HOME`, `PATH` or this toolkit folder.
    #[must_use]
    pub fn new(toolkit: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self { toolkit: toolkit.into(), found: OnceLock::new() })
    }

    fn toolchain(&self) -> Option<&Toolchain> {
        self.found.get_or_init(|| Toolchain::find(Some(&self.toolkit)).ok()).as_ref()
    }

    /// What the way out is, where an instance is lacking and there is no compiler.
    fn missing(&self, instance: &Instance, arch: ComputeCapability, folder: &Path) -> CudaError {
        Toolchain::find(Some(&self.toolkit)).err().unwrap_or_else(|| CudaError::NoKernel {
            instance: instance.to_string(),
            capability: arch,
            folder: folder.to_owned(),
        })
    }
}

impl KernelCompiler for Nvcc {
    fn release(&self) -> Option<(u32, u32)> {
        self.toolchain().map(Toolchain::release)
    }

    fn compile(
        &self,
        instance: &Instance,
        arch: ComputeCapability,
        folder: &Path,
    ) -> Result<Compiled> {
        match self.toolchain() {
            Some(toolchain) => toolchain.compile_one(Code::Cubin, instance, arch, folder),
            None => find_compiled(instance, arch, folder)?
                .ok_or_else(|| self.missing(instance, arch, folder)),
        }
    }
}
