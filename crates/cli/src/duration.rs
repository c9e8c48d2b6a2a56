//! Durations as a person reads them.

use std::time::Duration;

use voxtune_cache::Timing;

/// `850 ms`, `12 s`, `3 min 20 s`, `2 h 05 min`.
pub(crate) fn coarse(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A kernel time with three to four digits: `12.34 us`, `1.234 ms`, `1.234 s`.
pub(crate) fn fine(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000_000 => format!("{:.2} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.3} ms", value / 1e6),
        _ => format!("{:.3} s", value / 1e9),
    }
}

/// What a layer is charged beside the time of its product: `, +0.80 us of 2.40 us for parts of its
/// map`. Nothing where nobody is charged.
pub(crate) fn charge(timing: &Timing) -> String {
    match timing.charge {
        Some(charge) if charge.share_ns > 0 => {
            let (share, made) = (fine(charge.share_ns), fine(charge.made_ns));
            format!(", +{share} of {made} for parts of its map")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_magnitude() {
        let coarse: Vec<String> =
            [0, 850, 12_000, 200_000, 7_500_000].map(Duration::from_millis).map(coarse).into();
        assert_eq!(coarse, ["0 ms", "850 ms", "12 s", "3 min 20 s", "2 h 05 min"]);
        let fine: Vec<String> = [12_340, 1_234_000, 1_234_000_000].map(fine).into();
        assert_eq!(fine, ["12.34 us", "1.234 ms", "1.234 s"]);
    }
}
