//! Columns of features side by side, and apart again.

use super::{FeatureKernels, Shape, check_bytes, within};
use crate::buffer::{DeviceSlice, DeviceSliceMut};
use crate::error::Result;
use crate::module::arguments;

/// Some columns of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The first of them.
    pub first: usize,
    /// Columns of the matrix.
    pub of: usize,
}

/// The widest unit of 2, 4, 8 or 16 bytes that divides everything, as its place in this list.
pub(super) fn unit(bytes: &[u64]) -> usize {
    let all = bytes.iter().fold(0, |all, bytes| all | bytes);
    (all.trailing_zeros().min(4) as usize).saturating_sub(1)
}

impl FeatureKernels {
    /// Queues the copy of `width` columns of one matrix into those of another.
    ///
    /// # Shapes
    /// `from`: `(rows, from_columns.of)`. `to`: `(rows, to_columns.of)`.
    ///
    /// # Errors
    /// If lengths differ from that, a matrix has not so many columns, or the driver fails.
    pub fn copy_columns(
        &self,
        from: DeviceSlice<'_>,
        from_columns: Columns,
        to: &mut DeviceSliceMut<'_>,
        to_columns: Columns,
        rows: usize,
        width: usize,
    ) -> Result<()> {
        for (what, columns, found) in [
            ("the source", from_columns, from.len_bytes()),
            ("the target", to_columns, to.len_bytes()),
        ] {
            self.check(what, found, Shape::new(rows, columns.of)?)?;
            within("the last column", columns.first.saturating_add(width), columns.of)?;
        }
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let bytes = |elements: usize| (elements * self.dtype.bytes()) as u64;
        let source = from.read_by(&self.device)? + bytes(from_columns.first);
        let target = to.write_by(&self.device)? + bytes(to_columns.first);
        let (pitches, line) = ([bytes(from_columns.of), bytes(to_columns.of)], bytes(width));
        let place = unit(&[source, target, pitches[0], pitches[1], line]);
        let unit_bytes = 2_u64 << place;
        let [from_pitch, to_pitch] = pitches.map(|pitch| (pitch / unit_bytes) as i64);
        let (units, rows) = ((line / unit_bytes) as i32, rows as i64);
        let grid = self.element_grid(rows as usize * units as usize);
        let arguments = arguments![source, target, rows, units, from_pitch, to_pitch];
        // SAFETY: (Unit*, Unit*, i64, i32, i64, i64); the columns lie in both matrices, whose
        // lengths have been compared, and the unit divides both addresses; the target is borrowed
        // mutably.
        unsafe { self.copy_columns[place].launch(grid, arguments) }
    }

    /// Queues the copy of everything.
    ///
    /// # Errors
    /// If lengths differ, or the driver fails.
    pub fn copy(&self, from: DeviceSlice<'_>, to: &mut DeviceSliceMut<'_>) -> Result<()> {
        check_bytes("the target", to.len_bytes(), from.len_bytes())?;
        self.cast(from, self.dtype, to)
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
}
