//! AVX-512: sixteen values a vector, thirty-two registers.

use std::arch::x86_64::*;

use half::f16;

use super::vector::Vector;
use super::{OuterProduct, RowProduct, kernel};

/// Values in a vector.
pub(super) const LANES: usize = 16;

/// Rows of accumulators of an outer product.
pub(super) const STRIP: usize = 8;

impl Vector for __m512 {
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for the instructions and the address.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller vouches for the instructions and the address.
        unsafe { _mm512_set1_ps(*from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for the instructions and the address.
        unsafe { _mm512_storeu_ps(to, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller vouches for the instructions.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }
}

/// [`super::Simd::row_product`].
///
/// # Safety
/// The processor has AVX-512 F, AVX2, FMA and F16C, and the product was checked for [`LANES`].
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn row_product(product: &mut RowProduct<'_>) {
    // SAFETY: passed on from the caller.
    unsafe { kernel::row_product::<__m512>(product) }
}

/// [`super::Simd::outer_product`].
///
/// # Safety
/// The processor has AVX-512 F, AVX2, FMA and F16C, and the product was checked for [`LANES`] and
/// [`STRIP`].
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn outer_product(product: &mut OuterProduct<'_>) {
    // SAFETY: passed on from the caller.
    unsafe { kernel::outer_product::<__m512, STRIP>(product) }
}

/// Widens binary16 values. Both slices are of one length.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) fn widen_f16(from: &[f16], to: &mut [f32]) {
    let (from_blocks, from_rest) = from.as_chunks::<LANES>();
    let (to_blocks, to_rest) = to.as_chunks_mut::<LANES>();
    for (from, to) in from_blocks.iter().zip(to_blocks) {
        // SAFETY: a block holds `LANES` values of 16 bits, and `f16` is a transparent `u16`.
        let bits = unsafe { _mm256_loadu_si256(from.as_ptr().cast()) };
        // SAFETY: a block holds `LANES` values.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), _mm512_cvtph_ps(bits)) };
    }
    super::storage::widen_f16_each(from_rest, to_rest);
}

/// Rounds to binary16, to nearest, ties to even. Both slices are of one length.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) fn narrow_f16(from: &[f32], to: &mut [f16]) {
    let (from_blocks, from_rest) = from.as_chunks::<LANES>();
    let (to_blocks, to_rest) = to.as_chunks_mut::<LANES>();
    for (from, to) in from_blocks.iter().zip(to_blocks) {
        // SAFETY: a block holds `LANES` values.
        let values = unsafe { _mm512_loadu_ps(from.as_ptr()) };
        let bits = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values);
        // SAFETY: a block holds `LANES` values of 16 bits, and `f16` is a transparent `u16`.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), bits) };
    }
    super::storage::narrow_f16_each(from_rest, to_rest);
}
