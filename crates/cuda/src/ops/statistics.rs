//! Sums of columns, and the normalisations that need them.

use super::{Affine, FeatureKernels, Shape, THREADS, address_of, check_row, check_row_mut};
use crate::buffer::{DeviceBuffer, DeviceSlice, DeviceSliceMut};
use crate::error::Result;
use crate::module::{Arguments, Grid, Kernel, arguments};
use crate::{Matrix, MatrixMut};

/// Parts that a long matrix is cut into, and the fewest rows of one.
const MOST_PARTS: usize = 4096;
const LEAST_PART_ROWS: usize = 256;

/// Parameters of a layer normalisation.
///
/// # Shapes
/// Each `(channels)` float32.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// What is added to the variances.
    pub epsilon: f32,
    /// Factors of the channels; 1 where absent.
    pub gamma: Option<DeviceSlice<'a>>,
    /// What is added to the channels; 0 where absent.
    pub beta: Option<DeviceSlice<'a>>,
}

impl LayerNorm<'_> {
    fn check(&self, channels: usize) -> Result<()> {
        check_row("gamma", self.gamma, channels)?;
        check_row("beta", self.beta, channels)
    }
}

/// How a matrix is cut for the sums of its columns: by its shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// Threads side by side, a power of two.
    lanes: usize,
    part_rows: usize,
    parts: usize,
    /// Groups of `lanes` columns.
    groups: usize,
}

impl Cut {
    fn new(shape: Shape) -> Self {
        let lanes = lanes(shape.channels);
        let part_rows = shape.rows.div_ceil(MOST_PARTS).max(LEAST_PART_ROWS);
        let parts = shape.rows.div_ceil(part_rows).max(1);
        Self { lanes, part_rows, parts, groups: shape.channels.div_ceil(lanes) }
    }

    fn grid(&self) -> Grid {
        let blocks = [self.parts as u32, self.groups as u32];
        Grid { blocks, threads: THREADS, shared_bytes: 0 }
    }
}

/// Threads that share a row.
fn lanes(channels: usize) -> usize {
    channels.next_power_of_two().clamp(1, 32)
}

impl FeatureKernels {
    /// The parts of `count` sums, added up by `launch`.
    fn parts(&self, cut: Cut, shape: Shape, count: usize) -> Result<DeviceBuffer> {
        DeviceBuffer::alloc(&self.device, count * cut.parts * shape.channels * size_of::<f32>())
    }

    /// Adds the parts of one of several sums up.
    fn finish(
        &self,
        partial: &DeviceBuffer,
        which: usize,
        cut: Cut,
        shape: Shape,
        divisor: f64,
        sums: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let skipped = which * cut.parts * shape.channels * size_of::<f32>();
        let partial = partial.as_ref().address() + skipped as u64;
        let (parts, channels, lanes) = (cut.parts as i32, shape.channels(), cut.lanes as i32);
        let sums = sums.write_by(&self.device)?;
        let grid = Grid { blocks: [cut.groups as u32, 1], threads: THREADS, shared_bytes: 0 };
        let arguments = arguments![partial, parts, channels, lanes, divisor, sums];
        // SAFETY: (f32*, i32, i32, i32, f64, f32*). The parts are those that a kernel before has
        // written, and the caller has compared the length of the sums with the channels.
        unsafe { self.finish_columns.launch(grid, arguments) }
    }

    /// Queues the sum of each column.
    ///
    /// # Shapes
    /// `x`: `(rows, channels)`. `sums`: `(channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    pub fn column_sums(
        &self,
        x: Matrix<'_>,
        rows: usize,
        channels: usize,
        sums: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        self.check("x", x, shape)?;
        check_row_mut("the sums", sums, channels)?;
        if shape.is_empty() {
            return sums.fill(0);
        }
        let cut = Cut::new(shape);
        let partial = self.sum(x, shape, cut)?;
        self.finish(&partial, 0, cut, shape, 1.0, sums)
    }

    fn sum(&self, x: Matrix<'_>, shape: Shape, cut: Cut) -> Result<DeviceBuffer> {
        let partial = self.parts(cut, shape, 1)?;
        let (x, target) = (self.read(x)?, partial.as_ref().address());
        let (rows, channels) = (shape.rows(), shape.channels());
        let (lanes, part_rows) = (cut.lanes as i32, cut.part_rows as i64);
        let arguments = arguments![x, rows, channels, lanes, part_rows, target];
        // SAFETY: (Rows, i64, i32, i32, i64, f32*). The caller has compared the length of `x` with
        // the shape, and the parts have room for one sum of each block.
        unsafe { self.column_sums.launch(cut.grid(), arguments) }?;
        Ok(partial)
    }

    /// Queues the mean and the biased variance of each column: squares are those of the differences
    /// from the mean. Of no rows both are 0.
    ///
    /// # Shapes
    /// `x`: `(rows, channels)`. `mean`, `variance`: `(channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    pub fn column_statistics(
        &self,
        x: Matrix<'_>,
        rows: usize,
        channels: usize,
        mean: &mut DeviceSliceMut<'_>,
        variance: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        self.check("x", x, shape)?;
        check_row_mut("the mean", mean, channels)?;
        check_row_mut("the variance", variance, channels)?;
        if shape.is_empty() {
            mean.fill(0)?;
            return variance.fill(0);
        }
        let (cut, count) = (Cut::new(shape), rows as f64);
        let partial = self.sum(x, shape, cut)?;
        self.finish(&partial, 0, cut, shape, count, mean)?;
        let x = self.read(x)?;
        let (means, target) = (mean.address(), partial.as_ref().address());
        let (rows, channels) = (shape.rows(), shape.channels());
        let (lanes, part_rows) = (cut.lanes as i32, cut.part_rows as i64);
        let arguments = arguments![x, means, rows, channels, lanes, part_rows, target];
        // SAFETY: (Rows, f32*, i64, i32, i32, i64, f32*). Lengths have been compared, and the
        // parts, which have been read by now, have room for one sum of each block.
        unsafe { self.column_squares.launch(cut.grid(), arguments) }?;
        self.finish(&partial, 0, cut, shape, count, variance)
    }

    /// Launches a kernel that writes the parts of two sums, and adds them up.
    ///
    /// # Safety
    /// As of [`Kernel::launch`], with the cut's grid; the kernel writes `partial`.
    unsafe fn two_sums<const N: usize>(
        &self,
        kernel: &Kernel,
        arguments: Arguments<N>,
        partial: &DeviceBuffer,
        (cut, shape): (Cut, Shape),
        grad_gamma: &mut DeviceSliceMut<'_>,
        grad_beta: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { kernel.launch(cut.grid(), arguments) }?;
        self.finish(partial, 0, cut, shape, 1.0, grad_gamma)?;
        self.finish(partial, 1, cut, shape, 1.0, grad_beta)
    }

    /// Queues the gradients of a batch normalisation whose mean and variance are those of `x`. An
    /// activation is left out: `grad_y` is that of the normalised numbers.
    ///
    /// # Shapes
    /// `x`, `grad_y`, `grad_x`: `(rows, channels)`. `grad_scale`, `grad_shift`: `(channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    #[expect(clippy::too_many_arguments, reason = "two operands and three results with a shape")]
    pub fn batch_norm_backward(
        &self,
        of: &Affine<'_>,
        x: Matrix<'_>,
        grad_y: Matrix<'_>,
        rows: usize,
        channels: usize,
        grad_x: &mut MatrixMut<'_>,
        grad_scale: &mut DeviceSliceMut<'_>,
        grad_shift: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        of.check(channels)?;
        self.check("x", x, shape)?;
        self.check("grad_y", grad_y, shape)?;
        self.check_mut("grad_x", grad_x, shape)?;
        check_row_mut("grad_scale", grad_scale, channels)?;
        check_row_mut("grad_shift", grad_shift, channels)?;
        if shape.is_empty() {
            grad_scale.fill(0)?;
            return grad_shift.fill(0);
        }
        let cut = Cut::new(shape);
        let partial = self.parts(cut, shape, 2)?;
        let (rows, channels) = (shape.rows(), shape.channels());
        let (params, target) = (of.params(&self.device)?, partial.as_ref().address());
        let (x, grad_y) = (self.read(x)?, self.read(grad_y)?);
        let (lanes, part_rows) = (cut.lanes as i32, cut.part_rows as i64);
        let sums = arguments![x, grad_y, rows, channels, params, lanes, part_rows, target];
        let both = (cut, shape);
        // SAFETY: (Rows, Rows, i64, i32, Affine, i32, i64, f32*); lengths have been
        // compared, and the parts have room for two sums of each block.
        unsafe {
            self.two_sums(&self.batch_norm_sums, sums, &partial, both, grad_scale, grad_shift)
        }?;
        let (scale, shift) = (grad_scale.address(), grad_shift.address());
        let grad_x = self.written(grad_x)?;
        let arguments = arguments![x, grad_y, grad_x, rows, channels, params, scale, shift];
        // SAFETY: (Rows, Rows, Rows, i64, i32, Affine, f32*, f32*); lengths have been
        // compared, and the result is borrowed mutably.
        unsafe { self.batch_norm_backward.launch(self.element_grid(shape.len()), arguments) }
    }

    /// Queues a layer normalisation.
    ///
    /// # Shapes
    /// `x`, `y`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn layer_norm(
        &self,
        norm: &LayerNorm<'_>,
        x: Matrix<'_>,
        rows: usize,
        channels: usize,
        y: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        norm.check(channels)?;
        self.check("x", x, shape)?;
        self.check_mut("y", y, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let (x, y) = (self.read(x)?, self.written(y)?);
        let lanes = lanes(channels);
        let grid = self.grid(rows, THREADS as usize / lanes);
        let (rows, channels, lanes) = (shape.rows(), shape.channels(), lanes as i32);
        let gamma = address_of(norm.gamma, &self.device)?;
        let (beta, epsilon) = (address_of(norm.beta, &self.device)?, norm.epsilon);
        let arguments = arguments![x, y, rows, channels, lanes, gamma, beta, epsilon];
        // SAFETY: (Rows, Rows, i64, i32, i32, f32*, f32*, f32); lengths have been compared,
        // and the result is borrowed mutably.
        unsafe { self.layer_norm.launch(grid, arguments) }
    }

    /// Queues the gradients of a layer normalisation.
    ///
    /// # Shapes
    /// `x`, `grad_y`, `grad_x`: `(rows, channels)`. `grad_gamma`, `grad_beta`: `(channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    #[expect(clippy::too_many_arguments, reason = "two operands and three results with a shape")]
    pub fn layer_norm_backward(
        &self,
        norm: &LayerNorm<'_>,
        x: Matrix<'_>,
        grad_y: Matrix<'_>,
        rows: usize,
        channels: usize,
        grad_x: &mut MatrixMut<'_>,
        grad_gamma: &mut DeviceSliceMut<'_>,
        grad_beta: &mut DeviceSliceMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, channels)?;
        norm.check(channels)?;
        self.check("x", x, shape)?;
        self.check("grad_y", grad_y, shape)?;
        self.check_mut("grad_x", grad_x, shape)?;
        check_row_mut("grad_gamma", grad_gamma, channels)?;
        check_row_mut("grad_beta", grad_beta, channels)?;
        if shape.is_empty() {
            grad_gamma.fill(0)?;
            return grad_beta.fill(0);
        }
        let statistics = DeviceBuffer::alloc(&self.device, rows * size_of::<[f32; 2]>())?;
        let (cut, row_lanes) = (Cut::new(shape), lanes(channels));
        let partial = self.parts(cut, shape, 2)?;
        let grid = self.grid(rows, THREADS as usize / row_lanes);
        let (x, grad_y) = (self.read(x)?, self.read(grad_y)?);
        let grad_x = self.written(grad_x)?;
        let (rows, channels, row_lanes) = (shape.rows(), shape.channels(), row_lanes as i32);
        let (gamma, epsilon) = (address_of(norm.gamma, &self.device)?, norm.epsilon);
        let (of_rows, target) = (statistics.as_ref().address(), partial.as_ref().address());
        let arguments =
            arguments![x, grad_y, grad_x, rows, channels, row_lanes, gamma, epsilon, of_rows];
        // SAFETY: (Rows, Rows, Rows, i64, i32, i32, f32*, f32, float2*). Lengths have been
        // compared, the statistics have two numbers a row, and the result is borrowed mutably.
        unsafe { self.layer_norm_backward.launch(grid, arguments) }?;
        let (lanes, part_rows) = (cut.lanes as i32, cut.part_rows as i64);
        let sums = arguments![x, grad_y, of_rows, rows, channels, lanes, part_rows, target];
        let both = (cut, shape);
        // SAFETY: (Rows, Rows, float2*, i64, i32, i32, i64, f32*); lengths have been
        // compared, and the parts have room for two sums of each block.
        unsafe { self.two_sums(&self.layer_norm_sums, sums, &partial, both, grad_gamma, grad_beta) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_column_is_in_a_part() {
        for rows in [1, 255, 256, 257, 1_000_003, 3_000_000_000] {
            for channels in [1, 3, 16, 33, 130] {
                let cut = Cut::new(Shape { rows, channels });
                assert!(cut.parts <= MOST_PARTS && cut.lanes.is_power_of_two());
                assert!(
                    cut.parts * cut.part_rows >= rows && (cut.parts - 1) * cut.part_rows < rows
                );
                assert!(
                    cut.groups * cut.lanes >= channels
                        && (THREADS as usize).is_multiple_of(cut.lanes)
                );
            }
        }
    }
}
