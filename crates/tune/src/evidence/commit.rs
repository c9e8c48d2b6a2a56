//! What new measurements do to stored ones.
//!
//! A repeated run must not change a file for nothing. Where the stored winner still holds among the
//! new measurements, the stored evidence stays as it is, to the byte. New measurements are stored
//! if one of these is so:
//!
//! - the winner is significantly beaten and was not [confirmed](crate::race::confirm_incumbent)
//! - a candidate was not measured before, or its kernel has changed
//! - a candidate went into quarantine or came out of it
//!
//! Where only some candidates raced, their times stand beside the stored ones of the others, and no
//! candidate wins by not being measured.
//!
//! A winner is that of a key, over all workloads that it was measured on: what the file decides.

use std::collections::BTreeSet;

use voxtune_cache::decide::Timer;
use voxtune_cache::{
    Decision, EntryKey, Evidence, InvalidRecord, Record, Records, decide_key, significantly_beaten,
};
use voxtune_types::AlgoId;

use crate::evidence::entry::Measured;
use crate::evidence::entry::is_quarantine;

/// What became of an entry's new measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Committed {
    /// There were none before.
    Added,
    /// The stored ones stay: their winner was not significantly beaten, or was confirmed.
    Kept,
    /// They took the place of the stored ones.
    Replaced,
}

/// The winner of an entry's key, over all workloads that it was measured on.
#[must_use]
pub fn winner(evidence: &Evidence, entry: &EntryKey) -> Option<AlgoId> {
    decision(evidence, entry).map(|decision| decision.winner)
}

/// The decision over an entry's key, likewise.
#[must_use]
pub(crate) fn decision(evidence: &Evidence, entry: &EntryKey) -> Option<Decision> {
    decide_key(evidence, &entry.device, &entry.key)
}

/// Brings new measurements of an entry into stored evidence.
///
/// # Errors
/// If a record is malformed; the evidence is as it was.
pub fn commit(evidence: &mut Evidence, measured: &Measured) -> Result<Committed, InvalidRecord> {
    let Measured { entry, records, .. } = measured;
    let fresh = of_one_entry(entry, records)?;
    let Some(stored) = evidence.records(entry) else {
        evidence.merge(fresh);
        return Ok(Committed::Added);
    };
    // Kernels that were not measured before, or have gone into quarantine or come out of it.
    let is_new = |record: &&Record| {
        let before = stored.get(&record.algo, record.kernel_hash);
        before.is_none_or(|before| is_quarantine(before) != is_quarantine(record))
    };
    let new: Vec<Record> = records.iter().filter(is_new).cloned().collect();
    let incumbent = winner(evidence, entry);
    // Code of another hash cannot be confirmed.
    let held = incumbent.is_some()
        && measured.confirmed == incumbent
        && !new.iter().any(|record| Some(&record.algo) == incumbent.as_ref());
    let with_fresh = key_with(evidence, entry, &fresh);
    let beaten = !held
        && incumbent.as_ref().is_none_or(|incumbent| is_beaten(incumbent, &with_fresh, entry));
    if new.is_empty() && !beaten {
        return Ok(Committed::Kept);
    }
    // A confirmed winner keeps its record beside new ones: their times are of a race that it lost.
    let beside = held.then(|| replaced(stored, entry, &new)).transpose()?;
    let winner_with = |next: &Evidence| winner(&key_with(evidence, entry, next), entry);
    let beside = beside.filter(|next| winner_with(next) == incumbent);
    let next = beside.map_or_else(|| replaced(stored, entry, records), Ok)?;
    let is_renewed = |id: &AlgoId| records.iter().any(|record| record.algo == *id);
    let is_out = |id: &AlgoId| records.iter().any(|one| one.algo == *id && is_quarantine(one));
    // An incumbent in quarantine needs a successor.
    if !incumbent.as_ref().is_some_and(is_out)
        && winner_with(&next).is_some_and(|id| !is_renewed(&id) && incumbent != Some(id))
    {
        // Its stored time is from an earlier run and cannot be compared with today's.
        return Ok(Committed::Kept);
    }
    evidence.retain(|stored, _| stored != entry);
    evidence.merge(next);
    Ok(Committed::Replaced)
}

/// An entry's stored records with these in the place of all versions of the same algorithms.
fn replaced(
    stored: &Records,
    entry: &EntryKey,
    records: &[Record],
) -> Result<Evidence, InvalidRecord> {
    let renewed: BTreeSet<&AlgoId> = records.iter().map(|record| &record.algo).collect();
    let absent = stored.iter().filter(|record| !renewed.contains(&record.algo));
    of_one_entry(entry, absent.chain(records))
}

/// The evidence of an entry's key, with that of the entry itself in the place of what is stored of
/// it.
fn key_with(evidence: &Evidence, entry: &EntryKey, of_entry: &Evidence) -> Evidence {
    let mut of_key = of_entry.clone();
    for (other, records) in evidence.workloads(&entry.device, &entry.key) {
        if other != entry {
            for record in records.iter() {
                // What is stored is valid.
                let _ = of_key.insert(other.clone(), record.clone());
            }
        }
    }
    of_key
}

/// The candidate that would replace a stored winner, by these records of an entry alone.
///
/// # Errors
/// If a record is malformed.
pub(crate) fn challenger(
    incumbent: &AlgoId,
    entry: &EntryKey,
    records: &[Record],
) -> Result<Option<AlgoId>, InvalidRecord> {
    let fresh = of_one_entry(entry, records)?;
    Ok(if is_beaten(incumbent, &fresh, entry) { winner(&fresh, entry) } else { None })
}

/// Whether the new winner beats the stored one. It must win by its median over the workloads of the
/// key, beyond noise. It must also win the rounds of this entry in which both met the default, by
/// the [margin](Timer::incumbent_margin). Medians alone mislead where a machine is loaded for half
/// a race, and three rounds agree by chance one time in eight.
fn is_beaten(incumbent: &AlgoId, of_key: &Evidence, entry: &EntryKey) -> bool {
    let Some(records) = of_key.records(entry) else { return false };
    let of = |algo: &AlgoId| records.iter().find(|record| record.algo == *algo);
    let Some(stored) = of(incumbent) else { return false };
    if !significantly_beaten(incumbent, of_key, &entry.device, &entry.key) {
        return false;
    }
    let challenger = winner(of_key, entry).and_then(|algo| of(&algo)?.timing());
    let margin = Timer::of(&entry.device.arch).incumbent_margin();
    match (stored.timing(), challenger) {
        (Some(incumbent), Some(challenger)) => {
            match (incumbent.ratio_to_default, challenger.ratio_to_default) {
                (Some(incumbent), Some(challenger)) => {
                    challenger.high * (1.0 + margin) < incumbent.low
                }
                _ => true,
            }
        }
        // A quarantined one has lost to any that runs.
        (None, challenger) => challenger.is_some(),
        (Some(_), None) => false,
    }
}

fn of_one_entry<'r>(
    entry: &EntryKey,
    records: impl IntoIterator<Item = &'r Record>,
) -> Result<Evidence, InvalidRecord> {
    let mut evidence = Evidence::new();
    for record in records {
        evidence.insert(entry.clone(), record.clone())?;
    }
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use voxtune_cache::{Interval, KernelHash, Outcome, Reason};

    use super::*;
    use crate::evidence::phase_times::PhaseTimes;
    use crate::testing;
    use crate::testing::entry;

    /// The one called `a` is the default.
    fn record(algo: &str, hash: u64, median_ns: u64) -> Record {
        Record { default: algo == "a", ..testing::record(algo, hash, median_ns) }
    }

    fn measured(records: &[(&str, u64, u64)]) -> Measured {
        let records = records.iter().map(|&(algo, hash, ns)| record(algo, hash, ns)).collect();
        Measured {
            entry: entry(),
            records,
            rounds: Vec::new(),
            confirmed: None,
            spent: PhaseTimes::default(),
            compiling: None,
        }
    }

    fn committed(runs: &[&[(&str, u64, u64)]]) -> (Vec<Committed>, Evidence) {
        let mut evidence = Evidence::new();
        let outcomes =
            runs.iter().map(|run| commit(&mut evidence, &measured(run)).unwrap()).collect();
        (outcomes, evidence)
    }

    #[test]
    fn a_repeat_within_noise_changes_nothing() {
        let first: &[_] = &[("a", 1, 1000), ("b", 1, 800)];
        let (outcomes, evidence) =
            committed(&[first, &[("a", 1, 995), ("b", 1, 1004)], &[("a", 1, 1000), ("b", 1, 700)]]);
        assert_eq!(outcomes, [Committed::Added, Committed::Kept, Committed::Kept]);
        assert_eq!(evidence, committed(&[first]).1);
    }

    /// Other code of the winner was measured, and today's is in quarantine: who meets the default
    /// again without it takes its place.
    #[test]
    fn code_of_before_does_not_outlive_the_quarantine_of_todays() {
        let quarantine = |hash| Record {
            outcome: Outcome::Quarantined {
                reason: Reason::WrongResult,
                detail: "wrong".to_owned(),
            },
            ..record("b", hash, 1)
        };
        let (_, mut evidence) = committed(&[&[("a", 1, 1000), ("b", 1, 800)]]);
        evidence.insert(entry(), quarantine(2)).unwrap();
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "b");
        let mut today = measured(&[("a", 1, 1000)]);
        today.records.push(quarantine(2));
        assert_eq!(commit(&mut evidence, &today).unwrap(), Committed::Replaced);
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "a");
        assert_eq!(evidence.records(&entry()).unwrap().len(), 2);
    }

    #[test]
    fn a_busy_machine_does_not_unseat_a_winner() {
        let with_ratio = |algo: &str, median_us: u64, low, high| {
            let mut record = record(algo, 1, median_us * 1000);
            if let Outcome::Measured(timing) = &mut record.outcome {
                timing.ratio_to_default =
                    Some(Interval { low, median: f64::midpoint(low, high), high });
            }
            record
        };
        let run = |b: Record, c: Record| Measured {
            entry: entry(),
            records: vec![with_ratio("a", 1000, 1.0, 1.0), b, c],
            rounds: Vec::new(),
            confirmed: None,
            spent: PhaseTimes::default(),
            compiling: None,
        };
        let first = run(with_ratio("b", 800, 0.78, 0.82), with_ratio("c", 900, 0.88, 0.92));
        // `b` looks half as fast by its median, while the rounds say nothing of the kind.
        let busy = run(with_ratio("b", 1600, 0.70, 1.70), with_ratio("c", 900, 0.88, 0.92));
        let beaten = run(with_ratio("b", 950, 0.94, 0.96), with_ratio("c", 800, 0.79, 0.81));
        let mut evidence = Evidence::new();
        let outcomes = [first, busy, beaten].map(|run| commit(&mut evidence, &run).unwrap());
        assert_eq!(outcomes, [Committed::Added, Committed::Kept, Committed::Replaced]);
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "c");
    }

    #[test]
    fn a_beaten_winner_gives_way() {
        let (outcomes, evidence) =
            committed(&[&[("a", 1, 1000), ("b", 1, 800)], &[("a", 1, 800), ("b", 1, 1000)]]);
        assert_eq!(outcomes[1], Committed::Replaced);
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "a");
    }

    #[test]
    fn a_confirmed_winner_stays() {
        let (_, mut evidence) = committed(&[&[("a", 1, 1000), ("b", 1, 800)]]);
        let before = evidence.clone();
        let mut run = measured(&[("a", 1, 800), ("b", 1, 1000)]);
        let by = |name: &str| Some(name.parse().unwrap());
        assert_eq!(challenger(&by("b").unwrap(), &entry(), &run.records).unwrap(), by("a"));
        run.confirmed = by("b");
        assert_eq!(commit(&mut evidence, &run).unwrap(), Committed::Kept);
        assert_eq!(evidence, before);
        // Another algorithm's confirmation does not count.
        run.confirmed = by("c");
        assert_eq!(commit(&mut evidence, &run).unwrap(), Committed::Replaced);
        assert_eq!(winner(&evidence, &entry()), by("a"));
    }

    /// What is new is stored beside it, unless that would beat it by the times that are stored.
    #[test]
    fn a_confirmed_winner_stays_beside_what_is_new() {
        let times = |evidence: &Evidence| -> Vec<(String, Option<u64>)> {
            let records = evidence.records(&entry()).unwrap();
            let time = |one: &Record| one.timing().map(|timing| timing.median_ns);
            records.iter().map(|one| (one.algo.to_string(), time(one))).collect()
        };
        let stored = |name: &str, ns: u64| (name.to_owned(), Some(ns));
        let by = |name: &str| Some(name.parse().unwrap());
        let first: &[_] = &[("a", 1, 1000), ("b", 1, 800)];
        let after = |mut run: Measured| {
            run.confirmed = by("b");
            let (_, mut evidence) = committed(&[first]);
            assert_eq!(commit(&mut evidence, &run).unwrap(), Committed::Replaced);
            (winner(&evidence, &entry()), times(&evidence))
        };
        let slow = after(measured(&[("a", 1, 800), ("b", 1, 1000), ("n", 1, 2000)]));
        assert_eq!(slow, (by("b"), vec![stored("a", 1000), stored("b", 800), stored("n", 2000)]));
        let quick = after(measured(&[("a", 1, 800), ("b", 1, 1000), ("n", 1, 600)]));
        assert_eq!(quick, (by("n"), vec![stored("a", 800), stored("b", 1000), stored("n", 600)]));
        // Its own code is another now: what held is not what is stored.
        let changed = after(measured(&[("a", 1, 800), ("b", 2, 1000)]));
        assert_eq!(changed, (by("a"), vec![stored("a", 800), stored("b", 1000)]));
        // The challenger failed in the confirmation rounds.
        let mut failed = measured(&[("b", 1, 1000), ("c", 1, 900)]);
        failed.records.push(crashed("a", 1));
        let (winner, times) = after(failed);
        assert_eq!((winner, times[0].1), (by("b"), None));
        assert_eq!(times[1], stored("b", 800));
    }

    /// One workload after the other, in both orders: what is told is what the key's decision is.
    #[test]
    fn f01_another_workload_displaces_nobody() {
        let mut other = measured(&[("c", 1, 100)]);
        other.entry.workload.pairs += 1;
        let full = measured(&[("a", 1, 1000), ("b", 1, 800), ("c", 1, 1500)]);
        for order in [[&full, &other], [&other, &full]] {
            let mut evidence = Evidence::new();
            for run in order {
                assert_eq!(commit(&mut evidence, run).unwrap(), Committed::Added);
            }
            for run in order {
                assert_eq!(winner(&evidence, &run.entry).unwrap().as_str(), "b");
            }
            // A full run over the second workload takes everybody in.
            let mut whole = full.clone();
            whole.entry = other.entry.clone();
            assert_eq!(commit(&mut evidence, &whole).unwrap(), Committed::Replaced);
            assert_eq!(winner(&evidence, &whole.entry).unwrap().as_str(), "b");
        }
    }

    /// A winner of one workload only that another beats on average: a repeat stirs nothing up.
    #[test]
    fn f01_a_key_with_two_minds_is_left_alone_by_a_repeat() {
        let first = measured(&[("a", 1, 2000), ("b", 1, 500), ("c", 1, 1000)]);
        let mut second = measured(&[("a", 1, 2000), ("b", 1, 1000), ("c", 1, 900)]);
        second.entry.workload.pairs += 1;
        let mut evidence = Evidence::new();
        for expected in [Committed::Added, Committed::Kept] {
            for run in [&first, &second] {
                assert_eq!(commit(&mut evidence, run).unwrap(), expected);
                assert_eq!(winner(&evidence, &run.entry).unwrap().as_str(), "b");
            }
        }
    }

    #[test]
    fn a_changed_kernel_is_measured_in() {
        let (outcomes, evidence) =
            committed(&[&[("a", 1, 1000), ("b", 1, 800)], &[("a", 1, 1000), ("b", 2, 790)]]);
        assert_eq!(outcomes[1], Committed::Replaced);
        assert_eq!(evidence.records(&entry()).unwrap().len(), 2);
    }

    #[test]
    fn a_lone_candidate_that_is_known_displaces_nobody() {
        let (outcomes, _) = committed(&[&[("a", 1, 1000), ("b", 1, 800)], &[("a", 1, 100)]]);
        assert_eq!(outcomes[1], Committed::Kept);
    }

    #[test]
    fn a_new_candidate_joins_the_others() {
        let (outcomes, evidence) =
            committed(&[&[("a", 1, 1000), ("b", 1, 800)], &[("b", 1, 805), ("c", 1, 900)]]);
        assert_eq!(outcomes[1], Committed::Replaced);
        assert_eq!(evidence.records(&entry()).unwrap().len(), 3);
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "b");
    }

    /// A machine that is slower today makes the default and a newcomer slower than what a
    /// challenger took yesterday.
    #[test]
    fn nobody_wins_by_staying_away() {
        let first: &[_] = &[("a", 1, 1000), ("b", 1, 1080)];
        let (outcomes, evidence) = committed(&[first, &[("a", 1, 1500), ("c", 1, 1800)]]);
        assert_eq!(outcomes, [Committed::Added, Committed::Kept]);
        assert_eq!(evidence, committed(&[first]).1);
        // One that is as fast as ever takes newcomers in.
        let (outcomes, evidence) = committed(&[first, &[("a", 1, 1010), ("c", 1, 1200)]]);
        assert_eq!(outcomes, [Committed::Added, Committed::Replaced]);
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "a");
        assert_eq!(evidence.records(&entry()).unwrap().len(), 3);
    }

    fn crashed(algo: &str, hash: u64) -> Record {
        let detail = "killed".to_owned();
        let outcome = Outcome::Quarantined { reason: Reason::Crash, detail };
        Record { outcome, ..record(algo, hash, 1) }
    }

    #[test]
    fn who_stayed_away_follows_a_winner_that_crashes() {
        let mut evidence = Evidence::new();
        let first = measured(&[("a", 1, 1000), ("b", 1, 800), ("c", 1, 790)]);
        commit(&mut evidence, &first).unwrap();
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "b");
        let mut second = measured(&[("a", 1, 1000)]);
        second.records.push(crashed("b", 1));
        assert_eq!(commit(&mut evidence, &second).unwrap(), Committed::Replaced);
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "c");
    }

    #[test]
    fn a_quarantine_is_entered_and_lifted() {
        let good = || measured(&[("a", 1, 1000), ("b", 1, 800), ("c", 1, 900)]);
        let bad = || {
            let mut bad = measured(&[("a", 1, 1000), ("b", 1, 800)]);
            bad.records.push(crashed("c", 1));
            bad
        };
        let mut evidence = Evidence::new();
        let is_out = |evidence: &Evidence| {
            let records = evidence.records(&entry()).unwrap();
            is_quarantine(records.get(&"c".parse().unwrap(), KernelHash::new(1)).unwrap())
        };
        let mut step = |run| (commit(&mut evidence, &run).unwrap(), is_out(&evidence));
        assert_eq!(step(good()), (Committed::Added, false));
        assert_eq!(step(bad()), (Committed::Replaced, true));
        assert_eq!(step(bad()), (Committed::Kept, true));
        assert_eq!(step(good()), (Committed::Replaced, false));
    }

    #[test]
    fn a_changed_kernel_leaves_its_quarantine_behind() {
        let mut evidence = Evidence::new();
        let mut first = measured(&[("a", 1, 1000)]);
        first.records.push(crashed("b", 1));
        commit(&mut evidence, &first).unwrap();
        commit(&mut evidence, &measured(&[("a", 1, 1000), ("b", 2, 700)])).unwrap();
        assert_eq!(winner(&evidence, &entry()).unwrap().as_str(), "b");
        assert!(evidence.records(&entry()).unwrap().iter().all(|one| !is_quarantine(one)));
    }
}
