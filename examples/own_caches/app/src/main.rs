//! A program whose layer was tuned beforehand: prints the algorithm that runs, and why.

use std::error::Error;

use voxtune::{
    DType, DeviceChoice, Direction, KernelSize, SparseTensor, SubmConv3d, Tensor, Tuner, Voxel,
    Voxels, WeightLayout,
};

fn main() -> Result<(), Box<dyn Error>> {
    // This program's own caches and kernels, above those that come with voxtune.
    let tuner = Tuner::builder()
        .files(voxtune::embed_caches!())
        .packs(voxtune::embed_packs!())
        .embedded()
        .build();
    let (device, _) = tuner.open_device(DeviceChoice::Auto)?;
    for warning in tuner.warnings() {
        eprintln!("warning: {warning}");
    }
    let kernel = KernelSize::submanifold(3)?;
    let weights = vec![0.01; kernel.volume() * 4 * 8];
    let layer = SubmConv3d::builder(4, 8).kernel(kernel).weights(WeightLayout::Rsck, &weights).tuner(tuner).build(&device)?;

    let cells: Vec<Voxel> = (0..1000).map(scattered).collect();
    let voxels = Voxels::new(&device, cells)?;
    let features = Tensor::from_fn(&device, DType::Float32, 1000, 4, |i| (i % 7) as f32)?;
    let output = layer.forward(&SparseTensor::new(voxels, features)?)?;
    let resolution = layer.resolve(Direction::Forward, output.voxels())?;
    println!("{resolution}");
    Ok(())
}

/// A thousand distinct cells of a cube, in one of six, as the tuned cloud has them.
fn scattered(number: i32) -> Voxel {
    const EDGE: i32 = 18;
    // The factor has no divisor in common with the number of cells, so none occurs twice.
    let cell = number * 7919 % (EDGE * EDGE * EDGE);
    Voxel::new(0, cell % EDGE, cell / EDGE % EDGE, cell / (EDGE * EDGE))
}
