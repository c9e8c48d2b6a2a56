//! Making a pack: compiling its kernels and putting them together.

use std::path::Path;

use voxtune_cuda::{Code, Compiled, CudaError, Instance, source_hash};
use voxtune_nvcc::{Progress, Toolchain};
use voxtune_pack::{Header, Kernel, PackError, encode};

use super::contents::Contents;
use super::target::Target;

/// A pack, not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// How many kernels are in it.
    pub kernels: usize,
    /// How many of them had been compiled before.
    pub cached: usize,
    /// Their size without compression.
    pub raw_bytes: usize,
}

/// A pack that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// Some kernels do not compile: the first one's error.
    #[error("{failed} of {total} kernels do not compile, the first because of: {first}")]
    Compile {
        /// How many do not.
        failed: usize,
        /// Of how many.
        total: usize,
        /// The first one's error.
        first: CudaError,
    },
    /// Some kernels must not ship.
    #[error("{} of {total} kernels are refused:\n{}", refused.len(), lines(refused))]
    Refused {
        /// The error of each.
        refused: Vec<CudaError>,
        /// Of how many.
        total: usize,
    },
    /// The kernels make no pack.
    #[error(transparent)]
    Pack(#[from] PackError),
}

fn lines(errors: &[CudaError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Compiles the kernels of a pack, `jobs` at a time, those that `folder` lacks into it, inspects
/// and encodes them. `decisions` is the hash of the decision file that named them, `pruned` how
/// many of its winners are left out.
///
/// # Errors
/// If a kernel does not compile, or its code is refused.
pub fn make(
    target: Target,
    contents: &Contents,
    decisions: Option<u64>,
    pruned: usize,
    toolchain: &Toolchain,
    (folder, jobs): (&Path, usize),
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Made, MakeError> {
    let instances: Vec<Instance> = contents.instances.keys().cloned().collect();
    let (code, capability) = (target.code(), target.capability());
    let results = toolchain.compile_to(code, &instances, capability, folder, jobs, progress);
    let total = results.len();
    let (mut compiled, mut errors) = (Vec::with_capacity(total), Vec::new());
    for result in results {
        match result {
            Ok(one) => compiled.push(one),
            Err(error) => errors.push(error),
        }
    }
    let failed = errors.len();
    if let Some(first) = errors.into_iter().next() {
        return Err(MakeError::Compile { failed, total, first });
    }
    let inspected = toolchain.inspect(&compiled.iter().collect::<Vec<_>>(), jobs);
    let refused: Vec<_> = inspected.into_iter().filter_map(Result::err).collect();
    if !refused.is_empty() {
        return Err(MakeError::Refused { refused, total });
    }
    let cuda_version = compiled.first().map_or(0, |one| one.cuda_version);
    let header = Header {
        target: target.to_string(),
        capability: (capability.major, capability.minor),
        cuda_version: cuda_version as u32,
        minimum_driver: code.minimum_driver(cuda_version) as u32,
        compiler: toolchain.compiler_hash(),
        decisions,
        pruned: pruned as u32,
    };
    let (cached, raw_bytes) = compiled.iter().fold((0, 0), |(cached, bytes), one| {
        (cached + usize::from(one.cached), bytes + one.bytes.len())
    });
    let kernels: Vec<(Kernel, Vec<u8>)> =
        compiled.into_iter().map(|one| packed(code, one)).collect();
    let bytes = encode(&header, &kernels)?;
    Ok(Made { bytes, kernels: kernels.len(), cached, raw_bytes })
}

fn packed(code: Code, compiled: Compiled) -> (Kernel, Vec<u8>) {
    let Compiled { instance, arch, kernel_hash, bytes, .. } = compiled;
    let defines = instance.defines.iter();
    let kernel = Kernel {
        source: instance.source.to_owned(),
        defines: defines.map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        hopper: instance.hopper,
        source_hash: source_hash(code, &instance, arch),
        kernel_hash,
    };
    (kernel, bytes)
}
