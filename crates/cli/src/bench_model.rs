//! `bench --model`: times of whole networks, frame by frame.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use voxtune::{DType, Device, FrameProfile};
use voxtune_bench::frames::peers::FramePeers;
use voxtune_bench::frames::{self, FrameEvent, FrameOptions, ModelSpec, text as frame_text};
use voxtune_models::Network;
use voxtune_types::printable_path;

use crate::bench_setup::{BenchSetup, DEFAULT_VOXELS, read_peers};
use crate::exit::{Exit, Failure};
use crate::numbers::{grid, positive};
use crate::output;
use crate::page::width_of_stdout;
use crate::texts::parsed;

/// Arguments of `bench --model`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NetworkArguments {
    /// Time whole frames of networks with random weights instead of layers: centerpoint, second,
    /// bevfusion, spunet, minkunet, spconv-bench or trellis. NAME/N takes N channels of a voxel,
    /// NAME:CLOUD,CLOUD some of the clouds. Kernels are those in the program, unless --kernels is
    /// given
    #[arg(
        long,
        value_name = "NAME[/N][:CLOUD,...]",
        num_args = 1..,
        requires = "clouds",
        conflicts_with_all = LAYER_ARGUMENTS
    )]
    model: Option<Vec<ModelSpec>>,
    /// Frames that each median is of, behind five others
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = positive,
        requires = "model"
    )]
    frames: usize,
    /// Also time training steps: forward and backward, the mean square as loss, no optimizer
    #[arg(long, requires = "model")]
    training: bool,
    /// Also time N different frames of each cloud: it is turned about its middle and cropped to
    /// between 10,000 and 135,000 voxels. A second copy joins a cloud of too few
    #[arg(long, value_name = "N", value_parser = positive, requires = "model")]
    many: Option<usize>,
    /// Profiles that `populate --model NAME --profile FILE` has written, one of a network or of
    /// all: first frames expect their counts instead of waiting
    #[arg(
        long,
        value_name = "[NAME=]FILE",
        num_args = 1..,
        value_parser = parsed(named_profile),
        requires = "model"
    )]
    profile: Vec<(Option<Network>, PathBuf)>,
    /// Cells along x, y, z [default: 1440,1440,41 for detectors, where the cloud fits; else 96 more
    /// than the largest coordinates]
    #[arg(long, value_name = "X,Y,Z", value_parser = grid, requires = "model")]
    grid: Option<[u32; 3]>,
}

/// What says which layers are timed, and how.
const LAYER_ARGUMENTS: [&str; 10] = [
    "channels",
    "groups",
    "kernel_size",
    "directions",
    "algo_mode",
    "filter",
    "rounds",
    "warm",
    "all",
    "calls",
];

/// Frames before those that are measured.
const WARM_UPS: usize = 5;

/// Times the networks that the arguments name, if they name any.
pub(crate) fn run(
    networks: &NetworkArguments,
    setup: &BenchSetup,
) -> Option<Result<Exit, Failure>> {
    let models = networks.model.clone()?;
    Some(run_models(networks, models, setup))
}

fn run_models(
    networks: &NetworkArguments,
    models: Vec<ModelSpec>,
    setup: &BenchSetup,
) -> Result<Exit, Failure> {
    let json = setup.json.checked()?;
    let device = setup.open_device(&setup.kernels.of_a_program())?;
    let options = options(networks, models, setup, &device)?;
    let mut kernels = match setup.open_kernels(&device) {
        Ok(kernels) => kernels,
        Err(why) => {
            output::status("Note", format_args!("no ceilings: {}", why.message));
            None
        }
    };
    output::status("Device", device.identity());
    let report = frames::run(&device, kernels.as_mut(), &options, &mut progress);
    output::results(&frame_text::report(&report, width_of_stdout()));
    json.write(&report)?;
    Ok(if report.failures.is_empty() { Exit::Success } else { Exit::Failure })
}

fn options(
    networks: &NetworkArguments,
    models: Vec<ModelSpec>,
    setup: &BenchSetup,
    device: &Device,
) -> Result<FrameOptions, Failure> {
    let NetworkArguments { frames, training, many, grid, .. } = *networks;
    let is_gpu = device.identity().arch.is_cuda();
    let dtype = if is_gpu { DType::Float16 } else { DType::Float32 };
    let peers = setup.peers.as_deref();
    let profiles = networks.profile.iter().map(|(network, path)| Ok((*network, profile(path)?)));
    let options = FrameOptions {
        models,
        clouds: setup.clouds.as_stored(DEFAULT_VOXELS)?,
        dtypes: setup.dtypes.clone().unwrap_or_else(|| vec![dtype]),
        frames,
        warm_ups: WARM_UPS,
        training,
        many,
        grid,
        profiles: profiles.collect::<Result<_, Failure>>()?,
        seed: setup.clouds.seed,
        peers: peers.map(|path| read_peers(path, |bytes| FramePeers::parse(bytes))).transpose()?,
    };
    if let Some(name) = options.missing_cloud() {
        let there: Vec<&str> = options.clouds.iter().map(|cloud| &*cloud.label).collect();
        let there = there.join(", ");
        return Err(Failure::usage(format!("--model names no cloud `{name}`: there are {there}")));
    }
    Ok(options)
}

/// A profile's file, with the network whose it is if there are others.
fn named_profile(text: &OsStr) -> Result<(Option<Network>, PathBuf), String> {
    let named = text.to_str().and_then(|text| text.split_once('='));
    let (network, path) = match named {
        Some((name, path)) => {
            let network = name.parse().map_err(|error| format!("{error}, in NAME=FILE"))?;
            (Some(network), OsStr::new(path))
        }
        None => (None, text),
    };
    if path.is_empty() {
        return Err("expected a profile's file".to_owned());
    }
    Ok((network, PathBuf::from(path)))
}

fn profile(path: &Path) -> Result<FrameProfile, Failure> {
    let name = printable_path(path);
    let bytes = voxtune_files::read_argument(path)
        .map_err(|error| Failure::usage(format!("--profile: cannot read {name}: {error}")))?;
    FrameProfile::from_bytes(&bytes)
        .map_err(|error| Failure::usage(format!("--profile: {name}: {error}")))
}

fn progress(event: &FrameEvent<'_>) {
    match event {
        FrameEvent::Network(name) => output::status("Running", name),
        FrameEvent::Measured(network) => {
            output::status("Timed", frame_text::network_line(network));
        }
        FrameEvent::Ceilings(ceilings) => {
            output::status("Ceilings", voxtune_bench::bench::text::ceilings(ceilings));
        }
        FrameEvent::Failed(why) => output::status("Failed", why),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_of_one_network_or_of_all() {
        let named = |text: &str| named_profile(OsStr::new(text));
        assert_eq!(named("a.profile"), Ok((None, PathBuf::from("a.profile"))));
        let path = PathBuf::from("b=c");
        assert_eq!(named("second=b=c"), Ok((Some(Network::Second), path)));
        for (text, what) in
            [("", "a profile's file"), ("second=", "a profile's file"), ("a=b", "`a`")]
        {
            let error = named(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
