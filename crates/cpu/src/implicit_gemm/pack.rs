//! Matrices laid out in panels, so that the inner loops read memory from front to back.

use rayon::prelude::*;

use super::forward::Shape;
use crate::simd::{Simd, Storage};

/// How weights `(c_in, c_out)` of an offset become a right matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As they are: forward.
    Stored,
    /// Transposed: dgrad.
    Transposed,
}

/// The right matrices of all offsets in float32, each as panels of [`Simd::panel_cols`] columns,
/// one behind the other. The last may be a single vector wide. Missing columns are zero.
pub(super) struct Panels {
    values: Vec<f32>,
    shape: Shape,
    padded_width: usize,
    panel_cols: usize,
}

/// Columns with the padding to whole vectors.
pub(super) fn padded_cols(simd: Simd, cols: usize) -> usize {
    cols.next_multiple_of(simd.lanes())
}

/// Values in the panels of so many offsets.
pub(super) fn packed_values(simd: Simd, volume: usize, depth: usize, width: usize) -> usize {
    volume * depth * padded_cols(simd, width)
}

impl Panels {
    pub(super) fn pack<T: Storage>(
        simd: Simd,
        weights: &[T],
        volume: usize,
        shape: Shape,
        order: Order,
    ) -> Self {
        let Shape { depth, width } = shape;
        let padded_width = padded_cols(simd, width);
        let panel_cols = simd.panel_cols();
        let mut values = vec![0.0; packed_values(simd, volume, depth, width)];
        values
            .par_chunks_mut(depth * padded_width)
            .zip(weights.par_chunks(depth * width))
            .for_each_init(Vec::new, |row, (packed, weights)| {
                let row_len = if order == Order::Stored { width } else { depth };
                row.resize(row_len, 0.0);
                for (index, stored) in weights.chunks_exact(row_len).enumerate() {
                    T::widen(simd, stored, row);
                    match order {
                        Order::Stored => place_row(packed, row, index, depth, panel_cols),
                        Order::Transposed => {
                            place_column(packed, row, index, padded_width, panel_cols);
                        }
                    }
                }
            });
        Self { values, shape, padded_width, panel_cols }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn padded_width(&self) -> usize {
        self.padded_width
    }

    /// The panels of an offset that hold columns from `begin` up to `end`, both at the edge of a
    /// panel: the first column of each, its width, and its values.
    pub(super) fn panels(
        &self,
        offset: usize,
        begin: usize,
        end: usize,
    ) -> impl Iterator<Item = (usize, usize, &[f32])> {
        let depth = self.shape.depth;
        let packed =
            &self.values[offset * depth * self.padded_width..][..depth * self.padded_width];
        (begin..end).step_by(self.panel_cols).map(move |col| {
            let width = self.panel_cols.min(end - col);
            (col, width, &packed[col * depth..][..width * depth])
        })
    }
}

/// Puts a row of the right matrix into the panels.
fn place_row(packed: &mut [f32], row: &[f32], index: usize, depth: usize, panel_cols: usize) {
    let padded_width = packed.len() / depth;
    for (panel, part) in row.chunks(panel_cols).enumerate() {
        let col = panel * panel_cols;
        let width = panel_cols.min(padded_width - col);
        packed[col * depth + index * width..][..part.len()].copy_from_slice(part);
    }
}

/// Puts a column of the right matrix into the panels.
fn place_column(
    packed: &mut [f32],
    column: &[f32],
    index: usize,
    padded_width: usize,
    panel_cols: usize,
) {
    let panel_col = index / panel_cols * panel_cols;
    let width = panel_cols.min(padded_width - panel_col);
    let panel = &mut packed[panel_col * column.len()..][..width * column.len()];
    for (row, value) in panel.chunks_exact_mut(width).zip(column) {
        row[index - panel_col] = *value;
    }
}

/// Copies the row of one pair into strips: consecutive pieces of `width` values go to the row
/// `position` of matrices of `rows` rows, one behind the other. The row's length is a multiple of
/// `width` but for the last piece, which may be half of it.
pub(super) fn place_strips(
    row: &[f32],
    width: usize,
    rows: usize,
    position: usize,
    to: &mut [f32],
) {
    match width {
        // Constant widths become whole vector moves.
        4 => place_strips_of::<4>(row, rows, position, to),
        6 => place_strips_of::<6>(row, rows, position, to),
        8 => place_strips_of::<8>(row, rows, position, to),
        16 => place_strips_of::<16>(row, rows, position, to),
        32 => place_strips_of::<32>(row, rows, position, to),
        _ => unreachable!("strips are 4, 6, 8, 16 or 32 wide"),
    }
}

fn place_strips_of<const WIDTH: usize>(row: &[f32], rows: usize, position: usize, to: &mut [f32]) {
    let (whole, rest) = row.as_chunks::<WIDTH>();
    for (strip, values) in whole.iter().enumerate() {
        to[(strip * rows + position) * WIDTH..][..WIDTH].copy_from_slice(values);
    }
    let begin = whole.len() * rows * WIDTH + position * rest.len();
    to[begin..begin + rest.len()].copy_from_slice(rest);
}
