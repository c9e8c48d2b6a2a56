//! Measures one entry; restarts the worker and quarantines the candidate after each crash.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use voxtune::KernelHash;
use voxtune_cache::{Evidence, Outcome, Reason, Record, Records};
use voxtune_types::AlgoId;

use crate::evidence::entry::Measured;
use crate::evidence::entry::PreparedEntry;
use crate::evidence::entry::is_quarantine;
use crate::evidence::phase_times::PhaseTimes;
use crate::inputs::candidate::Candidate;
use crate::inputs::error::{LostWorker, MeasureError};
use crate::measure::session::Task;
use crate::run::event::Event;
use crate::run::worker_message::candidate_lost;
use crate::worker::executor::Executor;

/// Entries in which a candidate takes its process down before it is not tried any more in this run.
/// Each costs a start of the worker, and a hung one its whole time limit.
const ENOUGH: usize = 3;

/// Candidates that took their process down in this run, over all workers.
#[derive(Debug, Default)]
pub(crate) struct CrashHistory(Mutex<HashMap<(AlgoId, KernelHash), Vec<Reason>>>);

impl CrashHistory {
    /// Why a candidate is not tried any more, if that is so.
    fn verdict(&self, candidate: &Candidate) -> Option<Outcome> {
        let key = (candidate.id.clone(), candidate.kernel_hash);
        let known = self.known();
        let reasons = known.get(&key).filter(|reasons| reasons.len() >= ENOUGH)?;
        let times = reasons.len();
        let detail = format!("not run here, after it took its process down {times} times");
        Some(Outcome::Quarantined { reason: *reasons.last()?, detail })
    }

    /// Whether a candidate was found to hang before. Another try of each entry would cost its whole
    /// time limit again.
    fn is_known_to_hang(&self, candidate: &Candidate) -> bool {
        let key = (candidate.id.clone(), candidate.kernel_hash);
        self.known().get(&key).is_some_and(|reasons| reasons.contains(&Reason::Timeout))
    }

    fn add(&self, candidate: &Candidate, reason: Reason) {
        let key = (candidate.id.clone(), candidate.kernel_hash);
        self.known().entry(key).or_default().push(reason);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(AlgoId, KernelHash), Vec<Reason>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry with its remaining candidates.
pub(crate) struct EntryRetry<'a> {
    entry: &'a PreparedEntry,
    task: Task,
    /// Candidates that are out.
    quarantine: Vec<(Candidate, Outcome)>,
    /// Candidates that ran when a process ended or fell silent, perhaps through another process.
    /// Each has had its second try.
    suspects: Vec<AlgoId>,
    /// Whether a process ended while no candidate ran.
    mishap: bool,
}

impl<'a> EntryRetry<'a> {
    pub(crate) fn new(
        configuration: usize,
        entry: &'a PreparedEntry,
        candidates: Vec<AlgoId>,
        incumbent: Option<AlgoId>,
    ) -> Self {
        let direction = entry.key.key.operation.direction;
        let cloud = entry.cloud;
        let avoid = Vec::new();
        let task = Task { configuration, cloud, direction, candidates, avoid, incumbent };
        Self { entry, task, quarantine: Vec::new(), suspects: Vec::new(), mishap: false }
    }

    /// Leaves code that is in quarantine out of everything.
    pub(crate) fn avoid_quarantined(&mut self, stored: &Evidence) {
        let records = stored.records(&self.entry.key).into_iter().flat_map(Records::iter);
        let out = records.filter(|record| is_quarantine(record));
        self.task.avoid.extend(out.map(|record| (record.algo.clone(), record.kernel_hash)));
    }

    /// Measures the candidates that survive.
    pub(crate) fn run(
        mut self,
        executor: &mut Executor,
        crash_history: &CrashHistory,
        interrupt: &AtomicBool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Measured, MeasureError> {
        for candidate in &self.entry.pool {
            if self.task.candidates.contains(&candidate.id)
                && let Some(outcome) = crash_history.verdict(candidate)
            {
                self.quarantine.push((candidate.clone(), outcome));
            }
        }
        for (candidate, _) in self.quarantine.clone() {
            self.leave_out(&candidate);
        }
        loop {
            if self.task.candidates.is_empty() {
                let nothing = Measured {
                    entry: self.entry.key.clone(),
                    records: Vec::new(),
                    rounds: Vec::new(),
                    confirmed: None,
                    spent: PhaseTimes::default(),
                    compiling: None,
                };
                return Ok(self.with_quarantine(nothing, executor));
            }
            match executor.measure(&self.task, interrupt) {
                Ok(measured) => return Ok(self.with_quarantine(measured, executor)),
                Err(MeasureError::Lost(loss)) => self.after(loss, crash_history, tell)?,
                Err(other) => return Err(other),
            }
        }
    }

    /// Draws the conclusion from a lost process.
    fn after(
        &mut self,
        loss: LostWorker,
        crash_history: &CrashHistory,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), MeasureError> {
        let Some(candidate) = &loss.candidate else {
            if std::mem::replace(&mut self.mishap, true) {
                return Err(MeasureError::Lost(loss));
            }
            return Ok(());
        };
        let hangs = loss.reason == Reason::Timeout && crash_history.is_known_to_hang(candidate);
        if loss.from_outside && !hangs && !self.suspects.contains(&candidate.id) {
            self.suspects.push(candidate.id.clone());
            return Ok(());
        }
        crash_history.add(candidate, loss.reason);
        candidate_lost(&loss, Some(self.entry.key.key.operation)).into_iter().for_each(tell);
        self.leave_out(candidate);
        let outcome = Outcome::Quarantined { reason: loss.reason, detail: loss.detail.clone() };
        self.quarantine.push((candidate.clone(), outcome));
        Ok(())
    }

    fn leave_out(&mut self, candidate: &Candidate) {
        self.task.candidates.retain(|id| *id != candidate.id);
        self.task.avoid.push((candidate.id.clone(), candidate.kernel_hash));
    }

    fn with_quarantine(self, mut measured: Measured, executor: &Executor) -> Measured {
        let quarantined = self.quarantine.into_iter();
        let records: Vec<Record> = quarantined
            .map(|(candidate, outcome)| candidate.record(executor.environment(), outcome))
            .collect();
        measured.records.extend(records);
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entry as key, record};

    fn candidate(name: &str) -> Candidate {
        let (id, kernel_hash) = (name.parse().unwrap(), KernelHash::new(1));
        Candidate { id, kernel_hash, default: false, requires: None }
    }

    fn lost(name: &str, reason: Reason, from_outside: bool) -> LostWorker {
        let candidate = Some(candidate(name));
        LostWorker { candidate, reason, detail: "in words".to_owned(), from_outside }
    }

    /// The candidates, of two, that these losses put into quarantine.
    fn quarantined(crash_history: &CrashHistory, lost: &[LostWorker]) -> Vec<String> {
        let entry = PreparedEntry { key: key(), cloud: 0, pool: Vec::new() };
        let both = ["a", "b"].map(|name| name.parse().unwrap()).to_vec();
        let mut entry_retry = EntryRetry::new(0, &entry, both, None);
        for loss in lost {
            entry_retry.after(loss.clone(), crash_history, &mut |_| ()).unwrap();
        }
        entry_retry.quarantine.iter().map(|(candidate, _)| candidate.id.to_string()).collect()
    }

    #[test]
    fn f18_silence_gets_a_second_try_and_a_crash_does_not() {
        let hung = |name| lost(name, Reason::Timeout, true);
        let none: [&str; 0] = [];
        assert_eq!(quarantined(&CrashHistory::default(), &[hung("a")]), none);
        assert_eq!(quarantined(&CrashHistory::default(), &[hung("a"), hung("a")]), ["a"]);
        // One silence each, in whatever order, is no verdict; the next one is.
        let each = [hung("a"), hung("b"), hung("a")];
        assert_eq!(quarantined(&CrashHistory::default(), &each[..2]), none);
        assert_eq!(quarantined(&CrashHistory::default(), &each), ["a"]);
        let crash = lost("a", Reason::Crash, false);
        assert_eq!(quarantined(&CrashHistory::default(), &[crash]), ["a"]);
    }

    #[test]
    fn f18_whoever_is_known_to_hang_costs_its_limit_once_an_entry() {
        let (crash_history, hung) = (CrashHistory::default(), lost("a", Reason::Timeout, true));
        assert_eq!(quarantined(&crash_history, &[hung.clone(), hung.clone()]), ["a"]);
        assert_eq!(quarantined(&crash_history, &[hung]), ["a"], "in the next entry");
        let killed = lost("a", Reason::OutOfMemory, true);
        assert!(
            quarantined(&crash_history, &[killed]).is_empty(),
            "somebody else may have done that"
        );
    }

    /// Other code of it was measured, as a merge with a machine of another release brings it in.
    #[test]
    fn code_in_quarantine_is_avoided_and_no_other_code() {
        let mut stored = Evidence::new();
        let quarantined = |name: &str, hash| Record {
            outcome: Outcome::Quarantined { reason: Reason::Crash, detail: "boom".to_owned() },
            ..record(name, hash, 1)
        };
        for record in [record("default", 1, 100), quarantined("default", 2), record("sound", 1, 90)]
        {
            stored.insert(key(), record).unwrap();
        }
        let entry = PreparedEntry { key: key(), cloud: 0, pool: Vec::new() };
        let mut entry_retry = EntryRetry::new(0, &entry, vec!["sound".parse().unwrap()], None);
        entry_retry.avoid_quarantined(&stored);
        assert_eq!(entry_retry.task.avoid, [("default".parse().unwrap(), KernelHash::new(2))]);
    }
}
