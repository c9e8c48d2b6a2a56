//! What choices lose against the best that there is, kind by kind: regret.
//!
//! Three sources say it. The evidence of a cache itself is one. Each of its entries is a race, to
//! which [`assess`] puts the stored choice, the default and the neighbours' choices. Files of
//! samples are another, and reports of `regret` a third. Whatever kinds these name are shown.

use serde::Serialize;
use voxtune_cache::decide::Timer;
use voxtune_cache::{EntryKey, Outcome, Record, Records};

use super::grades::by_grade;
use super::numbers::short;
use super::{Commands, Contents, Part};
use crate::distribution::Distribution;
use crate::regret::{self, Comparison, Race, Registries, assess};
use crate::samples::{RaceSamples, RecordedSamples};

/// Kinds of choices, all against the same races.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Losses {
    /// What races they are.
    pub name: String,
    /// Where a person reads more.
    pub note: String,
    /// The command that made them.
    pub command: String,
    /// Whether the races are those of a cache's own evidence.
    pub own: bool,
    /// A kind each.
    pub kinds: Vec<Loss>,
}

/// What choices of one kind lose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// Which kind, such as `the default`.
    pub kind: String,
    /// What they lose, as fractions of the best time.
    pub summary: Option<Distribution>,
    /// Races without a choice of this kind, or whose choice was not measured.
    pub without: usize,
    /// Losses that ever larger shares of the choices stay within, evenly spaced from the least to
    /// the largest.
    pub quantiles: Vec<f64>,
    /// The worst of them, the worst first.
    pub worst: Vec<LossPoint>,
}

/// One choice in one race.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LossPoint {
    /// Layer, rows and density, as text.
    pub key: String,
    /// The cloud.
    pub cloud: String,
    /// Rows that the layer makes.
    pub rows_out: u64,
    /// Who was chosen.
    pub choice: String,
    /// Who was best.
    pub best: String,
    /// How much slower the choice was, as a fraction of the best time.
    pub regret: f64,
}

/// How many quantiles draw a curve.
const QUANTILES: usize = 200;

/// How many of the worst are named.
const WORST: usize = 20;

impl Loss {
    /// The loss of a kind of choices.
    #[must_use]
    pub fn of(kind: &str, without: usize, mut points: Vec<LossPoint>) -> Self {
        points.sort_by(|a, b| b.regret.total_cmp(&a.regret));
        let losses: Vec<f64> = points.iter().rev().map(|point| point.regret).collect();
        points.truncate(WORST);
        Self {
            kind: kind.to_owned(),
            summary: Distribution::of(losses.iter().copied()),
            without,
            quantiles: quantiles(&losses),
            worst: points,
        }
    }
}

/// Of sorted values so many, the first and the last among them.
fn quantiles(sorted: &[f64]) -> Vec<f64> {
    if sorted.len() <= QUANTILES {
        return sorted.iter().copied().map(short).collect();
    }
    let last = sorted.len() - 1;
    (0..QUANTILES).map(|step| short(sorted[step * last / (QUANTILES - 1)])).collect()
}

/// What all sources say.
pub(super) fn all(parts: &[Part<'_>], contents: &Contents, commands: &Commands) -> Vec<Losses> {
    let program = &commands.program;
    let (mut all, mut registries) = (Vec::new(), Registries::new());
    for part in parts {
        let races: Vec<RaceSamples> = races(part).collect();
        all.push(Losses {
            name: format!("{}, by its own evidence", part.name()),
            note: "The best time of every stored race against choices for it. Races left \
                   candidates out once they were beaten, so no two times need be of the same rounds."
                .to_owned(),
            command: format!("{program} report {}", part.cache.argument),
            own: true,
            kinds: of_regret(&assess(&judged(&races), &part.population, None, &mut registries)),
        });
        all.push(Losses {
            name: format!("{}, grade by grade", part.name()),
            note: "What would run if the better grades had nothing to say: exact, as it is; same \
                   architecture, with the decisions of the other devices here; near, without the \
                   key itself; model and default, without any decision."
                .to_owned(),
            command: format!("{program} report {}", part.cache.argument),
            own: false,
            kinds: by_grade(part, parts, &races),
        });
        for oracle in &contents.oracles {
            let races = judged(&oracle.races);
            let report = assess(&races, &part.population, None, &mut registries);
            if report.races > 0 && report.cached.without_choice < report.races {
                all.push(Losses {
                    name: format!("{}, by the races of {}", part.name(), oracle.name),
                    note: "Every candidate of these races was sampled alike.".to_owned(),
                    command: format!(
                        "{program} regret {} --cache {}",
                        oracle.argument, part.cache.argument
                    ),
                    own: false,
                    kinds: of_regret(&report),
                });
            }
        }
    }
    all.extend(contents.regrets.iter().map(|file| Losses {
        name: file.name.clone(),
        note: "As `regret --json` wrote it.".to_owned(),
        command: file.command.clone().unwrap_or_else(|| format!("{program} regret --json FILE")),
        own: false,
        kinds: file.losses.clone(),
    }));
    all.retain(|losses| losses.kinds.iter().any(|kind| kind.summary.is_some()));
    all
}

/// Races as `regret` judges them.
fn judged(races: &[RaceSamples]) -> Vec<Race> {
    races.iter().filter_map(Race::of_samples).collect()
}

/// What `regret` says of races, kind by kind.
fn of_regret(report: &regret::Report) -> Vec<Loss> {
    let kinds = [
        ("what runs", &report.resolved),
        ("stored choice", &report.cached),
        ("neighbouring density", &report.density_transfer),
        ("neighbouring bucket", &report.bucket_transfer),
        ("default", &report.default),
    ];
    kinds.map(|(kind, comparison)| of_comparison(kind, comparison)).into()
}

fn of_comparison(kind: &str, comparison: &Comparison) -> Loss {
    let points = comparison.points.iter().map(|point| LossPoint {
        key: point.key.to_string(),
        cloud: point.cloud.clone(),
        rows_out: point.rows_out,
        choice: point.choice.to_string(),
        best: point.best.to_string(),
        regret: short(point.regret),
    });
    Loss::of(kind, comparison.without_choice + comparison.not_measured, points.collect())
}

/// The entries of a part as races of one sample each: the time that decides.
fn races(part: &Part<'_>) -> impl Iterator<Item = RaceSamples> {
    let timer = Timer::of(&part.device.arch);
    let entries = part.population.evidence.entries();
    entries.filter_map(move |(entry, records)| race(timer, entry, records))
}

fn race(timer: Timer, entry: &EntryKey, records: &Records) -> Option<RaceSamples> {
    let candidates = records.preferred().into_iter().filter_map(|record: &Record| {
        // Who was beaten before it was verified is no measure of what could have run.
        let Outcome::Measured(timing) = &record.outcome else { return None };
        Some(RecordedSamples {
            algo: record.algo.clone(),
            kernel_hash: record.kernel_hash,
            default: record.default,
            failed: false,
            // What decides has the charge in it.
            rounds_ns: vec![Some(timer.time_ns(timing).round() as u64)],
            charge: None,
        })
    });
    let candidates: Vec<RecordedSamples> = candidates.collect();
    (!candidates.is_empty()).then(|| RaceSamples { entry: entry.clone(), candidates })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(regret: f64) -> LossPoint {
        LossPoint {
            key: "key".to_owned(),
            cloud: "uniform".to_owned(),
            rows_out: 1,
            choice: "a".to_owned(),
            best: "b".to_owned(),
            regret,
        }
    }

    #[test]
    fn a_curve_keeps_its_ends_however_many_points_it_is_of() {
        let loss = Loss::of("all", 0, (0..5000).map(|one| point(f64::from(one))).collect());
        assert_eq!(loss.quantiles.len(), QUANTILES);
        assert_eq!((loss.quantiles[0], loss.quantiles[QUANTILES - 1]), (0.0, 4999.0));
        assert!(loss.quantiles.is_sorted());
        assert_eq!(loss.worst.len(), WORST);
        assert_eq!(loss.worst[0].regret, 4999.0);
        assert_eq!(loss.summary.unwrap().count, 5000);
        let few = Loss::of("few", 1, vec![point(0.5), point(0.0)]);
        assert_eq!(few.quantiles, [0.0, 0.5]);
        assert_eq!(Loss::of("none", 3, Vec::new()).summary, None);
    }
}
