//! The hook by which a program that tunes brings a compiler.

use std::fmt;
use std::path::Path;

use voxtune_types::ComputeCapability;

use super::compiled::Compiled;
use crate::error::Result;
use crate::instance::Instance;

/// Makes instances that a folder lacks. The runtime has none of its own: programs that tune bring
/// that of `voxtune-nvcc`, programs that only run networks do without.
pub trait KernelCompiler: fmt::Debug + Send + Sync {
    /// The version of CUDA that it compiles with, such as (13, 0); `None` where no compiler is
    /// found.
    fn release(&self) -> Option<(u32, u32)>;

    /// An instance for an architecture: out of the folder if it lies there, else compiled into it.
    ///
    /// # Errors
    /// [`CudaError::NvccFailed`](crate::CudaError::NvccFailed) if it does not compile, which is
    /// final; anything else may be tried again.
    fn compile(
        &self,
        instance: &Instance,
        arch: ComputeCapability,
        folder: &Path,
    ) -> Result<Compiled>;
}
