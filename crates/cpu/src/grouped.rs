//! Channels in groups that do not meet, depthwise layers among them.
//!
//! Output-stationary as [`crate::implicit_gemm`]: a task owns a block of output rows and keeps
//! their float32 sums in the cache. A row that meets another costs its channels times those of a
//! group. So a depthwise layer is bound by the rows that are read, and not by products.

use rayon::prelude::*;
use voxtune_types::{DType, Operation, Product};

use crate::epilogue::TypedEpilogue;
use crate::kernel_map::{KernelMap, MapView, Pair, SEGMENT_ROWS};
use crate::simd::{PREFETCH_ROWS, Simd, Storage, prefetch};
use crate::wgrad_split;

/// The family, with the output rows of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grouped {
    pub(crate) rows: usize,
}

const ROWS: [usize; 3] = [64, 256, 1024];

const _: () = assert!(ROWS[0].is_multiple_of(SEGMENT_ROWS));

/// Channels that a group sums over and that it makes, and groups.
#[derive(Clone, Copy, Debug)]
struct Shape {
    depth: usize,
    width: usize,
    groups: usize,
}

impl Shape {
    fn of(op: &Operation) -> Self {
        let (own_in, own_out) = op.group_channels();
        let (own_in, own_out, groups) = (own_in as usize, own_out as usize, op.groups as usize);
        match op.direction.product() {
            Product::Forward | Product::Wgrad => Self { depth: own_in, width: own_out, groups },
            Product::Dgrad => Self { depth: own_out, width: own_in, groups },
        }
    }

    const fn gathered(self) -> usize {
        self.depth * self.groups
    }

    const fn result(self) -> usize {
        self.width * self.groups
    }

    /// Adds the products of a row with the weights of an offset, `(depth, result)`, to its sums.
    fn multiply(self, row: &[f32], weights: &[f32], sums: &mut [f32]) {
        let Self { depth, width, .. } = self;
        if (depth, width) == (1, 1) {
            for ((sum, x), w) in sums.iter_mut().zip(row).zip(weights) {
                *sum += x * w;
            }
            return;
        }
        for (channel, weights) in weights.chunks_exact(self.result()).enumerate() {
            let own = sums.chunks_exact_mut(width).zip(weights.chunks_exact(width));
            for ((sums, weights), row) in own.zip(row.chunks_exact(depth)) {
                let x = row[channel];
                for (sum, w) in sums.iter_mut().zip(weights) {
                    *sum += x * w;
                }
            }
        }
    }

    /// Adds a pair's products to the gradient of an offset's weights, `(depth, result)`.
    fn outer(self, x: &[f32], g: &[f32], gradient: &mut [f32]) {
        let Self { depth, width, .. } = self;
        if (depth, width) == (1, 1) {
            for ((sum, x), g) in gradient.iter_mut().zip(x).zip(g) {
                *sum += x * g;
            }
            return;
        }
        for (channel, gradient) in gradient.chunks_exact_mut(self.result()).enumerate() {
            let own = gradient.chunks_exact_mut(width).zip(g.chunks_exact(width));
            for ((sums, g), x) in own.zip(x.chunks_exact(depth)) {
                let x = x[channel];
                for (sum, g) in sums.iter_mut().zip(g) {
                    *sum += x * g;
                }
            }
        }
    }
}

impl Grouped {
    pub(crate) const FAMILY: &str = "grouped";
    pub(crate) const SOURCES: &[&str] =
        &[include_str!("grouped.rs"), include_str!("epilogue.rs"), include_str!("wgrad_split.rs")];

    /// Every size of block that has a name.
    pub(crate) const ALL: [Self; ROWS.len()] =
        [Self { rows: ROWS[0] }, Self { rows: ROWS[1] }, Self { rows: ROWS[2] }];

    /// The blocks to use where nothing was measured.
    pub(crate) const DEFAULT: Self = Self::ALL[1];

    pub(crate) fn workspace_bytes(self, op: &Operation, map: &KernelMap) -> usize {
        let (shape, threads) = (Shape::of(op), rayon::current_num_threads());
        let rows = if op.dtype == DType::Float32 { 0 } else { shape.gathered() + shape.result() };
        let values = match op.direction.product() {
            Product::Wgrad => {
                wgrad_split::partial_values(map, shape.depth * shape.result()) + threads * rows
            }
            Product::Forward | Product::Dgrad => {
                op.weight_len() + threads * (rows + self.rows * shape.result())
            }
        };
        size_of::<f32>() * values
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
        let shape = Shape::of(op);
        let mut stored = vec![0.0; weights.len()];
        T::widen(simd, weights, &mut stored);
        let (view, weights) = match op.direction.product() {
            Product::Dgrad => (map.transposed(), transposed(&stored, shape)),
            Product::Forward | Product::Wgrad => (map.view(), stored),
        };
        let task = Task { simd, shape, view, a, weights: &weights };
        let width = shape.result();
        out.par_chunks_mut(self.rows * width).enumerate().for_each_init(
            Scratch::default,
            |scratch, (block, out)| {
                let first_row = block * self.rows;
                task.sum(first_row, out.len() / width, scratch);
                let Scratch { sums, widened } = scratch;
                if let Some(epilogue) = &epilogue {
                    for (row, sums) in sums.chunks_exact_mut(width).enumerate() {
                        epilogue.apply(simd, sums, (first_row + row) * width, width, widened);
                    }
                }
                T::narrow(simd, sums, out);
            },
        );
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
        let (shape, view) = (Shape::of(op), map.view());
        let offset_len = shape.depth * shape.result();
        let scratch = || (Vec::new(), Vec::new());
        wgrad_split::sum_parts(map, offset_len, out, scratch, &|(x, g), part, gradient| {
            gradient.fill(0.0);
            for rows in part.blocks(self.rows) {
                let offsets = part.offsets.clone().zip(gradient.chunks_exact_mut(offset_len));
                for (offset, gradient) in offsets {
                    let pairs = view.block(offset, rows.clone());
                    for (position, pair) in pairs.iter().enumerate() {
                        if let Some(later) = pairs.get(position + PREFETCH_ROWS) {
                            prefetch(row_of(features, later.in_row, shape.gathered()));
                        }
                        let own = row_of(features, pair.in_row, shape.gathered());
                        let met = row_of(grad_out, pair.out_row, shape.result());
                        shape.outer(wide(simd, own, x), wide(simd, met, g), gradient);
                    }
                }
            }
        });
    }
}

#[derive(Default)]
struct Scratch {
    /// Sums of a block.
    sums: Vec<f32>,
    /// A row that had to be converted.
    widened: Vec<f32>,
}

/// What all blocks of a product share.
struct Task<'a, T> {
    simd: Simd,
    shape: Shape,
    view: MapView<'a>,
    a: &'a [T],
    /// `(volume, depth, result)`.
    weights: &'a [f32],
}

impl<T: Storage> Task<'_, T> {
    fn sum(&self, first_row: usize, n_rows: usize, scratch: &mut Scratch) {
        let (gathered, width) = (self.shape.gathered(), self.shape.result());
        let Scratch { sums, widened } = scratch;
        sums.clear();
        sums.resize(n_rows * width, 0.0);
        for (offset, weights) in self.weights.chunks_exact(self.shape.depth * width).enumerate() {
            let pairs = self.view.block(offset, first_row..first_row + n_rows);
            for (position, pair) in pairs.iter().enumerate() {
                if let Some(later) = pairs.get(position + PREFETCH_ROWS) {
                    prefetch(row_of(self.a, later.in_row, gathered));
                }
                let Pair { in_row, out_row } = *pair;
                let row = wide(self.simd, row_of(self.a, in_row, gathered), widened);
                let sums = &mut sums[(out_row as usize - first_row) * width..][..width];
                self.shape.multiply(row, weights, sums);
            }
        }
    }
}

fn row_of<T>(rows: &[T], row: u32, channels: usize) -> &[T] {
    &rows[row as usize * channels..][..channels]
}

/// A row in float32: itself, or widened into `room`.
fn wide<'a, T: Storage>(simd: Simd, row: &'a [T], room: &'a mut Vec<f32>) -> &'a [f32] {
    match T::as_f32(row) {
        Some(row) => row,
        None => {
            room.resize(row.len(), 0.0);
            T::widen(simd, row, room);
            room
        }
    }
}

/// Weights `(volume, c_in / groups, c_out)` as `(volume, c_out / groups, c_in)`, in which dgrad
/// reads them. `shape` is dgrad's: its depth are a group's outputs.
fn transposed(weights: &[f32], shape: Shape) -> Vec<f32> {
    let Shape { depth, width, groups } = shape;
    let (c_out, c_in) = (shape.gathered(), shape.result());
    let mut transposed = vec![0.0; weights.len()];
    let offsets =
        transposed.chunks_exact_mut(depth * c_in).zip(weights.chunks_exact(width * c_out));
    for (to, from) in offsets {
        for group in 0..groups {
            for i in 0..width {
                for o in 0..depth {
                    to[o * c_in + group * width + i] = from[i * c_out + group * depth + o];
                }
            }
        }
    }
    transposed
}
