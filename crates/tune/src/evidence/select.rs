//! Which candidates of an entry are measured, given what is stored of it.
//!
//! A stored result holds for one version of a candidate's code, by its hash. So a changed kernel
//! asks for its own candidates alone, and lifts their quarantine by itself.

use std::collections::BTreeSet;

use voxtune_cache::decide::NOISE_CEILING;
use voxtune_cache::{EntryKey, Evidence, Record, Records, Timing};
use voxtune_types::{AlgoId, AlgoMode};

use crate::evidence::commit::{decision, winner};
use crate::evidence::entry::PreparedEntry;
use crate::evidence::entry::is_quarantine;
use crate::inputs::candidate::Candidate;
use crate::plan::expand::Remeasure;

/// What to measure where evidence is stored.
#[derive(Clone, Copy, Debug)]
pub struct SelectOptions<'a> {
    /// How much is measured where there is evidence.
    pub remeasure: Remeasure,
    /// Whether quarantined candidates get another chance.
    pub retry_quarantined: bool,
    /// Which algorithms compete in the entry's direction.
    pub mode: &'a AlgoMode,
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Nothing: there is evidence.
    Nothing,
    /// These race.
    Race(Vec<AlgoId>),
    /// New candidates race against stored leaders. If that race shows that the other stored
    /// measurements cannot be compared with it, `all` race.
    TopUp {
        /// New candidates and stored leaders.
        some: Vec<AlgoId>,
        /// Every candidate.
        all: Vec<AlgoId>,
    },
}

/// What of an entry is to be measured.
#[must_use]
pub fn select(options: SelectOptions<'_>, stored: &Evidence, entry: &PreparedEntry) -> Selection {
    let records = stored.records(&entry.key);
    let record = |one: &Candidate| records.and_then(|all| all.get(&one.id, one.kernel_hash));
    let quarantined = |one: &Candidate| record(one).is_some_and(is_quarantine);
    // Quarantined candidates only on request.
    let allowed = |one: &&Candidate| options.retry_quarantined || !quarantined(one);
    let lacking = |one: &&Candidate| record(one).is_none() || quarantined(one) && allowed(one);
    let names = |candidates: Vec<&Candidate>| -> Vec<AlgoId> {
        candidates.into_iter().map(|one| one.id.clone()).collect()
    };
    let new = names(entry.pool.iter().filter(lacking).collect());
    let incumbent = winner(stored, &entry.key);
    let mut quarantines_over_stale = quarantines_over_stale(stored, entry);
    let is_incumbent_stale =
        quarantines_over_stale.any(|record| incumbent.as_ref() == Some(&record.algo));
    if options.remeasure != Remeasure::All && new.is_empty() && !is_incumbent_stale {
        return Selection::Nothing;
    }
    let mut all = names(entry.pool.iter().filter(allowed).collect());
    if all.is_empty() {
        return Selection::Nothing;
    }
    if matches!(options.mode, AlgoMode::Named(_)) {
        // A candidate that replaces a stored winner must beat it in the same race, and the default
        // too.
        let incumbent = incumbent.filter(|_| !is_incumbent_stale);
        for opponent in incumbent.into_iter().chain(stored_defaults(stored, entry)) {
            if !all.contains(&opponent) {
                all.push(opponent);
            }
        }
    }
    // The successor of a winner that is out need not have been near it.
    let is_whole = options.remeasure != Remeasure::New || records.is_none() || is_incumbent_stale;
    if is_whole || new.len() == all.len() {
        return Selection::Race(all);
    }
    let leaders = leaders(stored, entry);
    let due = |id: &&AlgoId| new.contains(id) || leaders.contains(id);
    let some: Vec<AlgoId> = all.iter().filter(due).cloned().collect();
    if some.len() == all.len() { Selection::Race(all) } else { Selection::TopUp { some, all } }
}

/// The stored winner of the key, unless its code has changed since. A new workload has one too, if
/// its key was measured on others.
pub(crate) fn incumbent(stored: &Evidence, entry: &PreparedEntry) -> Option<AlgoId> {
    let EntryKey { device, key, .. } = &entry.key;
    let winner = winner(stored, &entry.key)?;
    let today = entry.pool.iter().find(|one| one.id == winner);
    let is_same = today.is_none_or(|one| {
        let mut workloads = stored.workloads(device, key);
        workloads.any(|(_, records)| records.get(&one.id, one.kernel_hash).is_some())
    });
    is_same.then_some(winner)
}

/// The defaults of a key on any workload, without those that this entry quarantined.
fn stored_defaults(stored: &Evidence, entry: &PreparedEntry) -> BTreeSet<AlgoId> {
    let EntryKey { device, key, .. } = &entry.key;
    let records = stored.workloads(device, key).flat_map(|(_, records)| records.iter());
    let defaults = records.filter(|record| record.default && !is_quarantine(record));
    let here = stored.records(&entry.key);
    let is_out = |algo: &AlgoId| {
        let versions = here.into_iter().flat_map(Records::iter);
        versions.into_iter().any(|one| one.algo == *algo && is_quarantine(one))
    };
    defaults.map(|record| record.algo.clone()).filter(|algo| !is_out(algo)).collect()
}

/// Quarantines of the current kernel hash where an older hash has a timing (after merging
/// releases). The old timing must not win.
pub(crate) fn quarantines_over_stale<'s>(
    stored: &'s Evidence,
    entry: &PreparedEntry,
) -> impl Iterator<Item = &'s Record> {
    let records = stored.records(&entry.key);
    let of_today = entry.pool.iter().filter_map(move |one| records?.get(&one.id, one.kernel_hash));
    of_today.filter(|record| is_quarantine(record)).filter(move |record| {
        let versions = records.into_iter().flat_map(Records::iter);
        versions.into_iter().any(|other| other.algo == record.algo && !is_quarantine(other))
    })
}

/// The stored winner of the key, candidates within noise of it, and the default. The others were so
/// far behind that noise between two runs does not bring them to the front.
fn leaders(stored: &Evidence, entry: &PreparedEntry) -> BTreeSet<AlgoId> {
    let decision = decision(stored, &entry.key);
    let near = decision.into_iter().flat_map(|decision| decision.safe);
    let default = entry.pool.iter().filter(|one| one.default).map(|one| one.id.clone());
    near.chain(default).collect()
}

/// Whether today's measurements can stand beside stored ones: candidates measured well both times
/// took the same time with what they are charged, within [`NOISE_CEILING`]. A machine that has
/// slowed down or changed its clock fails this, and so does a network whose layers share less. Who
/// was charged once and once not says nothing either way, so that everybody is measured again.
#[must_use]
pub fn is_comparable(stored: &Evidence, key: &EntryKey, today: &[Record]) -> bool {
    let Some(records) = stored.records(key) else { return true };
    let both = today.iter().filter_map(|record| both_timings(records, record));
    both.into_iter().all(|(then, now)| {
        let ratio = now.charged_median_ns() as f64 / then.charged_median_ns().max(1) as f64;
        then.charge.is_some() == now.charge.is_some()
            && ((1.0 + NOISE_CEILING).recip()..=1.0 + NOISE_CEILING).contains(&ratio)
    })
}

fn both_timings<'r>(stored: &'r Records, today: &'r Record) -> Option<(&'r Timing, &'r Timing)> {
    /// A single sample may be off by more than machines change.
    const ENOUGH_SAMPLES: u32 = 3;
    let well = |timing: &&Timing| timing.samples >= ENOUGH_SAMPLES;
    let then = stored.get(&today.algo, today.kernel_hash)?.timing().filter(well)?;
    let now = today.timing().filter(well)?;
    Some((then, now))
}

#[cfg(test)]
mod tests {
    use voxtune::KernelHash;
    use voxtune_cache::{Charge, Outcome, Reason};

    use super::*;
    use crate::testing;
    use crate::testing::{entry as key, timing};

    const TIMES_NS: [(&str, u64); 5] = [
        ("default", 2_000_000),
        ("first", 1_000_000),
        ("near", 1_050_000),
        ("far", 1_500_000),
        ("farther", 1_600_000),
    ];

    fn candidate(name: &str, hash: u64) -> Candidate {
        Candidate {
            id: name.parse().unwrap(),
            kernel_hash: KernelHash::new(hash),
            default: name == "default",
            requires: None,
        }
    }

    fn record(name: &str, hash: u64, median_ns: Option<u64>) -> Record {
        let quarantined =
            || Outcome::Quarantined { reason: Reason::Crash, detail: "boom".to_owned() };
        let outcome = median_ns.map_or_else(quarantined, |ns| Outcome::Measured(timing(ns)));
        Record { outcome, ..testing::record(name, hash, 1) }
    }

    fn stored(changes: &[(&str, Option<u64>)]) -> Evidence {
        let mut evidence = Evidence::new();
        for (name, median_ns) in TIMES_NS {
            let change = changes.iter().find(|(changed, _)| *changed == name);
            let median_ns = change.map_or(Some(median_ns), |(_, median_ns)| *median_ns);
            evidence.insert(key(), record(name, 1, median_ns)).unwrap();
        }
        evidence
    }

    /// An entry whose candidates have the hash 1, but for some.
    fn entry(changed: &[&str]) -> PreparedEntry {
        let hash = |name| if changed.contains(&name) { 2 } else { 1 };
        let pool = TIMES_NS.iter().map(|&(name, _)| candidate(name, hash(name))).collect();
        PreparedEntry { key: key(), cloud: 0, pool }
    }

    fn options(remeasure: Remeasure, retry_quarantined: bool) -> SelectOptions<'static> {
        SelectOptions { remeasure, retry_quarantined, mode: &AlgoMode::Auto }
    }

    fn names(ids: &[AlgoId]) -> Vec<&str> {
        ids.iter().map(AlgoId::as_str).collect()
    }

    #[test]
    fn what_is_known_is_left_alone_if_so_wished() {
        let (stored, entry) = (stored(&[]), entry(&[]));
        for remeasure in [Remeasure::Incomplete, Remeasure::New] {
            assert_eq!(select(options(remeasure, false), &stored, &entry), Selection::Nothing);
        }
        let Selection::Race(all) = select(options(Remeasure::All, false), &stored, &entry) else {
            panic!("a whole run measures everybody");
        };
        assert_eq!(all.len(), 5);
    }

    #[test]
    fn a_changed_kernel_meets_the_stored_leaders() {
        let changed = entry(&["farther"]);
        let selection = select(options(Remeasure::New, false), &stored(&[]), &changed);
        let Selection::TopUp { some, all } = selection else { panic!("{selection:?}") };
        assert_eq!(names(&some), ["default", "first", "near", "farther"]);
        assert_eq!(all.len(), 5);
        let resumed = select(options(Remeasure::Incomplete, false), &stored(&[]), &changed);
        assert!(matches!(resumed, Selection::Race(all) if all.len() == 5));
        let nothing_stored = select(options(Remeasure::New, false), &Evidence::new(), &changed);
        assert!(matches!(nothing_stored, Selection::Race(all) if all.len() == 5));
    }

    #[test]
    fn the_quarantined_wait_for_a_retry_or_another_hash() {
        let stored = stored(&[("far", None)]);
        let Selection::Race(all) = select(options(Remeasure::All, false), &stored, &entry(&[]))
        else {
            panic!("a whole run measures");
        };
        assert_eq!(names(&all), ["default", "first", "near", "farther"]);
        assert_eq!(
            select(options(Remeasure::New, false), &stored, &entry(&[])),
            Selection::Nothing
        );
        for (retry, changed) in [(true, entry(&[])), (false, entry(&["far"]))] {
            let selection = select(options(Remeasure::New, retry), &stored, &changed);
            let Selection::TopUp { some, .. } = selection else { panic!("{selection:?}") };
            assert_eq!(names(&some), ["default", "first", "near", "far"]);
        }
    }

    /// The winner of a merge is of other code than today's, which is known to be wrong.
    #[test]
    fn a_winner_whose_code_of_today_is_wrong_has_to_be_followed() {
        let mut stored = stored(&[]);
        stored.insert(key(), record("first", 2, None)).unwrap();
        let today = entry(&["first"]);
        let quarantines_over_stale: Vec<_> =
            quarantines_over_stale(&stored, &today).map(|one| one.algo.as_str()).collect();
        assert_eq!(quarantines_over_stale, ["first"]);
        for remeasure in [Remeasure::Incomplete, Remeasure::New, Remeasure::All] {
            let Selection::Race(all) = select(options(remeasure, false), &stored, &today) else {
                panic!("{remeasure:?} leaves it, or some of those who may follow it")
            };
            assert_eq!(names(&all), ["default", "near", "far", "farther"]);
        }
        // Nor is it tried as somebody's challenger.
        let mode: AlgoMode = "far".parse().unwrap();
        let mut named = entry(&["first"]);
        named.pool.retain(|one| ["far", "first"].contains(&one.id.as_str()));
        let of_one = SelectOptions { mode: &mode, ..options(Remeasure::All, false) };
        let Selection::Race(all) = select(of_one, &stored, &named) else { panic!() };
        assert_eq!(names(&all), ["far", "default"]);
        // It says nothing of another's entry, nor of the code that was measured.
        assert_eq!(
            select(options(Remeasure::New, false), &stored, &entry(&[])),
            Selection::Nothing
        );
    }

    #[test]
    fn changed_code_of_the_winner_is_not_confirmed() {
        let known = |changed: &[&str]| incumbent(&stored(&[]), &entry(changed));
        assert_eq!(known(&["near"]).unwrap().as_str(), "first");
        assert_eq!(known(&["first"]), None);
        assert_eq!(incumbent(&Evidence::new(), &entry(&[])), None);
    }

    #[test]
    fn an_entry_that_is_all_in_quarantine_is_left_alone() {
        let all: Vec<(&str, Option<u64>)> = TIMES_NS.map(|(name, _)| (name, None)).to_vec();
        let stored = stored(&all);
        let nothing = select(options(Remeasure::All, false), &stored, &entry(&[]));
        assert_eq!(nothing, Selection::Nothing);
        let retried = select(options(Remeasure::New, true), &stored, &entry(&[]));
        assert!(matches!(retried, Selection::Race(all) if all.len() == 5));
    }

    #[test]
    fn a_named_candidate_meets_the_incumbent() {
        let mode: AlgoMode = "far".parse().unwrap();
        let mut entry = entry(&[]);
        entry.pool.retain(|one| one.id.as_str() == "far");
        let options =
            SelectOptions { remeasure: Remeasure::All, retry_quarantined: false, mode: &mode };
        let Selection::Race(all) = select(options, &stored(&[]), &entry) else { panic!() };
        assert_eq!(names(&all), ["far", "first", "default"]);
    }

    /// The key was measured on one workload, and another one is new.
    #[test]
    fn f01_a_new_workload_of_a_known_key_has_an_incumbent() {
        let mut elsewhere = entry(&[]);
        elsewhere.key.workload.pairs += 1;
        assert_eq!(incumbent(&stored(&[]), &elsewhere).unwrap().as_str(), "first");
        let mode: AlgoMode = "far".parse().unwrap();
        elsewhere.pool.retain(|one| one.id.as_str() == "far");
        let options =
            SelectOptions { remeasure: Remeasure::All, retry_quarantined: false, mode: &mode };
        let Selection::Race(all) = select(options, &stored(&[]), &elsewhere) else { panic!() };
        assert_eq!(names(&all), ["far", "first", "default"]);
        // Of a key without measurements it has none.
        let Selection::Race(all) = select(options, &Evidence::new(), &elsewhere) else { panic!() };
        assert_eq!(names(&all), ["far"]);
    }

    #[test]
    fn a_machine_that_has_changed_is_found_out() {
        let stored = stored(&[]);
        let today = |median_ns| [record("first", 1, Some(median_ns)), record("new", 2, Some(1))];
        assert!(is_comparable(&stored, &key(), &today(1_080_000)));
        assert!(!is_comparable(&stored, &key(), &today(1_120_000)));
        assert!(!is_comparable(&stored, &key(), &today(890_000)));
        assert!(is_comparable(&Evidence::new(), &key(), &today(5)));
    }

    /// As beside the caches of a release that charged nobody.
    #[test]
    fn who_was_charged_once_and_once_not_says_nothing() {
        let charged = |share_ns| {
            let mut record = record("first", 1, Some(1_000_000));
            if let Outcome::Measured(timing) = &mut record.outcome {
                timing.charge = Some(Charge { made_ns: 300_000, share_ns });
            }
            record
        };
        assert!(!is_comparable(&stored(&[]), &key(), &[charged(0)]));
        let mut stored = Evidence::new();
        stored.insert(key(), charged(100_000)).unwrap();
        assert!(is_comparable(&stored, &key(), &[charged(50_000)]));
        // A third as many layers share it.
        assert!(!is_comparable(&stored, &key(), &[charged(300_000)]));
        assert!(!is_comparable(&stored, &key(), &[record("first", 1, Some(1_000_000))]));
    }
}
