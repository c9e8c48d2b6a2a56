//! What a user's call costs, host included.

use std::time::Instant;

use voxtune::{
    AlgoId, AlgoMode, ConvError, Device, Operation, SparseTensor, SubmConv3d, Tensor, Tuner,
    WeightLayout,
};
use voxtune_types::mode::AlgoModes;

use super::report::CallReport;
use voxtune_tune::inputs::cloud_setup::CloudSetup;

/// Calls before those that count.
const WARM_UP_CALLS: usize = 10;

/// The mean of `calls` back-to-back calls of a layer that runs `algorithm`, on caches as the calls
/// leave them.
pub(super) fn time_calls(
    device: &Device,
    operation: &Operation,
    setup: &CloudSetup,
    algorithm: &AlgoId,
    calls: usize,
) -> Result<CallReport, ConvError> {
    let Operation { dtype, c_in, c_out, kernel, groups, .. } = *operation;
    let pinned = AlgoModes::uniform(AlgoMode::Named(vec![algorithm.clone()]));
    let tuner = Tuner::builder().modes(pinned).build();
    let value = |index: usize| (index % 251) as f32 / 125.0 - 1.0;
    let weights: Vec<f32> = (0..operation.weight_len()).map(value).collect();
    let layer = SubmConv3d::builder(c_in, c_out)
        .kernel(kernel)
        .groups(groups)
        .dtype(dtype)
        .weights(WeightLayout::Rsck, &weights)
        .tuner(tuner)
        .build(device)?;
    let rows = setup.voxels.len();
    let features = Tensor::from_fn(device, dtype, rows, c_in as usize, value)?;
    let input = SparseTensor::new(setup.voxels.clone(), features)?;
    let forward_ms = mean_ms(device, calls, || layer.forward(&input).map(drop))?;
    let mut out = Tensor::zeros(device, dtype, rows, c_out as usize)?;
    let forward_into_ms = mean_ms(device, calls, || layer.forward_into(&input, &mut out))?;
    Ok(CallReport { calls, forward_ms, forward_into_ms })
}

fn mean_ms(
    device: &Device,
    calls: usize,
    mut call: impl FnMut() -> Result<(), ConvError>,
) -> Result<f64, ConvError> {
    for _ in 0..WARM_UP_CALLS.min(calls) {
        call()?;
    }
    device.synchronize()?;
    let start = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    device.synchronize()?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / calls.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, Direction, KernelSize, Voxels};
    use voxtune_pointcloud::{Generator, generate};

    use super::*;

    #[test]
    fn the_layer_runs_what_it_is_told_to() {
        let device = Device::cpu_with_threads(1).unwrap();
        let kernel = KernelSize::submanifold(3).unwrap();
        let plain = Operation::submanifold(Direction::Forward, DType::Float32, 4, 4, kernel);
        let cells = generate(Generator::Uniform, 100, 1, 0).unwrap();
        let voxels = Voxels::new(&device, cells).unwrap();
        let map = voxels.kernel_map(kernel).unwrap();
        let setup = CloudSetup::of_map(voxels, map);
        for operation in [plain, plain.with_groups(4)] {
            let algorithm = device.registry().default_for(&operation).unwrap().id().clone();
            let report = time_calls(&device, &operation, &setup, &algorithm, 3).unwrap();
            assert!(report.calls == 3 && report.forward_ms > 0.0 && report.forward_into_ms > 0.0);
        }
        let unknown: AlgoId = "nobody".parse().unwrap();
        assert!(time_calls(&device, &plain, &setup, &unknown, 3).is_err());
    }
}
