//! `populate`: measures a grid and writes the winners.

mod arguments;
mod charges;
mod model;
mod progress;
mod recorder;
mod report;
mod table;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use voxtune::{Device, DeviceError};
use voxtune_analyze::fit::{is_stale, model_path};
use voxtune_analyze::report::shell::quoted;
use voxtune_analyze::samples::SamplesWriter;
use voxtune_cache::{CacheDir, read_file};
use voxtune_cuda::MapBuilder;
use voxtune_tune::inputs::planned_cloud::PlannedCloud;
use voxtune_tune::measure::estimate::configuration_bytes;
use voxtune_tune::plan::partition::PART_VARIABLES;
use voxtune_tune::plan::shape_file::{Shape, Shapes};
use voxtune_tune::worker::WorkerError;
use voxtune_tune::{
    DevicePool, Executor, Gpus, Plan, PlanError, Populate, Protocol, Request, Summary, Worker,
};
use voxtune_types::{Arch, Density, DeviceIdentity, Direction, printable, printable_path};

pub(crate) use arguments::{PopulateArguments, unnamed_modes};

use crate::algo_modes::{algo_modes, alternatives, source_of_modes, variable};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::json_file::JsonReport;
use crate::l2_state::l2_state;
use crate::output;
use crate::output_file::OutputFile;
use crate::program;
use crate::report::say_how;
use model::profile::Walk;
use progress::Progress;
use recorder::Recorder;
use report::{PlanReport, RunReport};

/// How long to wait for another populate that is writing the same file: each write takes
/// milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(30);

pub(crate) fn run(arguments: &PopulateArguments) -> Result<Exit, Failure> {
    arguments.check()?;
    let json = arguments.json().checked()?;
    let profile = arguments.profile()?;
    let modes = algo_modes(arguments.algo_mode(), arguments.unnamed_modes())?;
    let mut request = arguments.request(modes);
    // The files of a model's levels are there until the run ends.
    let of_model = match arguments.model() {
        None => None,
        Some((model, dtypes)) => {
            Some(model::plan_model(model, arguments.grid(), &dtypes, &request)?)
        }
    };
    let shapes = arguments.shapes()?;
    let mut plan = match (&of_model, shapes) {
        (Some(of_model), _) => of_model.plan.clone(),
        (None, Some(shapes)) => plan_shapes(&shapes, &mut request)?,
        (None, None) => arguments.plan(&request).map_err(unplanned)?,
    };
    for warning in plan.warnings() {
        output::complain("warning", warning);
    }
    for count in plan.counts_on_edges() {
        output::complain("warning", count);
    }
    for merged in &plan.merged {
        let text = format!("{} voxels are measured as {}", merged.voxels, merged.into);
        output::status("Merged", format_args!("{text}, which share a bucket"));
    }
    let is_set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    if let Some(partition) = arguments.partition() {
        let partition = partition.resolve(variable);
        let partition = partition.map_err(|error| Failure::usage(error).at("--partition"))?;
        let whole = plan.configurations.len();
        partition.keep(&mut plan, &request.protocol.directions);
        let part = plan.configurations.len();
        output::status("Partition", format_args!("{partition}: {part} of {whole} configurations"));
    } else if let Some(name) = PART_VARIABLES.into_iter().find(|name| is_set(name)) {
        let text = format!("{name} is set; without --partition env this run takes the whole");
        output::status("Note", text);
    }
    let profile = Profile { file: profile, walk: of_model.as_ref().map(|of_model| &of_model.walk) };
    if arguments.is_dry_run() && !arguments.demands_a_device() {
        profile.write(Device::cpu)?;
        return dry_run(arguments, &plan, &request.protocol.directions, &json);
    }
    let start = Instant::now();
    let mut pool = open(arguments)?;
    check_available(arguments, pool.primary(), &request)?;
    if arguments.is_dry_run() {
        profile.write(Device::cpu)?;
        return dry_run(arguments, &plan, &request.protocol.directions, &json);
    }
    let identity = pool.primary().identity().clone();
    let arch = identity.arch;
    if arch.is_cuda() {
        pass_over_sliced(&mut plan);
    }
    request.protocol.budget = arguments.budget(arch);
    request.protocol.l2_state = l2_state(arguments.is_warm(), arch.is_cuda());
    let cache = CacheDir::new(arguments.folder().resolve()?);
    let interrupt = interrupt::watched()?;
    match pool.size() {
        1 => output::status("Device", &identity),
        count => output::status("Devices", format_args!("{count} × {identity}")),
    }
    output::status("Cache", printable_path(&cache.decisions_path(arch)));
    if arguments.clears_cache() {
        clear(&cache, &identity)?;
    }
    let populate = Populate {
        plan: &plan,
        request: &request,
        cache: &cache,
        lock_wait: LOCK_WAIT,
        interrupt: &interrupt,
    };
    let samples = arguments.samples().map(SamplesWriter::append_to).transpose();
    let samples = samples.map_err(Failure::failed)?;
    let mut progress = Progress::new(plan.configurations.len());
    let report = RunReport::default();
    let mut recorder = Recorder { progress: &mut progress, samples, report, failure: None };
    let result = populate.run_on_pool(&mut pool, &mut recorder);
    let (unsaved, report) = (recorder.failure, recorder.report);
    progress.finish();
    output::status("Finished", format_args!("in {:.1} s", start.elapsed().as_secs_f64()));
    let summary = result.map_err(Failure::failed)?;
    output::status("Spent", summary.spent);
    if let Some(error) = &unsaved {
        output::complain("error", format_args!("samples are not complete: {error}"));
    }
    let decisions = cache.decisions_path(arch);
    if decisions.exists() {
        output::result(format_args!("cache {}", printable_path(&decisions)));
        say_how([cache.path()]);
        say_what_is_stale(&cache, arch);
    } else {
        output::status("Note", "nothing was decided, so that there is no cache");
    }
    profile.write(|| arguments.device().open().map(|(device, _)| device))?;
    let path = decisions.display().to_string();
    let written = json.write(&report.ended(&identity, path, &summary, start.elapsed()));
    output::result(last_line(&summary));
    written?;
    Ok(if summary.failed == 0 && unsaved.is_none() { Exit::Success } else { Exit::Failure })
}

/// What `--profile` asks for.
struct Profile<'a> {
    file: Option<OutputFile>,
    walk: Option<&'a Walk>,
}

impl Profile<'_> {
    /// Makes the profile on a device, if one is asked for. A host knows what levels have, and not
    /// what a GPU's layers read of their maps.
    fn write(&self, open: impl FnOnce() -> Result<Device, DeviceError>) -> Result<(), Failure> {
        let (Some(file), Some(walk)) = (&self.file, self.walk) else { return Ok(()) };
        let device = open().map_err(Failure::failed)?;
        file.write(walk.profile(&device)?.to_bytes())
    }
}

/// The plan of shapes out of a file, in those of the requested directions that they ask for.
fn plan_shapes(shapes: &Shapes, request: &mut Request) -> Result<Plan, Failure> {
    for reason in &shapes.passed_over {
        output::status("Passed over", reason);
    }
    let wanted = shapes.wanted();
    let (named, distinct) = (shapes.shapes.len(), wanted.len());
    output::status("Shapes", format_args!("{named}, in {distinct} configurations"));
    let asked = shapes.directions();
    request.protocol.directions.retain(|direction| asked.contains(direction));
    if shapes
        .shapes
        .iter()
        .any(|shape| request.protocol.directions.iter().any(|&one| !shape.asks_for(one)))
    {
        let names: Vec<_> = request.protocol.directions.iter().map(ToString::to_string).collect();
        let text = format!(
            "every layer is measured in all directions that some shape asks for: {}",
            names.join(", ")
        );
        output::status("Note", text);
    }
    if request.protocol.directions.is_empty() {
        return Err(Failure::usage(
            "no shape of the file asks for a direction that --forward-only or --backward-only leave",
        ));
    }
    let list: Vec<_> = wanted.iter().map(|wanted| wanted.configuration).collect();
    let plan = Plan::of_list(request, &list).map_err(unplanned)?;
    if let Some(text) = uncovered(shapes, &plan) {
        output::status("Note", text);
    }
    Ok(plan)
}

/// What is wrong with clouds is said of their flag.
fn unplanned(error: PlanError) -> Failure {
    match error {
        PlanError::Cloud(_) | PlanError::SameLabel { .. } => Failure::usage(error).at("--clouds"),
        other => Failure::usage(other),
    }
}

/// Which classes of density the shapes have met and no generated cloud of the plan has.
fn uncovered(shapes: &Shapes, plan: &Plan) -> Option<String> {
    let met = |shape: &Shape| {
        let density = shape.density?;
        let kernel = shape.configuration.layer.kernel;
        let clouds = plan.configurations.iter().flat_map(|planned| &planned.clouds);
        let covered = clouds.clone().any(|cloud| {
            let pairs = cloud.expected_pairs_per_row(kernel.volume());
            matches!(cloud, PlannedCloud::File(_)) || Density::of(pairs as usize, 1) == density
        });
        (!covered).then_some(density)
    };
    let missing: BTreeSet<Density> = shapes.shapes.iter().filter_map(met).collect();
    if missing.is_empty() {
        return None;
    }
    let classes: Vec<String> = missing.iter().map(Density::to_string).collect();
    Some(format!(
        "some shapes met {} pairs per row, which no generated cloud has: add scans with --clouds",
        classes.join(", ")
    ))
}

/// Leaves out layers whose kernels have more offsets than a GPU's maps hold. A GPU computes them in
/// slices, and no measurement of a layer has a slice's outputs.
fn pass_over_sliced(plan: &mut Plan) {
    let most = MapBuilder::MAX_VOLUME;
    plan.configurations.retain(|planned| {
        let volume = planned.configuration.layer.kernel.volume();
        if volume > most {
            let text = format!("{}: {volume} offsets, of at most {most}", planned.configuration);
            output::status("Passed over", text);
        }
        volume <= most
    });
}

fn last_line(summary: &Summary) -> String {
    let Summary { requested, measured, skipped, failed, interrupted, .. } = summary;
    let note = if *interrupted { " (interrupted)" } else { "" };
    format!(
        "requested {requested} = measured {measured} + skipped {skipped} + failed {failed}{note}"
    )
}

fn dry_run(
    arguments: &PopulateArguments,
    plan: &Plan,
    directions: &[Direction],
    json: &JsonReport,
) -> Result<Exit, Failure> {
    for planned in &plan.configurations {
        let clouds: Vec<_> = planned.clouds.iter().map(|cloud| printable(cloud.label())).collect();
        output::result(format_args!("{}  {}", planned.configuration, clouds.join(", ")));
    }
    if arguments.skips_evidence() {
        output::status("Note", "a dry run does not look at evidence: some of these may be skipped");
    }
    if arguments.clears_cache() {
        output::status("Note", "a dry run clears nothing");
    }
    let peak = plan.configurations.iter().map(|planned| configuration_bytes(planned, directions));
    let peak = peak.max().unwrap_or(0);
    output::status("Peak memory", ByteSize(peak));
    output::result(format_args!("{} configurations", plan.configurations.len()));
    json.write(&PlanReport::new(plan, peak))?;
    Ok(Exit::Success)
}

/// Names the command that learns from new evidence, where something was learned from older one. A
/// damaged file is `verify`'s to tell of.
fn say_what_is_stale(cache: &CacheDir, arch: Arch) {
    let model = model_path(cache.path(), arch);
    let evidence = read_file(&cache.evidence_path(arch)).ok().flatten();
    if evidence.is_some_and(|evidence| matches!(is_stale(&model, &evidence), Ok(Some(true)))) {
        let folder = quoted(&cache.path().to_string_lossy());
        let fit = program::command(&format!("fit --out {folder}"));
        let model = printable_path(&model);
        output::status("Note", format_args!("{model} was learned from other evidence: {fit}"));
    }
}

/// Removes what a cache holds of a device.
fn clear(cache: &CacheDir, device: &DeviceIdentity) -> Result<(), Failure> {
    let cleared = cache.clear(device, LOCK_WAIT).map_err(Failure::failed)?;
    output::set_aside(&cleared.set_aside);
    let (entries, lone) = cleared.value;
    let lone = match lone {
        0 => String::new(),
        lone => format!(" and {lone} decisions that came without any"),
    };
    let folder = printable_path(cache.path());
    output::status("Cleared", format_args!("{entries} entries{lone} of {device} from {folder}"));
    Ok(())
}

/// Names that this device lacks are refused before anything is measured.
fn check_available(
    arguments: &PopulateArguments,
    executor: &Executor,
    request: &Request,
) -> Result<(), Failure> {
    let Protocol { modes, directions, .. } = &request.protocol;
    for &direction in directions {
        let present = executor.algorithms();
        if let Some(lacking) = modes.of(direction).unknown(present).first() {
            let source = source_of_modes(arguments.algo_mode());
            return Err(Failure::usage(format!(
                "{source}: {} has no algorithm `{lacking}`: it has {}",
                executor.identity().arch,
                alternatives(lacking, present)
            )));
        }
    }
    Ok(())
}

/// Opens the device, in a worker unless told otherwise, or several GPUs.
fn open(arguments: &PopulateArguments) -> Result<DevicePool, Failure> {
    match arguments.gpus() {
        Some(gpus) => open_gpus(arguments, gpus),
        None => open_device(arguments).map(DevicePool::from),
    }
}

fn open_gpus(arguments: &PopulateArguments, gpus: &Gpus) -> Result<DevicePool, Failure> {
    let start = || {
        let devices = gpus.devices()?.into_iter();
        DevicePool::start(&devices.map(|device| arguments.spec(device)).collect::<Vec<_>>())
    };
    start().map_err(|error| match error {
        error if error.is_not_found() => Failure::no_device(error).at("--gpus"),
        other => Failure::failed(other),
    })
}

fn no_device(error: impl std::fmt::Display) -> Failure {
    Failure::no_device(error).at("--device")
}

fn open_device(arguments: &PopulateArguments) -> Result<Executor, Failure> {
    let spec = arguments.device();
    let (executor, why_no_gpu) = if arguments.is_isolated() && !arguments.is_dry_run() {
        let worker = Worker::start(&spec).map_err(|error| match error {
            WorkerError::Refused { not_found: true, .. } => no_device(error),
            other => Failure::failed(other),
        })?;
        let note = worker.opened().fallback_reason.clone();
        (Executor::from(worker), note)
    } else {
        let (device, note) = spec.open().map_err(|error| match error {
            DeviceError::NotFound { .. } => no_device(error),
            other => Failure::failed(other),
        })?;
        (Executor::from(device), note)
    };
    if let Some(why) = why_no_gpu {
        output::status("Note", why);
    }
    Ok(executor)
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, Geometry, KernelSize};
    use voxtune_tune::Preset;
    use voxtune_tune::plan::grid::{ChannelPair, Configuration};

    use super::*;

    #[test]
    fn kernels_that_a_gpu_computes_in_slices_are_passed_over() {
        let channels = ChannelPair { c_in: 4, c_out: 8 };
        let of = |extent| {
            let layer = Geometry::submanifold(KernelSize::cubic(extent).unwrap(), [1; 3]);
            Configuration { voxels: 100, channels, groups: 1, layer, dtype: DType::Float16 }
        };
        let request = Request::new(Preset::Quick.grid());
        let mut plan = Plan::of_list(&request, &[of(5), of(7), of(3)]).unwrap();
        pass_over_sliced(&mut plan);
        let left: Vec<usize> = plan
            .configurations
            .iter()
            .map(|planned| planned.configuration.layer.kernel.volume())
            .collect();
        assert_eq!(left, [125, 27]);
    }
}
