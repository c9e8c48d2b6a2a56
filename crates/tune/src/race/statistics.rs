//! Medians, spreads and intervals of small samples.

use voxtune_cache::Interval;

/// The median of some values; the mean of the middle two where their number is even.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The median of the absolute deviations from the median: a spread that outliers do not move.
#[must_use]
pub fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&deviations)
}

/// The median with an interval that holds the true one with 95 % probability, whatever the
/// distribution. The interval's ends are the order statistics that bound the binomial tail at 2.5 %
/// a side. Fewer than six values cannot promise that much and give their whole range.
#[must_use]
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = median(&sorted)?;
    let skip = order_statistic_rank(sorted.len());
    Some(Interval { low: sorted[skip], median, high: sorted[sorted.len() - 1 - skip] })
}

/// How many of the smallest values may be left out. A fair coin, thrown `len` times, shows at most
/// that many heads with a probability of at most 2.5 %.
fn order_statistic_rank(len: usize) -> usize {
    /// Beyond so many the tail of the binomial is that of a normal distribution, and the least
    /// probability is none that a number can hold.
    const MANY: usize = 500;
    const NORMAL_QUANTILE: f64 = 1.959_964;
    if len > MANY {
        let len = len as f64;
        return (NORMAL_QUANTILE.mul_add(-len.sqrt(), len) / 2.0).floor() as usize;
    }
    let mut probability = 0.5_f64.powi(i32::try_from(len).unwrap_or(i32::MAX));
    let mut tail = probability;
    let mut rank = 0;
    while rank < len {
        probability *= (len - rank) as f64 / (rank + 1) as f64;
        if tail + probability > 0.025 {
            break;
        }
        tail += probability;
        rank += 1;
    }
    // `rank` heads or fewer are improbable: that many values lie outside on either side.
    if tail > 0.025 { 0 } else { rank }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_samples() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median_absolute_deviation(&[1.0, 2.0, 3.0, 4.0, 100.0]), Some(1.0));
    }

    #[test]
    fn intervals_follow_the_binomial_table() {
        // The classical table of the sign test at 95 %, by values dropped on either side: 6 to 8
        // drop none, 9 to 11 one, 12 to 14 two, 15 three. Of 5 there is no interval.
        for (len, dropped) in [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3)] {
            let values: Vec<f64> = (0..len).map(f64::from).collect();
            let interval = median_interval(&values).unwrap();
            assert_eq!(interval.low, f64::from(dropped), "{len}");
            assert_eq!(interval.high, f64::from(len - 1 - dropped), "{len}");
        }
    }

    /// The probability of nothing but tails is less than any number from 1,075 on.
    #[test]
    fn intervals_of_many_go_on_where_the_table_ends() {
        let dropped = |len: usize| {
            let values: Vec<f64> = (0..len).map(|value| value as f64).collect();
            median_interval(&values).unwrap().low
        };
        assert!((dropped(500) - dropped(501)).abs() <= 1.0);
        assert_eq!(dropped(1_080), 507.0);
        assert_eq!(dropped(10_000), 4_902.0);
    }
}
