//! Which candidates are worth measuring.

use std::collections::BTreeSet;

use super::{Basis, Estimate};

/// A candidate of a race, as pruning sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender<'a> {
    /// The text of its id.
    pub(crate) id: &'a str,
    pub(crate) is_default: bool,
    /// `None` where no model describes it.
    pub(crate) estimate: Option<Estimate>,
}

/// Two of a family are alike whose times a learned model tells apart by less than this fraction.
/// Measured, they tie, and two runs choose now one and now the other.
const ALIKE: f64 = 0.002;

/// The same of two that differ in nothing but [`HEIGHT`]. By replay of two pairs of runs over the
/// default preset: of 2,184 decisions 29 and 26 differed with both of such two, 17 and 20 with the
/// faster one by model. Over all evidence that costs 0.014 % in the mean and 4 % at worst
/// (`docs/journal/tuner.md`).
const ALIKE_OF_A_SHAPE: f64 = 0.015;

/// Of shorter runs the model knows less.
///
/// # Units
/// Nanoseconds.
const ALIKE_FROM_NS: f64 = 100_000.0;

/// How high a tile is, and how many stages, groups and blocks share an SM.
const HEIGHT: [&str; 4] = ["rows=", "stages=", "groups=", "blocks="];

/// For each contender, whether it stays. The best by model stay, within its error, one of those
/// that are alike, the default, those without a model, and the best of another family. Of a single
/// family a bug would leave nothing to run.
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
    let mut staying: Vec<(&str, Estimate)> = Vec::new();
    for (place, estimate) in by_time.iter().take(trust.enough) {
        let own = (contenders[*place].id, *estimate);
        let is_within_trust = estimate.time_ns <= best.time_ns * trust.worst_error;
        if is_within_trust && !staying.iter().any(|faster| are_alike(*faster, own)) {
            stays[*place] = true;
            staying.push(own);
        }
    }
    let families: BTreeSet<&str> = contenders
        .iter()
        .zip(&stays)
        .filter_map(|(contender, stays)| stays.then_some(contender.family()))
        .collect();
    if families.len() < 2 {
        let another =
            |(place, _): &&(usize, Estimate)| !families.contains(contenders[*place].family());
        if let Some((place, _)) = by_time.iter().find(another) {
            stays[*place] = true;
        }
    }
    stays
}

impl Contender<'_> {
    fn family(&self) -> &str {
        family(self.id)
    }
}

fn family(id: &str) -> &str {
    id.split(':').next().unwrap_or(id)
}

/// Whether two differ in nothing but [`HEIGHT`].
fn are_of_a_shape(one: &str, other: &str) -> bool {
    fn others(id: &str) -> impl Iterator<Item = &str> {
        id.split(':').filter(|part| !HEIGHT.iter().any(|name| part.starts_with(name)))
    }
    others(one).eq(others(other))
}

/// Whether one of two that may be measured does for both, by a learned model.
fn are_alike(faster: (&str, Estimate), slower: (&str, Estimate)) -> bool {
    let ratio = slower.1.time_ns / faster.1.time_ns;
    let are_learned = [faster, slower].iter().all(|(_, one)| one.basis == Basis::Learned);
    are_learned
        && faster.1.time_ns >= ALIKE_FROM_NS
        && (family(faster.0) == family(slower.0) && ratio <= 1.0 + ALIKE
            || are_of_a_shape(faster.0, slower.0) && ratio <= 1.0 + ALIKE_OF_A_SHAPE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contender(id: &str, time_ns: impl Into<Option<f64>>) -> Contender<'_> {
        let estimate = time_ns.into().map(|time_ns| Estimate { time_ns, basis: Basis::Fitted });
        Contender { id, is_default: false, estimate }
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
    fn of_those_alike_to_a_learned_model_the_fastest_stays() {
        let learned = |id, time_ns: f64| Contender {
            estimate: Some(Estimate { time_ns, basis: Basis::Learned }),
            ..contender(id, None)
        };
        let long = |us: f64| 1e3 * us;
        let field = |scale: f64| {
            [
                learned("a:rows=64:cols=16:order=global", long(100.3) * scale),
                learned("a:rows=64:cols=32:order=global", long(100.1) * scale),
                learned("a:rows=64:cols=64:stages=3:order=global", long(100.0) * scale),
                learned("b", long(100.1) * scale),
                // Higher tiles of the third, of which the first is nearly as fast.
                learned("a:rows=128:cols=64:stages=4:groups=2:order=global", long(101.4) * scale),
                learned("a:rows=128:cols=64:stages=4:groups=2:order=sorted", long(101.4) * scale),
                learned("a:rows=256:cols=64:stages=4:groups=2:order=global", long(101.7) * scale),
            ]
        };
        let mut all = field(1.0);
        assert_eq!(worth_measuring(&all), [true, false, true, true, false, true, true]);
        all[1].is_default = true;
        assert!(worth_measuring(&all)[1]);
        assert_eq!(worth_measuring(&field(0.5)), [true; 7], "short runs are not known so well");
        // Formulas alone tell nothing so well.
        let fitted = [contender("a", 100.0), contender("a", 100.1)];
        assert_eq!(worth_measuring(&fitted), [true; 2]);
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
                (0..field.len()).filter(|place| of(*place)).map(|place| field[place].family()).collect::<BTreeSet<_>>()
            };
            prop_assert!(families(&|place| stays[place]).len() >= families(&|_| true).len().min(2));
        }
    }
}
