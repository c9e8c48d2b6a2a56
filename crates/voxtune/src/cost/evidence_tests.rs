//! The model against every sm_90 timing that is checked in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use voxtune_cache::{EntryKey, Evidence, Records, decode_evidence};
use voxtune_types::{AlgoId, AlgoMode, ComputeCapability};

use super::{choose, learned};
use crate::registry::cuda::absent;
use crate::{Algorithm, MapCounts, Registry};

const SM_90: ComputeCapability = ComputeCapability { major: 9, minor: 0 };

fn evidence() -> Evidence {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../caches/sm_90.evidence.msgpack");
    let bytes = fs::read(&path).unwrap();
    decode_evidence(&bytes, "sm_90.evidence.msgpack").unwrap()
}

/// An entry that models were fitted to: what ran, and how long it took.
struct Entry {
    key: EntryKey,
    /// Fastest first.
    timings: Vec<(AlgoId, f64, bool)>,
}

impl Entry {
    fn new((key, records): (&EntryKey, &Records)) -> Self {
        let mut timings: Vec<(AlgoId, f64, bool)> = records
            .preferred()
            .into_iter()
            .filter_map(|record| {
                Some((record.algo.clone(), record.timing()?.median_ns as f64, record.default))
            })
            .collect();
        timings.sort_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
        Self { key: key.clone(), timings }
    }

    fn counts(&self) -> MapCounts {
        let workload = &self.key.workload;
        MapCounts {
            n_in: workload.rows_in as usize,
            n_out: workload.rows_out as usize,
            pairs: workload.pairs as usize,
        }
    }

    fn registry(&self) -> Registry {
        Registry::new(absent(SM_90, self.key.device.units, None, learned(SM_90)))
    }

    /// Time lost by running the best of these instead of the best of all that were measured.
    fn regret(&self, admitted: impl Fn(&AlgoId) -> bool) -> Option<f64> {
        let best = self.timings.iter().find(|(id, ..)| admitted(id))?.1;
        Some(best / self.timings[0].1 - 1.0)
    }
}

fn entries() -> Vec<Entry> {
    evidence().entries().map(Entry::new).filter(|entry| !entry.timings.is_empty()).collect()
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

fn quantile(of: &[f64], share: f64) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// What pruning keeps, and what it costs to have left the others out.
#[test]
fn pruning_keeps_the_winners() {
    let mut kept = Vec::new();
    let mut before = Vec::new();
    let mut regrets = Vec::new();
    for entry in entries() {
        let (operation, counts) = (&entry.key.key.operation, entry.counts());
        let registry = entry.registry();
        let pool = registry.pool(&AlgoMode::Auto, operation, counts);
        let everyone = registry
            .algorithms()
            .filter(|it| it.applies(operation) && it.in_auto_pool(operation, counts));
        before.push(everyone.count() as f64);
        kept.push(pool.len() as f64);
        // Of those that the entry has times of: a newer one may well be faster than all of them.
        let timed = |it: &&Arc<dyn Algorithm>| entry.timings.iter().any(|(id, ..)| id == it.id());
        let measured = Registry::new(registry.algorithms().filter(timed).cloned().collect());
        let pool = measured.pool(&AlgoMode::Auto, operation, counts);
        let regret = entry.regret(|id| pool.iter().any(|algorithm| algorithm.id() == id));
        regrets.push(regret.expect("the default is measured and kept"));
    }
    let lost = regrets.iter().filter(|regret| **regret > 0.01).count();
    let summary = format!(
        "{} entries: {:.1} of {:.1} candidates kept, at most {}; regret {:.4} mean, {:.4} worst, \
         {lost} above 1 %",
        regrets.len(),
        mean(&kept),
        mean(&before),
        quantile(&kept, 1.0),
        mean(&regrets),
        quantile(&regrets, 1.0),
    );
    assert!(regrets.len() >= 100, "{summary}");
    assert!(lost * 100 <= regrets.len(), "{summary}");
    assert!(mean(&regrets) <= 0.005 && quantile(&regrets, 1.0) <= 0.03, "{summary}");
    assert!(mean(&kept) <= 10.0 && mean(&kept) < 0.7 * mean(&before), "{summary}");
}

/// What the model chooses from a key alone, against the default. The constants know the entry, so
/// this is how well they fit; the example `fit_cost_model` leaves each cloud out in turn.
#[test]
fn the_choice_beats_the_default() {
    let (mut chosen, mut default, mut unmeasured) = (Vec::new(), Vec::new(), 0);
    for entry in entries() {
        let Some((default_id, ..)) = entry.timings.iter().find(|(.., is_default)| *is_default)
        else {
            continue;
        };
        let registry = entry.registry();
        let (operation, counts) = (&entry.key.key.operation, MapCounts::typical(&entry.key.key));
        let by_model = |default: &Arc<dyn Algorithm>| {
            choose(registry.algorithms(), operation, counts, &**default)
        };
        let choice = registry.default_for(operation).and_then(by_model);
        let choice = choice.map_or(default_id, |algorithm| algorithm.id());
        match entry.regret(|id| id == choice) {
            Some(regret) => chosen.push(regret),
            None => unmeasured += 1,
        }
        default.extend(entry.regret(|id| id == default_id));
    }
    let row =
        |of: &[f64]| format!("{:.3} mean, {:.3} 95th percentile", mean(of), quantile(of, 0.95));
    let summary = format!(
        "regret of {} choices {}, of the default {}; {unmeasured} choices were not measured",
        chosen.len(),
        row(&chosen),
        row(&default),
    );
    // A family that is younger than most of the evidence is chosen where it was not timed.
    assert!(chosen.len() >= 100 && unmeasured * 10 <= chosen.len(), "{summary}");
    assert!(mean(&chosen) <= 0.05 && quantile(&chosen, 0.95) <= 0.25, "{summary}");
    assert!(mean(&default) >= 10.0 * mean(&chosen), "{summary}");
}
