//! `check`: every kernel of a GPU against what is known to be right, and layers and networks
//! against what other libraries computed.

mod fixtures;

use std::collections::BTreeSet;
use std::path::PathBuf;

use voxtune::{DeviceChoice, DeviceError};
use voxtune_bench::check::{self, CheckEvent, CheckOptions, Step, WorstError};
use voxtune_bench::cuda_kernels::CudaKernels;
use voxtune_cuda::algorithms;
use voxtune_tune::plan::partition::Partition;

use crate::duration::coarse;
use crate::exit::{Exit, Failure};
use crate::json_file::JsonFile;
use crate::kernel_folders::KernelFolders;
use crate::measured_clouds::CloudArguments;
use crate::output;
use crate::page::width_of_stdout;
use crate::texts::text;

/// Voxels of a generated cloud in the table of errors.
const TABLE_VOXELS: usize = 30_000;

/// Failures that are printed; all of them are in the JSON file.
const SHOWN_FAILURES: usize = 60;

/// Said where there is no GPU.
const ABOUT_GPUS: &str = "check is about GPUs: `cargo test` checks the algorithms of the CPU, and \
    --fixtures runs on it too";

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// Few shapes and small ones, on which every instance of a family still runs: for sanitizers
    #[arg(long)]
    quick: bool,
    /// Only algorithms whose id contains this text
    #[arg(long, value_name = "TEXT", value_parser = text)]
    filter: Option<String>,
    /// Steps to run: maps, float64, shapes, epilogue, strided, network, frame, clouds, repeats,
    /// large, race [default: all but race; quick: neither large]. Race runs every instance once
    /// and compares nothing: for race detectors
    #[arg(long, value_name = "STEP", num_args = 1..)]
    steps: Option<Vec<Step>>,
    /// Of the step race only this part, such as slice:1/4
    #[arg(long, value_name = "PART")]
    partition: Option<Partition>,
    /// Runs of each algorithm that must agree to the bit [default: 100; quick: 3]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// List the families of algorithms that use no library of others, one a line, and check nothing
    #[arg(long)]
    list_families: bool,
    #[command(flatten)]
    clouds: CloudArguments,
    /// Instead run a folder of fixtures and print the worst element of each. Fixtures are layers
    /// and networks that another library has computed, as index.json describes them
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "filter", "steps", "partition", "repeats"])]
    fixtures: Option<PathBuf>,
    /// GPU to check: auto (the first), or cuda:N. With --fixtures auto is the CPU where there is no
    /// GPU, and cpu is the CPU
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    #[command(flatten)]
    json: JsonFile,
    #[command(flatten)]
    kernels: KernelFolders,
}

impl CheckArguments {
    fn options(&self) -> Result<CheckOptions, Failure> {
        let steps = self.steps.clone().unwrap_or_else(|| {
            let is_default =
                |step: &Step| *step != Step::Race && !(self.quick && *step == Step::Large);
            Step::ALL.into_iter().filter(is_default).collect()
        });
        Ok(CheckOptions {
            quick: self.quick,
            filter: self.filter.clone().unwrap_or_default(),
            steps,
            repeats: self.repeats.unwrap_or(if self.quick { 3 } else { 100 }),
            clouds: self.clouds.generated_and_named(TABLE_VOXELS)?,
            part: self.partition,
        })
    }

    fn open(&self) -> Result<CudaKernels, Failure> {
        let ordinal = match self.device {
            DeviceChoice::Cuda(ordinal) => ordinal,
            DeviceChoice::Auto => 0,
            DeviceChoice::Cpu => {
                return Err(Failure::usage(format_args!("--device cpu: {ABOUT_GPUS}")));
            }
        };
        let (folder, toolkit) = (self.kernels.kernels(), self.kernels.toolkit());
        CudaKernels::open(ordinal, &folder, &toolkit).map_err(|error| match error {
            DeviceError::NotFound { .. } if self.device == DeviceChoice::Auto => {
                Failure::no_device(format_args!("{error}; {ABOUT_GPUS}"))
            }
            DeviceError::NotFound { .. } => Failure::no_device(error).at("--device"),
            other => Failure::failed(other),
        })
    }
}

pub(crate) fn run(arguments: &CheckArguments) -> Result<Exit, Failure> {
    if arguments.list_families {
        families().into_iter().for_each(output::result);
        return Ok(Exit::Success);
    }
    if let Some(folder) = &arguments.fixtures {
        return fixtures::run(folder, arguments.device, &arguments.kernels, &arguments.json);
    }
    let json = arguments.json.checked()?;
    let kernels = arguments.open()?;
    let options = arguments.options()?;
    output::status("Device", kernels.describe());
    let report = check::check(kernels, &options, &mut progress).map_err(Failure::failed)?;
    for step in &report.steps {
        output::result(format_args!(
            "{:8} {:6} checked, {} wrong, {:.1} s",
            step.step,
            step.checked,
            step.failures.len(),
            step.seconds
        ));
    }
    if !report.worst.is_empty() {
        output::result(
            "\nworst error of any element, over the larger of its magnitude and the root mean square",
        );
        output::results(&check::table(&report.worst, width_of_stdout()));
    }
    let failures: Vec<&str> = report.failures().collect();
    for failure in failures.iter().take(SHOWN_FAILURES) {
        output::result(format_args!("FAILED {failure}"));
    }
    json.write(&report)?;
    let past = report.worst.iter().filter(|worst| WorstError::exceeds(worst)).count();
    let checked: usize = report.steps.iter().map(|step| step.checked).sum();
    output::result(format_args!(
        "checked {checked}, failures {}, entries of the table past their tolerance {past}",
        failures.len()
    ));
    Ok(if failures.is_empty() && past == 0 { Exit::Success } else { Exit::Failure })
}

/// What a sanitizer is run on one by one: a library's own kernels are its maker's to check.
fn families() -> BTreeSet<&'static str> {
    let own = algorithms().iter().filter(|algorithm| !algorithm.requires_cublas());
    own.map(|algorithm| algorithm.id().family()).collect()
}

fn progress(event: &CheckEvent<'_>) {
    match event {
        CheckEvent::Compiled(done) => output::status(
            "Compiled",
            format_args!(
                "{} of {} instances, {} failed, in {}",
                done.fresh,
                done.instances,
                done.failed,
                coarse(done.elapsed)
            ),
        ),
        CheckEvent::Started(step) => output::status("Checking", step),
        CheckEvent::Ended(report) if !report.failures.is_empty() => output::status(
            "Wrong",
            format_args!("{}: {} of {}", report.step, report.failures.len(), report.checked),
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(more: &[&str]) -> CheckArguments {
        let line = ["xtask", "check"].iter().chain(more);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Check(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_and_a_cpu_have_their_statuses() {
        let exit = |device| run(&arguments(&["--device", device])).unwrap_err().exit;
        assert_eq!((exit("cuda:4095"), exit("cpu")), (Exit::NoDevice, Exit::Usage));
    }

    #[test]
    fn quick_leaves_out_what_sanitizers_cannot_bear() {
        let quick = arguments(&["--quick", "--clouds", "uniform", "uniform:70"]).options().unwrap();
        assert!(!quick.steps.contains(&Step::Large) && quick.repeats == 3);
        let whole = arguments(&["--clouds", "uniform"]).options().unwrap();
        assert!(whole.steps.contains(&Step::Large) && !whole.steps.contains(&Step::Race));
        let labels: Vec<&str> = quick.clouds.iter().map(|cloud| &*cloud.label).collect();
        assert_eq!(labels, ["uniform", "surface", "uniform:70"]);
        let named = arguments(&["--steps", "large", "maps", "--repeats", "7"]).options().unwrap();
        assert_eq!((named.steps, named.repeats), (vec![Step::Large, Step::Maps], 7));
    }

    #[test]
    fn every_family_without_a_library_is_listed() {
        let families = families();
        assert!(families.len() >= 3 && !families.contains("explicit_gemm"), "{families:?}");
    }
}
