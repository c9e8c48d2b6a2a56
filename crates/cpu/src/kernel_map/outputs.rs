//! Where a strided convolution has outputs.

use rayon::prelude::*;
use voxtune_types::{Geometry, GeometryError, Voxel};

use super::KernelMapError;

/// Input voxels a task takes at least.
const TASK_VOXELS: usize = 4096;

/// The outputs of a [sparse](voxtune_types::LayerKind::Sparse) layer: every coarse voxel whose
/// window holds an input. Of an [upsampling](voxtune_types::LayerKind::is_upsampling) layer: every
/// fine voxel in the window of an input. Sorted, each once.
///
/// Where the outputs have a `shape`, those past it or below zero do not exist; without one all do
/// whose coordinates fit 32 bits. These are the places where a dense convolution of the same data
/// can differ from zero, and the outputs of spconv's layers.
///
/// # Errors
/// If a stride or a dilation is zero.
pub fn layer_outputs(
    inputs: &[Voxel],
    geometry: &Geometry,
    shape: Option<[u32; 3]>,
) -> Result<Vec<Voxel>, KernelMapError> {
    geometry.check()?;
    let bounds = match shape {
        None => [(i64::from(i32::MIN), i64::from(i32::MAX)); 3],
        Some(shape) => shape.map(|size| (0, i64::from(size).min(1 << 31) - 1)),
    };
    let reached = inputs.par_chunks(TASK_VOXELS).flat_map_iter(|inputs| {
        let mut outputs = Vec::with_capacity(inputs.len());
        let mut axes: [Vec<i32>; 3] = Default::default();
        for input in inputs {
            for (axis, at) in [input.x, input.y, input.z].into_iter().enumerate() {
                reached_along(geometry, axis, at, bounds[axis], &mut axes[axis]);
            }
            for &x in &axes[0] {
                for &y in &axes[1] {
                    outputs.extend(axes[2].iter().map(|&z| Voxel::new(input.batch, x, y, z)));
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
    if stride.contains(&0) {
        return Err(GeometryError::ZeroStride(stride).into());
    }
    let floor = |at: i32, axis: usize| at.div_euclid(i32::from(stride[axis]));
    let cell = |v: &Voxel| Voxel::new(v.batch, floor(v.x, 0), floor(v.y, 1), floor(v.z, 2));
    let mut outputs: Vec<Voxel> = inputs.par_iter().map(cell).collect();
    outputs.par_sort_unstable();
    outputs.dedup();
    Ok(outputs)
}

/// The outputs along an axis that an input meets, within bounds.
fn reached_along(
    geometry: &Geometry,
    axis: usize,
    input: i32,
    (first, last): (i64, i64),
    reached: &mut Vec<i32>,
) {
    let (stride, dilation) = (i64::from(geometry.stride[axis]), i64::from(geometry.dilation[axis]));
    let (low, at) = (i64::from(geometry.low()[axis]), i64::from(input));
    let met = |r: u8| {
        let step = low + i64::from(r) * dilation;
        if geometry.kind.is_upsampling() {
            Some(at * stride + step)
        } else {
            let window = at - step;
            (window % stride == 0).then_some(window / stride)
        }
    };
    let inside = |cell: i64| (first..=last).contains(&cell).then_some(cell as i32);
    reached.clear();
    reached.extend((0..geometry.kernel.extents()[axis]).filter_map(met).filter_map(inside));
}

/// Neighbours reach the same outputs: most are found again at once.
fn sorted_once(voxels: &mut Vec<Voxel>) {
    voxels.sort_unstable();
    voxels.dedup();
}
