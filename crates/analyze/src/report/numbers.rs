//! Numbers as short as a page needs them.

/// Rounds to five significant digits, so that a page of a hundred thousand numbers stays small.
pub(super) fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 4 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.clamp(-300, 300));
    (value * scale).round() / scale
}

/// The geometric mean; `None` of nothing.
pub(super) fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0_usize), |(sum, count), value| (sum + value.ln(), count + 1));
    (count > 0).then(|| (sum / count as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_digits_are_kept_wherever_the_point_is() {
        for (value, expected) in [
            (123_456_789.0, 123_460_000.0),
            (0.001_234_567, 0.001_234_6),
            (-1.234_56, -1.234_6),
            (0.0, 0.0),
            (1.0, 1.0),
        ] {
            assert!((short(value) - expected).abs() <= expected.abs() * 1e-12, "{value}");
        }
        assert!(short(f64::NAN).is_nan() && short(f64::INFINITY).is_infinite());
        assert!(short(1e-305).is_finite() && short(1e305).is_finite());
    }

    #[test]
    fn a_mean_of_ratios_is_geometric() {
        assert_eq!(geometric_mean([]), None);
        assert!((geometric_mean([0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
    }
}
