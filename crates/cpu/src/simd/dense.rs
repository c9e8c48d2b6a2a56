//! Dense products on the loops of this module.

use std::borrow::Cow;

use super::{RowProduct, Rows, Simd};
use crate::kernel_map::Pair;

/// Rows that meet all panels before the next ones are read: they stay in the L2 cache.
const BLOCK_ROWS: usize = 256;

/// The left matrix of a dense product, row-major and gapless.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DenseLhs<'a> {
    /// Of shape `(m, depth)`.
    Plain(&'a [f32]),
    /// Stored as `(depth, m)`, used transposed.
    Transposed(&'a [f32]),
}

/// `out = lhs · rhs`, or `out += lhs · rhs` if `keep`, on the calling thread.
///
/// # Shapes
/// `lhs` is `(m, depth)`, `rhs` `(depth, n)`, `out` `(m, n)`; all row-major and gapless. `rhs` may
/// be stored as `(n, depth)` and used transposed.
///
/// # Panics
/// If a slice is shorter than its shape.
pub(crate) fn accumulate_dense(
    simd: Simd,
    [m, n, depth]: [usize; 3],
    lhs: DenseLhs<'_>,
    rhs: &[f32],
    rhs_transposed: bool,
    out: &mut [f32],
    keep: bool,
) {
    let out = &mut out[..m * n];
    if !keep {
        out.fill(0.0);
    }
    if depth == 0 || n == 0 {
        return;
    }
    let lhs = match lhs {
        DenseLhs::Plain(values) => Cow::Borrowed(&values[..m * depth]),
        DenseLhs::Transposed(values) => Cow::Owned(transposed(&values[..depth * m], m)),
    };
    let panels = Panels::new(simd, &rhs[..depth * n], [depth, n], rhs_transposed);
    let pairs: Vec<Pair> =
        (0..BLOCK_ROWS.min(m) as u32).map(|row| Pair { in_row: row, out_row: row }).collect();
    let mut padded = Vec::new();
    for (rows, out) in lhs.chunks(BLOCK_ROWS * depth).zip(out.chunks_mut(BLOCK_ROWS * n)) {
        let pairs = &pairs[..out.len() / n];
        for (col, width, panel) in panels.iter() {
            let product = |acc, acc_stride, acc_col| RowProduct {
                pairs,
                rows: Rows::Packed(rows),
                depth,
                panel,
                width,
                acc,
                acc_stride,
                acc_col,
                acc_first_row: 0,
            };
            if col + width <= n {
                simd.row_product(&mut product(&mut *out, n, col));
                continue;
            }
            // The columns do not fill the vectors: sums go beside, and those that count are added.
            padded.clear();
            padded.resize(pairs.len() * width, 0.0);
            simd.row_product(&mut product(&mut padded, width, 0));
            for (out, sums) in out.chunks_exact_mut(n).zip(padded.chunks_exact(width)) {
                out[col..].iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
        }
    }
}

/// A right matrix as panels of [`Simd::panel_cols`] columns, one behind the other; the last may be
/// a single vector wide. Missing columns are zero.
struct Panels {
    values: Vec<f32>,
    depth: usize,
    panel_cols: usize,
}

impl Panels {
    fn new(simd: Simd, rhs: &[f32], [depth, n]: [usize; 2], is_transposed: bool) -> Self {
        let padded = n.next_multiple_of(simd.lanes());
        let panel_cols = simd.panel_cols();
        let mut values = vec![0.0; depth * padded];
        for (panel, to) in values.chunks_mut(depth * panel_cols).enumerate() {
            let (first, width) = (panel * panel_cols, to.len() / depth);
            let cols = width.min(n - first);
            if is_transposed {
                for (col, column) in rhs.chunks_exact(depth).skip(first).take(cols).enumerate() {
                    let places = to.iter_mut().skip(col).step_by(width);
                    places.zip(column).for_each(|(to, value)| *to = *value);
                }
            } else {
                for (to, row) in to.chunks_exact_mut(width).zip(rhs.chunks_exact(n)) {
                    to[..cols].copy_from_slice(&row[first..][..cols]);
                }
            }
        }
        Self { values, depth, panel_cols }
    }

    /// The first column of each panel, its width, and its values.
    fn iter(&self) -> impl Iterator<Item = (usize, usize, &[f32])> {
        let panels = self.values.chunks(self.depth * self.panel_cols).enumerate();
        panels.map(|(at, panel)| (at * self.panel_cols, panel.len() / self.depth, panel))
    }
}

/// A matrix of rows of `cols` values, with rows and columns exchanged.
fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    let rows = values.len().checked_div(cols).unwrap_or(0);
    let mut to = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(cols.max(1)).enumerate() {
        let places = to.iter_mut().skip(row).step_by(rows.max(1));
        places.zip(values).for_each(|(to, value)| *to = *value);
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, whose sums are exact in any order.
    fn integers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|at| ((at * 7 + seed) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn every_shape_and_order_is_exact() {
        for simd in Simd::supported() {
            for [m, n, depth] in
                [[1, 1, 1], [3, 5, 7], [300, 33, 4], [9, 64, 2], [5, 16, 0], [0, 8, 3], [2, 40, 17]]
            {
                let (left, right) = (integers(m * depth, 1), integers(depth * n, 2));
                let start = integers(m * n, 3);
                let mut expected = start.clone();
                for (at, sum) in expected.iter_mut().enumerate() {
                    let (row, col) = (at / n, at % n);
                    *sum +=
                        (0..depth).map(|k| left[row * depth + k] * right[k * n + col]).sum::<f32>();
                }
                let (left_t, right_t) = (transposed(&left, depth), transposed(&right, n));
                for lhs in [DenseLhs::Plain(&left), DenseLhs::Transposed(&left_t)] {
                    for (rhs, is_transposed) in [(&right, false), (&right_t, true)] {
                        let shape = [m, n, depth];
                        let mut out = start.clone();
                        accumulate_dense(simd, shape, lhs, rhs, is_transposed, &mut out, true);
                        assert_eq!(out, expected, "{simd:?} {shape:?}");
                        accumulate_dense(simd, shape, lhs, rhs, is_transposed, &mut out, false);
                        let fresh = expected.iter().zip(&start).map(|(sum, start)| sum - start);
                        assert!(out.iter().copied().eq(fresh), "{simd:?} {shape:?}");
                    }
                }
            }
        }
    }
}
