//! A convolution of voxtune, and a sum of candle over its result.

use std::error::Error;

use candle_core::{Device as CandleDevice, Tensor as CandleTensor};
use voxtune::{
    DType, Device, DeviceChoice, KernelSize, SparseTensor, SubmConv3d, Tensor, Voxel, Voxels, WeightLayout,
};

fn main() -> Result<(), Box<dyn Error>> {
    let (device, note) = Device::open(DeviceChoice::Auto)?;
    if let Some(note) = note {
        eprintln!("{note}");
    }
    let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1), Voxel::new(0, 5, 5, 5)];
    let voxels = Voxels::new(&device, cells)?;
    let features = Tensor::from_f32(&device, DType::Float32, 3, 4, &[1.0; 12])?;
    let kernel = KernelSize::submanifold(3)?;
    let layer = SubmConv3d::builder(4, 8).kernel(kernel).weights(WeightLayout::Rsck, &[0.5; 27 * 4 * 8]).build(&device)?;
    let rows = layer.forward(&SparseTensor::new(voxels, features)?)?.features().to_f32()?;
    let candle = CandleDevice::cuda_if_available(0)?;
    let sum = CandleTensor::from_vec(rows, (3, 8), &candle)?.sum_all()?.to_scalar::<f32>()?;
    println!("{sum}");
    Ok(())
}
