//! Gather, dense product, scatter-add: one offset after another.
//!
//! Weight-stationary, as in most sparse convolution libraries. The rows that an offset meets are
//! copied into a gapless matrix. A dense GEMM multiplies that by the offset's weights, and the
//! products are added to their output rows. Blocks of output rows bound the copies.

use std::borrow::Cow;

use rayon::prelude::*;
use voxtune_types::{DType, Direction, Operation, Product};

use crate::epilogue::TypedEpilogue;
use crate::kernel_map::{KernelMap, Pair, SEGMENT_ROWS};
use crate::simd::{DenseLhs, PREFETCH_ROWS, Simd, Storage, accumulate_dense, prefetch};
use crate::wgrad_split;

/// Output rows of a block, and most pairs of a gathered matrix.
const BLOCK_ROWS: usize = 64 * SEGMENT_ROWS;

/// Output rows of which wgrad gathers the pairs at once.
const WGRAD_ROWS: usize = 1024;

/// The family. It has no parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExplicitGemm;

impl ExplicitGemm {
    pub(crate) const FAMILY: &str = "explicit_gemm";
    pub(crate) const SOURCES: &[&str] = &[
        include_str!("explicit_gemm.rs"),
        include_str!("epilogue.rs"),
        include_str!("wgrad_split.rs"),
    ];

    /// A dense product pays off where the copies are small beside it, if anywhere: over 6,000 rows
    /// and more it was the fastest of no layer that was measured (`docs/journal/cpu.md`).
    pub(crate) fn in_auto_pool(self, op: &Operation, n_out: usize) -> bool {
        op.c_in.min(op.c_out) >= 64 && n_out < 4096
    }

    pub(crate) fn workspace_bytes(self, op: &Operation, map: &KernelMap) -> usize {
        let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
        let threads = rayon::current_num_threads();
        let out_rows = match op.direction.product() {
            Product::Forward => map.n_out(),
            Product::Dgrad => map.n_in(),
            Product::Wgrad => {
                let partial = wgrad_split::partial_values(map, c_in * c_out);
                return size_of::<f32>() * (partial + threads * WGRAD_ROWS * (c_in + c_out));
            }
        };
        let copies = threads * BLOCK_ROWS.min(out_rows) * (c_in + c_out);
        let width = if op.direction == Direction::Forward { c_out } else { c_in };
        let widened = if op.dtype == DType::Float32 { 0 } else { out_rows * width + c_in * c_out };
        size_of::<f32>() * (copies + widened)
    }

    /// Forward and dgrad.
    #[expect(clippy::too_many_arguments, reason = "operands of three kinds, and how")]
    pub(crate) fn product<T: Storage>(
        self,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        a: &[T],
        weights: &[T],
        out: &mut [T],
        epilogue: Option<TypedEpilogue<'_, T>>,
    ) {
        let product = |sums: &mut [f32]| {
            self.product_f32(simd, op, map, a, weights, sums);
            if let Some(epilogue) = epilogue {
                epilogue.apply_to_rows(simd, sums, op.c_out as usize);
            }
        };
        if let Some(out) = T::as_f32_mut(out) {
            return product(out);
        }
        let mut acc = vec![0.0; out.len()];
        product(&mut acc);
        let block = BLOCK_ROWS * SEGMENT_ROWS;
        out.par_chunks_mut(block)
            .zip(acc.par_chunks(block))
            .for_each(|(out, acc)| T::narrow(simd, acc, out));
    }

    fn product_f32<T: Storage>(
        self,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        a: &[T],
        weights: &[T],
        out: &mut [f32],
    ) {
        let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
        let (view, depth, width) = match op.direction.product() {
            Product::Dgrad => (map.transposed(), c_out, c_in),
            Product::Forward | Product::Wgrad => (map.view(), c_in, c_out),
        };
        out.par_chunks_mut(BLOCK_ROWS * width).for_each(|out| out.fill(0.0));
        for (offset, weights) in weights.chunks(c_in * c_out).enumerate() {
            let weights = widened(simd, weights);
            let scratch = || (Vec::new(), Vec::new());
            out.par_chunks_mut(BLOCK_ROWS * width).enumerate().for_each_init(
                scratch,
                |(gathered, products), (block, out)| {
                    let first_row = block * BLOCK_ROWS;
                    let pairs = view.block(offset, first_row..first_row + out.len() / width);
                    if pairs.is_empty() {
                        return;
                    }
                    gather(simd, a, depth, pairs, |pair| pair.in_row, gathered);
                    products.resize(pairs.len() * width, 0.0);
                    accumulate_dense(
                        simd,
                        [pairs.len(), width, depth],
                        DenseLhs::Plain(gathered),
                        &weights,
                        op.direction == Direction::Dgrad,
                        products,
                        false,
                    );
                    scatter_add(pairs, products, width, first_row, out);
                },
            );
        }
    }

    /// The weights' gradient.
    pub(crate) fn wgrad<T: Storage>(
        self,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        features: &[T],
        grad_out: &[T],
        out: &mut [f32],
    ) {
        let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
        let scratch = || (Vec::new(), Vec::new());
        let view = map.view();
        wgrad_split::sum_parts(map, c_in * c_out, out, scratch, &|(x, g), part, gradient| {
            gradient.fill(0.0);
            for rows in part.blocks(WGRAD_ROWS) {
                for (offset, gradient) in
                    part.offsets.clone().zip(gradient.chunks_exact_mut(c_in * c_out))
                {
                    let pairs = view.block(offset, rows.clone());
                    gather(simd, features, c_in, pairs, |pair| pair.in_row, x);
                    gather(simd, grad_out, c_out, pairs, |pair| pair.out_row, g);
                    let shape = [c_in, c_out, pairs.len()];
                    accumulate_dense(
                        simd,
                        shape,
                        DenseLhs::Transposed(x),
                        g,
                        false,
                        gradient,
                        true,
                    );
                }
            }
        });
    }
}

fn widened<T: Storage>(simd: Simd, values: &[T]) -> Cow<'_, [f32]> {
    T::as_f32(values).map_or_else(
        || {
            let mut wide = vec![0.0; values.len()];
            T::widen(simd, values, &mut wide);
            Cow::Owned(wide)
        },
        Cow::Borrowed,
    )
}

/// Copies one row of `channels` values per pair into a gapless matrix.
fn gather<T: Storage>(
    simd: Simd,
    from: &[T],
    channels: usize,
    pairs: &[Pair],
    row_of: impl Fn(&Pair) -> u32,
    to: &mut Vec<f32>,
) {
    let row = |pair: &Pair| &from[row_of(pair) as usize * channels..][..channels];
    to.resize(pairs.len() * channels, 0.0);
    for (position, to) in to.chunks_exact_mut(channels).enumerate() {
        if let Some(later) = pairs.get(position + PREFETCH_ROWS) {
            prefetch(row(later));
        }
        T::widen(simd, row(&pairs[position]), to);
    }
}

fn scatter_add(pairs: &[Pair], products: &[f32], width: usize, first_row: usize, out: &mut [f32]) {
    for (pair, product) in pairs.iter().zip(products.chunks_exact(width)) {
        let row = pair.out_row as usize - first_row;
        for (sum, value) in out[row * width..][..width].iter_mut().zip(product) {
            *sum += value;
        }
    }
}
