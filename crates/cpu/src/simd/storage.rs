//! Conversion between storage types and float32.

use half::{bf16, f16};

use super::{Path, Simd};

/// A storage type of features and weights.
pub(crate) trait Storage: Copy + Send + Sync + 'static {
    /// The values as they are, where no conversion is needed.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;

    /// The values as they are, to be written, where no conversion is needed.
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// Widens exactly.
    ///
    /// # Panics
    /// If the slices differ in length.
    fn widen(simd: Simd, from: &[Self], to: &mut [f32]);

    /// Rounds to nearest, ties to even.
    ///
    /// # Panics
    /// If the slices differ in length.
    fn narrow(simd: Simd, from: &[f32], to: &mut [Self]);
}

impl Storage for f32 {
    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn widen(_: Simd, from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn narrow(_: Simd, from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl Storage for f16 {
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn widen(simd: Simd, from: &[Self], to: &mut [f32]) {
        assert_eq!(from.len(), to.len());
        match simd.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do.
            Path::Avx512 => unsafe { super::avx512::widen_f16(from, to) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do.
            Path::Avx2 => unsafe { super::avx2::widen_f16(from, to) },
            Path::Scalar => widen_f16_each(from, to),
        }
    }

    fn narrow(simd: Simd, from: &[f32], to: &mut [Self]) {
        assert_eq!(from.len(), to.len());
        match simd.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do.
            Path::Avx512 => unsafe { super::avx512::narrow_f16(from, to) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the path exists only where the instructions do.
            Path::Avx2 => unsafe { super::avx2::narrow_f16(from, to) },
            Path::Scalar => narrow_f16_each(from, to),
        }
    }
}

impl Storage for bf16 {
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn widen(_: Simd, from: &[Self], to: &mut [f32]) {
        assert_eq!(from.len(), to.len());
        // Whole vectors even without special instructions.
        for (value, to) in from.iter().zip(to) {
            *to = f32::from_bits(u32::from(value.to_bits()) << 16);
        }
    }

    fn narrow(_: Simd, from: &[f32], to: &mut [Self]) {
        assert_eq!(from.len(), to.len());
        for (value, to) in from.iter().zip(to) {
            let bits = value.to_bits();
            // Adding just under half of the last place, and one more if that place is odd, carries
            // into it whenever the nearest value lies above. A NaN keeps its sign and stays quiet.
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
            let quiet = (bits >> 16) | 0x40;
            *to = Self::from_bits(if value.is_nan() { quiet } else { rounded } as u16);
        }
    }
}

/// Widens binary16 values one by one.
pub(super) fn widen_f16_each(from: &[f16], to: &mut [f32]) {
    for (value, to) in from.iter().zip(to) {
        *to = value.to_f32();
    }
}

/// Rounds to binary16 one by one.
pub(super) fn narrow_f16_each(from: &[f32], to: &mut [f16]) {
    for (value, to) in from.iter().zip(to) {
        *to = f16::from_f32(*value);
    }
}
