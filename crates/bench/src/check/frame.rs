//! Frames of a network as graphs, against the same calls one by one.
//!
//! What runs in a frame reads its counts where the device has left them: maps and levels made at
//! once, products, and the bird's-eye view. A sanitizer sees all of it in the calls. As in
//! [`Step::Race`](super::Step::Race), instances are those that a race detector can follow.

use voxtune::{ConvError, DType, SparseTensor, Tensor, Voxel, Voxels};
use voxtune_models::{CompiledModel, LoadOptions, Network};
use voxtune_pointcloud::Generator;

use super::cells::Cells;
use super::{CheckError, Checker, Findings};
use crate::cuda_kernels::CudaKernels;

/// A detector's encoder: strided layers of three geometries, levels that shrink fast, residuals.
const NETWORK: Network = Network::CenterPoint;
const DTYPE: DType = DType::Float16;
/// Cells along x, y, z: few enough that a bird's-eye view is small.
const SHAPE: [u32; 3] = [128, 128, 41];
/// Voxels of the frame that makes the network's room.
const ROWS: usize = 700;

/// So many voxels within the shape, in the order of the network's axes.
fn cells(rows: usize) -> Vec<Voxel> {
    let cells = Cells::Generated(Generator::Surface, rows).voxels().into_iter();
    let least = cells.clone().fold([i32::MAX; 3], |least, cell| {
        [least[0].min(cell.x), least[1].min(cell.y), least[2].min(cell.z)]
    });
    let [x, y, z] = least;
    cells
        .map(|cell| Voxel::new(0, cell.x - x, cell.y - y, cell.z - z))
        .map(|cell| NETWORK.turned(cell))
        .collect()
}

fn frame(kernels: &CudaKernels, rows: usize) -> Result<SparseTensor, ConvError> {
    let channels = NETWORK.c_in() as usize;
    let features: Vec<f32> = (0..rows * channels).map(|i| (i % 13) as f32 / 8.0 - 0.75).collect();
    let voxels = Voxels::within(kernels.device(), NETWORK.turned_shape(SHAPE), cells(rows))?;
    let features = Tensor::from_f32(kernels.device(), DTYPE, rows, channels, &features)?;
    SparseTensor::new(voxels, features)
}

fn bits(view: &Tensor) -> Result<Vec<u32>, ConvError> {
    Ok(view.to_f32()?.into_iter().map(f32::to_bits).collect())
}

impl Checker<'_> {
    /// A frame without voxels, of one, one like the profile's, and one more than its class holds.
    pub(super) fn frame(&mut self) -> Result<Findings, CheckError> {
        let kernels = self.kernels.for_race_detector()?;
        let device = kernels.device();
        let checkpoint = NETWORK.random_checkpoint(None, 0)?;
        let mut model = NETWORK.load(device, &checkpoint, &LoadOptions::new().dtype(DTYPE))?;
        model.fuse(&mut Vec::new())?;
        let profile = model.frame_profile(vec![frame(&kernels, ROWS)?])?;
        let CompiledModel::View(mut network) = model.compiled(device, profile, 1) else {
            unreachable!("an encoder ends in a view");
        };
        network.record(ROWS)?;
        let capacity = network.classes().first().map_or(ROWS, |class| class.capacity);
        let mut findings = Findings::default();
        for rows in [0, 1, ROWS, capacity + 1] {
            let input = frame(&kernels, rows)?;
            let called = bits(&network.eager(&input)?)?;
            for run in 1..=2 {
                findings.checked += 1;
                if bits(network.run(&input)?)? != called {
                    let what =
                        format!("{NETWORK} over {rows} voxels: graph {run} is not its calls");
                    findings.failures.push(what);
                }
            }
        }
        Ok(findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_size_lie_within_the_shape() {
        for rows in [0, 1, ROWS, 2 * ROWS] {
            let cells = cells(rows);
            assert_eq!(cells.len(), rows);
            let turned_back = |cell: &Voxel| NETWORK.turned(*cell);
            for cell in cells.iter().map(turned_back) {
                let at = [cell.x, cell.y, cell.z].map(|at| u32::try_from(at).unwrap());
                assert!(at.iter().zip(SHAPE).all(|(at, size)| *at < size), "{cell:?}");
            }
        }
    }
}
