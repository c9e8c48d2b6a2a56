//! What a run measured, as it is written.

use serde::Serialize;
use voxtune::{DType, MapCounts, Operation};

use super::fit::Fit;
use super::peers::PeerRow;
use super::statistics::{median, quantile};
use super::way::Way;
use crate::bench::report::CeilingsReport;
use crate::bench::roofline::{Floor, Rates, floor};

/// Everything that a run measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameReport {
    /// Device, driver and compiler.
    pub device: String,
    /// Frames that each median is of.
    pub frames: usize,
    /// What the device can do, measured behind everything else.
    pub ceilings: CeilingsReport,
    /// One for each network, cloud and storage type.
    pub networks: Vec<NetworkReport>,
    /// The same beside other libraries' times.
    pub peers: Vec<PeerRow>,
    /// What went wrong, a line each.
    pub failures: Vec<String>,
}

/// A network on a cloud.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkReport {
    /// Its name.
    pub network: String,
    /// The cloud's name.
    pub cloud: String,
    /// How features and weights are stored.
    pub dtype: DType,
    /// Number of voxels.
    pub voxels: usize,
    /// Channels of a voxel.
    pub c_in: u32,
    /// Cells along the network's axes.
    pub shape: [u32; 3],
    /// Memory that loading the network took; `None` on a CPU.
    pub weights_bytes: Option<u64>,
    /// Wall clock of the first frame of this network over this cloud.
    pub first_ms: f64,
    /// How it was run: with a profile's counts expected, or a fresh one.
    pub first_way: Way,
    /// The same of the first training step.
    pub first_step_ms: Option<f64>,
    /// The device's time for the bird's-eye view by itself, of a network that ends in one.
    pub view_ms: Option<f64>,
    /// What the convolutions of a frame move and multiply, and the least time that takes: the sum
    /// of their floors; `None` without ceilings.
    pub floor: Option<Floor>,
    /// The convolutions of a frame, with the counts of their maps.
    #[serde(skip)]
    pub(super) layers: Vec<(Operation, MapCounts)>,
    /// One for each way to run a frame.
    pub ways: Vec<WayReport>,
    /// Many different frames of the cloud, in each way that sees new voxels.
    pub many: Vec<ManyReport>,
    /// Outputs and map of every distinct step but inverse ones.
    pub steps: Vec<StepReport>,
}

impl NetworkReport {
    /// The most memory that frames of a way took beyond what the network itself holds.
    #[must_use]
    pub fn over_weights(&self, way: &WayReport) -> Option<u64> {
        Some(way.peak_bytes?.saturating_sub(self.weights_bytes?))
    }

    /// The sum of the convolutions' floors at some rates.
    pub(super) fn floor_at(&self, rates: Rates) -> Floor {
        let floors = self.layers.iter().map(|(operation, counts)| floor(operation, *counts, rates));
        floors.fold(Floor { bytes: 0, flops: 0, floor_ms: 0.0 }, |sum, one| Floor {
            bytes: sum.bytes + one.bytes,
            flops: sum.flops + one.flops,
            floor_ms: sum.floor_ms + one.floor_ms,
        })
    }

    /// The first frame of the process, or its first step, over the median of a way; `None` where
    /// that compares nothing.
    #[must_use]
    pub fn first_over_steady(&self, way: &WayReport) -> Option<f64> {
        let first_ms = match way.way {
            Way::Expected => Some(self.first_ms),
            Way::Fresh if self.first_way == Way::Fresh => Some(self.first_ms),
            Way::Step => self.first_step_ms,
            Way::Fresh | Way::Graph | Way::Held => None,
        }?;
        Some(first_ms / way.wall_ms.median)
    }
}

/// Frames of one way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WayReport {
    /// How they were run.
    pub way: Way,
    /// How many.
    pub frames: usize,
    /// From the call to the end of the device's work.
    pub wall_ms: Spread,
    /// From the call until it returned, the median.
    pub host_ms: f64,
    /// Between events around a frame, the median; `None` on a CPU.
    pub span_ms: Option<f64>,
    /// The same with all of it queued before the device began: its own time. `None` on a CPU, and
    /// where the host waits within the frame.
    pub device_ms: Option<f64>,
    /// Kernels, products of cuBLAS, copies and fills; `None` on a CPU.
    pub launches: Option<u64>,
    /// How often the host waited for the device before the call returned; `None` on a CPU.
    pub waits: Option<u64>,
    /// The most memory that was taken during a frame, with weights and input; `None` on a CPU.
    pub peak_bytes: Option<u64>,
}

/// Times of several frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The one in the middle.
    pub median: f64,
    /// What 95 of 100 stay below.
    pub p95: f64,
    /// The largest.
    pub largest: f64,
}

impl Spread {
    pub(super) fn of(values: &[f64]) -> Self {
        Self {
            least: quantile(values, 0.0),
            median: median(values),
            p95: quantile(values, 0.95),
            largest: quantile(values, 1.0),
        }
    }
}

/// Different frames of one sweep, each once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManyReport {
    /// How they were run.
    pub way: Way,
    /// How many.
    pub frames: usize,
    /// The fewest and the most voxels.
    pub voxels: [usize; 2],
    /// From the call to the end of the device's work; of frames that were run again, both.
    pub wall_ms: Spread,
    /// From the call until it returned, the median.
    pub host_ms: f64,
    /// The line through all of them.
    pub fit: Fit,
    /// Time over that line, what 95 of 100 stay below.
    pub over_fit_p95: f64,
    /// Time over that line, the largest.
    pub over_fit_largest: f64,
    /// Frames of which a level had too little room, which were run again.
    pub repeats: usize,
    /// Voxels and wall clock of each, in their order.
    pub samples: Vec<(usize, f64)>,
}

/// Outputs and map of a step, over voxels without levels or maps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// Its geometry.
    pub step: String,
    /// Voxels that it reads.
    pub inputs: usize,
    /// Voxels that it makes.
    pub outputs: usize,
    /// Until they are there and the host knows their number.
    pub wall_ms: f64,
    /// Between events; `None` on a CPU.
    pub span_ms: Option<f64>,
}
