//! Times of a fresh frame: coordinates that no earlier frame had, maps built within.
//!
//! `cargo run --release -p voxtune-models --example frame -- SCAN [DEVICE]` runs CenterPoint's
//! backbone at its own widths with random weights over the voxels of a scan file, in float16,
//! fused; and one strided layer's outputs and map. Wall clock, medians: everything a program waits
//! for.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example that prints its figures"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use voxtune::{DType, ExpectedCounts, Geometry, KernelSize, SparseTensor, Tensor, Voxel, Voxels};
use voxtune_models::CenterPointBackbone;
use voxtune_pointcloud::{FileOptions, load_scan};

use common::centerpoint::{C_IN, random_checkpoint};
use common::device;
use common::median::median;
use common::outcome::{Anything, exit_code};

mod common {
    pub(crate) mod centerpoint;
    pub(crate) mod device;
    pub(crate) mod median;
    pub(crate) mod outcome;
    pub(crate) mod weights;
}

const FRAMES: usize = 30;

fn main() -> ExitCode {
    exit_code(frames())
}

fn frames() -> Result<(), Anything> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: frame SCAN [DEVICE]")?);
    let choice = arguments.next().unwrap_or_else(|| "auto".to_owned()).parse()?;
    let device = device::open(choice)?;
    let cells = from_origin(load_scan(&path, &FileOptions::default())?.voxels);
    let extent = |axis: fn(&Voxel) -> i32| {
        1 + u32::try_from(cells.iter().map(axis).max().unwrap_or(0)).unwrap_or(0)
    };
    let shape = [extent(|cell| cell.x), extent(|cell| cell.y), extent(|cell| cell.z)];
    println!("{} voxels in {shape:?}", cells.len());

    let kernel = KernelSize::cubic(3)?;
    let geometry = Geometry { padding: [1; 3], ..Geometry::strided(kernel, [2; 3]) };
    let mut outputs = 0;
    let strided = median_of(|| {
        let voxels = Voxels::within(&device, shape, cells.clone())?;
        device.synchronize()?;
        let start = Instant::now();
        outputs = voxels.outputs_of(&geometry)?.0.len();
        device.synchronize()?;
        Ok(start.elapsed())
    })?;
    println!("strided layer 3³ s2: outputs ({outputs}) and map {strided:.3?}");

    let mut model = CenterPointBackbone::new(&device, DType::Float16, &random_checkpoint()?)?;
    println!("fused: {} times", model.fuse()?.len());
    let value = |index: usize| (index * 2_654_435_761 % 2_001) as f32 / 1_000.0 - 1.0;
    let host: Vec<f32> = (0..cells.len() * C_IN).map(value).collect();
    let frame = |expected: Option<&ExpectedCounts>| -> Result<(Duration, u64), Anything> {
        let voxels = Voxels::within(&device, shape, cells.clone())?;
        let voxels = expected.map_or_else(|| voxels.clone(), |expected| voxels.expecting(expected));
        let features = Tensor::from_f32(&device, DType::Float16, cells.len(), C_IN, &host)?;
        let input = SparseTensor::new(voxels, features)?;
        device.synchronize()?;
        let (start, waits) = (Instant::now(), device.waits());
        let output = model.forward(&input)?;
        let waits = device.waits() - waits;
        device.synchronize()?;
        let elapsed = start.elapsed();
        // Whoever reads a result hears of a level that had too little room.
        output.features().count()?;
        Ok((elapsed, waits))
    };
    let (first, waits) = frame(None)?;
    println!("first frame {first:.3?}, {waits} waits of the host");
    let fresh = median_of(|| Ok(frame(None)?.0))?;
    println!("a fresh frame {fresh:.3?}, {} waits", frame(None)?.1);
    let expected = ExpectedCounts::new();
    frame(Some(&expected))?;
    let fresh = median_of(|| Ok(frame(Some(&expected))?.0))?;
    println!("a fresh frame of expected counts {fresh:.3?}, {} waits", frame(Some(&expected))?.1);
    let voxels = Voxels::within(&device, shape, cells.clone())?;
    let features = Tensor::from_f32(&device, DType::Float16, cells.len(), C_IN, &host)?;
    let input = SparseTensor::new(voxels, features)?;
    model.forward(&input)?;
    let steady = median_of(|| {
        device.synchronize()?;
        let start = Instant::now();
        let output = model.forward(&input)?;
        device.synchronize()?;
        let elapsed = start.elapsed();
        drop(output);
        Ok(elapsed)
    })?;
    println!("the same frame again, maps held {steady:.3?}");
    Ok(())
}

fn from_origin(mut cells: Vec<Voxel>) -> Vec<Voxel> {
    let least = cells.iter().fold([i32::MAX; 3], |least, cell| {
        [least[0].min(cell.x), least[1].min(cell.y), least[2].min(cell.z)]
    });
    for cell in &mut cells {
        (cell.x, cell.y, cell.z) = (cell.x - least[0], cell.y - least[1], cell.z - least[2]);
    }
    cells
}

/// The median of so many frames.
fn median_of(once: impl FnMut() -> Result<Duration, Anything>) -> Result<Duration, Anything> {
    let times = std::iter::repeat_with(once).take(FRAMES).collect::<Result<Vec<_>, _>>()?;
    median(&times)
}
