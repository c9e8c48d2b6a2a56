//! `kernels`: compiles candidates for architectures and inspects their machine code, without a GPU.

use std::collections::BTreeSet;
use std::time::Instant;

use bytesize::ByteSize;
use voxtune::{Arch, DeviceIdentity, Registry};
use voxtune_cuda::model::Rates;
use voxtune_cuda::{Compiled, CudaError, Instance, algorithm};
use voxtune_nvcc::Toolchain;
use voxtune_pointcloud::Source;
use voxtune_tune::plan::job::Job;
use voxtune_tune::plan::kernels::wanted_kernels;
use voxtune_tune::{Plan, Preset, Protocol, Request};
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoMode, ComputeCapability, printable_path};

use crate::algo_modes::algo_modes;
use crate::duration::coarse;
use crate::exit::{Exit, Failure};
use crate::kernel_folders::KernelFolders;
use crate::numbers::positive;
use crate::output;
use crate::populate::unnamed_modes;

/// Arguments of `kernels`.
#[derive(Debug, clap::Args)]
pub struct KernelsArguments {
    /// Architectures to compile for, sm_80 to sm_120
    #[arg(long = "arch", value_name = "ARCH", required = true, num_args = 1.., value_parser = capability)]
    archs: Vec<ComputeCapability>,
    /// Presets whose layers are compiled for: default, quick, script, lidar and unet, or several
    /// such as lidar,unet
    #[arg(long, value_name = "PRESET", num_args = 1.., value_delimiter = ',', default_values_t = [Preset::Default])]
    preset: Vec<Preset>,
    /// Algorithms that are to compete, as populate takes them [default: as populate's]
    #[arg(long, value_name = "MODE")]
    algo_mode: Option<AlgoMode>,
    /// How many compilers run at a time [default: all processors]
    #[arg(long, value_name = "N", value_parser = positive)]
    jobs: Option<usize>,
    #[command(flatten)]
    folders: KernelFolders,
}

fn capability(text: &str) -> Result<ComputeCapability, String> {
    match text.parse().map(Arch::supported) {
        Ok(Ok(Arch::Cuda(capability))) => Ok(capability),
        Ok(Err(unsupported)) => Err(unsupported.to_string()),
        _ => Err("expected sm_80, sm_86, sm_89, sm_90, sm_100 or sm_120".to_owned()),
    }
}

pub(crate) fn run(arguments: &KernelsArguments) -> Result<Exit, Failure> {
    let unnamed = unnamed_modes(&arguments.preset);
    let modes = algo_modes(arguments.algo_mode.as_ref(), unnamed)?;
    let kernels = arguments.folders.kernels();
    let toolchain = Toolchain::find(Some(&arguments.folders.toolkit())).map_err(Failure::failed)?;
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(all);
    let mut failed = 0;
    for &capability in &arguments.archs {
        let start = Instant::now();
        let instances = instances(&arguments.preset, &modes, capability)?;
        let results = toolchain.compile(&instances, capability, &kernels, jobs, &|_| ());
        let compiled_in = start.elapsed();
        let (compiled, errors) = parted(results);
        let inspecting = Instant::now();
        let refused = toolchain.inspect(&compiled.iter().collect::<Vec<_>>(), jobs);
        let refused: Vec<_> = refused.into_iter().filter_map(Result::err).collect();
        failed += errors.len() + refused.len();
        for error in errors.iter().chain(&refused) {
            output::complain("error", error);
        }
        output::result(format_args!(
            "{capability}: {} instances, {} of them there already, {}, {}; {} inspected, {} refused, {}",
            instances.len(),
            compiled.iter().filter(|one| one.cached).count(),
            ByteSize(compiled.iter().map(|one| one.bytes.len() as u64).sum()),
            coarse(compiled_in),
            compiled.len(),
            refused.len(),
            coarse(inspecting.elapsed())
        ));
    }
    output::result(format_args!("kernels {}", printable_path(&kernels)));
    Ok(if failed == 0 { Exit::Success } else { Exit::Failure })
}

/// What has been compiled, and why the rest has not.
fn parted(results: Vec<Result<Compiled, CudaError>>) -> (Vec<Compiled>, Vec<CudaError>) {
    let (mut compiled, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => compiled.push(one),
            Err(error) => errors.push(error),
        }
    }
    (compiled, errors)
}

/// Every instance that a populate of the presets will ask for, as far as that can be said before
/// there are clouds.
fn instances(
    presets: &[Preset],
    modes: &AlgoModes,
    capability: ComputeCapability,
) -> Result<Vec<Instance>, Failure> {
    let units = Rates::usual_sms(capability);
    let device = DeviceIdentity { arch: Arch::Cuda(capability), name: String::new(), units };
    let registry = Registry::of_device(&device);
    let utilities = Instance::utilities().chain([Instance::noise()]);
    let mut instances: BTreeSet<Instance> = utilities.collect();
    for preset in presets {
        let clouds = preset.clouds().iter().copied().map(Source::Generated).collect();
        let protocol = Protocol { modes: modes.clone(), ..Protocol::default() };
        let request = Request { clouds, protocol, ..Request::new(preset.grid()) };
        let plan = match preset.list() {
            Some(list) => Plan::of_list(&request, &list),
            None => Plan::new(&request),
        };
        let plan = plan.map_err(Failure::usage)?;
        let order = 0..plan.configurations.len();
        let wanted = wanted_kernels(&registry, &Job::new(&plan, &request), order);
        instances.extend(wanted.iter().filter_map(|(id, op)| algorithm(id)?.instance(op)));
    }
    Ok(instances.into_iter().collect())
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
    fn f15_the_least_architecture_is_named() {
        let error = capability("sm_70").unwrap_err();
        assert!(error.contains("sm_70") && error.contains("sm_80 or later"), "{error}");
    }

    /// A mode names instances that the pool leaves out, and no others are compiled for a smaller
    /// preset.
    #[test]
    fn a_preset_needs_utilities_and_its_candidates() {
        let capability = ComputeCapability { major: 9, minor: 0 };
        let of = |preset, mode: &str| {
            let modes = AlgoModes::uniform(mode.parse().unwrap());
            let instances = instances(&[preset], &modes, capability).unwrap();
            instances.into_iter().collect::<BTreeSet<_>>()
        };
        let (quick, default) = (of(Preset::Quick, "auto"), of(Preset::Default, "auto"));
        let all = of(Preset::Default, "all");
        for utility in Instance::utilities() {
            assert!(quick.contains(&utility), "{utility}");
        }
        assert!(quick.len() > 5 && default.is_superset(&quick) && all.is_superset(&default));
        assert!(default.len() * 10 < all.len() * 9, "{} of {}", default.len(), all.len());
        let trimmed = of(Preset::Default, "trimmed");
        assert!(all.is_superset(&trimmed) && trimmed.is_superset(&default));
        let (script, auto) = (of(Preset::Script, "trimmed"), of(Preset::Script, "auto"));
        assert!(script.len() > auto.len(), "{} of {}", auto.len(), script.len());
        let both = instances(&[Preset::Quick, Preset::Lidar], &AlgoModes::default(), capability);
        let both: BTreeSet<_> = both.unwrap().into_iter().collect();
        assert_eq!(both, &quick | &of(Preset::Lidar, "auto"));
        let one = of(Preset::Default, "wgmma_gemm");
        assert!(one.iter().any(|instance| instance.family() == "wgmma_gemm"));
        assert!(one.iter().all(|instance| instance.family() != "packed_gemm"));
    }
}
