//! `populate`: measures a grid and writes the winners.

mod arguments;
mod progress;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use voxtune::{Device, DeviceError, is_known_algorithm, known_algorithms};
use voxtune_cache::CacheDir;
use voxtune_shape::mode::AlgoModes;
use voxtune_shape::{AlgoId, AlgoMode, Direction};
use voxtune_tune::estimate::{configuration_bytes, human_bytes};
use voxtune_tune::{Plan, Populate, Summary};

pub(crate) use arguments::PopulateArguments;

use crate::exit::{Exit, Failure};
use progress::Progress;

/// How long to wait for another populate that is writing the same file: each write takes
/// milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &PopulateArguments) -> Result<Exit, Failure> {
    let modes = AlgoModes::resolve(arguments.algo_mode(), |name| std::env::var(name).ok())
        .map_err(Failure::usage)?;
    check_names(&modes)?;
    let mut request = arguments.request(modes);
    let plan = Plan::new(&request).map_err(Failure::usage)?;
    for merged in &plan.merged {
        eprintln!(
            "{:>12} {} voxels are measured as {}, which share a bucket",
            "Merged", merged.voxels, merged.into
        );
    }
    if arguments.is_dry_run() {
        return Ok(dry_run(&plan, &request.directions));
    }
    let device = open(arguments)?;
    check_available(&device, &request.modes, &request.directions)?;
    request.budget = arguments.budget(device.identity().arch);
    let cache = CacheDir::new(arguments.folder().resolve()?);
    let interrupt = Arc::new(AtomicBool::new(false));
    watch_for_ctrl_c(&interrupt)?;
    eprintln!("{:>12} {}", "Device", device.identity());
    eprintln!("{:>12} {}", "Cache", cache.decisions_path(device.identity().arch).display());
    let populate = Populate {
        device: &device,
        plan: &plan,
        request: &request,
        cache: &cache,
        lock_wait: LOCK_WAIT,
        interrupt: &interrupt,
    };
    let mut progress = Progress::new(plan.configurations.len());
    let start = Instant::now();
    let result = populate.run(&mut progress);
    progress.finish();
    eprintln!("{:>12} in {:.1} s", "Finished", start.elapsed().as_secs_f64());
    let summary = result.map_err(Failure::failed)?;
    println!("cache {}", cache.decisions_path(device.identity().arch).display());
    println!("{}", last_line(&summary));
    Ok(if summary.failed == 0 { Exit::Success } else { Exit::Failure })
}

fn last_line(summary: &Summary) -> String {
    let Summary { requested, measured, skipped, failed, interrupted } = summary;
    let note = if *interrupted { " (interrupted)" } else { "" };
    format!(
        "requested {requested} = measured {measured} + skipped {skipped} + failed {failed}{note}"
    )
}

fn dry_run(plan: &Plan, directions: &[Direction]) -> Exit {
    for planned in &plan.configurations {
        let clouds: Vec<&str> = planned.clouds.iter().map(|cloud| cloud.label()).collect();
        println!("{}  {}", planned.configuration, clouds.join(", "));
    }
    let peak = plan.configurations.iter().map(|planned| configuration_bytes(planned, directions));
    eprintln!("{:>12} {}", "Peak memory", human_bytes(peak.max().unwrap_or(0)));
    println!("{} configurations", plan.configurations.len());
    Exit::Success
}

/// Names that no backend knows are refused before anything is opened.
fn check_names(modes: &AlgoModes) -> Result<(), Failure> {
    for direction in Direction::ALL {
        let AlgoMode::Named(names) = modes.of(direction) else { continue };
        if let Some(unknown) = names.iter().find(|name| !is_known_algorithm(name)) {
            let known = listed(&known_algorithms());
            return Err(Failure::usage(format!(
                "unknown algorithm `{unknown}`: known are {known}"
            )));
        }
    }
    Ok(())
}

/// Names that this device lacks are refused before anything is measured.
fn check_available(
    device: &Device,
    modes: &AlgoModes,
    directions: &[Direction],
) -> Result<(), Failure> {
    let present: Vec<AlgoId> =
        device.registry().algorithms().map(|algorithm| algorithm.id().clone()).collect();
    for &direction in directions {
        if let Some(lacking) = modes.of(direction).unknown(&present).first() {
            return Err(Failure::usage(format!(
                "{} has no algorithm `{lacking}`: it has {}",
                device.identity().arch,
                listed(&present)
            )));
        }
    }
    Ok(())
}

fn listed(ids: &[AlgoId]) -> String {
    let mut names: Vec<&str> = ids.iter().map(AlgoId::family).collect();
    names.extend(ids.iter().map(AlgoId::as_str));
    let mut seen = Vec::new();
    names.retain(|name| {
        let new = !seen.contains(name);
        seen.push(*name);
        new
    });
    names.join(", ")
}

fn open(arguments: &PopulateArguments) -> Result<Device, Failure> {
    let opened = arguments.open_device();
    let (device, why_no_gpu) = opened.map_err(|error| match error {
        DeviceError::NotFound { .. } => Failure::no_device(error),
        other => Failure::failed(other),
    })?;
    if let Some(why) = why_no_gpu {
        eprintln!("{:>12} {why}", "Note");
    }
    Ok(device)
}

/// The first Ctrl-C ends the run after the sample at hand; the second ends the process.
fn watch_for_ctrl_c(interrupt: &Arc<AtomicBool>) -> Result<(), Failure> {
    let flag = Arc::clone(interrupt);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            #[expect(
                clippy::exit,
                reason = "a second Ctrl-C is asked for in order to end at once"
            )]
            std::process::exit(130);
        }
        eprintln!("\n{:>12} after the sample at hand; again to end at once", "Stopping");
    })
    .map_err(|error| Failure::failed(format!("failed to listen for Ctrl-C: {error}")))
}
