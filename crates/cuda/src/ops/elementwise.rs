//! Affine maps of channels, activations, sums of two tensors, other storage types.

use voxtune_types::{Activation, DType};

use super::{FeatureKernels, Shape, address_of, check_bytes, check_row};
use crate::buffer::{DeviceSlice, DeviceSliceMut};
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::arguments;

/// `Activation` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct ActivationParams {
    kind: i32,
    slope_below: f32,
}

impl ActivationParams {
    const fn new(activation: Activation) -> Self {
        let (kind, slope_below) = match activation {
            Activation::Identity => (0, 1.0),
            Activation::Relu => (1, 0.0),
            Activation::LeakyRelu { slope } => (2, slope),
            Activation::Gelu => (3, 0.0),
            Activation::Silu => (4, 0.0),
            Activation::Sigmoid => (5, 0.0),
        };
        Self { kind, slope_below }
    }
}

/// `y = activation((x - mean[c]) / sqrt(variance[c] + epsilon) · scale[c] + shift[c])`. Each part
/// may be absent; a mean and a variance make it a batch normalisation.
///
/// # Shapes
/// Each `(channels)` float32, at any address that fits one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Affine<'a> {
    /// What is taken off the channels first.
    pub mean: Option<DeviceSlice<'a>>,
    /// Variances, whose roots the channels are divided by.
    pub variance: Option<DeviceSlice<'a>>,
    /// What is added to the variances.
    pub epsilon: f32,
    /// Factors of the channels.
    pub scale: Option<DeviceSlice<'a>>,
    /// What is added to the channels.
    pub shift: Option<DeviceSlice<'a>>,
    /// What is done last.
    pub activation: Activation,
}

/// `Affine` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AffineParams {
    mean: u64,
    variance: u64,
    scale: u64,
    shift: u64,
    epsilon: f32,
    activation: ActivationParams,
}

impl Affine<'_> {
    pub(super) fn check(&self, channels: usize) -> Result<()> {
        check_row("the mean", self.mean, channels)?;
        check_row("the variance", self.variance, channels)?;
        check_row("the scale", self.scale, channels)?;
        check_row("the shift", self.shift, channels)
    }

    pub(super) fn params(&self, device: &CudaDevice) -> Result<AffineParams> {
        Ok(AffineParams {
            mean: address_of(self.mean, device)?,
            variance: address_of(self.variance, device)?,
            scale: address_of(self.scale, device)?,
            shift: address_of(self.shift, device)?,
            epsilon: self.epsilon,
            activation: ActivationParams::new(self.activation),
        })
    }

    /// The shape to walk over: where no part knows channels, rows of eight do as well.
    fn walked(&self, shape: Shape) -> Shape {
        let Self { mean, variance, scale, shift, .. } = self;
        let any = [mean, variance, scale, shift].iter().any(|part| part.is_some());
        if any { shape } else { shape_of(shape.len()) }
    }
}

/// Elements as rows of eight, which kernels move at once, or one by one.
fn shape_of(len: usize) -> Shape {
    let channels = if len.is_multiple_of(8) { 8 } else { 1 };
    Shape { rows: len / channels, channels }
}

impl FeatureKernels {
    /// Queues an affine map.
    ///
    /// # Shapes
    /// `x`, `y`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn affine(
        &self,
        of: &Affine<'_>,
        x: DeviceSlice<'_>,
        rows: usize,
        channels: usize,
        y: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        of.check(channels)?;
        self.check("x", x.len_bytes(), shape)?;
        self.check("y", y.len_bytes(), shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let (walked, params) = (of.walked(shape), of.params(&self.device)?);
        let (x, y) = (x.read_by(&self.device)?, y.write_by(&self.device)?);
        let (rows, channels) = (walked.rows(), walked.channels());
        let grid = self.element_grid(shape.len());
        // SAFETY: (Element*, Element*, i64, i32, Affine); all lengths have been compared, and the
        // result is borrowed mutably.
        unsafe { self.affine.launch(grid, arguments![x, y, rows, channels, params]) }
    }

    /// Queues the gradient of an affine map for `x`, on which a mean and a variance do not depend.
    ///
    /// # Shapes
    /// `x`, `grad_y`, `grad_x`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn affine_backward(
        &self,
        of: &Affine<'_>,
        x: DeviceSlice<'_>,
        grad_y: DeviceSlice<'_>,
        rows: usize,
        channels: usize,
        grad_x: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        of.check(channels)?;
        self.check("x", x.len_bytes(), shape)?;
        self.check("grad_y", grad_y.len_bytes(), shape)?;
        self.check("grad_x", grad_x.len_bytes(), shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let (walked, params) = (of.walked(shape), of.params(&self.device)?);
        let (rows, channels) = (walked.rows(), walked.channels());
        let (x, grad_y) = (x.read_by(&self.device)?, grad_y.read_by(&self.device)?);
        let grad_x = grad_x.write_by(&self.device)?;
        let arguments = arguments![x, grad_y, grad_x, rows, channels, params];
        // SAFETY: (Element*, Element*, Element*, i64, i32, Affine); all lengths have been compared,
        // and the result is borrowed mutably.
        unsafe { self.affine_backward.launch(self.element_grid(shape.len()), arguments) }
    }

    /// Queues `y = activation(a + b)`.
    ///
    /// # Shapes
    /// All alike.
    ///
    /// # Errors
    /// If lengths differ, or the driver fails.
    pub fn add(
        &self,
        a: DeviceSlice<'_>,
        b: DeviceSlice<'_>,
        activation: Activation,
        y: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let len = y.len_bytes() / self.dtype.bytes();
        check_bytes("a", a.len_bytes(), y.len_bytes())?;
        check_bytes("b", b.len_bytes(), y.len_bytes())?;
        if len == 0 {
            return Ok(());
        }
        let (shape, activation) = (shape_of(len), ActivationParams::new(activation));
        let (rows, channels) = (shape.rows(), shape.channels());
        let (a, b) = (a.read_by(&self.device)?, b.read_by(&self.device)?);
        let y = y.write_by(&self.device)?;
        let arguments = arguments![a, b, y, rows, channels, activation];
        // SAFETY: (Element*, Element*, Element*, i64, i32, Activation); all lengths are that of the
        // result, which is borrowed mutably.
        unsafe { self.add.launch(self.element_grid(len), arguments) }
    }

    /// Queues the gradient of a sum for either part.
    ///
    /// # Shapes
    /// All alike.
    ///
    /// # Errors
    /// If lengths differ, or the driver fails.
    pub fn add_backward(
        &self,
        a: DeviceSlice<'_>,
        b: DeviceSlice<'_>,
        grad_y: DeviceSlice<'_>,
        activation: Activation,
        grad: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let len = grad.len_bytes() / self.dtype.bytes();
        check_bytes("a", a.len_bytes(), grad.len_bytes())?;
        check_bytes("b", b.len_bytes(), grad.len_bytes())?;
        check_bytes("grad_y", grad_y.len_bytes(), grad.len_bytes())?;
        if len == 0 {
            return Ok(());
        }
        let (shape, activation) = (shape_of(len), ActivationParams::new(activation));
        let (rows, channels) = (shape.rows(), shape.channels());
        let (a, b) = (a.read_by(&self.device)?, b.read_by(&self.device)?);
        let (grad_y, grad) = (grad_y.read_by(&self.device)?, grad.write_by(&self.device)?);
        let arguments = arguments![a, b, grad_y, grad, rows, channels, activation];
        // SAFETY: (Element*, Element*, Element*, Element*, i64, i32, Activation); all lengths are
        // that of the result, which is borrowed mutably.
        unsafe { self.add_backward.launch(self.element_grid(len), arguments) }
    }

    /// Queues the rounding of each element to another storage type, or a copy in the same one.
    ///
    /// # Shapes
    /// As many elements in both.
    ///
    /// # Errors
    /// If lengths differ, or the driver fails.
    pub fn cast(
        &self,
        from: DeviceSlice<'_>,
        to_dtype: DType,
        to: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let len = from.len_bytes() / self.dtype.bytes();
        check_bytes("the target", to.len_bytes(), len * to_dtype.bytes())?;
        if len == 0 {
            return Ok(());
        }
        let kernel = &self.casts[to_dtype.index()];
        let shape = shape_of(len);
        let (rows, channels) = (shape.rows(), shape.channels());
        let (from, to) = (from.read_by(&self.device)?, to.write_by(&self.device)?);
        // SAFETY: (Element*, the target's elements, i64, i32); both have `len` elements, and the
        // target is borrowed mutably.
        unsafe { kernel.launch(self.element_grid(len), arguments![from, to, rows, channels]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `features.cu` declares them.
    #[test]
    fn parameters_have_the_kernels_sizes() {
        assert_eq!(size_of::<ActivationParams>(), 8);
        assert_eq!(size_of::<AffineParams>(), 48);
    }

    #[test]
    fn elements_are_walked_in_rows_of_eight_where_that_fits() {
        let shape = |len| (shape_of(len).rows, shape_of(len).channels);
        assert_eq!([shape(0), shape(16), shape(17)], [(0, 8), (2, 8), (17, 1)]);
    }
}
