//! Times of a fresh frame: coordinates that no earlier frame had, maps built within.
//!
//! `cargo run --release -p voxtune-models --example frame -- SCAN [DEVICE]` runs CenterPoint's
//! backbone at its own widths with random weights over the voxels of a scan file, in float16,
//! fused; and one strided layer's outputs and map. Wall clock, medians: everything a program waits
//! for.
#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use voxtune::{
    DType, Device, ExpectedCounts, Geometry, KernelSize, SparseTensor, Tensor, Voxel, Voxels,
};
use voxtune_models::{CenterPointBackbone, Checkpoint};
use voxtune_pointcloud::{FileOptions, load_scan};

const FRAMES: usize = 30;

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: frame SCAN [DEVICE]")?);
    let choice = arguments.next().unwrap_or_else(|| "auto".to_owned()).parse()?;
    let (device, note) = Device::open(choice)?;
    note.iter().for_each(|note| println!("{note}"));
    let cells = from_origin(load_scan(&path, &FileOptions::default())?.voxels);
    let extent = |axis: fn(&Voxel) -> i32| {
        1 + u32::try_from(cells.iter().map(axis).max().unwrap_or(0)).unwrap_or(0)
    };
    let shape = [extent(|cell| cell.x), extent(|cell| cell.y), extent(|cell| cell.z)];
    println!("{} voxels in {shape:?} on {}", cells.len(), device.identity());

    let kernel = KernelSize::cubic(3)?;
    let geometry = Geometry { padding: [1; 3], ..Geometry::strided(kernel, [2; 3]) };
    let mut outputs = 0;
    let strided = median(|| {
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
    let host: Vec<f32> = (0..cells.len() * 5).map(value).collect();
    let frame = |expected: Option<&ExpectedCounts>| -> Result<(Duration, u64), Anything> {
        let voxels = Voxels::within(&device, shape, cells.clone())?;
        let voxels = expected.map_or_else(|| voxels.clone(), |expected| voxels.expecting(expected));
        let features = Tensor::from_f32(&device, DType::Float16, cells.len(), 5, &host)?;
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
    let fresh = median(|| Ok(frame(None)?.0))?;
    println!("a fresh frame {fresh:.3?}, {} waits", frame(None)?.1);
    let expected = ExpectedCounts::new();
    frame(Some(&expected))?;
    let fresh = median(|| Ok(frame(Some(&expected))?.0))?;
    println!("a fresh frame of expected counts {fresh:.3?}, {} waits", frame(Some(&expected))?.1);
    let voxels = Voxels::within(&device, shape, cells.clone())?;
    let features = Tensor::from_f32(&device, DType::Float16, cells.len(), 5, &host)?;
    let input = SparseTensor::new(voxels, features)?;
    model.forward(&input)?;
    let steady = median(|| {
        device.synchronize()?;
        let start = Instant::now();
        let output = model.forward(&input)?;
        device.synchronize()?;
        let elapsed = start.elapsed();
        drop(output);
        Ok(elapsed)
    })?;
    println!("the same frame again, maps held {steady:.3?}");
    drop(model.forward_bev(&input, 1)?);
    let bev = median(|| {
        let voxels = Voxels::within(&device, shape, cells.clone())?.expecting(&expected);
        let features = Tensor::from_f32(&device, DType::Float16, cells.len(), 5, &host)?;
        let input = SparseTensor::new(voxels, features)?;
        device.synchronize()?;
        let start = Instant::now();
        let output = model.forward_bev(&input, 1)?;
        device.synchronize()?;
        let elapsed = start.elapsed();
        output.count()?;
        Ok(elapsed)
    })?;
    println!("a fresh frame of expected counts, to the bird's-eye view {bev:.3?}");
    compiled(&device, model, &input)
}

/// The same network with one graph a frame, to the bird's-eye view.
fn compiled(
    device: &Device,
    model: CenterPointBackbone,
    input: &SparseTensor,
) -> Result<(), Anything> {
    let profile = model.profile([input.clone()])?;
    let mut compiled = model.compile_bev(device, profile, 1);
    let rows = input.voxels().len();
    let start = Instant::now();
    compiled.record(rows)?;
    println!("recording a graph {:.3?}", start.elapsed());
    for class in compiled.classes() {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        println!(
            "class of {} voxels: {:.1} MiB planned, {:.1} MiB if nothing shared its place",
            class.capacity,
            mib(class.planned_bytes),
            mib(class.unshared_bytes)
        );
        for resolution in &class.resolutions {
            println!("  {resolution}");
        }
    }
    let context = compiled.context(rows).ok_or("no GPU")?.clone();
    let mut host = Vec::new();
    let wall = median(|| {
        context.synchronize()?;
        device.synchronize()?;
        let start = Instant::now();
        compiled.run(input)?;
        host.push(start.elapsed());
        context.synchronize()?;
        Ok(start.elapsed())
    })?;
    host.sort_unstable();
    compiled.run(input)?.count()?;
    println!("a frame as one graph {wall:.3?}, of the host's time {:.3?}", host[host.len() / 2]);
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

fn median(mut once: impl FnMut() -> Result<Duration, Anything>) -> Result<Duration, Anything> {
    let mut all = (0..FRAMES).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    Ok(all[FRAMES / 2])
}

/// A checkpoint of the network's own widths, with OpenPCDet's names.
fn random_checkpoint() -> Result<Checkpoint, Anything> {
    let mut checkpoint = Checkpoint::new();
    let mut seed = 0_u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from((seed >> 16) as u16) / 32_768.0 - 1.0
    };
    let mut conv =
        |name: &str, norm: &str, shape: [usize; 5], bias: bool| -> Result<(), Anything> {
            let fan_in: usize = shape[1..].iter().product();
            let bound = (3.0 / fan_in as f32).sqrt();
            let weights = (0..shape.iter().product::<usize>()).map(|_| bound * next()).collect();
            checkpoint.insert(format!("{name}.weight"), &shape, weights)?;
            if bias {
                checkpoint.insert(format!("{name}.bias"), &[shape[0]], vec![0.01; shape[0]])?;
            }
            checkpoint_norm(&mut checkpoint, norm, shape[0])?;
            Ok(())
        };
    conv("conv_input.0", "conv_input.1", [16, 3, 3, 3, 5], false)?;
    let widths = [16, 32, 64, 128];
    for (level, &width) in widths.iter().enumerate() {
        let name = format!("conv{}", level + 1);
        let first = usize::from(level > 0);
        if level > 0 {
            conv(
                &format!("{name}.0.0"),
                &format!("{name}.0.1"),
                [width, 3, 3, 3, widths[level - 1]],
                false,
            )?;
        }
        for block in first..first + 2 {
            for number in 1..=2 {
                let (of, shape) = (format!("{name}.{block}"), [width, 3, 3, 3, width]);
                conv(&format!("{of}.conv{number}"), &format!("{of}.bn{number}"), shape, true)?;
            }
        }
    }
    conv("conv_out.0", "conv_out.1", [128, 3, 1, 1, 128], false)?;
    Ok(checkpoint)
}

fn checkpoint_norm(checkpoint: &mut Checkpoint, name: &str, width: usize) -> Result<(), Anything> {
    for (part, value) in
        [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
    {
        checkpoint.insert(format!("{name}.{part}"), &[width], vec![value; width])?;
    }
    Ok(())
}
