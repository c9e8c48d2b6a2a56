//! Pooling over windows of voxels, and over whole samples.

use std::marker::PhantomData;

use voxtune_types::{Geometry, LayerKind};

use super::conv_builder::{Axes, window};
use super::tape::{Record, other_pass};
use super::{Gradients, Module, SparseTensor, Tape};
use crate::ops::{self, Pooling, Reduction};
use crate::{ConvError, Tensor};

mod sealed {
    pub trait Sealed {}
}

/// What becomes of a window's voxels, known when the program is compiled.
pub trait PoolKind: sealed::Sealed + Send + Sync + 'static {
    /// What its layers are called.
    const NAME: &'static str;
    /// What they compute if nothing else is asked for.
    const POOLING: Pooling;
}

/// That of [`MaxPool3d`].
#[derive(Clone, Copy, Debug)]
pub enum Maximum {}
/// That of [`AvgPool3d`].
#[derive(Clone, Copy, Debug)]
pub enum Average {}

impl sealed::Sealed for Maximum {}
impl sealed::Sealed for Average {}

impl PoolKind for Maximum {
    const NAME: &'static str = "MaxPool3d";
    const POOLING: Pooling = Pooling::Max;
}

impl PoolKind for Average {
    const NAME: &'static str = "AvgPool3d";
    const POOLING: Pooling = Pooling::Average;
}

/// The largest value of each channel among the voxels of a window that are there.
///
/// ```
/// use voxtune::{Device, MaxPool3d, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, (0..4).map(|x| Voxel::new(0, x, 0, 0)).collect())?;
/// let features = Tensor::from_rows(&device, &[[1.0], [-2.0], [-3.0], [-4.0]])?;
/// let input = SparseTensor::new(voxels, features)?;
/// let pooled = MaxPool3d::builder(2).build()?.forward(&input)?;
/// assert_eq!(pooled.features().to_f32()?, [1.0, -3.0]);
/// let clamped = MaxPool3d::builder(2).clamped_at_zero().build()?.forward(&input)?;
/// assert_eq!(clamped.features().to_f32()?, [1.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type MaxPool3d = Pool<Maximum>;

/// The mean of each channel over the voxels of a window that are there.
///
/// ```
/// use voxtune::{AvgPool3d, Device, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, (0..4).map(|x| Voxel::new(0, x, 0, 0)).collect())?;
/// let features = Tensor::from_rows(&device, &[[1.0], [3.0], [4.0], [8.0]])?;
/// let pooled = AvgPool3d::builder(2).build()?.forward(&SparseTensor::new(voxels, features)?)?;
/// assert_eq!(pooled.features().to_f32()?, [2.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type AvgPool3d = Pool<Average>;

/// A pooling of windows, strided as a [`SparseConv3d`](crate::SparseConv3d): its outputs are those
/// of that layer. [`MaxPool3d`] or [`AvgPool3d`].
#[derive(Clone, Copy, Debug)]
pub struct Pool<K> {
    geometry: Geometry,
    pooling: Pooling,
    kind: PhantomData<K>,
}

/// A pooling to be made; [`Pool::builder`] begins one.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is made until `build`"]
pub struct PoolBuilder<K> {
    kernel: Axes,
    stride: Option<Axes>,
    padding: Axes,
    dilation: Axes,
    pooling: Pooling,
    kind: PhantomData<K>,
}

impl<K: PoolKind> Pool<K> {
    /// Begins a pooling of windows of this extent.
    pub fn builder(kernel: impl Into<Axes>) -> PoolBuilder<K> {
        let (padding, dilation) = (Axes::from(0), Axes::from(1));
        PoolBuilder {
            kernel: kernel.into(),
            stride: None,
            padding,
            dilation,
            pooling: K::POOLING,
            kind: PhantomData,
        }
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
        let (outputs, geometry) = input.voxels().made_by(&self.geometry)?;
        let map = input.voxels().map_of(&outputs, &geometry)?;
        let device = input.voxels().device();
        let features = ops::pool(device, &map, self.pooling, input.features())?;
        SparseTensor::new(outputs, features)
    }

    /// The gradient of the input. Of a maximum it goes to every input that is equal to the output.
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
        let (outputs, geometry) = input.voxels().made_by(&self.geometry)?;
        let map = input.voxels().map_of(&outputs, &geometry)?;
        let device = input.voxels().device();
        let (x, y) = (input.features(), output.features());
        ops::pool_backward(device, &map, self.pooling, x, y, grad_output)
    }
}

impl<K: PoolKind + std::fmt::Debug> Module for Pool<K> {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        Self::forward(self, input)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let output = Self::forward(self, input)?;
        tape.push(Record::Pooled(input.clone(), output.clone()))?;
        Ok(output)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        _: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let Record::Pooled(input, output) = tape.pop(self)? else { return Err(other_pass(self)) };
        self.backward(&input, &output, grad_output)
    }
}

impl<K: PoolKind> PoolBuilder<K> {
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
    pub fn build(self) -> Result<Pool<K>, ConvError> {
        let Self { kernel, stride, padding, dilation, pooling, .. } = self;
        let stride = stride.unwrap_or(kernel);
        let geometry = window(LayerKind::Sparse, kernel, stride, padding, dilation)
            .map_err(|problem| ConvError::Layer { layer: K::NAME.to_owned(), problem })?;
        Ok(Pool { geometry, pooling, kind: PhantomData })
    }
}

impl PoolBuilder<Maximum> {
    /// The larger of the maximum and 0, as spconv computes it: its outputs begin as zeros. No
    /// gradient goes where 0 is the largest.
    pub const fn clamped_at_zero(mut self) -> Self {
        self.pooling = Pooling::MaxAtLeastZero;
        self
    }
}

impl PoolBuilder<Average> {
    /// The gradient of spconv 2.3, which multiplies by the number of voxels that are there instead
    /// of dividing by it. It is for parity with what was trained so.
    pub const fn with_gradient_of_spconv(mut self) -> Self {
        self.pooling = Pooling::AverageAsSpconv;
        self
    }
}

/// A pooling of each sample as a whole.
///
/// ```
/// use voxtune::ops::Reduction;
/// use voxtune::{Device, GlobalPool, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// // Two voxels of the first sample, one of the second.
/// let cells = vec![Voxel::new(0, 1, 1, 1), Voxel::new(0, 5, 2, 3), Voxel::new(1, 1, 1, 1)];
/// let voxels = Voxels::new(&device, cells)?;
/// let features = Tensor::from_rows(&device, &[[1.0], [3.0], [7.0]])?;
/// let input = SparseTensor::new(voxels, features)?;
/// let pooled = GlobalPool::new(Reduction::Mean).forward(&input, 2)?;
/// assert_eq!(pooled.to_f32()?, [2.0, 7.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GlobalPool {
    reduction: Reduction,
}

impl GlobalPool {
    /// The sum, the mean or the largest value of each channel over a sample's voxels.
    #[must_use]
    pub const fn new(reduction: Reduction) -> Self {
        Self { reduction }
    }

    /// The pooled features of so many samples; zeros of one without voxels. On a GPU the first call
    /// over some voxels waits until their batches have been looked at; in a frame, reading the
    /// result does.
    ///
    /// # Shapes
    /// Result: `(samples, channels)`.
    ///
    /// # Errors
    /// If a voxel's batch is none of the samples, or the device fails.
    pub fn forward(&self, input: &SparseTensor, samples: usize) -> Result<Tensor, ConvError> {
        let device = input.voxels().device();
        let groups = input.voxels().samples(samples)?;
        let pooled = groups.reduce(device, self.reduction, input.features())?;
        Ok(pooled.counted(input.voxels().frame_fate()))
    }

    /// The gradient of the input.
    ///
    /// # Shapes
    /// `output`: what [`Self::forward`] gave; `grad_output`: `(samples, channels)`.
    ///
    /// # Errors
    /// As [`Self::forward`], and if an operand has another shape.
    pub fn backward(
        &self,
        input: &SparseTensor,
        output: &Tensor,
        grad_output: &Tensor,
    ) -> Result<Tensor, ConvError> {
        let device = input.voxels().device();
        let groups = input.voxels().samples(output.rows())?;
        groups.reduce_backward(device, self.reduction, input.features(), output, grad_output)
    }
}
