//! Columns of features side by side, and apart again.

use super::{FeatureKernels, RowsParams, Shape};
use crate::error::Result;
use crate::module::arguments;
use crate::{Matrix, MatrixMut};

/// The widest unit of 2, 4, 8 or 16 bytes that divides everything, as its place in this list.
fn unit(bytes: &[u64]) -> usize {
    let all = bytes.iter().fold(0, |all, bytes| all | bytes);
    (all.trailing_zeros().min(4) as usize).saturating_sub(1)
}

/// How elements are moved as they are.
pub(super) struct Units {
    /// By the bytes of a unit: the kernel's place in its list.
    pub(super) place: usize,
    /// Units of a row.
    pub(super) per_row: i32,
    /// Both operands, with pitches in units.
    pub(super) operands: [RowsParams; 2],
}

impl Units {
    /// The widest that begin and end where these operands' rows do.
    pub(super) fn of(operands: [RowsParams; 2], width: usize, element: usize) -> Self {
        let (line, element) = ((width * element) as u64, element as u64);
        let [a, b] = operands.map(|operand| (operand.first, operand.pitch as u64 * element));
        let place = unit(&[a.0, a.1, b.0, b.1, line]);
        let bytes = 2_u64 << place;
        let in_units =
            |(first, pitch): (u64, u64)| RowsParams::new(first, (pitch / bytes) as usize);
        Self { place, per_row: (line / bytes) as i32, operands: [a, b].map(in_units) }
    }
}

impl FeatureKernels {
    /// Queues a copy of rows; of some columns of a matrix, where the pitch is that matrix's.
    ///
    /// # Shapes
    /// `from`, `to`: `(rows, width)`.
    ///
    /// # Errors
    /// If lengths differ from that, or the driver fails.
    pub fn copy_columns(
        &self,
        from: Matrix<'_>,
        rows: usize,
        width: usize,
        to: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let shape = Shape::new(rows, width)?;
        self.check("the source", from, shape)?;
        self.check_mut("the target", to, shape)?;
        if shape.is_empty() {
            return Ok(());
        }
        let operands = [self.read(from)?, self.written(to)?];
        let units = Units::of(operands, width, self.dtype.bytes());
        let ([from, to], rows, per_row) = (units.operands, shape.rows(), units.per_row);
        let grid = self.element_grid(shape.rows * per_row as usize);
        // SAFETY: (Rows of units, Rows of units, i64, i32). Lengths have been compared, and the
        // unit divides both addresses and pitches; the target is borrowed mutably.
        unsafe { self.copy_columns[units.place].launch(grid, arguments![from, to, rows, per_row]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_divide_everything() {
        assert_eq!(unit(&[256, 512, 32]), 3);
        assert_eq!(unit(&[256, 8]), 2);
        assert_eq!(unit(&[4, 32]), 1);
        assert_eq!(unit(&[6, 32]), 0);
    }

    #[test]
    fn pitches_are_counted_in_units() {
        let rows = |first, pitch| RowsParams::new(first, pitch);
        let of = |a, b, width| Units::of([a, b], width, 2);
        let wide = of(rows(256, 64), rows(512, 16), 16);
        assert_eq!((wide.place, wide.per_row), (3, 2));
        assert_eq!(wide.operands, [rows(256, 8), rows(512, 2)]);
        let odd = of(rows(256, 5), rows(512, 3), 3);
        assert_eq!((odd.place, odd.per_row), (0, 3));
        assert_eq!(odd.operands, [rows(256, 5), rows(512, 3)]);
    }
}
