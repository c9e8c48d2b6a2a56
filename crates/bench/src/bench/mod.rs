//! Times of layers on clouds, beside what the device could do and what other libraries do.
//!
//! | step | module |
//! |---|---|
//! | which layers on which clouds | [`options`] |
//! | what the device can do | `ceilings`, [`roofline`] |
//! | how long a kernel map takes | `map_times` |
//! | every candidate, verified and raced as populate does it | [`voxtune_tune::measure`] |
//! | what a race came to | `ranking` |
//! | a user's call, host included | `calls` |
//! | ratios to other libraries | [`peers`], [`comparison`] |
//! | what is written and printed | [`report`], [`text`] |
//!
//! Candidates race by an [exhaustive policy](Policy::exhaustive): all of them are sampled alike but
//! for those that are dominated at once. The ceilings and the map times of a GPU come from
//! [`CudaKernels`], on a stream of its own that is idle while candidates run.

mod calls;
pub(crate) mod ceilings;
pub mod comparison;
mod map_times;
pub mod options;
pub mod peers;
mod ranking;
pub mod report;
pub mod roofline;
pub mod text;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use voxtune::{
    AlgoId, Algorithm, ConvError, DType, Device, Direction, L2State, MapCounts, Operation, Voxels,
};
use voxtune_cuda::{CudaError, RowOrder, default_algorithm};

pub use options::{BenchOptions, DEFAULT_CHANNELS};

use crate::cuda_kernels::CudaKernels;
use crate::named_cloud::NamedCloud;
use report::{BenchReport, CeilingsReport, CloudReport, RowReport};
use roofline::{Rates, floor};
use voxtune_tune::inputs::cloud_setup::CloudSetup;
use voxtune_tune::inputs::entry::Entry;
use voxtune_tune::inputs::error::{LostWorker, MeasureError};
use voxtune_tune::inputs::memory::lack_of_memory;
use voxtune_tune::inputs::monitor::{Limits, Unwatched};
use voxtune_tune::inputs::operands::OperandBuffers;
use voxtune_tune::inputs::planned_cloud::PlannedCloud;
use voxtune_tune::measure::candidate_set::CandidateSet;
use voxtune_tune::measure::estimate::entry_bytes;
use voxtune_tune::measure::throttle::ThrottleFilter;
use voxtune_tune::race::Policy;
use voxtune_tune::verify::float64::Verifier;

/// What happens during a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum BenchEvent<'a> {
    /// The kernels of all candidates are about to be compiled.
    Compiling {
        /// How many candidates.
        kernels: usize,
    },
    /// The device's rates are known.
    Ceilings(&'a CeilingsReport),
    /// A cloud's kernel map was built and timed.
    Cloud(&'a CloudReport),
    /// An operation was timed.
    Row(&'a RowReport),
    /// Something failed.
    Failed(&'a str),
}

/// A device with what a run wants of it beside the registry.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Where candidates run.
    pub device: &'a Device,
    /// The same device, if it is a GPU.
    pub kernels: Option<CudaKernels>,
    /// What to measure.
    pub options: &'a BenchOptions,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Registry(#[from] ConvError),
    #[error(transparent)]
    Cuda(#[from] CudaError),
    #[error("{0}")]
    Measure(String),
}

/// What measuring one operation leaves to the next.
struct Kept {
    verifier: Verifier,
    buffers: OperandBuffers,
    /// What a large layer has done to the clock, the next one shows.
    throttle_filter: ThrottleFilter,
}

/// A cloud of the options on the device.
struct PreparedCloud {
    planned: PlannedCloud,
    setup: CloudSetup,
}

impl Bench<'_> {
    /// Measures everything. What fails is in the report; after a failure that the device does not
    /// survive, so is what was measured before.
    pub fn run(mut self, observer: &mut dyn FnMut(&BenchEvent<'_>)) -> BenchReport {
        let described = self.kernels.as_ref().map(CudaKernels::describe);
        let mut report = BenchReport {
            device: described.unwrap_or_else(|| self.device.identity().to_string()),
            rounds: self.options.rounds,
            cold: self.kernels.is_some() && self.options.l2_state == L2State::Cold,
            warm: self.kernels.is_some() && self.options.l2_state == L2State::Hot,
            ceilings: CeilingsReport::default(),
            clouds: Vec::new(),
            rows: Vec::new(),
            peers: None,
            failures: Vec::new(),
        };
        if let Err(error) = self.measure(&mut report, observer) {
            fail(&mut report, observer, format!("the run ended early: {error}"));
        }
        let peers = self.options.peers.as_ref();
        report.peers = peers.map(|peers| comparison::compare(&report.rows, peers));
        report
    }

    fn measure(
        &mut self,
        report: &mut BenchReport,
        observer: &mut dyn FnMut(&BenchEvent<'_>),
    ) -> Result<(), Ended> {
        let wanted = self.wanted();
        observer(&BenchEvent::Compiling { kernels: wanted.len() });
        self.device.compile(&wanted);
        report.ceilings = self.ceilings()?;
        observer(&BenchEvent::Ceilings(&report.ceilings));
        let mut kept = Kept {
            verifier: Verifier::default(),
            buffers: OperandBuffers::new(self.device)?,
            throttle_filter: ThrottleFilter::default(),
        };
        for cloud in &self.options.clouds {
            let prepared = match self.set_up(cloud, report) {
                Ok(prepared) => prepared,
                Err(error) => {
                    fail(report, observer, format!("{}: {error}", cloud.label));
                    self.device.synchronize()?;
                    continue;
                }
            };
            observer(&BenchEvent::Cloud(report.clouds.last().expect("one was just added")));
            for operation in self.options.operations(&cloud.label) {
                let row = self.row(&prepared, operation, &mut kept, report, observer)?;
                if let Some(row) = row {
                    observer(&BenchEvent::Row(&row));
                    report.rows.push(row);
                }
            }
        }
        Ok(())
    }

    fn ceilings(&mut self) -> Result<CeilingsReport, CudaError> {
        let measured = match &mut self.kernels {
            Some(kernels) => ceilings::measure(kernels, &self.options.dtypes)?,
            None => CeilingsReport::default(),
        };
        Ok(match self.options.rates {
            Some(Rates { copy_bytes_per_s, dense_flops_per_s }) => CeilingsReport {
                given: true,
                copy_bytes_per_s: Some(copy_bytes_per_s),
                dense_flops_per_s: self
                    .options
                    .dtypes
                    .iter()
                    .map(|&dtype| (dtype, dense_flops_per_s))
                    .collect(),
                ..measured
            },
            None => measured,
        })
    }

    /// Builds the map of a cloud, timed, and once more where the registry's kernels find it.
    fn set_up(
        &mut self,
        cloud: &NamedCloud,
        report: &mut BenchReport,
    ) -> Result<PreparedCloud, Ended> {
        let (kernel, rounds) = (self.options.kernel, self.options.rounds);
        let times = match &mut self.kernels {
            Some(kernels) => {
                let order = default_order(&self.options.operations(&cloud.label));
                map_times::on_gpu(kernels, &cloud.cells, kernel, order, rounds)?
            }
            None => map_times::on_host(self.device, &cloud.cells, kernel, rounds)?,
        };
        let voxels = Voxels::new(self.device, cloud.cells.clone())?;
        let map = voxels.kernel_map(kernel)?;
        report.clouds.push(CloudReport {
            cloud: cloud.label.clone(),
            voxels: cloud.cells.len(),
            pairs: map.counts().pairs,
            map_ms: times.map_ms,
            map_event_ms: times.map_event_ms,
            ready_ms: times.ready_ms,
            part_ms: times.part_ms,
        });
        let planned = PlannedCloud::given(&cloud.label, cloud.cells.clone());
        Ok(PreparedCloud { planned, setup: CloudSetup::of_map(voxels, map) })
    }

    fn row(
        &self,
        PreparedCloud { planned, setup }: &PreparedCloud,
        operation: Operation,
        kept: &mut Kept,
        report: &mut BenchReport,
        observer: &mut dyn FnMut(&BenchEvent<'_>),
    ) -> Result<Option<RowReport>, Ended> {
        let (device, cloud, counts) = (self.device, planned.label(), setup.map.counts());
        let needed_bytes = entry_bytes(&operation, planned, counts);
        let free_bytes = device.free_memory_bytes() + kept.buffers.held_bytes();
        if let Some(lack) = lack_of_memory(needed_bytes, free_bytes) {
            fail(report, observer, format!("{operation} on {cloud}: {lack}"));
            return Ok(None);
        }
        let pool = self.pool(&operation, counts);
        let names: Vec<AlgoId> = pool.iter().map(|one| one.id().clone()).collect();
        let set = CandidateSet::new(device, &operation, &names, &[]);
        kept.throttle_filter = kept.throttle_filter.next();
        let measured = self.entry(&operation, planned, setup).measure(
            &mut kept.verifier,
            &mut kept.buffers,
            &mut kept.throttle_filter,
            &set,
            &Policy::exhaustive(device.identity().arch, self.options.rounds),
            &mut Unwatched { interrupt: &AtomicBool::new(false) },
        );
        let measured = match measured {
            Ok(measured) => measured,
            Err(MeasureError::Configuration(why)) => {
                fail(report, observer, format!("{operation} on {cloud}: {why}"));
                return Ok(None);
            }
            Err(MeasureError::Lost(LostWorker { candidate, detail, .. })) => {
                let who =
                    candidate.map_or_else(|| "setting up".to_owned(), |one| one.id.to_string());
                return Err(Ended::Measure(format!("{who} took the device down: {detail}")));
            }
            Err(other) => return Err(Ended::Measure(other.to_string())),
        };
        for failure in ranking::failures(&measured) {
            fail(report, observer, format!("{cloud}: {failure}"));
        }
        let rates = rates_of(&report.ceilings, operation.dtype);
        let mut row = RowReport {
            cloud: cloud.to_owned(),
            dtype: operation.dtype,
            c_in: operation.c_in,
            c_out: operation.c_out,
            groups: operation.groups,
            direction: operation.direction,
            floor: rates.map(|rates| floor(&operation, counts, rates)),
            clock_mhz: kept.throttle_filter.taken_mhz,
            ranking: ranking::ranking(&measured),
            calls: None,
        };
        let winner = row.best().and_then(|best| best.algorithm.parse::<AlgoId>().ok());
        if let (Some(calls), Direction::Forward, Some(winner)) =
            (self.options.calls, operation.direction, winner)
        {
            row.calls = Some(calls::time_calls(device, &operation, setup, &winner, calls)?);
        }
        Ok(Some(row))
    }

    fn entry<'a>(
        &'a self,
        operation: &'a Operation,
        cloud: &'a PlannedCloud,
        setup: &'a CloudSetup,
    ) -> Entry<'a> {
        let BenchOptions { seed, l2_state, .. } = *self.options;
        // Without a watchdog nothing is ended for being late.
        let limits =
            Limits { least: Duration::ZERO, flops_per_second: Limits::SLOW_FLOPS_PER_SECOND };
        let (device, batch_size) = (self.device, 1);
        // A benchmark is of products alone.
        let (readers, incumbent, shipped) = (None, None, None);
        Entry {
            device,
            operation,
            cloud,
            setup,
            batch_size,
            seed,
            limits,
            l2_state,
            readers,
            incumbent,
            shipped,
        }
    }

    /// The candidates of an operation: what the mode and the filter admit, and the default.
    fn pool(&self, operation: &Operation, counts: MapCounts) -> Vec<Arc<dyn Algorithm>> {
        let filter = &self.options.filter;
        let named = |one: &Arc<dyn Algorithm>| {
            filter.is_empty() || filter.iter().any(|text| one.id().as_str().contains(text))
        };
        let registry = self.device.registry();
        let mut pool = registry.pool(&self.options.mode, operation, counts);
        pool.retain(|one| named(one) || one.is_default(operation));
        if let Some(default) = registry.default_for(operation)
            && pool.iter().all(|one| one.id() != default.id())
        {
            pool.push(default.clone());
        }
        pool
    }

    /// Every candidate of every operation, so that they are compiled at once.
    fn wanted(&self) -> Vec<(AlgoId, Operation)> {
        let mut wanted = Vec::new();
        for cloud in &self.options.clouds {
            let rows = cloud.cells.len();
            let counts = MapCounts { n_in: rows, n_out: rows, pairs: rows };
            for operation in self.options.operations(&cloud.label) {
                let pool = self.pool(&operation, counts);
                wanted.extend(pool.iter().map(|one| (one.id().clone(), operation)));
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

/// The row order that the default of the first forward layer reads.
fn default_order(operations: &[Operation]) -> RowOrder {
    let forward = operations.iter().find(|operation| operation.direction == Direction::Forward);
    forward.map_or(RowOrder::Natural, |operation| default_algorithm(operation).row_order())
}

fn fail(report: &mut BenchReport, observer: &mut dyn FnMut(&BenchEvent<'_>), text: String) {
    observer(&BenchEvent::Failed(&text));
    report.failures.push(text);
}

pub(crate) fn rates_of(ceilings: &CeilingsReport, dtype: DType) -> Option<Rates> {
    Some(Rates {
        copy_bytes_per_s: ceilings.copy_bytes_per_s?,
        dense_flops_per_s: *ceilings.dense_flops_per_s.get(&dtype)?,
    })
}

#[cfg(test)]
mod tests;
