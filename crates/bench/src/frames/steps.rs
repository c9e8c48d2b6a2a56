//! What outputs and maps of a network's steps take, each by itself.

use std::time::Instant;

use voxtune::{Direction, Geometry, LayerKind, MapCounts, Operation, Voxels};
use voxtune_models::{NetworkLayer, NetworkStep};

use super::FrameError;
use super::report::StepReport;
use super::statistics::median;
use super::subject::Subject;

/// Runs that each median is of.
const RUNS: usize = 11;

/// The convolutions of a frame, and the counts of their maps.
pub(super) fn layers(subject: &Subject<'_>) -> Result<Vec<(Operation, MapCounts)>, FrameError> {
    let mut at = subject.voxels()?;
    let mut layers = Vec::new();
    for step in subject.network.steps() {
        let (outputs, map) = at.outputs_of(step.geometry())?;
        if let NetworkStep::Convolution(NetworkLayer { geometry, c_in, c_out }) = step {
            let c_in = if layers.is_empty() { subject.c_in } else { c_in };
            let Geometry { kind, kernel, stride, .. } = geometry;
            let (direction, dtype) = (Direction::Forward, subject.dtype);
            let submanifold = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
            layers.push((Operation { kind, stride, ..submanifold }, map.counts()));
        }
        at = outputs;
    }
    Ok(layers)
}

/// Every distinct map of the network, but those of inverse layers: they are by-products of those
/// that they undo.
pub(super) fn measure(subject: &Subject<'_>) -> Result<Vec<StepReport>, FrameError> {
    let mut at = subject.voxels()?;
    let mut seen: Vec<(Voxels, Geometry)> = Vec::new();
    let mut steps = Vec::new();
    for step in subject.network.steps() {
        let geometry = *step.geometry();
        let outputs = at.outputs_of(&geometry)?.0;
        let is_seen =
            |(voxels, known): &(Voxels, Geometry)| *known == geometry && voxels.is_same(&at);
        if geometry.kind != LayerKind::Inverse && !seen.iter().any(is_seen) {
            seen.push((at.clone(), geometry));
            steps.push(once(subject, &at, &outputs, &geometry)?);
        }
        at = outputs;
    }
    Ok(steps)
}

fn once(
    subject: &Subject<'_>,
    inputs: &Voxels,
    outputs: &Voxels,
    geometry: &Geometry,
) -> Result<StepReport, FrameError> {
    let device = subject.device;
    let cells = inputs.cells()?.to_vec();
    let fresh = || match inputs.shape() {
        Some(shape) => Voxels::within(device, shape, cells.clone()),
        None => Voxels::new(device, cells.clone()),
    };
    let (mut walls_ms, mut spans_ms) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let voxels = fresh()?;
        device.synchronize()?;
        let start = Instant::now();
        let made = voxels.outputs_of(geometry)?;
        device.synchronize()?;
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        drop(made);
        let voxels = fresh()?;
        device.synchronize()?;
        let span = device.span(|| voxels.outputs_of(geometry).map(drop))?;
        // The first one is a warm-up.
        if run > 0 {
            walls_ms.push(wall_ms);
            spans_ms.push(span.as_secs_f64() * 1e3);
        }
    }
    Ok(StepReport {
        step: geometry.to_string(),
        inputs: inputs.count()?,
        outputs: outputs.count()?,
        wall_ms: median(&walls_ms),
        span_ms: device.memory_use().map(|_| median(&spans_ms)),
    })
}
