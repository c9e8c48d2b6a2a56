//! Where compiled kernels and the compiler lie.

use std::path::PathBuf;

use voxtune::KernelSource;
use voxtune_nvcc::Nvcc;

use crate::folder::workspace_above;

/// Folders of compiled kernels and of the toolkit.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct KernelFolders {
    /// Folder of compiled CUDA kernels; what it lacks is compiled into it [default: target/kernels]
    #[arg(long = "kernels", value_name = "DIR")]
    kernels: Option<PathBuf>,
    /// Folder of a CUDA toolkit, looked at after NVCC, CUDA_HOME and PATH [default:
    /// target/cuda-toolkit]
    #[arg(long = "toolkit", value_name = "DIR")]
    toolkit: Option<PathBuf>,
}

impl KernelFolders {
    pub(crate) fn kernels(&self) -> PathBuf {
        self.kernels.clone().unwrap_or_else(|| in_target("kernels"))
    }

    pub(crate) fn toolkit(&self) -> PathBuf {
        self.toolkit.clone().unwrap_or_else(|| in_target("cuda-toolkit"))
    }

    /// Where a program that runs networks has kernels from: the packs in it, or a folder that is
    /// named, whose missing ones are compiled.
    pub(crate) fn of_a_program(&self) -> KernelSource {
        if self.kernels.is_some() { self.source() } else { KernelSource::from_env() }
    }

    pub(crate) fn source(&self) -> KernelSource {
        KernelSource::compiling(self.kernels(), Nvcc::new(self.toolkit()))
    }
}

/// A folder in the build folder, which cargo keeps at the workspace unless told otherwise. A
/// program that cargo has not started looks for a workspace above the current folder.
pub(crate) fn in_target(name: &str) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let beside_manifest = || Some(set("CARGO_MANIFEST_DIR")?.parent()?.join("target"));
    let in_sight = || Some(workspace_above(&std::env::current_dir().ok()?)?.join("target"));
    let target = set("CARGO_TARGET_DIR").or_else(beside_manifest).or_else(in_sight);
    target.unwrap_or_else(|| PathBuf::from("target")).join(name)
}
