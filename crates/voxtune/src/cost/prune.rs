//! Which candidates are worth measuring.

use std::collections::BTreeSet;

use super::Estimate;

/// A candidate of a race, as pruning sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender<'a> {
    pub(crate) family: &'a str,
    pub(crate) is_default: bool,
    /// `None` where no model describes it.
    pub(crate) estimate: Option<Estimate>,
}

/// For each contender, whether it stays. The best by model stay, within its error, the default,
/// those without a model, and the best of another family. Of a single family a bug would leave
/// nothing to run.
pub(crate) fn worth_measuring(contenders: &[Contender<'_>]) -> Vec<bool> {
    let mut by_time: Vec<(usize, Estimate)> = contenders
        .iter()
        .enumerate()
        .filter_map(|(place, contender)| Some((place, contender.estimate?)))
        .collect();
    by_time.sort_by(|(_, a), (_, b)| a.time_ns.total_cmp(&b.time_ns));
    let mut stays: Vec<bool> = contenders
        .iter()
        .map(|contender| contender.is_default || contender.estimate.is_none())
        .collect();
    let Some((_, best)) = by_time.first().copied() else {
        return stays;
    };
    let trust = best.trust();
    for (place, estimate) in by_time.iter().take(trust.enough) {
        stays[*place] |= estimate.time_ns <= best.time_ns * trust.worst_error;
    }
    let families: BTreeSet<&str> = contenders
        .iter()
        .zip(&stays)
        .filter_map(|(contender, stays)| stays.then_some(contender.family))
        .collect();
    if families.len() < 2 {
        let another =
            |(place, _): &&(usize, Estimate)| !families.contains(contenders[*place].family);
        if let Some((place, _)) = by_time.iter().find(another) {
            stays[*place] = true;
        }
    }
    stays
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Basis;

    fn contender(family: &str, time_ns: impl Into<Option<f64>>) -> Contender<'_> {
        let estimate = time_ns.into().map(|time_ns| Estimate { time_ns, basis: Basis::Fitted });
        Contender { family, is_default: false, estimate }
    }

    #[test]
    fn the_slow_leave() {
        let mut field = [
            contender("a", 100.0),
            contender("a", 169.0),
            contender("a", 171.0),
            contender("b", 120.0),
            contender("b", 900.0),
        ];
        assert_eq!(worth_measuring(&field), [true, true, false, true, false]);
        field[4].is_default = true;
        assert!(worth_measuring(&field)[4]);
    }

    #[test]
    fn another_family_stays() {
        let field =
            [contender("a", 1.0), contender("b", 9.0), contender("b", 8.0), contender("c", 9.5)];
        assert_eq!(worth_measuring(&field), [true, false, true, false]);
    }

    #[test]
    fn without_a_model_everybody_stays() {
        let field =
            [contender("a", None), contender("a", 1.0), contender("a", 9.0), contender("b", None)];
        assert_eq!(worth_measuring(&field), [true, true, false, true]);
        assert_eq!(worth_measuring(&field[..1]), [true]);
        assert!(worth_measuring(&[]).is_empty());
    }

    #[test]
    fn a_model_that_was_not_fitted_keeps_more() {
        let field = [100.0, 190.0, 210.0].map(|time_ns| Contender {
            estimate: Some(Estimate { time_ns, basis: Basis::Unfitted }),
            ..contender("a", None)
        });
        assert_eq!(worth_measuring(&field), [true, true, false]);
    }

    proptest! {
        #[test]
        fn the_best_the_default_and_the_unknown_stay(
            field in prop::collection::vec((0_usize..3, prop::option::of(1.0..1e9), any::<bool>()), 0..80),
        ) {
            let field: Vec<Contender<'_>> = field
                .iter()
                .map(|(family, time_ns, is_default)| Contender {
                    is_default: *is_default,
                    ..contender(["a", "b", "c"][*family], *time_ns)
                })
                .collect();
            let stays = worth_measuring(&field);
            let time = |contender: &Contender<'_>| contender.estimate.map_or(f64::INFINITY, |it| it.time_ns);
            let best = field.iter().map(time).fold(f64::INFINITY, f64::min);
            for (contender, stays) in field.iter().zip(&stays) {
                prop_assert!(*stays || !contender.is_default && contender.estimate.is_some());
            }
            if best.is_finite() {
                prop_assert!(field.iter().zip(&stays).any(|(it, stays)| *stays && time(it) == best));
            }
            let families = |of: &dyn Fn(usize) -> bool| {
                (0..field.len()).filter(|place| of(*place)).map(|place| field[place].family).collect::<BTreeSet<_>>()
            };
            prop_assert!(families(&|place| stays[place]).len() >= families(&|_| true).len().min(2));
        }
    }
}
