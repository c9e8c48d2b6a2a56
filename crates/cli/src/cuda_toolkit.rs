//! `cuda-toolkit`: puts nvcc where none is.

use voxtune_nvcc::cuda_toolkit::{Installed, install};
use voxtune_types::printable_path;

use crate::exit::{Exit, Failure};
use crate::kernel_folders::KernelFolders;
use crate::output;

/// Arguments of `cuda-toolkit`.
#[derive(Debug, clap::Args)]
pub struct CudaToolkitArguments {
    #[command(flatten)]
    folders: KernelFolders,
}

pub(crate) fn run(arguments: &CudaToolkitArguments) -> Result<Exit, Failure> {
    let into = arguments.folders.toolkit();
    let installed = install(&into).map_err(Failure::failed)?;
    let what = match installed {
        Installed::Now => "installed in",
        Installed::Already => "was already in",
    };
    output::result(format_args!("CUDA toolkit {what} {}", printable_path(&into)));
    Ok(Exit::Success)
}
