//! The set of everything that was measured.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use voxtune_types::{AlgoId, DeviceIdentity, ShapeKey};

use crate::entry::EntryKey;
use crate::invalid::InvalidRecord;
use crate::record::{KernelHash, Record};

/// The records of one entry, by algorithm and version of its code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records(BTreeMap<(AlgoId, KernelHash), Record>);

impl Records {
    /// The record of this version of an algorithm.
    #[must_use]
    pub fn get(&self, algo: &AlgoId, kernel_hash: KernelHash) -> Option<&Record> {
        self.0.get(&(algo.clone(), kernel_hash))
    }

    /// All records, by algorithm, then version.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Record> + Clone {
        self.0.values()
    }

    /// One record per algorithm, in their order: of several versions a measured one before a
    /// quarantined one, then the more trusted.
    #[must_use]
    pub fn preferred(&self) -> Vec<&Record> {
        let mut preferred: Vec<&Record> = Vec::with_capacity(self.0.len());
        for record in self.0.values() {
            match preferred.last_mut() {
                Some(last) if last.algo == record.algo => {
                    if record.version_order(last) == Ordering::Less {
                        *last = record;
                    }
                }
                _ => preferred.push(record),
            }
        }
        preferred
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a valid record; a collision keeps the more trusted one. Whether anything changed.
    fn insert(&mut self, record: Record) -> bool {
        use std::collections::btree_map::Entry;
        match self.0.entry((record.algo.clone(), record.kernel_hash)) {
            Entry::Vacant(slot) => {
                slot.insert(record);
                true
            }
            Entry::Occupied(mut slot) => {
                let wins = record.trust_order(slot.get()) == Ordering::Less;
                if wins {
                    slot.insert(record);
                }
                wins
            }
        }
    }
}

/// What was measured: a set of [`Record`]s under (entry, algorithm, kernel hash).
///
/// Sets merge by union, and of two records in one place the more trusted one stays. A quarantine
/// goes before a measurement; then what raced beside the default, the larger number of samples, the
/// smaller spread and the smaller encoding. So merging is associative, commutative and idempotent:
/// machines may populate apart and in any order. Every record in a set is valid, see
/// [`Evidence::insert`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence(BTreeMap<EntryKey, Records>);

impl Evidence {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a record, unless a more trusted one is in its place. Whether anything changed.
    ///
    /// # Errors
    /// If no layer can have this key, or no samples this timing: a zero count, a number that is not
    /// finite, an interval out of order. Nothing is added then.
    pub fn insert(&mut self, entry: EntryKey, record: Record) -> Result<bool, InvalidRecord> {
        entry.validate()?;
        record.validate()?;
        Ok(self.0.entry(entry).or_default().insert(record))
    }

    /// Adds the records of one entry, if there are any.
    pub(crate) fn insert_all(
        &mut self,
        entry: EntryKey,
        records: Vec<Record>,
    ) -> Result<(), InvalidRecord> {
        entry.validate()?;
        records.iter().try_for_each(Record::validate)?;
        if records.is_empty() {
            return Ok(());
        }
        let ours = self.0.entry(entry).or_default();
        for record in records {
            ours.insert(record);
        }
        Ok(())
    }

    /// The records of an entry.
    #[must_use]
    pub fn records(&self, entry: &EntryKey) -> Option<&Records> {
        self.0.get(entry)
    }

    /// All entries with their records, by device, key and workload.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&EntryKey, &Records)> + Clone {
        self.0.iter()
    }

    /// The records of a key, one item per workload that it was measured on.
    pub fn workloads<'a>(
        &'a self,
        device: &'a DeviceIdentity,
        key: &'a ShapeKey,
    ) -> impl Iterator<Item = (&'a EntryKey, &'a Records)> + Clone {
        let first =
            EntryKey { device: device.clone(), key: *key, workload: crate::entry::Workload::LEAST };
        self.0
            .range(first..)
            .take_while(move |(entry, _)| entry.device == *device && entry.key == *key)
    }

    /// Of [`Self::workloads`] those whose times decide: the cold ones, where there are any, since
    /// their times and those of warm ones cannot be compared.
    pub fn decisive_workloads<'a>(
        &'a self,
        device: &'a DeviceIdentity,
        key: &'a ShapeKey,
    ) -> impl Iterator<Item = (&'a EntryKey, &'a Records)> + Clone {
        let workloads = self.workloads(device, key);
        let any_cold = workloads.clone().any(|(entry, _)| entry.workload.cold);
        workloads.filter(move |(entry, _)| entry.workload.cold == any_cold)
    }

    /// Whether a key was measured on any workload.
    #[must_use]
    pub fn has_key(&self, device: &DeviceIdentity, key: &ShapeKey) -> bool {
        self.workloads(device, key).next().is_some()
    }

    /// Takes an entry with all its records out.
    pub fn remove_entry(&mut self, entry: &EntryKey) -> Option<Records> {
        self.0.remove(entry)
    }

    /// Keeps only the records for which `keep` answers yes, and the entries that still have any.
    pub fn retain(&mut self, mut keep: impl FnMut(&EntryKey, &Record) -> bool) {
        self.0.retain(|entry, records| {
            records.0.retain(|_, record| keep(entry, record));
            !records.is_empty()
        });
    }

    /// Adds every record of another set. Whether anything changed.
    pub fn merge(&mut self, other: Self) -> bool {
        let mut changed = false;
        for (entry, records) in other.0 {
            let ours = self.0.entry(entry).or_default();
            for record in records.0.into_values() {
                changed |= ours.insert(record);
            }
        }
        changed
    }

    /// Everything that may not win, by device, key and workload: each record that is a quarantine.
    pub fn quarantine(&self) -> impl Iterator<Item = (&EntryKey, &Record)> + Clone {
        self.entries().flat_map(|(entry, records)| {
            let quarantined = records.0.values().filter(|record| record.timing().is_none());
            quarantined.map(move |record| (entry, record))
        })
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
