//! How long a kernel map takes to build.

use std::collections::BTreeMap;
use std::time::Instant;

use voxtune::{ConvError, Device, Direction, KernelSize, Voxel, Voxels};
use voxtune_cuda::{CacheFlush, Cloud, CudaDevice, DeviceBuffer, EventTimer, RowOrder};

use crate::cuda_kernels::CudaKernels;
use voxtune_tune::race::statistics::median;

/// Medians of building a map and its parts.
#[derive(Debug, Default)]
pub(super) struct MapTimes {
    pub(super) map_ms: Option<f64>,
    pub(super) map_event_ms: Option<f64>,
    pub(super) ready_ms: Option<f64>,
    pub(super) part_ms: BTreeMap<String, f64>,
}

/// The samples that the medians are of.
#[derive(Default)]
struct Samples {
    map_ms: Vec<f64>,
    map_event_ms: Vec<f64>,
    ready_ms: Vec<f64>,
    part_ms: BTreeMap<String, Vec<f64>>,
}

/// Maps of voxels that lie in the device's memory already. `order` is the row order of what is to
/// run first.
pub(super) fn on_gpu(
    kernels: &mut CudaKernels,
    cells: &[Voxel],
    kernel: KernelSize,
    order: RowOrder,
    rounds: usize,
) -> Result<MapTimes, ConvError> {
    let (builder, mut blocking_kernel) = (kernels.map_builder()?, kernels.blocking_kernel()?);
    let device = kernels.cuda();
    let (mut flush, mut timer) = (CacheFlush::new(device)?, EventTimer::new(device)?);
    let coords = DeviceBuffer::from_host(device, cells)?;
    let mut samples = Samples::default();
    // What the first round takes for loading and for growing the device's pool does not count.
    for round in 0..=rounds {
        if round == 1 {
            samples = Samples::default();
        }
        device.synchronize()?;
        let start = Instant::now();
        let map = builder.submanifold_on_device(Cloud::new(&coords, cells.len()), kernel)?;
        map.counts()?;
        samples.map_ms.push(since_ms(start));
        for order in RowOrder::ALL {
            let part = format!("{} order", order.as_str());
            samples
                .part(device, part, || Ok(builder.add_order(&map, Direction::Forward, order)?))?;
        }
        samples.part(device, "pair lists".to_owned(), || Ok(builder.add_pairs(&map)?))?;

        flush.flush()?;
        blocking_kernel.block()?;
        timer.start()?;
        let map = builder.submanifold_on_device(Cloud::new(&coords, cells.len()), kernel)?;
        timer.stop()?;
        blocking_kernel.unblock();
        samples.map_event_ms.push(timer.elapsed_ns()? / 1e6);
        drop(map);

        let start = Instant::now();
        let map = builder.submanifold_on_device(Cloud::new(&coords, cells.len()), kernel)?;
        builder.add_order(&map, Direction::Forward, order)?;
        device.synchronize()?;
        samples.ready_ms.push(since_ms(start));
    }
    let parts = samples.part_ms.into_iter();
    Ok(MapTimes {
        map_ms: median(&samples.map_ms),
        map_event_ms: median(&samples.map_event_ms),
        ready_ms: median(&samples.ready_ms),
        part_ms: parts.filter_map(|(part, times)| Some((part, median(&times)?))).collect(),
    })
}

impl Samples {
    fn part(
        &mut self,
        device: &CudaDevice,
        name: String,
        make: impl FnOnce() -> Result<(), ConvError>,
    ) -> Result<(), ConvError> {
        let start = Instant::now();
        make()?;
        device.synchronize()?;
        self.part_ms.entry(name).or_default().push(since_ms(start));
        Ok(())
    }
}

/// A map on the host.
pub(super) fn on_host(
    device: &Device,
    cells: &[Voxel],
    kernel: KernelSize,
    rounds: usize,
) -> Result<MapTimes, ConvError> {
    let mut times_ms = Vec::new();
    for round in 0..=rounds {
        // Voxels keep their map: each round needs its own.
        let voxels = Voxels::new(device, cells.to_vec())?;
        let start = Instant::now();
        voxels.kernel_map(kernel)?;
        if round > 0 {
            times_ms.push(since_ms(start));
        }
    }
    Ok(MapTimes { map_ms: median(&times_ms), ..MapTimes::default() })
}

fn since_ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
