//! Forward, and dgrad as the forward of the transposed map and weights.

use rayon::prelude::*;
use voxtune_types::{Operation, Product};

use super::ImplicitGemm;
use super::pack::{Panels, padded_cols};
use crate::epilogue::TypedEpilogue;
use crate::kernel_map::{MapView, Pair};
use crate::simd::{PREFETCH_ROWS, RowProduct, Rows, Simd, Storage, prefetch};

/// Float32 values of rows that are widened at once: they stay in the first-level cache, of 32 KiB
/// at least. The more they are, the less often panels are read.
const WIDENED_VALUES: usize = 8192;

/// Sizes of the right matrix of an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Channels that are summed over.
    pub(super) depth: usize,
    /// Channels of the result.
    pub(super) width: usize,
}

impl Shape {
    pub(super) fn of(op: &Operation) -> Self {
        let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
        match op.direction.product() {
            Product::Forward | Product::Wgrad => Self { depth: c_in, width: c_out },
            Product::Dgrad => Self { depth: c_out, width: c_in },
        }
    }

    /// Rows that are widened at once.
    fn widened_rows(self) -> usize {
        (WIDENED_VALUES / self.depth).max(16)
    }
}

/// Float32 values that each thread keeps.
pub(super) fn scratch_values(
    simd: Simd,
    blocks: ImplicitGemm,
    shape: Shape,
    is_widened: bool,
) -> usize {
    let kept = blocks.rows * blocks.cols.min(padded_cols(simd, shape.width));
    kept + if is_widened { shape.widened_rows() * shape.depth } else { 0 }
}

struct Scratch {
    /// Sums of a block.
    acc: Vec<f32>,
    /// Rows that had to be converted.
    widened: Vec<f32>,
}

/// `out[o] = Σ a[i] · panels[offset]` over the pairs of the map.
pub(super) fn product<T: Storage>(
    simd: Simd,
    blocks: ImplicitGemm,
    map: MapView<'_>,
    a: &[T],
    panels: &Panels,
    out: &mut [T],
    epilogue: Option<TypedEpilogue<'_, T>>,
) {
    let shape = panels.shape();
    let scratch = || Scratch { acc: Vec::new(), widened: Vec::new() };
    out.par_chunks_mut(blocks.rows * shape.width).enumerate().for_each_init(
        scratch,
        |scratch, (block, out)| {
            let first_row = block * blocks.rows;
            for begin in (0..panels.padded_width()).step_by(blocks.cols) {
                let end = (begin + blocks.cols).min(panels.padded_width());
                let task = Task { simd, map, a, panels, first_row, begin, end };
                task.sum(out.len() / shape.width, scratch);
                if let Some(epilogue) = epilogue {
                    task.finish(&epilogue, scratch);
                }
                task.store(&scratch.acc, out);
            }
        },
    );
}

/// A block of the output: rows from `first_row`, columns from `begin` to `end`.
struct Task<'a, T> {
    simd: Simd,
    map: MapView<'a>,
    a: &'a [T],
    panels: &'a Panels,
    first_row: usize,
    begin: usize,
    end: usize,
}

impl<T: Storage> Task<'_, T> {
    fn sum(&self, n_rows: usize, scratch: &mut Scratch) {
        let Shape { depth, .. } = self.panels.shape();
        let Scratch { acc, widened } = scratch;
        acc.clear();
        acc.resize(n_rows * (self.end - self.begin), 0.0);
        for offset in 0..self.map.kernel_volume() {
            let pairs = self.map.block(offset, self.first_row..self.first_row + n_rows);
            if let Some(rows) = T::as_f32(self.a) {
                self.multiply(offset, pairs, Rows::Indexed(rows), acc);
                continue;
            }
            for pairs in pairs.chunks(self.panels.shape().widened_rows()) {
                widened.resize(pairs.len() * depth, 0.0);
                let row = |pair: &Pair| &self.a[pair.in_row as usize * depth..][..depth];
                for (position, to) in widened.chunks_exact_mut(depth).enumerate() {
                    if let Some(later) = pairs.get(position + PREFETCH_ROWS) {
                        prefetch(row(later));
                    }
                    T::widen(self.simd, row(&pairs[position]), to);
                }
                self.multiply(offset, pairs, Rows::Packed(widened), acc);
            }
        }
    }

    fn multiply(&self, offset: usize, pairs: &[Pair], rows: Rows<'_>, acc: &mut [f32]) {
        for (col, width, panel) in self.panels.panels(offset, self.begin, self.end) {
            self.simd.row_product(&mut RowProduct {
                pairs,
                rows,
                depth: self.panels.shape().depth,
                panel,
                width,
                acc,
                acc_stride: self.end - self.begin,
                acc_col: col - self.begin,
                acc_first_row: self.first_row as u32,
            });
        }
    }

    fn finish(&self, epilogue: &TypedEpilogue<'_, T>, scratch: &mut Scratch) {
        let Shape { width, .. } = self.panels.shape();
        let Scratch { acc, widened } = scratch;
        let end = self.end.min(width);
        for (row, sums) in acc.chunks_exact_mut(self.end - self.begin).enumerate() {
            let at = (self.first_row + row) * width + self.begin;
            epilogue.apply(self.simd, &mut sums[..end - self.begin], at, width, widened);
        }
    }

    fn store(&self, acc: &[f32], out: &mut [T]) {
        let Shape { width, .. } = self.panels.shape();
        let end = self.end.min(width);
        for (acc, out) in acc.chunks_exact(self.end - self.begin).zip(out.chunks_exact_mut(width)) {
            T::narrow(self.simd, &acc[..end - self.begin], &mut out[self.begin..end]);
        }
    }
}
