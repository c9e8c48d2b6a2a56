//! `bench`: times of layers on clouds, beside ceilings and other libraries.

use std::path::Path;

use voxtune::{AlgoMode, DType, Direction, KernelSize};
use voxtune_bench::bench::peers::Peers;
use voxtune_bench::bench::roofline::Rates;
use voxtune_bench::bench::{Bench, BenchEvent, BenchOptions, text as report_text};
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;

use crate::bench_model::{self, NetworkArguments};
use crate::bench_setup::{BenchSetup, DEFAULT_VOXELS, read_peers};
use crate::exit::{Exit, Failure};
use crate::l2_state::l2_state;
use crate::numbers::positive;
use crate::output;
use crate::page::width_of_stdout;
use crate::texts::text;

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
    /// Kernel size: 1, 3 or 5
    #[arg(long, value_name = "K", default_value = "3", value_parser = kernel_size)]
    kernel_size: KernelSize,
    /// Directions: forward, dgrad, wgrad [default: all]
    #[arg(long, value_name = "DIRECTION", num_args = 1..)]
    directions: Option<Vec<Direction>>,
    /// Algorithms beside the default: auto, trimmed, all, a family, an id, or a list such as
    /// `[a,b]`
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
    /// Rates that floors are computed with instead of those measured in the run: TB/s and TFLOP/s
    #[arg(long, value_name = "COPY,DENSE", value_parser = rates, conflicts_with = "model")]
    rates: Option<Rates>,
    #[command(flatten)]
    networks: NetworkArguments,
    #[command(flatten)]
    setup: BenchSetup,
}

impl BenchArguments {
    fn options(&self, on_gpu: bool) -> Result<BenchOptions, Failure> {
        let dtype = if on_gpu { DType::Float16 } else { DType::Float32 };
        Ok(BenchOptions {
            clouds: self.setup.clouds.named_or_generated(DEFAULT_VOXELS)?,
            channels: self.channels.clone(),
            groups: self.groups,
            kernel: self.kernel_size,
            directions: self.directions.clone().unwrap_or_else(|| Direction::ALL.to_vec()),
            dtypes: self.setup.dtypes.clone().unwrap_or_else(|| vec![dtype]),
            mode: self.algo_mode.clone(),
            filter: self.filter.clone(),
            rounds: self.rounds,
            calls: self.calls,
            l2_state: l2_state(self.warm, on_gpu),
            seed: self.setup.clouds.seed,
            peers: self.setup.peers.as_deref().map(read_layer_peers).transpose()?,
            rates: self.rates,
        })
    }
}

pub(crate) fn run(arguments: &BenchArguments) -> Result<Exit, Failure> {
    let setup = &arguments.setup;
    if let Some(ran) = bench_model::run(&arguments.networks, setup) {
        return ran;
    }
    let json = setup.json.checked()?;
    let device = setup.open_device(&setup.kernels.source())?;
    let kernels = setup.open_kernels(&device)?;
    let options = arguments.options(kernels.is_some())?;
    output::status("Device", device.identity());
    let report = Bench { device: &device, kernels, options: &options }.run(&mut progress);
    output::results(&report_text::report(&report, arguments.all, width_of_stdout()));
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

fn read_layer_peers(path: &Path) -> Result<Peers, Failure> {
    read_peers(path, |bytes| Peers::parse(bytes))
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
    use clap::error::ErrorKind;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(more: &[&str]) -> Result<BenchArguments, ErrorKind> {
        let line = ["xtask", "bench"].iter().chain(more);
        match Cli::try_parse_from(line).map_err(|error| error.kind())?.command {
            Command::Bench(arguments) => Ok(*arguments),
            other => panic!("{other:?}"),
        }
    }

    fn arguments(more: &[&str]) -> BenchArguments {
        parse(more).unwrap()
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
        let failure = read_layer_peers(Path::new("no such file")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn networks_and_layers_do_not_mix() {
        let model = ["--model", "spunet", "--clouds", "uniform:9"];
        let with = |more: &[&str]| parse(&[&model[..], more].concat()).map(drop);
        assert_eq!(with(&["--training", "--many", "9", "--grid", "64,64,64"]), Ok(()));
        for layers in [&["--channels", "3,4"][..], &["--rounds", "3"], &["--calls"], &["--warm"]] {
            assert_eq!(with(layers), Err(ErrorKind::ArgumentConflict), "{layers:?}");
        }
        let alone = |more: &[&str]| parse(more).map(drop);
        assert_eq!(alone(&["--model", "spunet"]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(alone(&["--training"]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(alone(&["--frames", "9"]), Err(ErrorKind::MissingRequiredArgument));
    }

    #[test]
    fn a_cloud_that_is_not_there_is_a_usage_error() {
        let line = ["--device", "cpu", "--threads", "1", "--clouds", "uniform:9"];
        let arguments = arguments(&[&line[..], &["--model", "spunet:street"]].concat());
        let failure = run(&arguments).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("street") && failure.message.contains("uniform:9"));
    }
}
