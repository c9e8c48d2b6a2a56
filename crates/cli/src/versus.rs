//! A time beside another one, in words that say which way round it is.

use voxtune_cache::Interval;

/// A smaller difference is none.
const SAME: f64 = 0.0005;

/// What a time is, beside another of which it is this part: `18.8 % less`, `2.0 % more`, `the
/// same`.
pub(crate) fn less_or_more(ratio: f64) -> String {
    let percent = (1.0 - ratio) * 100.0;
    if percent.abs() < SAME * 100.0 {
        "the same".to_owned()
    } else if percent > 0.0 {
        format!("{percent:.1} % less")
    } else {
        format!("{:.1} % more", -percent)
    }
}

/// The same with the bounds that the ratio lies within: `18.8 % less (17.1 to 20.2)`.
fn less_or_more_within(ratio: Interval) -> String {
    let text = less_or_more(ratio.median);
    if text == less_or_more(1.0) {
        return text;
    }
    let sign = if ratio.median < 1.0 { 100.0 } else { -100.0 };
    let [one, other] = [ratio.low, ratio.high].map(|bound| (1.0 - bound) * sign);
    format!("{text} ({:.1} to {:.1})", one.min(other), one.max(other))
}

/// What a time is beside the default's: `18.8 % less (17.1 to 20.2) than the default`.
pub(crate) fn beside_default(ratio: Interval) -> String {
    let text = less_or_more_within(ratio);
    let word = if text == less_or_more(1.0) { "as" } else { "than" };
    format!("{text} {word} the default")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_faster_and_says_so() {
        let texts = [0.5, 0.812, 0.9996, 1.0, 1.02, 3.0].map(less_or_more);
        let expected =
            ["50.0 % less", "18.8 % less", "the same", "the same", "2.0 % more", "200.0 % more"];
        assert_eq!(texts, expected);
        let within = |low, median, high| less_or_more_within(Interval { low, median, high });
        assert_eq!(within(0.8, 0.812, 0.829), "18.8 % less (17.1 to 20.0)");
        assert_eq!(within(0.99, 1.02, 1.05), "2.0 % more (-1.0 to 5.0)");
        assert_eq!(within(0.99, 1.0, 1.01), "the same");
        let beside = |median| beside_default(Interval { low: median, median, high: median });
        assert_eq!(
            [1.0, 0.5].map(beside),
            ["the same as the default", "50.0 % less (50.0 to 50.0) than the default"]
        );
    }
}
