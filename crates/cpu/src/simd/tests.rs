use half::{bf16, f16};

use super::*;

/// Every 16-bit pattern, and lengths that leave a rest behind whole vectors.
fn assert_widens<T: Storage>(from_bits: impl Fn(u16) -> T, widened: impl Fn(T) -> f32) {
    let values: Vec<T> = (0..=u16::MAX).map(from_bits).collect();
    for simd in Simd::supported() {
        for len in [0, 1, 15, 17, values.len()] {
            let mut found = vec![f32::NAN; len];
            T::widen(simd, &values[..len], &mut found);
            for (found, value) in found.iter().zip(&values) {
                let expected = widened(*value);
                let same = found.to_bits() == expected.to_bits();
                assert!(same || found.is_nan() && expected.is_nan(), "{simd:?}: {expected}");
            }
        }
    }
}

/// Values between, at and beside those of the storage type, and everything special.
fn assert_narrows<T: Storage + PartialEq + std::fmt::Debug>(
    nan: T,
    rounded: impl Fn(f32) -> T,
    is_nan: impl Fn(&T) -> bool,
) {
    let specials = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 65_504.0];
    let more = [65_519.9, 65_520.0, 1e-8, 6e-8, f32::MIN_POSITIVE, f32::from_bits(1), 3.4e38];
    let spread = (0..40_000_u32).map(|index| f32::from_bits(index.wrapping_mul(107_374_183)));
    let ties = (0..4096_u32).map(|index| f32::from_bits(0x3f80_0000 | (index << 11)));
    let values: Vec<f32> = specials.into_iter().chain(more).chain(spread).chain(ties).collect();
    for simd in Simd::supported() {
        let mut found = vec![nan; values.len()];
        T::narrow(simd, &values, &mut found);
        for (found, value) in found.iter().zip(&values) {
            let expected = rounded(*value);
            let both_nan = is_nan(found) && is_nan(&expected);
            assert!(*found == expected || both_nan, "{simd:?}: {value} becomes {found:?}");
        }
    }
}

#[test]
fn float16_converts_as_ieee_says() {
    assert_widens(f16::from_bits, f16::to_f32);
    assert_narrows(f16::NAN, f16::from_f32, |value| value.is_nan());
}

#[test]
fn bfloat16_converts_as_ieee_says() {
    assert_widens(bf16::from_bits, bf16::to_f32);
    assert_narrows(bf16::NAN, bf16::from_f32, |value| value.is_nan());
}

#[test]
fn the_scalar_path_is_always_there() {
    assert_eq!(Simd::supported().last(), Some(&Simd(Path::Scalar)));
    assert_eq!(Simd::supported()[0], Simd::best());
}

/// Products that would touch memory outside of their slices.
#[test]
fn short_slices_are_refused() {
    for simd in Simd::supported() {
        let width = simd.panel_cols();
        let rows = [0.0; 3 * 4];
        let panel = vec![0.0; 4 * width];
        let refused = |pair: Pair, rows: Rows<'_>, panel: &[f32], acc_col: usize| {
            let mut acc = vec![0.0; 2 * width];
            let run = || {
                simd.row_product(&mut RowProduct {
                    pairs: &[pair],
                    rows,
                    depth: 4,
                    panel,
                    width,
                    acc: &mut acc,
                    acc_stride: width,
                    acc_col,
                    acc_first_row: 10,
                });
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        let pair = |in_row, out_row| Pair { in_row, out_row };
        let indexed = Rows::Indexed(&rows);
        assert!(!refused(pair(2, 11), indexed, &panel, 0));
        assert!(refused(pair(3, 11), indexed, &panel, 0), "input row");
        assert!(refused(pair(2, 12), indexed, &panel, 0), "output row after the block");
        assert!(refused(pair(2, 9), indexed, &panel, 0), "output row before the block");
        assert!(refused(pair(2, 11), indexed, &panel[1..], 0), "panel");
        assert!(refused(pair(2, 11), indexed, &panel, 1), "column");
        assert!(refused(pair(0, 11), Rows::Packed(&rows[..3]), &panel, 0), "packed rows");
    }
}
