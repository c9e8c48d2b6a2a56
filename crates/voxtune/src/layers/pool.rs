//! Pooling over windows, and over whole samples.

use voxtune_types::{Geometry, LayerKind};

use super::conv_builder::{Axes, window};
use super::{Module, SparseTensor};
use crate::ops::{self, Pooling};
use crate::{ConvError, Tensor};

/// A pooling of windows of voxels, strided as a [`SparseConv3d`](crate::SparseConv3d): its outputs
/// are those of that layer.
#[derive(Clone, Copy, Debug)]
pub struct Pool3d {
    geometry: Geometry,
    pooling: Pooling,
}

/// A pooling to be made.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is made until `build`"]
pub struct PoolBuilder {
    kernel: Axes,
    stride: Option<Axes>,
    padding: Axes,
    dilation: Axes,
    pooling: Pooling,
}

impl Pool3d {
    /// Begins a pooling by the largest value of each channel among the voxels that are there.
    pub fn max(kernel: impl Into<Axes>) -> PoolBuilder {
        PoolBuilder::new(kernel.into(), Pooling::Max)
    }

    /// Begins one by the larger of that and 0, as spconv's `SparseMaxPool3d` computes it: its outputs
    /// begin as zeros. No gradient goes where 0 is the largest.
    pub fn max_clamped_at_zero(kernel: impl Into<Axes>) -> PoolBuilder {
        PoolBuilder::new(kernel.into(), Pooling::MaxAtLeastZero)
    }

    /// Begins one by the mean over the voxels that are there.
    pub fn average(kernel: impl Into<Axes>) -> PoolBuilder {
        PoolBuilder::new(kernel.into(), Pooling::Average)
    }

    /// Begins such a one with the gradient of spconv 2.3, which multiplies by the number of voxels that
    /// are there instead of dividing by it: for parity with what was trained so.
    pub fn average_as_spconv(kernel: impl Into<Axes>) -> PoolBuilder {
        PoolBuilder::new(kernel.into(), Pooling::AverageAsSpconv)
    }

    /// Where its rows meet.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The pooled features.
    ///
    /// # Errors
    /// If the device cannot hold outputs or map, or a kernel fails.
    pub fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let (outputs, map) = input.voxels().outputs_of(&self.geometry)?;
        let device = input.voxels().device();
        let features = ops::pool(device, &map, self.pooling, input.features())?;
        SparseTensor::new(outputs, features)
    }

    /// The gradient of the input.
    ///
    /// # Shapes
    /// `output`: what [`Self::forward`] gave; `grad_output`: `(outputs, channels)`; result:
    /// `(inputs, channels)`.
    ///
    /// # Errors
    /// If an operand has another shape, or a kernel fails.
    pub fn backward(
        &self,
        input: &SparseTensor,
        output: &SparseTensor,
        grad_output: &Tensor,
    ) -> Result<Tensor, ConvError> {
        let (_, map) = input.voxels().outputs_of(&self.geometry)?;
        let device = input.voxels().device();
        let (x, y) = (input.features(), output.features());
        ops::pool_backward(device, &map, self.pooling, x, y, grad_output)
    }
}

impl Module for Pool3d {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        Self::forward(self, input)
    }
}

impl PoolBuilder {
    fn new(kernel: Axes, pooling: Pooling) -> Self {
        let (padding, dilation) = (Axes::from(0), Axes::from(1));
        Self { kernel, stride: None, padding, dilation, pooling }
    }

    /// Step between windows; the kernel's extent if not given.
    pub fn stride(mut self, stride: impl Into<Axes>) -> Self {
        self.stride = Some(stride.into());
        self
    }

    /// How far windows begin before their output's place; 0 if not given.
    pub fn padding(mut self, padding: impl Into<Axes>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Step between the cells of a window; 1 if not given.
    pub fn dilation(mut self, dilation: impl Into<Axes>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// The pooling.
    ///
    /// # Errors
    /// If no layer is as described, naming what is wrong.
    pub fn build(self) -> Result<Pool3d, ConvError> {
        let Self { kernel, stride, padding, dilation, pooling } = self;
        let stride = stride.unwrap_or(kernel);
        let geometry = window(LayerKind::Sparse, kernel, stride, padding, dilation)
            .map_err(|problem| ConvError::Layer { layer: "Pool3d".to_owned(), problem })?;
        Ok(Pool3d { geometry, pooling })
    }
}
