//! Output-stationary convolution without gathered matrices.
//!
//! A task owns a block of output rows and keeps its float32 sums in the cache. For each offset, the
//! rows that meet the block are multiplied where they lie, a few at a time, by the offset's weights
//! (an *indirect* GEMM, as in XNNPACK). The products are added to their sums. Nothing but meetings
//! that exist is multiplied, and each output row is written once.

mod forward;
mod pack;
mod wgrad;

use voxtune_types::{DType, Operation, Product};

use crate::epilogue::TypedEpilogue;
use crate::kernel_map::{KernelMap, SEGMENT_ROWS};
use crate::simd::{Simd, Storage};
use crate::wgrad_split;

/// The family, with the size of its blocks.
///
/// Forward and dgrad keep `rows` output rows by `cols` columns of sums in the cache. wgrad keeps
/// all input channels by `cols` output channels of sums for some offsets, and packs the pairs of
/// `rows` output rows at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImplicitGemm {
    /// Rows of a block.
    pub(crate) rows: usize,
    /// Columns of a block: a multiple of every path's panel.
    pub(crate) cols: usize,
}

const ROWS: [usize; 5] = [64, 128, 256, 512, 1024];
const COLS: [usize; 4] = [32, 64, 128, 256];

const _: () = assert!(ROWS[0].is_multiple_of(SEGMENT_ROWS));

impl ImplicitGemm {
    pub(crate) const FAMILY: &str = "implicit_gemm";
    pub(crate) const SOURCES: &[&str] = &[
        include_str!("mod.rs"),
        include_str!("forward.rs"),
        include_str!("pack.rs"),
        include_str!("wgrad.rs"),
        include_str!("../epilogue.rs"),
        include_str!("../wgrad_split.rs"),
    ];

    /// Every size of block that has a name.
    pub(crate) const ALL: [Self; ROWS.len() * COLS.len()] = {
        let mut all = [Self { rows: 0, cols: 0 }; ROWS.len() * COLS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = Self { rows: ROWS[index / COLS.len()], cols: COLS[index % COLS.len()] };
            index += 1;
        }
        all
    };

    /// Whether no narrower block spans all columns.
    pub(crate) fn applies(self, op: &Operation) -> bool {
        self.cols <= widest(op)
    }

    /// Two or three heights of the block that spans all columns; few rows want low blocks, so that
    /// every core has some. The others were the fastest of no layer by more than noise
    /// (`docs/journal/cpu.md`).
    pub(crate) fn in_auto_pool(self, op: &Operation, n_out: usize) -> bool {
        let is_pointwise = op.kernel.volume() == 1;
        let heights: &[usize] = match op.direction.product() {
            Product::Wgrad if n_out < 16_384 || is_pointwise => &[64, 256, 1024],
            Product::Wgrad => &[256, 1024],
            Product::Forward | Product::Dgrad if n_out < 16_384 => &[64, 128, 256],
            Product::Forward | Product::Dgrad if n_out < 65_536 || is_pointwise => &[128, 256, 512],
            Product::Forward | Product::Dgrad => &[256, 512],
        };
        self.cols == widest(op) && heights.contains(&self.rows)
    }

    /// The blocks to use where nothing was measured.
    pub(crate) fn default_for(op: &Operation) -> Self {
        Self { rows: 256, cols: widest(op) }
    }

    pub(crate) fn workspace_bytes(self, simd: Simd, op: &Operation, map: &KernelMap) -> usize {
        let threads = rayon::current_num_threads();
        let values = match op.direction.product() {
            Product::Wgrad => {
                let partial =
                    wgrad_split::partial_values(map, op.c_in as usize * op.c_out as usize);
                partial + threads * wgrad::scratch_values(simd, self, op, map)
            }
            Product::Forward | Product::Dgrad => {
                let shape = forward::Shape::of(op);
                pack::packed_values(simd, op.kernel.volume(), shape.depth, shape.width)
                    + threads
                        * forward::scratch_values(simd, self, shape, op.dtype != DType::Float32)
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
        let shape = forward::Shape::of(op);
        let (view, order) = match op.direction.product() {
            Product::Dgrad => (map.transposed(), pack::Order::Transposed),
            Product::Forward | Product::Wgrad => (map.view(), pack::Order::Stored),
        };
        let panels = pack::Panels::pack(simd, weights, op.kernel.volume(), shape, order);
        forward::product(simd, self, view, a, &panels, out, epilogue);
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
        wgrad::wgrad(simd, self, op, map, features, grad_out, out);
    }
}

/// The narrowest listed block that spans all columns of the result, or else the widest listed.
fn widest(op: &Operation) -> usize {
    let columns = match op.direction.product() {
        Product::Forward | Product::Wgrad => op.c_out as usize,
        Product::Dgrad => op.c_in as usize,
    };
    COLS.into_iter().find(|&cols| cols >= columns).unwrap_or(COLS[COLS.len() - 1])
}
