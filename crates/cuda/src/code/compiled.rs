//! A compiled instance.

use std::path::PathBuf;

use voxtune_types::ComputeCapability;

use super::cubin::{machine_code_hash, ptx_hash};
use crate::error::{CudaError, Result};
use crate::instance::Instance;
use crate::loaded::Loaded;

/// What nvcc makes of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Machine code of one architecture.
    Cubin,
    /// NVIDIA's intermediate language, of which a driver makes machine code for any later
    /// architecture.
    Ptx,
}

/// A compiled instance.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What was compiled.
    pub instance: Instance,
    /// What it was compiled to.
    pub code: Code,
    /// For which architecture; of PTX, the least that takes it.
    pub arch: ComputeCapability,
    /// The version of CUDA that compiled it, which the driver must support, as 1000 · major + 10 ·
    /// minor.
    pub cuda_version: i32,
    /// Where the file lies; the name of the pack where it comes out of one.
    pub path: PathBuf,
    /// The file.
    pub bytes: Vec<u8>,
    /// Hash of its machine code, or of its PTX: equal hashes run equally.
    pub kernel_hash: u64,
    /// Whether it was there already.
    pub cached: bool,
    /// Itself on a device.
    pub(crate) loaded: Loaded,
}

impl Compiled {
    /// What a compiler has made, or a folder held.
    ///
    /// # Errors
    /// [`CudaError::MalformedCubin`] if the bytes are not code of this kind.
    pub fn new(
        code: Code,
        instance: &Instance,
        arch: ComputeCapability,
        cuda_version: i32,
        path: PathBuf,
        bytes: Vec<u8>,
        cached: bool,
    ) -> Result<Self> {
        let (hash, reason) = match code {
            Code::Cubin => (machine_code_hash(&bytes), "no machine code in it"),
            Code::Ptx => (ptx_hash(&bytes), "it is no text of PTX"),
        };
        let kernel_hash = hash.ok_or_else(|| CudaError::MalformedCubin {
            what: path.display().to_string(),
            reason,
        })?;
        let instance = instance.clone();
        let loaded = Loaded::default();
        Ok(Self { instance, code, arch, cuda_version, path, bytes, kernel_hash, cached, loaded })
    }

    /// An instance out of a pack. `name` is the pack's, for messages.
    ///
    /// # Errors
    /// [`CudaError::MalformedCubin`] if the code is not the one that this hash names.
    pub fn packed(
        code: Code,
        instance: &Instance,
        arch: ComputeCapability,
        cuda_version: i32,
        name: &str,
        bytes: Vec<u8>,
        kernel_hash: u64,
    ) -> Result<Self> {
        let compiled =
            Self::new(code, instance, arch, cuda_version, PathBuf::from(name), bytes, true)?;
        if compiled.kernel_hash != kernel_hash {
            return Err(CudaError::MalformedCubin {
                what: format!("{instance} in {name}"),
                reason: "its code is not what its hash says",
            });
        }
        Ok(compiled)
    }
}

impl Compiled {
    /// The CUDA version that a driver must support to load it. A driver loads cubins of every
    /// release of its major version, and compiles PTX of no later release than its own.
    ///
    /// # Units
    /// 1000 · major + 10 · minor.
    #[must_use]
    pub const fn minimum_driver(&self) -> i32 {
        self.code.minimum_driver(self.cuda_version)
    }

    /// Whether a device of this capability can run it. A cubin runs on its own major version from
    /// its minor one on, one with Hopper's instructions on that very one, and PTX on everything
    /// later.
    #[must_use]
    pub fn runs_on(&self, capability: ComputeCapability) -> bool {
        match self.code {
            Code::Cubin if self.instance.hopper => self.arch == capability,
            Code::Cubin => {
                self.arch.major == capability.major && self.arch.minor <= capability.minor
            }
            Code::Ptx => self.arch <= capability && !self.instance.hopper,
        }
    }
}

impl Code {
    /// [`Compiled::minimum_driver`] for code of a CUDA version.
    #[must_use]
    pub const fn minimum_driver(self, cuda_version: i32) -> i32 {
        match self {
            Self::Cubin => cuda_version / 1000 * 1000,
            Self::Ptx => cuda_version,
        }
    }

    /// How its files' names end.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Cubin => "cubin",
            Self::Ptx => "ptx",
        }
    }
}
