//! `bench`: times of layers on clouds, beside ceilings and other libraries.

use std::path::{Path, PathBuf};

use voxtune::{AlgoMode, DType, Device, DeviceChoice, DeviceError, Direction, KernelSize};
use voxtune_bench::bench::peers::Peers;
use voxtune_bench::bench::roofline::Rates;
use voxtune_bench::bench::{Bench, BenchEvent, BenchOptions, text as report_text};
use voxtune_bench::cuda_kernels::CudaKernels;
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;
use voxtune_types::printable_path;

use crate::exit::{Exit, Failure};
use crate::json_file::JsonFile;
use crate::kernel_folders::KernelFolders;
use crate::l2_state::l2_state;
use crate::measured_clouds::CloudArguments;
use crate::numbers::positive;
use crate::output;
use crate::texts::text;

/// Voxels of a generated cloud that names no count.
const DEFAULT_VOXELS: usize = 130_000;

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArguments {
    /// Channel pairs [default: those that the peers have for a cloud, else nine from 3,32 to
    /// 512,512]
    #[arg(long, value_name = "C_in,C_out", num_args = 1..)]
    channels: Option<Vec<ChannelPair>>,
    /// Groups of these channels: a number, or depthwise. Pairs that do not divide into them are
    /// left out
    #[arg(long, value_name = "G", default_value_t = Groups::ONE)]
    groups: Groups,
    #[command(flatten)]
    clouds: CloudArguments,
    /// Kernel size: 1, 3 or 5
    #[arg(long, value_name = "K", default_value = "3", value_parser = kernel_size)]
    kernel_size: KernelSize,
    /// Directions: forward, dgrad, wgrad [default: all]
    #[arg(long, value_name = "DIRECTION", num_args = 1..)]
    directions: Option<Vec<Direction>>,
    /// Storage types [default: float16 on a GPU, float32 on a CPU]
    #[arg(long, value_name = "DTYPE", num_args = 1..)]
    dtypes: Option<Vec<DType>>,
    /// Algorithms beside the default: auto, all, a family, an id, or a list such as `[a,b]`
    #[arg(long, value_name = "MODE", default_value_t = AlgoMode::Auto)]
    algo_mode: AlgoMode,
    /// Of these, only those whose id contains one of these texts
    #[arg(long, value_name = "TEXT", num_args = 1.., value_parser = text)]
    filter: Vec<String>,
    /// Interleaved rounds that each median is of
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = positive)]
    rounds: usize,
    /// Leave a GPU's L2 cache as a run of the same algorithm right before left it,
    /// instead of emptying it before every sample
    #[arg(long)]
    warm: bool,
    /// Print the whole ranking of each row
    #[arg(long)]
    all: bool,
    /// Also time back-to-back calls of SubmConv3d::forward with the fastest algorithm, host
    /// included
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1000", value_parser = positive)]
    calls: Option<usize>,
    /// Times of other libraries to print ratios to: JSON lines with peer, cloud, cin, cout, dtype,
    /// fwd_kernel_ms and train_kernel_ms
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// Rates that floors are computed with instead of those measured in the run: TB/s and TFLOP/s
    #[arg(long, value_name = "COPY,DENSE", value_parser = rates)]
    rates: Option<Rates>,
    /// Device to measure: cuda:N, cpu, or auto (the first GPU, else the CPU)
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cuda(0))]
    device: DeviceChoice,
    /// Worker threads of the CPU [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    #[command(flatten)]
    json: JsonFile,
    #[command(flatten)]
    kernels: KernelFolders,
}

impl BenchArguments {
    fn open(&self) -> Result<(Device, Option<CudaKernels>), Failure> {
        let opened = Device::open_with(self.device, &self.kernels.source());
        let (device, why_no_gpu) = opened.map_err(|error| match error {
            DeviceError::NotFound { .. } => Failure::no_device(error),
            other => Failure::failed(other),
        })?;
        if let Some(why) = why_no_gpu {
            output::status("Note", why);
        }
        if device.identity().arch.is_cuda() {
            let ordinal = match self.device {
                DeviceChoice::Cuda(ordinal) => ordinal,
                DeviceChoice::Auto | DeviceChoice::Cpu => 0,
            };
            let (folder, toolkit) = (self.kernels.kernels(), self.kernels.toolkit());
            let kernels = CudaKernels::open(ordinal as usize, &folder, &toolkit);
            return Ok((device, Some(kernels.map_err(Failure::failed)?)));
        }
        match self.threads {
            Some(threads) => {
                Ok((Device::cpu_with_threads(threads).map_err(Failure::failed)?, None))
            }
            None => Ok((device, None)),
        }
    }

    fn options(&self, on_gpu: bool) -> Result<BenchOptions, Failure> {
        let dtype = if on_gpu { DType::Float16 } else { DType::Float32 };
        Ok(BenchOptions {
            clouds: self.clouds.named_or_generated(DEFAULT_VOXELS)?,
            channels: self.channels.clone(),
            groups: self.groups,
            kernel: self.kernel_size,
            directions: self.directions.clone().unwrap_or_else(|| Direction::ALL.to_vec()),
            dtypes: self.dtypes.clone().unwrap_or_else(|| vec![dtype]),
            mode: self.algo_mode.clone(),
            filter: self.filter.clone(),
            rounds: self.rounds,
            calls: self.calls,
            l2_state: l2_state(self.warm, on_gpu),
            seed: self.clouds.seed,
            peers: self.peers.as_deref().map(read_peers).transpose()?,
            rates: self.rates,
        })
    }
}

pub(crate) fn run(arguments: &BenchArguments) -> Result<Exit, Failure> {
    let json = arguments.json.checked()?;
    let (device, kernels) = arguments.open()?;
    let options = arguments.options(kernels.is_some())?;
    output::status("Device", device.identity());
    let report = Bench { device: &device, kernels, options: &options }.run(&mut progress);
    output::results(&report_text::report(&report, arguments.all));
    json.write(&report)?;
    Ok(if report.failures.is_empty() { Exit::Success } else { Exit::Failure })
}

fn progress(event: &BenchEvent<'_>) {
    match event {
        BenchEvent::Compiling { kernels } => {
            output::status("Compiling", format_args!("for {kernels} candidates"));
        }
        BenchEvent::Ceilings(ceilings) => {
            output::status("Ceilings", report_text::ceilings(ceilings))
        }
        BenchEvent::Cloud(cloud) => output::status("Cloud", report_text::cloud_line(cloud)),
        BenchEvent::Row(row) => output::status("Timed", report_text::row_line(row)),
        BenchEvent::Failed(why) => output::status("Failed", why),
        _ => {}
    }
}

fn read_peers(path: &Path) -> Result<Peers, Failure> {
    let name = printable_path(path);
    let bytes = voxtune_files::read_argument(path)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    Peers::parse(&bytes).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

fn kernel_size(text: &str) -> Result<KernelSize, String> {
    let extent = text.parse().map_err(|_| "expected 1, 3 or 5".to_owned())?;
    KernelSize::submanifold(extent).map_err(|error| error.to_string())
}

fn rates(text: &str) -> Result<Rates, String> {
    let rate = |part: &str| {
        let tera: f64 = part.parse().ok()?;
        (tera > 0.0 && tera.is_finite()).then_some(tera * 1e12)
    };
    text.split_once(',')
        .and_then(|(copy, dense)| {
            Some(Rates { copy_bytes_per_s: rate(copy)?, dense_flops_per_s: rate(dense)? })
        })
        .ok_or_else(|| "expected TB/s and TFLOP/s, both above 0, such as 3.0,770".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn arguments(more: &[&str]) -> BenchArguments {
        let line = ["xtask", "bench"].iter().chain(more);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Bench(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_has_its_status() {
        let failure = run(&arguments(&["--device", "cuda:4095"])).unwrap_err();
        assert_eq!(failure.exit, Exit::NoDevice);
    }

    #[test]
    fn calls_are_a_thousand_unless_told_otherwise() {
        let calls = |more: &[&str]| arguments(more).calls;
        assert_eq!(
            [calls(&[]), calls(&["--calls"]), calls(&["--calls", "9"])],
            [None, Some(1000), Some(9)]
        );
    }

    #[test]
    fn a_gpu_measures_float16_and_a_cpu_float32() {
        let options = |on_gpu| arguments(&["--clouds", "uniform:9"]).options(on_gpu).unwrap();
        assert_eq!(options(true).dtypes, [DType::Float16]);
        assert_eq!(options(false).dtypes, [DType::Float32]);
    }

    #[test]
    fn rates_are_two_numbers_above_zero() {
        let expected = Rates { copy_bytes_per_s: 3e12, dense_flops_per_s: 770e12 };
        assert_eq!(rates("3.0,770"), Ok(expected));
        for text in ["", "3", "3,", "0,770", "3,-1", "3,inf", "3,nan", "a,b"] {
            assert!(rates(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_peers_that_is_none_is_a_usage_error() {
        let failure = read_peers(Path::new("no such file")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
