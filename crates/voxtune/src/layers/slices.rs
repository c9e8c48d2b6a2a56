//! Kernels of more offsets than a device's maps hold, cut into slices along x.
//!
//! A slice is a layer of its own between the same voxels: the sum of their outputs is the layer's, and
//! their weight gradients follow each other in its own. Sums are rounded to the storage type behind
//! each slice.

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize, LayerKind, Operation};

use crate::{ConvError, Device, Tensor};

/// Consecutive offsets along x.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// The first of them.
    first: u8,
    /// In the forward direction.
    pub(super) operation: Operation,
    pub(super) weights: Arc<Tensor>,
}

impl Slice {
    /// Where the rows of the slice meet, of those of the whole layer.
    pub(super) fn of(&self, whole: &Geometry) -> Geometry {
        let [x, y, z] = whole.padding;
        let begun = i16::from(self.first) * i16::from(whole.dilation[0]);
        let Operation { kind, kernel, .. } = self.operation;
        Geometry { kind, kernel, padding: [x - begun, y, z], ..*whole }
    }

    /// The first row of its weights among the layer's.
    pub(super) fn first_row(&self) -> usize {
        let [_, y, z] = self.operation.kernel.extents().map(usize::from);
        usize::from(self.first) * y * z * self.operation.c_in as usize
    }
}

/// The slices of a layer with these weights, `(volume, c_in, c_out)`; none if its map can be had.
///
/// # Errors
/// If the device cannot hold the weights.
pub(super) fn slices(
    device: &Device,
    most_offsets: usize,
    operation: &Operation,
    weights: &[f32],
) -> Result<Arc<[Slice]>, ConvError> {
    let Operation { kernel, kind, c_in, c_out, dtype, .. } = *operation;
    let [extent, y, z] = kernel.extents();
    let plane = usize::from(y) * usize::from(z);
    let deep = most_offsets / plane;
    if kernel.volume() <= most_offsets || deep == 0 {
        return Ok(Arc::from([]));
    }
    // Whichever voxels they are, they are given; which side is the coarse one stays.
    let kind = if kind.is_upsampling() { LayerKind::Transposed } else { LayerKind::Given };
    let (c_in, c_out) = (c_in as usize, c_out as usize);
    let slice = |first: u8| {
        let extents = [(extent - first).min(deep as u8), y, z];
        let kernel = KernelSize::try_from(extents).expect("parts of a kernel's extents");
        let operation = Operation { kernel, kind, ..*operation };
        let (begin, rows) = (usize::from(first) * plane * c_in, kernel.volume() * c_in);
        let own = &weights[begin * c_out..(begin + rows) * c_out];
        let weights = Arc::new(Tensor::from_f32(device, dtype, rows, c_out, own)?);
        Ok(Slice { first, operation, weights })
    };
    (0..extent).step_by(deep).map(slice).collect()
}
