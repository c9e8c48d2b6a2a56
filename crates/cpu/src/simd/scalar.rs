//! Any processor: safe code, which compilers turn into whatever vectors there are.

use super::{OuterProduct, RowProduct, Rows};

/// Values that are worked on side by side.
pub(super) const LANES: usize = 8;

/// Rows of accumulators of an outer product.
pub(super) const STRIP: usize = 4;

/// [`super::Simd::row_product`].
pub(super) fn row_product(product: &mut RowProduct<'_>) {
    if product.width == LANES {
        row_product_of::<LANES>(product);
    } else {
        row_product_of::<{ 2 * LANES }>(product);
    }
}

fn row_product_of<const WIDTH: usize>(product: &mut RowProduct<'_>) {
    let depth = product.depth;
    let (panel, _) = product.panel.as_chunks::<WIDTH>();
    for (position, pair) in product.pairs.iter().enumerate() {
        let left = match product.rows {
            Rows::Indexed(rows) => &rows[pair.in_row as usize * depth..][..depth],
            Rows::Packed(rows) => &rows[position * depth..][..depth],
        };
        let mut sums = [0.0; WIDTH];
        for (value, right) in left.iter().zip(panel) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum += value * right;
            }
        }
        let row = (pair.out_row - product.acc_first_row) as usize;
        let begin = row * product.acc_stride + product.acc_col;
        for (acc, sum) in product.acc[begin..begin + WIDTH].iter_mut().zip(sums) {
            *acc += sum;
        }
    }
}

/// [`super::Simd::outer_product`].
pub(super) fn outer_product(product: &mut OuterProduct<'_>) {
    if product.width == LANES {
        outer_product_of::<LANES>(product);
    } else {
        outer_product_of::<{ 2 * LANES }>(product);
    }
}

fn outer_product_of<const WIDTH: usize>(product: &mut OuterProduct<'_>) {
    let (x, _) = product.x.as_chunks::<STRIP>();
    let (g, _) = product.g.as_chunks::<WIDTH>();
    let mut sums = [[0.0; WIDTH]; STRIP];
    for (x, g) in x.iter().zip(g).take(product.pairs) {
        for (sums, value) in sums.iter_mut().zip(x) {
            for (sum, right) in sums.iter_mut().zip(g) {
                *sum += value * right;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let begin = row * product.acc_stride + product.acc_col;
        for (acc, sum) in product.acc[begin..begin + WIDTH].iter_mut().zip(sums) {
            *acc += sum;
        }
    }
}
