//! wgrad: sums of outer products, kept in the cache while pairs stream past.

use voxtune_types::Operation;

use super::ImplicitGemm;
use super::pack::{padded_cols, place_strips};
use crate::kernel_map::{KernelMap, MapView, Pair};
use crate::simd::{OuterProduct, PREFETCH_ROWS, Simd, Storage, prefetch};
use crate::wgrad_split::{self, Part};

/// Sizes of a task.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    c_in: usize,
    c_out: usize,
    /// Input channels with the padding to whole strips.
    padded_in: usize,
    /// Output channels of a block, with the padding to whole vectors.
    block_cols: usize,
}

impl Sizes {
    fn of(simd: Simd, blocks: ImplicitGemm, op: &Operation) -> Self {
        let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
        Self {
            c_in,
            c_out,
            padded_in: c_in.next_multiple_of(simd.strip()),
            block_cols: blocks.cols.min(padded_cols(simd, c_out)),
        }
    }
}

/// Float32 values that each thread keeps.
pub(super) fn scratch_values(
    simd: Simd,
    blocks: ImplicitGemm,
    op: &Operation,
    map: &KernelMap,
) -> usize {
    let sizes = Sizes::of(simd, blocks, op);
    let offsets = wgrad_split::group_offsets(map, sizes.c_in * sizes.c_out);
    let packed = blocks.rows * (sizes.padded_in + sizes.block_cols);
    packed + offsets * sizes.padded_in * sizes.block_cols + sizes.padded_in.max(sizes.block_cols)
}

#[derive(Default)]
struct Scratch {
    /// Strips of the features of some pairs.
    x: Vec<f32>,
    /// Panels of the output gradient of the same pairs.
    g: Vec<f32>,
    /// Sums of a block of columns, for each offset of a task.
    acc: Vec<f32>,
    /// A row with its padding.
    row: Vec<f32>,
}

/// `out[offset] = Σ features[i]ᵀ · grad_out[o]` over the pairs of each offset.
pub(super) fn wgrad<T: Storage>(
    simd: Simd,
    blocks: ImplicitGemm,
    op: &Operation,
    map: &KernelMap,
    features: &[T],
    grad_out: &[T],
    out: &mut [f32],
) {
    let sizes = Sizes::of(simd, blocks, op);
    wgrad_split::sum_parts(
        map,
        sizes.c_in * sizes.c_out,
        out,
        Scratch::default,
        &|scratch: &mut Scratch, part, gradient| {
            let view = map.view();
            let task = Task { simd, map: view, rows: blocks.rows, sizes, features, grad_out };
            for begin in (0..sizes.c_out).step_by(blocks.cols) {
                let end = (begin + blocks.cols).min(sizes.c_out);
                task.sum(part, begin, end, scratch);
                task.store(&scratch.acc, begin, end, gradient);
            }
        },
    );
}

struct Task<'a, T> {
    simd: Simd,
    map: MapView<'a>,
    /// Output rows of which the pairs are packed at once.
    rows: usize,
    sizes: Sizes,
    features: &'a [T],
    grad_out: &'a [T],
}

impl<T: Storage> Task<'_, T> {
    /// Sums a part for the block of output channels from `begin` to `end`.
    fn sum(&self, part: &Part, begin: usize, end: usize, scratch: &mut Scratch) {
        let Self { simd, sizes, .. } = *self;
        let Scratch { x, g, acc, row } = scratch;
        let cols = padded_cols(simd, end - begin);
        let x_row = |pair: &Pair| &self.features[pair.in_row as usize * sizes.c_in..][..sizes.c_in];
        let g_row = |pair: &Pair| {
            &self.grad_out[pair.out_row as usize * sizes.c_out..][..sizes.c_out][begin..end]
        };
        acc.clear();
        acc.resize(part.offsets.len() * sizes.padded_in * cols, 0.0);
        x.resize(self.rows * sizes.padded_in, 0.0);
        g.resize(self.rows * cols, 0.0);
        for rows in part.blocks(self.rows) {
            for (offset, acc) in
                part.offsets.clone().zip(acc.chunks_exact_mut(sizes.padded_in * cols))
            {
                let pairs = self.map.block(offset, rows.clone());
                if !pairs.is_empty() {
                    pack(simd, pairs, x_row, sizes.padded_in, simd.strip(), row, x);
                    pack(simd, pairs, g_row, cols, simd.panel_cols(), row, g);
                    self.multiply(pairs.len(), cols, x, g, acc);
                }
            }
        }
    }

    fn multiply(&self, pairs: usize, cols: usize, x: &[f32], g: &[f32], acc: &mut [f32]) {
        let strip = self.simd.strip();
        for col in (0..cols).step_by(self.simd.panel_cols()) {
            let width = self.simd.panel_cols().min(cols - col);
            let g = &g[col * pairs..][..width * pairs];
            for (x, acc) in x.chunks_exact(strip * pairs).zip(acc.chunks_exact_mut(strip * cols)) {
                let acc_col = col;
                self.simd.outer_product(&mut OuterProduct {
                    x,
                    g,
                    pairs,
                    width,
                    acc,
                    acc_stride: cols,
                    acc_col,
                });
            }
        }
    }

    fn store(&self, acc: &[f32], begin: usize, end: usize, gradient: &mut [f32]) {
        let Sizes { c_in, c_out, padded_in, .. } = self.sizes;
        let cols = padded_cols(self.simd, end - begin);
        for (acc, gradient) in
            acc.chunks_exact(padded_in * cols).zip(gradient.chunks_exact_mut(c_in * c_out))
        {
            for (acc, gradient) in acc.chunks_exact(cols).zip(gradient.chunks_exact_mut(c_out)) {
                gradient[begin..end].copy_from_slice(&acc[..end - begin]);
            }
        }
    }
}

/// Packs one row a pair, each padded with zeros to `padded` values, into strips of `width`.
fn pack<'a, T: Storage>(
    simd: Simd,
    pairs: &[Pair],
    row_of: impl Fn(&Pair) -> &'a [T],
    padded: usize,
    width: usize,
    padded_row: &mut Vec<f32>,
    to: &mut [f32],
) {
    padded_row.clear();
    padded_row.resize(padded, 0.0);
    for (position, pair) in pairs.iter().enumerate() {
        if let Some(later) = pairs.get(position + PREFETCH_ROWS) {
            prefetch(row_of(later));
        }
        let row = row_of(pair);
        match T::as_f32(row) {
            Some(row) if row.len() == padded => {
                place_strips(row, width, pairs.len(), position, to);
            }
            _ => {
                T::widen(simd, row, &mut padded_row[..row.len()]);
                place_strips(padded_row, width, pairs.len(), position, to);
            }
        }
    }
}
