//! Calibration: the speed of a device on one layer.

use std::time::{Duration, Instant};

use crate::Preset;
use voxtune::{DType, Device, Direction, Launch, Operation, Voxel, Voxels};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::AlgoId;

use crate::inputs::candidate::Candidate;
use crate::inputs::error::MeasureError;
use crate::inputs::monitor::{Limits, Monitor};
use crate::inputs::operands::Operands;
use crate::verify::rejection::{Rejection, guarded};

/// Measures floating-point operations per second on a medium layer, with the default algorithm or
/// else the first that works. A candidate that fails here is judged later.
pub(super) fn calibrate(
    device: &Device,
    limit: Duration,
    avoid: &[AlgoId],
    monitor: &mut dyn Monitor,
) -> Result<f64, MeasureError> {
    const ROWS: usize = 16_384;
    const RUNS: usize = 3;
    let preset = Preset::Quick.grid();
    let operation =
        Operation::submanifold(Direction::Forward, DType::Float16, 64, 64, preset.kernels[0]);
    let cells: Vec<Voxel> = device.install(|| generate(Generator::Uniform, ROWS, 1, 0))?;
    let map = Voxels::new(device, cells).and_then(|voxels| voxels.kernel_map(operation.kernel))?;
    let counts = map.counts();
    let mut operands = Operands::random(device, &operation, counts, 0)?;
    let registry = device.registry();
    let applicable = registry.algorithms().filter(|algorithm| algorithm.applies(&operation));
    for algorithm in registry.default_for(&operation).into_iter().chain(applicable) {
        if avoid.contains(algorithm.id()) {
            continue;
        }
        let candidate = Candidate::new(device, &operation, &**algorithm);
        monitor.announce(std::slice::from_ref(&candidate));
        let mut run = || {
            monitor.running(0, limit);
            let start = Instant::now();
            let Operands { a, b, out } = &mut operands;
            let launch = Launch { operation: &operation, map: &map, a, b, out, epilogue: None };
            guarded(|| registry.run(&**algorithm, device, launch))?;
            guarded(|| device.synchronize())?;
            Ok::<f64, Rejection>(start.elapsed().as_secs_f64())
        };
        let runs: Result<Vec<f64>, Rejection> = (0..RUNS).map(|_| run()).collect();
        match runs {
            Ok(seconds) => {
                let best = seconds.into_iter().fold(f64::INFINITY, f64::min);
                return Ok(operation.flops(counts.pairs) as f64 / best.max(1e-9));
            }
            Err(rejection) if rejection.device_lost => {
                return Err(rejection.into_loss(candidate));
            }
            Err(_) => {}
        }
    }
    // Where nothing works, whatever fails, fails soon.
    Ok(Limits::SLOW_FLOPS_PER_SECOND)
}
