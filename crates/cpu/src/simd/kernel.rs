//! The loops over pairs and channels, stated once for every width of vector.
//!
//! All functions are inlined into the `target_feature` functions of [`super::avx512`] and
//! [`super::avx2`], so that the vector methods become single instructions there.

use super::vector::Vector;
use super::{OuterProduct, RowProduct, Rows, prefetch};
use crate::kernel_map::Pair;

/// [`super::Simd::row_product`] on this vector.
///
/// # Safety
/// The processor has the vector's instructions, and `product` was checked for its lanes.
#[inline(always)]
pub(super) unsafe fn row_product<V: Vector>(product: &mut RowProduct<'_>) {
    // SAFETY: passed on from the caller.
    unsafe {
        if product.width == V::LANES {
            each_group::<V, 1>(product);
        } else {
            each_group::<V, 2>(product);
        }
    }
}

/// Rows a group has at most. With two vectors of columns each: 16 accumulators, which hide the
/// latency of multiply-adds on every processor with 32 registers, or 12 on those with 16.
const fn group_rows<V: Vector>() -> usize {
    if V::LANES == 16 { 8 } else { 6 }
}

/// Splits the pairs into groups of nearly equal size, so that none is left with a single row.
///
/// # Safety
/// As [`row_product`], and `product.width == VECTORS · LANES`.
#[inline(always)]
unsafe fn each_group<V: Vector, const VECTORS: usize>(product: &mut RowProduct<'_>) {
    let pairs = product.pairs;
    let groups = pairs.len().div_ceil(group_rows::<V>());
    if groups == 0 {
        return;
    }
    let (short, longer) = (pairs.len() / groups, pairs.len() % groups);
    let mut begin = 0;
    for group in 0..groups {
        let rows = short + usize::from(group < longer);
        // SAFETY: passed on from the caller; `begin + rows` never passes the number of pairs.
        unsafe {
            match rows {
                1 => group_product::<V, 1, VECTORS>(product, begin),
                2 => group_product::<V, 2, VECTORS>(product, begin),
                3 => group_product::<V, 3, VECTORS>(product, begin),
                4 => group_product::<V, 4, VECTORS>(product, begin),
                5 => group_product::<V, 5, VECTORS>(product, begin),
                6 => group_product::<V, 6, VECTORS>(product, begin),
                7 => group_product::<V, 7, VECTORS>(product, begin),
                _ => group_product::<V, 8, VECTORS>(product, begin),
            }
        }
        begin += rows;
    }
}

/// Multiplies `ROWS` rows by the panel in registers, then adds them to their accumulators.
///
/// # Safety
/// As [`each_group`], and `begin + ROWS <= product.pairs.len()`.
#[inline(always)]
unsafe fn group_product<V: Vector, const ROWS: usize, const VECTORS: usize>(
    product: &mut RowProduct<'_>,
    begin: usize,
) {
    let depth = product.depth;
    // SAFETY: `begin + ROWS` is within the pairs, and `check` has compared the largest input row
    // (or the number of pairs) with the rows, the panel with `depth · width`, and the range of
    // output rows with the accumulators.
    unsafe {
        let group = product.pairs.as_ptr().add(begin);
        let row_of = |m: usize| row_pointer(product.rows, depth, group.add(m), begin + m);
        let left: [*const f32; ROWS] = std::array::from_fn(row_of);
        prefetch_rows::<V>(product, begin + ROWS);

        let mut sums = [[V::zero(); VECTORS]; ROWS];
        let mut panel = product.panel.as_ptr();
        for channel in 0..depth {
            let right: [V; VECTORS] = std::array::from_fn(|v| V::load(panel.add(v * V::LANES)));
            for (left, sums) in left.iter().zip(&mut sums) {
                let value = V::splat(left.add(channel));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = value.mul_add(right, *sum);
                }
            }
            panel = panel.add(VECTORS * V::LANES);
        }

        let acc = product.acc.as_mut_ptr();
        for (m, sums) in sums.iter().enumerate() {
            let row = ((*group.add(m)).out_row - product.acc_first_row) as usize;
            let to = acc.add(row * product.acc_stride + product.acc_col);
            for (v, sum) in sums.iter().enumerate() {
                let to = to.add(v * V::LANES);
                V::load(to).add(*sum).store(to);
            }
        }
    }
}

/// The left row of a pair at a position.
///
/// # Safety
/// `pair` and `position` were checked against `rows`.
#[inline(always)]
unsafe fn row_pointer(
    rows: Rows<'_>,
    depth: usize,
    pair: *const Pair,
    position: usize,
) -> *const f32 {
    // SAFETY: both indices were compared with `rows.len() / depth`.
    unsafe {
        match rows {
            Rows::Indexed(rows) => rows.as_ptr().add((*pair).in_row as usize * depth),
            Rows::Packed(rows) => rows.as_ptr().add(position * depth),
        }
    }
}

/// Asks for the next group's rows; packed ones are in the cache already.
#[inline(always)]
fn prefetch_rows<V: Vector>(product: &RowProduct<'_>, begin: usize) {
    let Rows::Indexed(rows) = product.rows else { return };
    for pair in product.pairs[begin..].iter().take(group_rows::<V>()) {
        prefetch(&rows[pair.in_row as usize * product.depth..][..product.depth]);
    }
}

/// [`super::Simd::outer_product`] on this vector, with `STRIP` rows of accumulators.
///
/// # Safety
/// The processor has the vector's instructions, and `product` was checked for its lanes and
/// `STRIP`.
#[inline(always)]
pub(super) unsafe fn outer_product<V: Vector, const STRIP: usize>(product: &mut OuterProduct<'_>) {
    // SAFETY: passed on from the caller.
    unsafe {
        if product.width == V::LANES {
            outer_tile::<V, STRIP, 1>(product);
        } else {
            outer_tile::<V, STRIP, 2>(product);
        }
    }
}

/// # Safety
/// As [`outer_product`], and `product.width == VECTORS · LANES`.
#[inline(always)]
unsafe fn outer_tile<V: Vector, const STRIP: usize, const VECTORS: usize>(
    product: &mut OuterProduct<'_>,
) {
    // SAFETY: `check` has compared `x` with `pairs · STRIP`, `g` with `pairs · width`, and the
    // accumulators with `STRIP` rows that hold the columns.
    unsafe {
        let (mut x, mut g) = (product.x.as_ptr(), product.g.as_ptr());
        let mut sums = [[V::zero(); VECTORS]; STRIP];
        for _ in 0..product.pairs {
            let right: [V; VECTORS] = std::array::from_fn(|v| V::load(g.add(v * V::LANES)));
            for (m, sums) in sums.iter_mut().enumerate() {
                let value = V::splat(x.add(m));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = value.mul_add(right, *sum);
                }
            }
            x = x.add(STRIP);
            g = g.add(VECTORS * V::LANES);
        }
        let acc = product.acc.as_mut_ptr();
        for (m, sums) in sums.iter().enumerate() {
            let to = acc.add(m * product.acc_stride + product.acc_col);
            for (v, sum) in sums.iter().enumerate() {
                let to = to.add(v * V::LANES);
                V::load(to).add(*sum).store(to);
            }
        }
    }
}
