//! Rows of tables of regret.

use voxtune_analyze::distribution::Distribution;
use voxtune_analyze::regret::{Comparison, Graded};
use voxtune_bench::table::NONE;

pub(super) const TITLES: [&str; 7] =
    ["regret of", "entries", "mean", "median", "p95", "worst", "without"];

/// A kind of choice.
#[derive(Debug)]
pub(super) struct Row<'a> {
    name: String,
    comparison: &'a Comparison,
}

impl<'a> Row<'a> {
    pub(super) fn of(name: &str, comparison: &'a Comparison) -> Self {
        Self { name: name.to_owned(), comparison }
    }

    /// A row for each way in which choices were found.
    pub(super) fn graded(grades: &'a [Graded]) -> impl Iterator<Item = Self> {
        grades.iter().map(|graded| Self::of(&format!("  {}", graded.grade), &graded.comparison))
    }

    pub(super) fn cells(self) -> Vec<String> {
        let Comparison { regret, without_choice, not_measured, points, .. } = self.comparison;
        let [mean, median, p95, worst] = distribution(*regret);
        let (count, without) = (points.len(), without_choice + not_measured);
        vec![self.name, count.to_string(), mean, median, p95, worst, without.to_string()]
    }
}

/// Mean, median, 95th percentile and the worst, in per cent.
pub(super) fn distribution(distribution: Option<Distribution>) -> [String; 4] {
    let percent = |value: f64| format!("{:.2} %", value * 100.0);
    distribution.map_or_else(
        || [NONE; 4].map(str::to_owned),
        |one| [one.mean, one.median, one.p95, one.worst].map(percent),
    )
}
