//! Where a strided convolution has outputs.

use rayon::prelude::*;
use voxtune_types::{KernelSize, Voxel};

use super::{KernelMapError, check_stride};

/// Input voxels a task takes at least.
const TASK_VOXELS: usize = 4096;

/// The outputs that at least one input reaches: every voxel `o` for which there are an input `i` and
/// an offset of the kernel with `i = o · stride + offset`. Sorted, each once.
///
/// These are the places where a dense convolution of the same data can differ from zero, and those of
/// spconv's `SparseConv3d`, by which most networks for LiDAR are written, with a padding of
/// `⌊(extent - 1) / 2⌋`: another padding is a shift of the coordinates. Where the stride is the kernel's
/// extent, as between the levels of most U-Nets, windows do not overlap, and the outputs are those of
/// [`downsampled`] as well. A cell past the ends of 32 bits has no voxel.
///
/// # Errors
/// If a stride is zero.
pub fn strided_outputs(
    inputs: &[Voxel],
    kernel: KernelSize,
    stride: [u8; 3],
) -> Result<Vec<Voxel>, KernelMapError> {
    check_stride(stride)?;
    let extents = kernel.extents();
    let reached = inputs.par_chunks(TASK_VOXELS).flat_map_iter(|inputs| {
        let mut outputs = Vec::with_capacity(inputs.len());
        for input in inputs {
            let at = [input.x, input.y, input.z];
            let [xs, ys, zs] =
                std::array::from_fn(|axis| reached_along(at[axis], extents[axis], stride[axis]));
            for x in xs {
                for y in ys.clone() {
                    let batch = input.batch;
                    let voxel = |z| voxel_at(batch, [x, y, z]);
                    outputs.extend(zs.clone().filter_map(voxel));
                }
            }
        }
        sorted_once(&mut outputs);
        outputs
    });
    let mut outputs: Vec<Voxel> = reached.collect();
    outputs.par_sort_unstable();
    outputs.dedup();
    Ok(outputs)
}

/// The cells of `stride` inputs that have one: `⌊i / stride⌋`, rounded down below zero too. Sorted,
/// each once.
///
/// The outputs of MinkowskiEngine's strided convolution, whatever its kernel.
///
/// # Errors
/// If a stride is zero.
pub fn downsampled(inputs: &[Voxel], stride: [u8; 3]) -> Result<Vec<Voxel>, KernelMapError> {
    check_stride(stride)?;
    let floor = |at: i32, axis: usize| at.div_euclid(i32::from(stride[axis]));
    let cell = |v: &Voxel| Voxel::new(v.batch, floor(v.x, 0), floor(v.y, 1), floor(v.z, 2));
    let mut outputs: Vec<Voxel> = inputs.par_iter().map(cell).collect();
    outputs.par_sort_unstable();
    outputs.dedup();
    Ok(outputs)
}

/// The outputs along an axis whose windows hold an input.
fn reached_along(input: i32, extent: u8, stride: u8) -> std::ops::RangeInclusive<i64> {
    let (input, extent, stride) = (i64::from(input), i64::from(extent), i64::from(stride));
    let low = -((extent - 1) / 2);
    // low <= input - o * stride < low + extent, so the first is that after the last which is too low.
    let too_low = (input - low - extent).div_euclid(stride);
    let last = (input - low).div_euclid(stride);
    too_low + 1..=last
}

fn voxel_at(batch: i32, position: [i64; 3]) -> Option<Voxel> {
    let [x, y, z] = position.map(i32::try_from);
    Some(Voxel::new(batch, x.ok()?, y.ok()?, z.ok()?))
}

/// Neighbours reach the same outputs: most are found again at once.
fn sorted_once(voxels: &mut Vec<Voxel>) {
    voxels.sort_unstable();
    voxels.dedup();
}
