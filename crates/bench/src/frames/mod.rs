//! Times of whole networks on clouds: a frame from coordinates and features to the result.
//!
//! | step | module |
//! |---|---|
//! | which networks on which clouds | [`options`] |
//! | a network with what it reads | `subject` |
//! | the ways to run a frame | [`way`] |
//! | many different frames of a sweep, and a line through their times | `many`, [`fit`] |
//! | wall clock, events, counters around frames | `measure` |
//! | outputs and map of each step | `steps` |
//! | times of other libraries | [`peers`] |
//! | what is written and printed | [`report`], [`text`] |
//!
//! A network has random weights at the widths of its authors. Each of them runs in an execution
//! context of its own, so that nothing of another one is in its memory.

pub mod fit;
mod many;
mod measure;
pub mod options;
pub mod peers;
pub mod report;
mod statistics;
mod steps;
mod subject;
pub mod text;
pub mod way;

#[cfg(test)]
mod tests;

use voxtune::{ConvError, DType, Device, ExpectedCounts};
use voxtune_models::ModelError;

use measure::Meter;
pub use options::{FrameOptions, ModelSpec};
use report::{FrameReport, NetworkReport};
use subject::Subject;
use way::{Compiled, Inference, Training, Way};

use crate::bench::report::CeilingsReport;
use crate::bench::{ceilings, rates_of};
use crate::cuda_kernels::CudaKernels;
use crate::named_cloud::NamedCloud;

/// What happens during a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum FrameEvent<'a> {
    /// A network is about to be measured on a cloud.
    Network(&'a str),
    /// It was.
    Measured(&'a NetworkReport),
    /// The device's rates are known.
    Ceilings(&'a CeilingsReport),
    /// Something failed.
    Failed(&'a str),
}

/// Why a network could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    Device(#[from] ConvError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Measures every network on its clouds. What fails is in the report. The ceilings come last: they
/// leave memory with the driver that a first frame would then be given faster.
pub fn run(
    device: &Device,
    kernels: Option<&mut CudaKernels>,
    options: &FrameOptions,
    observer: &mut dyn FnMut(&FrameEvent<'_>),
) -> FrameReport {
    let described = kernels.as_ref().map(|kernels| kernels.describe());
    let mut report = FrameReport {
        device: described.unwrap_or_else(|| device.identity().to_string()),
        frames: options.frames,
        ceilings: CeilingsReport::default(),
        networks: Vec::new(),
        peers: Vec::new(),
        failures: Vec::new(),
    };
    for (spec, cloud) in options.pairs() {
        for &dtype in &options.dtypes {
            let name = format!("{} {dtype} on {}", spec.network, cloud.label);
            observer(&FrameEvent::Network(&name));
            match measure(device, spec, cloud, dtype, options) {
                Ok(measured) => {
                    observer(&FrameEvent::Measured(&measured));
                    report.networks.push(measured);
                }
                Err(error) => fail(&mut report, observer, format!("{name}: {error}")),
            }
        }
    }
    if let Some(kernels) = kernels {
        match ceilings::measure(kernels, &options.dtypes) {
            Ok(ceilings) => {
                for network in &mut report.networks {
                    let rates = rates_of(&ceilings, network.dtype);
                    network.floor = rates.map(|rates| network.floor_at(rates));
                }
                report.ceilings = ceilings;
            }
            Err(error) => fail(&mut report, observer, format!("ceilings: {error}")),
        }
    }
    observer(&FrameEvent::Ceilings(&report.ceilings));
    if let Some(peers) = &options.peers {
        report.peers = peers.beside(&report.networks);
    }
    report
}

fn fail(report: &mut FrameReport, observer: &mut dyn FnMut(&FrameEvent<'_>), why: String) {
    observer(&FrameEvent::Failed(&why));
    report.failures.push(why);
}

fn measure(
    device: &Device,
    spec: &ModelSpec,
    cloud: &NamedCloud,
    dtype: DType,
    options: &FrameOptions,
) -> Result<NetworkReport, FrameError> {
    // Memory of a context: what the networks before have left to theirs is gone.
    let device = device.with_new_stream()?;
    let subject = Subject::new(&device, spec, cloud, dtype, options);
    let mut report = subject.describe();
    let meter = Meter::new(&device);
    let model = subject.inference()?;
    report.weights_bytes = meter.taken_bytes();
    let profile = options.profile_of(spec.network);
    let expected = profile.map_or_else(ExpectedCounts::new, |profile| {
        // As far as something cannot be made ready, the first frame makes it.
        _ = profile.prepare(&device);
        profile.expected_counts()
    });
    let inference = Inference::new(model, expected);
    report.first_way = if profile.is_some() { Way::Expected } else { Way::Fresh };
    report.first_ms = meter.frame(&mut inference.as_way(report.first_way, &subject))?.wall_ms;
    for way in Way::OF_INFERENCE {
        report.ways.push(meter.way(way, &mut inference.as_way(way, &subject), options)?);
    }
    if Way::Graph.is_of(&device) {
        let mut compiled = Compiled::new(&subject, &[subject.with_cells(subject.cells.clone())])?;
        report.ways.push(meter.way(Way::Graph, &mut compiled.as_way(&subject), options)?);
    }
    if let Some(count) = options.many {
        report.many = many::measure(&meter, &subject, &inference, count)?;
    }
    report.view_ms = meter.view(&inference, &subject)?;
    drop(inference);
    if options.training {
        let mut training = Training::new(&subject, subject.trainable()?);
        report.first_step_ms = Some(meter.frame(&mut training)?.wall_ms);
        report.ways.push(meter.way(Way::Step, &mut training, options)?);
    }
    report.steps = steps::measure(&subject)?;
    report.layers = steps::layers(&subject)?;
    Ok(report)
}
