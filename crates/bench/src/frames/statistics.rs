//! Medians and percentiles.

/// The value below which a share of the values lies, between neighbours in proportion, as NumPy's
/// `percentile` has it; 0 of none.
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (below, above) = (place.floor() as usize, (place.ceil() as usize).min(last));
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The value in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&values), 2.5);
        assert_eq!(median(&values[..3]), 3.0);
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (1.0, 4.0));
        // numpy.percentile(range(1, 21), 95) is 19.05.
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!((quantile(&twenty, 0.95) - 19.05).abs() < 1e-12);
        assert_eq!((median(&[]), median(&[7.0])), (0.0, 7.0));
    }
}
