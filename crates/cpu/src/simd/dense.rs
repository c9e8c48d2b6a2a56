//! A safe edge around the `gemm` crate.

use gemm::Parallelism;

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
/// `lhs` is `(m, depth)`, `rhs` `(depth, n)`, `out` `(m, n)`; all row-major and gapless. `rhs` may be
/// stored as `(n, depth)` and used transposed.
///
/// # Panics
/// If a slice is shorter than its shape.
pub(crate) fn accumulate_dense(
    [m, n, depth]: [usize; 3],
    lhs: DenseLhs<'_>,
    rhs: &[f32],
    rhs_transposed: bool,
    out: &mut [f32],
    keep: bool,
) {
    let len = |rows: usize, cols: usize| rows.checked_mul(cols).expect("a matrix fits in memory");
    let (lhs_values, lhs_col, lhs_row) = match lhs {
        DenseLhs::Plain(values) => (values, 1, depth),
        DenseLhs::Transposed(values) => (values, m, 1),
    };
    let (rhs_col, rhs_row) = if rhs_transposed { (depth, 1) } else { (1, n) };
    assert!(
        lhs_values.len() >= len(m, depth) && rhs.len() >= len(depth, n) && out.len() >= len(m, n)
    );
    // SAFETY: each matrix lies within its slice, as asserted: with the strides above the last element
    // is the product of its dimensions less one. `out` is borrowed uniquely.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            out.as_mut_ptr(),
            1,
            n as isize,
            keep,
            lhs_values.as_ptr(),
            lhs_col as isize,
            lhs_row as isize,
            rhs.as_ptr(),
            rhs_col as isize,
            rhs_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
