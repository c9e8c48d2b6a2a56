//! Rows that belong to groups: gathering, adding up, and pooling of whole samples.

use voxtune_types::Reduction;

use super::columns::Units;
use super::{FeatureKernels, RowsParams, Shape, within};
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::module::arguments;
use crate::{Matrix, MatrixMut};

/// Which group each row belongs to, in host memory: what the host's `RowGroups` holds.
#[derive(Clone, Copy, Debug)]
pub struct GroupTables<'a> {
    /// The group of each row, -1 for none.
    pub group_of_row: &'a [i32],
    /// Where each group begins in `order`, and where the last ends.
    pub starts: &'a [i32],
    /// The rows of each group, one group after the other.
    pub order: &'a [i32],
    /// Where the pieces of each group begin in `pieces`, and where the last end.
    pub piece_starts: &'a [i32],
    /// Where each piece begins in `order`, and where the last ends.
    pub pieces: &'a [i32],
}

impl GroupTables<'_> {
    /// Refuses tables by which a kernel would read past its operands.
    fn check(&self) -> Result<()> {
        let ascending = |what, starts: &[i32], end: usize| {
            let ends = starts.first() == Some(&0) && starts.last() == Some(&(end as i32));
            let found = starts.last().map_or(0, |last| *last as usize);
            if ends && starts.is_sorted() {
                Ok(())
            } else {
                Err(CudaError::Length { what, expected: end, found })
            }
        };
        let rows = self.group_of_row.len();
        within("the number of rows", rows, i32::MAX as usize)?;
        within("the number of rows in groups", self.order.len(), rows)?;
        ascending("starts of groups", self.starts, self.order.len())?;
        ascending("starts of pieces", self.pieces, self.order.len())?;
        ascending("pieces of groups", self.piece_starts, self.pieces.len().saturating_sub(1))?;
        if self.piece_starts.len() != self.starts.len() {
            let (expected, found) = (self.starts.len(), self.piece_starts.len());
            return Err(CudaError::Length { what: "pieces of groups", expected, found });
        }
        let is_row = |row: &&i32| usize::try_from(**row).is_ok_and(|row| row < rows);
        let outside = self.order.iter().find(|row| !is_row(row));
        outside.map_or(Ok(()), |&row| {
            let (what, limit) = ("a row of a group", rows.saturating_sub(1));
            Err(CudaError::TooLarge { what, found: row as usize, limit })
        })
    }
}

/// Tables of groups that kernels have made: what [`GroupTables`] holds, in the device's memory.
/// Each may be longer than it needs.
#[derive(Debug)]
pub(crate) struct DeviceTables {
    pub(crate) group_of_row: DeviceBuffer,
    pub(crate) starts: DeviceBuffer,
    pub(crate) order: DeviceBuffer,
    /// Pieces, where they begin, and where those of each group do; `None` where no group has more
    /// than one.
    pub(crate) pieces: Option<(usize, DeviceBuffer, DeviceBuffer)>,
}

/// Which group each row belongs to, in the device's memory.
#[derive(Debug)]
pub struct DeviceRowGroups {
    rows: usize,
    groups: usize,
    pieces: usize,
    /// Whether no group has more than one piece.
    is_flat: bool,
    group_of_row: DeviceBuffer,
    starts: DeviceBuffer,
    order: DeviceBuffer,
    piece_starts: DeviceBuffer,
    piece_begins: DeviceBuffer,
}

impl DeviceRowGroups {
    /// Copies the tables, and waits for that.
    ///
    /// # Errors
    /// If they do not fit each other, or the device cannot hold them.
    pub fn new(device: &CudaDevice, tables: GroupTables<'_>) -> Result<Self> {
        tables.check()?;
        Ok(Self {
            rows: tables.group_of_row.len(),
            groups: tables.starts.len() - 1,
            pieces: tables.pieces.len() - 1,
            is_flat: tables.piece_starts.windows(2).all(|pair| pair[1] - pair[0] <= 1),
            group_of_row: DeviceBuffer::from_host(device, tables.group_of_row)?,
            starts: DeviceBuffer::from_host(device, tables.starts)?,
            order: DeviceBuffer::from_host(device, tables.order)?,
            piece_starts: DeviceBuffer::from_host(device, tables.piece_starts)?,
            piece_begins: DeviceBuffer::from_host(device, tables.pieces)?,
        })
    }

    /// Takes tables that kernels of this crate make: they lead nowhere past their operands.
    pub(crate) fn from_kernels(
        device: &CudaDevice,
        rows: usize,
        groups: usize,
        tables: DeviceTables,
    ) -> Result<Self> {
        let DeviceTables { group_of_row, starts, order, pieces } = tables;
        let is_flat = pieces.is_none();
        let (pieces, piece_begins, piece_starts) = match pieces {
            Some(pieces) => pieces,
            None => (0, DeviceBuffer::alloc(device, 0)?, DeviceBuffer::alloc(device, 0)?),
        };
        Ok(Self {
            rows,
            groups,
            pieces,
            is_flat,
            group_of_row,
            starts,
            order,
            piece_starts,
            piece_begins,
        })
    }

    /// The group of each row, -1 for none, in host memory.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn group_of_row(&self) -> Result<Vec<i32>> {
        self.group_of_row.download(0, self.rows)
    }

    /// Where each group begins among the rows sorted by group, and where the last ends, in host
    /// memory.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn starts(&self) -> Result<Vec<i32>> {
        self.starts.download(0, self.groups + 1)
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of groups.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.groups
    }

    fn shapes(&self, channels: usize) -> Result<(Shape, Shape)> {
        Ok((Shape::new(self.rows, channels)?, Shape::new(self.groups, channels)?))
    }
}

impl FeatureKernels {
    /// Queues the gathering of the row of its group for each row, zeros for a row of none.
    ///
    /// # Shapes
    /// `x`: `(groups, channels)`. `y`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn spread(
        &self,
        groups: &DeviceRowGroups,
        x: Matrix<'_>,
        channels: usize,
        y: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let (of_rows, of_groups) = groups.shapes(channels)?;
        self.check("x", x, of_groups)?;
        self.check_mut("y", y, of_rows)?;
        if of_rows.is_empty() {
            return Ok(());
        }
        let operands = [self.read(x)?, self.written(y)?];
        let units = Units::of(operands, channels, self.dtype.bytes());
        let ([x, y], per_row) = (units.operands, units.per_row);
        let index = groups.group_of_row.as_ref().read_by(&self.device)?;
        let count = groups.groups as i32;
        let rows = of_rows.rows();
        let grid = self.element_grid(of_rows.rows * per_row as usize);
        let arguments = arguments![x, y, index, count, rows, per_row];
        // SAFETY: (Rows of units, Rows of units, i32*, i32, i64, i32). Lengths have been compared,
        // the kernel reads no group from `count` on, and the unit divides addresses and pitches;
        // the result is borrowed mutably.
        unsafe { self.spread[units.place].launch(grid, arguments) }
    }

    /// Queues the making of one row of each group's.
    ///
    /// # Shapes
    /// `x`: `(rows, channels)`. `y`: `(groups, channels)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the device fails.
    pub fn reduce(
        &self,
        groups: &DeviceRowGroups,
        reduction: Reduction,
        x: Matrix<'_>,
        channels: usize,
        y: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let (of_rows, of_groups) = groups.shapes(channels)?;
        self.check("x", x, of_rows)?;
        self.check_mut("y", y, of_groups)?;
        if of_groups.is_empty() {
            return Ok(());
        }
        let reduction = match reduction {
            Reduction::Sum => 0_i32,
            Reduction::Mean => 1,
            Reduction::Max => 2,
        };
        let (x, y) = (self.read(x)?, self.written(y)?);
        let order = groups.order.as_ref().read_by(&self.device)?;
        let starts = groups.starts.as_ref().read_by(&self.device)?;
        let (items, channels) = (of_groups.rows(), of_groups.channels());
        let grid = self.element_grid(of_groups.len());
        if groups.is_flat {
            let arguments = arguments![x, y, order, starts, starts, items, channels, reduction];
            // SAFETY: (Rows, Rows, i32*, i32*, i32*, i64, i32, i32). Lengths have been compared,
            // and the tables were found to name rows of `x` alone; the result is borrowed mutably.
            return unsafe { self.group_reduce.launch(grid, arguments) };
        }
        let pieces = groups.pieces * channels as usize;
        let partial = DeviceBuffer::alloc(&self.device, pieces * size_of::<f32>())?;
        let none = 0_u64;
        let partial = RowsParams::new(partial.as_ref().address(), of_groups.channels);
        let (begins, of_pieces) =
            (groups.piece_begins.as_ref().read_by(&self.device)?, groups.pieces as i64);
        let first = arguments![x, partial, order, begins, none, of_pieces, channels, reduction];
        // SAFETY: (Rows, Rows of f32, i32*, i32*, i32*, i64, i32, i32). The tables were found to
        // name rows of `x` alone, and there is room for each piece.
        unsafe { self.group_pieces.launch(self.element_grid(pieces), first) }?;
        let piece_starts = groups.piece_starts.as_ref().read_by(&self.device)?;
        let last = arguments![partial, y, none, piece_starts, starts, items, channels, reduction];
        // SAFETY: (Rows of f32, Rows, i32*, i32*, i32*, i64, i32, i32). The tables were found to
        // name pieces that there are, and the result is borrowed mutably.
        unsafe { self.group_whole.launch(grid, last) }
    }

    /// Queues the gradient for the rows that were reduced.
    ///
    /// # Shapes
    /// `x`, `grad_x`: `(rows, channels)`. `y`, `grad_y`: `(groups, channels)`; only a maximum reads
    /// `x` and `y`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn reduce_backward(
        &self,
        groups: &DeviceRowGroups,
        reduction: Reduction,
        (x, y): (Matrix<'_>, Matrix<'_>),
        grad_y: Matrix<'_>,
        channels: usize,
        grad_x: &mut MatrixMut<'_>,
    ) -> Result<()> {
        if reduction == Reduction::Sum {
            return self.spread(groups, grad_y, channels, grad_x);
        }
        let (of_rows, of_groups) = groups.shapes(channels)?;
        self.check("grad_y", grad_y, of_groups)?;
        self.check_mut("grad_x", grad_x, of_rows)?;
        if reduction == Reduction::Max {
            self.check("x", x, of_rows)?;
            self.check("y", y, of_groups)?;
        }
        if of_rows.is_empty() {
            return Ok(());
        }
        let index = groups.group_of_row.as_ref().read_by(&self.device)?;
        let count = groups.groups as i32;
        let (grad_y, grad_x) = (self.read(grad_y)?, self.written(grad_x)?);
        let (rows, channels) = (of_rows.rows(), of_rows.channels());
        let grid = self.element_grid(of_rows.len());
        if reduction == Reduction::Mean {
            let starts = groups.starts.as_ref().read_by(&self.device)?;
            let arguments = arguments![grad_y, grad_x, index, starts, count, rows, channels];
            // SAFETY: (Rows, Rows, i32*, i32*, i32, i64, i32). Lengths have been compared, and the
            // kernel reads no group from `count` on; the result is borrowed mutably.
            return unsafe { self.spread_mean.launch(grid, arguments) };
        }
        let (x, y) = (self.read(x)?, self.read(y)?);
        let arguments = arguments![x, y, grad_y, grad_x, index, count, rows, channels];
        // SAFETY: (Rows, Rows, Rows, Rows, i32*, i32, i64, i32). Lengths have been compared, and
        // the kernel reads no group from `count` on; the result is borrowed mutably.
        unsafe { self.spread_max.launch(grid, arguments) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_lead_astray_are_refused() {
        let good = GroupTables {
            group_of_row: &[0, 1, -1, 0],
            starts: &[0, 2, 3],
            order: &[0, 3, 1],
            piece_starts: &[0, 1, 2],
            pieces: &[0, 2, 3],
        };
        assert!(good.check().is_ok());
        for bad in [
            GroupTables { order: &[0, 4, 1], ..good },
            GroupTables { order: &[0, -1, 1], ..good },
            GroupTables { starts: &[0, 3, 2], ..good },
            GroupTables { starts: &[0, 2, 4], ..good },
            GroupTables { starts: &[], ..good },
            GroupTables { piece_starts: &[0, 2], ..good },
            GroupTables { pieces: &[0, 2], ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
