//! From the samples of a race to what evidence keeps of them.

use voxtune_cache::decide::MIN_SHARED_ROUNDS;
use voxtune_cache::{Charge, Interval, Timing};

use crate::race::charged::without_share;
use crate::race::statistics::{median, median_absolute_deviation, median_interval};

/// The timing of a candidate that ran in some rounds of a race. Its ratio to the default's time is
/// of the rounds in which both ran. `None` without a sample. Rounds are with the charge, if there
/// is one, and so is the ratio; the times are without.
///
/// # Units
/// Times in nanoseconds, the clock in megahertz; for the error see [`Timing::max_error`].
#[must_use]
pub fn summarize(
    rounds_ns: &[Option<u64>],
    default_rounds_ns: Option<&[Option<u64>]>,
    charge: Option<Charge>,
    max_error: f64,
    clock_mhz: Option<u32>,
) -> Option<Timing> {
    let own_ns = without_share(rounds_ns, charge.map_or(0, |charge| charge.share_ns));
    let samples: Vec<f64> = own_ns.iter().flatten().map(|&ns| ns as f64).collect();
    let ratios = default_rounds_ns.map(|default| ratios(rounds_ns, default));
    Some(Timing {
        median_ns: median(&samples)? as u64,
        spread_ns: median_absolute_deviation(&samples)? as u64,
        min_ns: own_ns.iter().flatten().copied().min()?,
        samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        clock_mhz,
        ratio_to_default: ratios
            .filter(|ratios| has_enough(ratios, rounds_ns, default_rounds_ns))
            .and_then(|ratios| median_interval(&ratios)),
        max_error,
        charge,
    })
}

/// Whether the shared rounds say as much as the sample counts, which are all that evidence keeps.
/// Where both candidates have [`MIN_SHARED_ROUNDS`] samples, they must share as many rounds.
fn has_enough(ratios: &[f64], own: &[Option<u64>], other: Option<&[Option<u64>]>) -> bool {
    let samples = |rounds: &[Option<u64>]| rounds.iter().flatten().count();
    let fewer = samples(own).min(other.map_or(0, samples));
    let enough = MIN_SHARED_ROUNDS as usize;
    fewer < enough || ratios.len() >= enough
}

/// The median of ratios to the default's time, with its interval. Fewer than [`MIN_SHARED_ROUNDS`]
/// have none: it would be as narrow as they are few.
#[must_use]
pub(crate) fn ratio_interval(ratios: &[f64]) -> Option<Interval> {
    if ratios.len() < MIN_SHARED_ROUNDS as usize {
        return None;
    }
    median_interval(ratios)
}

fn ratios(own: &[Option<u64>], other: &[Option<u64>]) -> Vec<f64> {
    let pairs = own.iter().zip(other);
    pairs.filter_map(|(own, other)| Some((*own)? as f64 / (*other)?.max(1) as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f09_rounds_that_only_one_of_two_ran_are_no_ratio() {
        let default = [Some(100), None, Some(100), Some(100), None];
        let of = |own: &[Option<u64>]| {
            summarize(own, Some(&default), None, 0.0, None).unwrap().ratio_to_default
        };
        let apart = [Some(50), Some(50), None, None, Some(50)];
        assert_eq!(of(&apart), None, "three samples each, and one round of both");
        assert_eq!(of(&[Some(50), None, Some(50), Some(60)]).unwrap().high, 0.6);
        // The number of samples says by itself that it proves nothing.
        assert_eq!(of(&[Some(200)]).unwrap().median, 2.0);
        assert_eq!(ratio_interval(&[0.5, 0.5]), None);
    }

    #[test]
    fn times_are_without_the_charge_and_ratios_with_it() {
        let charge = Some(Charge { made_ns: 90, share_ns: 30 });
        let (default, own) = ([Some(200); 3], [Some(130), Some(110), Some(150)]);
        let timing = summarize(&own, Some(&default), charge, 0.0, None).unwrap();
        assert_eq!((timing.median_ns, timing.min_ns, timing.spread_ns), (100, 80, 20));
        assert_eq!((timing.charged_median_ns(), timing.charge), (130, charge));
        assert_eq!(timing.ratio_to_default.unwrap().median, 0.65);
    }
}
