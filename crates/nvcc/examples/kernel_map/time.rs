//! How long maps take, on the device and on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use voxtune_cuda::{CacheFlush, Cloud, CudaDevice, DeviceBuffer, EventTimer, MapBuilder, RowOrder};
use voxtune_types::{Direction, KernelSize, Voxel};

use crate::Error;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of clouds, `<name>.i32`: little-endian int32 triples.
    #[arg(long)]
    clouds: PathBuf,
    /// Clouds to measure.
    #[arg(long, num_args = 1.., default_values_t = ["waymo-120k".to_owned(), "uniform-130k".to_owned(), "waymo-900k".to_owned(), "shell-512".to_owned()])]
    names: Vec<String>,
    /// Extent of the kernel.
    #[arg(long, default_value_t = 3)]
    kernel: u32,
    /// Samples; the median counts.
    #[arg(long, default_value_t = 21)]
    samples: usize,
}

/// What is built beside the search itself.
const PARTS: [(&str, &[RowOrder], bool); 5] = [
    ("search and masks", &[], false),
    ("natural table", &[RowOrder::Natural], false),
    ("sorted table", &[RowOrder::Sorted], false),
    ("globally sorted table", &[RowOrder::Global], false),
    ("sorted table, pair lists", &[RowOrder::Sorted], true),
];

pub(crate) fn run(
    device: &CudaDevice,
    builder: &MapBuilder,
    options: &Options,
) -> Result<(), Error> {
    let kernel = KernelSize::submanifold(options.kernel)?;
    let mut flush = CacheFlush::new(device)?;
    let mut timer = EventTimer::new(device)?;
    println!("microseconds: device with a cold L2, device warm, host until the call returns");
    for name in &options.names {
        let voxels = read_cloud(&options.clouds.join(format!("{name}.i32")))?;
        let coords = DeviceBuffer::from_host(device, &voxels)?;
        println!("{name}: {} voxels", voxels.len());
        for (what, orders, pairs) in PARTS {
            let build = || -> Result<(), Error> {
                let map =
                    builder.submanifold_on_device(Cloud::new(&coords, voxels.len()), kernel)?;
                for &order in orders {
                    builder.add_order(&map, Direction::Forward, order)?;
                }
                if pairs {
                    builder.add_pairs(&map)?;
                }
                Ok(())
            };
            let mut sample = |cold: bool| -> Result<(f64, f64), Error> {
                // Keeps the device busy while the host queues the work, and empties the cache.
                for _ in 0..3 {
                    flush.flush()?;
                }
                if !cold {
                    build()?;
                }
                timer.start()?;
                let start = Instant::now();
                build()?;
                let host_us = start.elapsed().as_secs_f64() * 1e6;
                timer.stop()?;
                Ok((timer.elapsed_ns()? * 1e-3, host_us))
            };
            sample(true)?;
            let mut cold = Vec::new();
            let mut warm = Vec::new();
            let mut host = Vec::new();
            for _ in 0..options.samples {
                let (device_us, host_us) = sample(true)?;
                cold.push(device_us);
                host.push(host_us);
                warm.push(sample(false)?.0);
            }
            let (cold, warm, host) = (median(cold), median(warm), median(host));
            println!("  {what:26} {cold:8.1} {warm:8.1} {host:8.1}");
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn read_cloud(path: &Path) -> Result<Vec<Voxel>, Error> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let axis = |cell: &[u8], at: usize| {
        i32::from_le_bytes([cell[at], cell[at + 1], cell[at + 2], cell[at + 3]])
    };
    Ok(bytes
        .chunks_exact(12)
        .map(|cell| Voxel::new(0, axis(cell, 0), axis(cell, 4), axis(cell, 8)))
        .collect())
}
