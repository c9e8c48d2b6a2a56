//! The commands.

use clap::{Parser, Subcommand};

use crate::cuda_toolkit::CudaToolkitArguments;
use crate::forget::ForgetArguments;
use crate::inspect::InspectArguments;
use crate::kernels::KernelsArguments;
use crate::merge::MergeArguments;
use crate::populate::PopulateArguments;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Measures sparse convolution kernels and keeps what won",
    help_expected = true,
    max_term_width = 100,
    version
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a grid of layers and write the winners into the cache
    Populate(Box<PopulateArguments>),
    /// Show what caches hold
    Inspect(InspectArguments),
    /// Remove entries from a cache, so that they are measured again
    Forget(ForgetArguments),
    /// Bring the evidence of several caches together
    Merge(MergeArguments),
    /// Compile the CUDA kernels of a preset, without a GPU
    Kernels(KernelsArguments),
    /// Install NVIDIA's compiler from its Python wheels, without administrator rights
    CudaToolkit(CudaToolkitArguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_texts() {
        for name in ["populate", "inspect", "forget", "merge", "kernels", "cuda-toolkit"] {
            let mut command = Cli::command().term_width(100);
            command.build();
            let sub = command.find_subcommand_mut(name).unwrap();
            insta::assert_snapshot!(name, sub.render_long_help().to_string());
        }
    }
}
