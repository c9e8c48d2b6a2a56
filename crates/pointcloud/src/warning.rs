//! What is doubtful about a cloud that can be had.

use std::fmt;
use std::path::PathBuf;

use crate::precision::{Extents, float32_step, was_float32};
use crate::{Crop, Points};

/// Something about a scan file that its owner should know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ScanWarning {
    /// Coordinates were rounded to float32 where its step is not small beside a cell.
    Coarse {
        /// The file.
        path: PathBuf,
        /// x, y or z.
        axis: char,
        /// The largest magnitude on the axis.
        magnitude: f64,
        /// The distance between two float32 numbers there.
        step: f64,
        /// The cell size, in the same units.
        cell_size: f32,
    },
}

/// Steps of float32 in a cell below which points fall into wrong cells in numbers.
const ENOUGH_STEPS_OF_A_CELL: f64 = 64.0;

/// The axes of a scan on which float32 was too coarse for the cells.
pub(crate) fn coarse_axes(
    path: &std::path::Path,
    points: &Points,
    cell_size: f32,
    crop: Option<Crop>,
) -> Vec<ScanWarning> {
    let kept = points.xyz.iter().copied();
    let extents = Extents::of(kept.filter(|&point| crop.is_none_or(|crop| crop.contains(point))));
    let is_coarse = |axis: usize| {
        extents.is_coarse(axis, cell_size, ENOUGH_STEPS_OF_A_CELL)
            && was_float32(points, axis, extents.magnitude(axis))
    };
    let warning = |axis: usize| {
        let magnitude = extents.magnitude(axis);
        let step = float32_step(magnitude);
        let axis = ['x', 'y', 'z'][axis];
        ScanWarning::Coarse { path: path.to_owned(), axis, magnitude, step, cell_size }
    };
    (0..3).filter(|&axis| is_coarse(axis)).map(warning).collect()
}

impl fmt::Display for ScanWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Coarse { path, axis, magnitude, step, cell_size } = self;
        write!(
            f,
            "{}: {axis} reaches {magnitude}, where float32 has a step of {step}, and a cell is \
             {cell_size}: the file was written as float32, so that points share cells or miss them; \
             write float64, or subtract an origin before writing float32",
            path.display(),
        )
    }
}
