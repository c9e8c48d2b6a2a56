//! Maximum and average over the rows that a kernel map gathers.

use voxtune_types::{Direction, Pooling};

use super::{FeatureKernels, Shape};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::{DeviceKernelMap, RowMap, RowOrder};
use crate::module::arguments;
use crate::{Matrix, MatrixMut};

/// A table as the kernels read it: its first offset, and the way to the next one.
#[derive(Clone, Copy, Debug)]
struct Table {
    address: u64,
    pitch: i64,
    volume: i32,
}

impl Table {
    /// The rows of a row map in natural order; mirrored, its offsets from the last to the first.
    fn of(map: &DeviceKernelMap, rows: &RowMap, mirrored: bool) -> Result<Self> {
        let first = map.ordered(rows, RowOrder::Natural)?.table.as_ref().address();
        let (pitch, volume) = (DeviceKernelMap::pitch(rows.rows), map.kernel.volume());
        let table = Self { address: first, pitch: pitch as i64, volume: volume as i32 };
        if !mirrored {
            return Ok(table);
        }
        let last = (volume - 1) * pitch * size_of::<i32>();
        Ok(Self { address: first + last as u64, pitch: -table.pitch, ..table })
    }

    /// By input rows: the output rows that each one meets.
    fn of_inputs(map: &DeviceKernelMap) -> Result<Self> {
        let (rows, mirrored) = map.rows_of(Direction::Dgrad)?;
        Self::of(map, rows, mirrored)
    }
}

impl FeatureKernels {
    /// Queues the pooling of input rows.
    ///
    /// # Shapes
    /// `x`: `(n_in, channels)`. `y`: `(n_out, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    pub fn pool(
        &self,
        map: &DeviceKernelMap,
        pooling: Pooling,
        x: Matrix<'_>,
        channels: usize,
        y: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(map.n_out(), channels)?;
        self.check("x", x, Shape { rows: map.n_in(), channels })?;
        self.check_mut("y", y, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        self.device.expect_same_stream("the kernel map", map.device())?;
        let Table { address, pitch, volume } = Table::of(map, map.forward()?, false)?;
        let pooling = match pooling {
            Pooling::Max => 0_i32,
            Pooling::MaxAtLeastZero => 1,
            Pooling::Average | Pooling::AverageAsSpconv => 2,
        };
        let (x, y) = (self.read(x)?, self.written(y)?);
        let (rows, channels) = (shape.rows(), shape.channels());
        let arguments = arguments![x, y, address, pitch, volume, rows, channels, pooling];
        // SAFETY: (Rows, Rows, i32*, i64, i32, i64, i32, i32). Lengths have been compared with the
        // map, whose table names rows of `x` alone, and the result is borrowed mutably.
        unsafe { self.map_pool.launch(self.element_grid(shape.len()), arguments) }
    }

    /// Queues the gradient for the rows that were pooled.
    ///
    /// # Shapes
    /// `x`, `grad_x`: `(n_in, channels)`. `y`, `grad_y`: `(n_out, channels)`; only maxima read `x`
    /// and `y`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    pub fn pool_backward(
        &self,
        map: &DeviceKernelMap,
        pooling: Pooling,
        (x, y): (Matrix<'_>, Matrix<'_>),
        grad_y: Matrix<'_>,
        channels: usize,
        grad_x: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(map.n_in(), channels)?;
        let of_outputs = Shape { rows: map.n_out(), channels };
        self.check("grad_y", grad_y, of_outputs)?;
        self.check_mut("grad_x", grad_x, shape)?;
        if !pooling.is_average() {
            self.check("x", x, shape)?;
            self.check("y", y, of_outputs)?;
        }
        if shape.is_empty() {
            return Ok(());
        }
        self.device.expect_same_stream("the kernel map", map.device())?;
        let Table { address, pitch, volume } = Table::of_inputs(map)?;
        let (rows, channels) = (shape.rows(), shape.channels());
        let (grad_y, grad_x) = (self.read(grad_y)?, self.written(grad_x)?);
        let grid = self.element_grid(shape.len());
        if pooling.is_average() {
            let weights = self.gradient_weights(map, pooling)?;
            let counts = weights.as_ref().address();
            let arguments =
                arguments![grad_y, grad_x, counts, address, pitch, volume, rows, channels];
            // SAFETY: (Rows, Rows, f32*, i32*, i64, i32, i64, i32). Lengths have been compared with
            // the map, whose table names rows of `grad_y` alone, each of which has a count; the
            // result is borrowed mutably.
            return unsafe { self.map_average_backward.launch(grid, arguments) };
        }
        let (x, y) = (self.read(x)?, self.read(y)?);
        let arguments = arguments![x, y, grad_y, grad_x, address, pitch, volume, rows, channels];
        // SAFETY: (Rows, Rows, Rows, Rows, i32*, i64, i32, i64, i32). Lengths have been compared
        // with the map, whose table names rows of `y` alone, and the result is borrowed mutably.
        unsafe { self.map_max_backward.launch(grid, arguments) }
    }

    /// What the gradient of each output row of a mean is multiplied by.
    fn gradient_weights(&self, map: &DeviceKernelMap, pooling: Pooling) -> Result<DeviceBuffer> {
        let n_out = map.n_out();
        let counts = DeviceBuffer::alloc(&self.device, n_out * size_of::<f32>())?;
        if n_out > 0 {
            let Table { address, pitch, volume } = Table::of(map, map.forward()?, false)?;
            let (rows, target) = (n_out as i64, counts.as_ref().address());
            let divides = i32::from(pooling == Pooling::Average);
            let arguments = arguments![address, pitch, volume, rows, target, divides];
            // SAFETY: (i32*, i64, i32, i64, f32*, i32); the table has a column for each output row,
            // and the target a number.
            unsafe { self.map_average_weights.launch(self.element_grid(n_out), arguments) }?;
        }
        Ok(counts)
    }
}
