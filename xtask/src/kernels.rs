//! `kernels`: compiles candidates for architectures, without a GPU.

use std::collections::BTreeSet;
use std::time::Instant;

use voxtune::{Arch, Direction};
use voxtune_cuda::{Instance, Toolchain, algorithms};
use voxtune_shape::{ComputeCapability, DType, Operation, Preset};

use crate::duration::coarse;
use crate::exit::{Exit, Failure};
use crate::kernel_folders::KernelFolders;
use crate::output;

/// Arguments of `kernels`.
#[derive(Debug, clap::Args)]
pub struct KernelsArguments {
    /// Architectures to compile for, sm_80 to sm_120
    #[arg(long = "arch", value_name = "ARCH", required = true, num_args = 1.., value_parser = capability)]
    archs: Vec<ComputeCapability>,
    /// Grid whose layers are compiled for: default or quick
    #[arg(long, value_name = "PRESET", default_value_t = Preset::Default)]
    preset: Preset,
    /// How many compilers run at a time [default: all processors]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    #[command(flatten)]
    folders: KernelFolders,
}

fn capability(text: &str) -> Result<ComputeCapability, String> {
    match text.parse() {
        Ok(Arch::Cuda(capability)) if capability.major >= 8 => Ok(capability),
        _ => Err("expected sm_80, sm_86, sm_89, sm_90, sm_100 or sm_120".to_owned()),
    }
}

pub(crate) fn run(arguments: &KernelsArguments) -> Result<Exit, Failure> {
    let kernels = arguments.folders.kernels();
    let toolchain = Toolchain::find(Some(&arguments.folders.toolkit())).map_err(Failure::failed)?;
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(all);
    let mut failed = 0;
    for &capability in &arguments.archs {
        let start = Instant::now();
        let instances = instances(arguments.preset, capability);
        let results = toolchain.compile(&instances, capability, &kernels, jobs, &|_| ());
        let (mut bytes, mut cached) = (0, 0);
        for result in results {
            match result {
                Ok(compiled) => {
                    bytes += compiled.bytes.len();
                    cached += usize::from(compiled.cached);
                }
                Err(error) => {
                    failed += 1;
                    output::complain("error", error);
                }
            }
        }
        output::result(format_args!(
            "sm_{}{}: {} instances, {cached} of them there already, {} KiB, {}",
            capability.major,
            capability.minor,
            instances.len(),
            bytes / 1024,
            coarse(start.elapsed())
        ));
    }
    output::result(format_args!("kernels {}", kernels.display()));
    Ok(if failed == 0 { Exit::Success } else { Exit::Failure })
}

/// Every instance that a populate of the preset's layers may ask for.
fn instances(preset: Preset, capability: ComputeCapability) -> Vec<Instance> {
    let mut instances = BTreeSet::from([
        Instance::kernel_map(),
        Instance::strided_map(),
        Instance::noise(),
        Instance::probe(),
    ]);
    instances.extend(DType::ALL.map(Instance::reference));
    let grid = preset.grid();
    for &dtype in &grid.dtypes {
        for &kernel in &grid.kernels {
            for pair in &grid.channels {
                for direction in Direction::ALL {
                    let operation =
                        Operation::submanifold(direction, dtype, pair.c_in, pair.c_out, kernel);
                    let fitting =
                        algorithms().iter().filter(|one| one.fits(&operation, capability));
                    instances.extend(fitting.filter_map(|one| one.instance(&operation)));
                }
            }
        }
    }
    instances.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_architectures_are_taken() {
        assert_eq!(capability("sm_90"), Ok(ComputeCapability { major: 9, minor: 0 }));
        for text in ["sm_75", "90", "cpu-x86_64-avx2", "sm_90a"] {
            assert!(capability(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_preset_needs_map_probe_references_and_candidates() {
        let capability = ComputeCapability { major: 9, minor: 0 };
        let quick = instances(Preset::Quick, capability);
        let default = instances(Preset::Default, capability);
        assert!(quick.len() > 5 && default.len() > quick.len());
        assert!(quick.contains(&Instance::kernel_map()));
    }
}
