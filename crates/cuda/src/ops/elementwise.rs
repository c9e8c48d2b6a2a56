//! Affine maps of channels, activations, sums of two tensors, other storage types.

use voxtune_types::{Activation, DType};

use super::{FeatureKernels, RowsParams, Shape, address_of, check_row, check_rows};
use crate::buffer::DeviceSlice;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::arguments;
use crate::{Matrix, MatrixMut};

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

    /// How to walk over features: where a part has numbers for channels, by rows.
    fn walk(&self, shape: Shape, pitches: &[usize]) -> Walk {
        let Self { mean, variance, scale, shift, .. } = self;
        let any = [mean, variance, scale, shift].iter().any(|part| part.is_some());
        if any { Walk { shape, is_flat: false } } else { Walk::new(shape, pitches) }
    }
}

/// What a kernel walks over whose elements need no channel.
#[derive(Clone, Copy, Debug)]
struct Walk {
    shape: Shape,
    /// Whether rows are not those of the features.
    is_flat: bool,
}

impl Walk {
    /// Elements as rows of eight, which kernels move at once, or one by one; the features' own rows
    /// where an operand has others between them.
    fn new(shape: Shape, pitches: &[usize]) -> Self {
        let is_flat = pitches.iter().all(|pitch| *pitch == shape.channels);
        if !is_flat {
            return Self { shape, is_flat };
        }
        let channels = if shape.len().is_multiple_of(8) { 8 } else { 1 };
        Self { shape: Shape { rows: shape.len() / channels, channels }, is_flat }
    }

    /// An operand in the rows of the walk.
    const fn rows_of(&self, operand: RowsParams) -> RowsParams {
        if self.is_flat { RowsParams::new(operand.first, self.shape.channels) } else { operand }
    }
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
        x: Matrix<'_>,
        rows: usize,
        channels: usize,
        y: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        of.check(channels)?;
        self.check("x", x, shape)?;
        self.check_mut("y", y, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let walk = of.walk(shape, &[x.pitch(), y.pitch()]);
        let params = of.params(&self.device)?;
        let [x, y] = [self.read(x)?, self.written(y)?].map(|operand| walk.rows_of(operand));
        let (rows, channels) = (walk.shape.rows(), walk.shape.channels());
        let grid = self.element_grid(shape.len());
        // SAFETY: (Rows, Rows, i64, i32, Affine); all lengths have been compared, and the result is
        // borrowed mutably.
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
        x: Matrix<'_>,
        grad_y: Matrix<'_>,
        rows: usize,
        channels: usize,
        grad_x: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        of.check(channels)?;
        self.check("x", x, shape)?;
        self.check("grad_y", grad_y, shape)?;
        self.check_mut("grad_x", grad_x, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let walk = of.walk(shape, &[x.pitch(), grad_y.pitch(), grad_x.pitch()]);
        let params = of.params(&self.device)?;
        let operands = [self.read(x)?, self.read(grad_y)?, self.written(grad_x)?];
        let [x, grad_y, grad_x] = operands.map(|operand| walk.rows_of(operand));
        let (rows, channels) = (walk.shape.rows(), walk.shape.channels());
        let arguments = arguments![x, grad_y, grad_x, rows, channels, params];
        // SAFETY: (Rows, Rows, Rows, i64, i32, Affine); all lengths have been compared, and the
        // result is borrowed mutably.
        unsafe { self.affine_backward.launch(self.element_grid(shape.len()), arguments) }
    }

    /// Queues `y = activation(a + b)`.
    ///
    /// # Shapes
    /// All `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn add(
        &self,
        a: Matrix<'_>,
        b: Matrix<'_>,
        rows: usize,
        channels: usize,
        activation: Activation,
        y: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        self.check("a", a, shape)?;
        self.check("b", b, shape)?;
        self.check_mut("y", y, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let walk = Walk::new(shape, &[a.pitch(), b.pitch(), y.pitch()]);
        let operands = [self.read(a)?, self.read(b)?, self.written(y)?];
        let [a, b, y] = operands.map(|operand| walk.rows_of(operand));
        let (rows, channels) = (walk.shape.rows(), walk.shape.channels());
        let activation = ActivationParams::new(activation);
        let arguments = arguments![a, b, y, rows, channels, activation];
        // SAFETY: (Rows, Rows, Rows, i64, i32, Activation); all lengths have been compared, and the
        // result is borrowed mutably.
        unsafe { self.add.launch(self.element_grid(shape.len()), arguments) }
    }

    /// Queues the gradient of a sum for either part.
    ///
    /// # Shapes
    /// All `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    #[expect(clippy::too_many_arguments, reason = "three operands and a result with a shape")]
    pub fn add_backward(
        &self,
        a: Matrix<'_>,
        b: Matrix<'_>,
        grad_y: Matrix<'_>,
        rows: usize,
        channels: usize,
        activation: Activation,
        grad: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        self.check("a", a, shape)?;
        self.check("b", b, shape)?;
        self.check("grad_y", grad_y, shape)?;
        self.check_mut("grad", grad, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let walk = Walk::new(shape, &[a.pitch(), b.pitch(), grad_y.pitch(), grad.pitch()]);
        let operands = [self.read(a)?, self.read(b)?, self.read(grad_y)?, self.written(grad)?];
        let [a, b, grad_y, grad] = operands.map(|operand| walk.rows_of(operand));
        let (rows, channels) = (walk.shape.rows(), walk.shape.channels());
        let activation = ActivationParams::new(activation);
        let arguments = arguments![a, b, grad_y, grad, rows, channels, activation];
        // SAFETY: (Rows, Rows, Rows, Rows, i64, i32, Activation); all lengths have been compared,
        // and the result is borrowed mutably.
        unsafe { self.add_backward.launch(self.element_grid(shape.len()), arguments) }
    }

    /// Queues the rounding of each element to another storage type, or a copy in the same one.
    ///
    /// # Shapes
    /// Both `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn cast(
        &self,
        from: Matrix<'_>,
        rows: usize,
        channels: usize,
        to_dtype: DType,
        to: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        self.check("the source", from, shape)?;
        check_rows("the target", (to.data().len_bytes(), to.pitch()), shape, to_dtype)?;
        if shape.is_empty() {
            return Ok(());
        }
        let kernel = &self.casts[to_dtype.index()];
        let walk = Walk::new(shape, &[from.pitch(), to.pitch()]);
        let operands = [self.read(from)?, self.written(to)?];
        let [from, to] = operands.map(|operand| walk.rows_of(operand));
        let (rows, channels) = (walk.shape.rows(), walk.shape.channels());
        let grid = self.element_grid(shape.len());
        // SAFETY: (Rows, Rows of the target's elements, i64, i32); both lengths have been compared,
        // and the target is borrowed mutably.
        unsafe { kernel.launch(grid, arguments![from, to, rows, channels]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `features/activation.cuh` declares them.
    #[test]
    fn parameters_have_the_kernels_sizes() {
        assert_eq!(size_of::<ActivationParams>(), 8);
        assert_eq!(size_of::<AffineParams>(), 48);
    }

    #[test]
    fn elements_are_walked_in_rows_of_eight_where_that_fits() {
        let walk = |rows, channels, pitches: &[usize]| {
            let walk = Walk::new(Shape { rows, channels }, pitches);
            (walk.shape.rows, walk.shape.channels, walk.rows_of(RowsParams::new(0, 32)).pitch)
        };
        assert_eq!(walk(4, 4, &[4, 4]), (2, 8, 8));
        assert_eq!(walk(17, 1, &[1, 1]), (17, 1, 1));
        assert_eq!(walk(4, 4, &[4, 32]), (4, 4, 32));
    }
}
