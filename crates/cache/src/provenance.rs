//! Where records came from.
//!
//! Evidence says what was measured, and not by whom: a name in it would make equal measurements
//! differ. So names lie beside it, each under the hash of the record that it vouches for. A record
//! that changes loses its names, and a name can never be about another record.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use voxtune_types::{Density, DeviceIdentity, Operation, ShapeKey, VoxelBucket};
use xxhash_rust::xxh3::xxh3_64;

use crate::entry::{EntryKey, Workload};
use crate::evidence::Evidence;
use crate::operation_file::EarlierOperation;
use crate::record::Record;

/// The sources of records: texts such as the name of the file that a record was merged from.
///
/// Merging is the union of the sources of each record, and so associative, commutative and
/// idempotent, as that of [`Evidence`] is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance(pub(crate) BTreeMap<u64, BTreeSet<String>>);

impl Provenance {
    /// No sources.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a source to a record.
    pub fn add(&mut self, entry: &EntryKey, record: &Record, source: &str) {
        self.0.entry(content_hash(entry, record)).or_default().insert(source.to_owned());
    }

    /// Adds a source to every record of a set that has none yet.
    pub fn add_where_missing(&mut self, evidence: &Evidence, source: &str) {
        for hash in hashes(evidence) {
            let sources = self.0.entry(hash).or_default();
            if sources.is_empty() {
                sources.insert(source.to_owned());
            }
        }
    }

    /// The sources of a record, sorted; none where it was measured in place, or nobody noted them.
    pub fn sources(&self, entry: &EntryKey, record: &Record) -> impl Iterator<Item = &str> {
        self.0.get(&content_hash(entry, record)).into_iter().flatten().map(String::as_str)
    }

    /// Adds every source of another set.
    pub fn merge(&mut self, other: Self) {
        for (hash, sources) in other.0 {
            self.0.entry(hash).or_default().extend(sources);
        }
    }

    /// Keeps only the sources of records that a set holds.
    pub fn retain_of(&mut self, evidence: &Evidence) {
        let held: BTreeSet<u64> = hashes(evidence).collect();
        self.0.retain(|hash, _| held.contains(hash));
    }

    /// How many records have a source.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no record has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn hashes(evidence: &Evidence) -> impl Iterator<Item = u64> {
    evidence
        .entries()
        .flat_map(|(entry, records)| records.iter().map(move |record| content_hash(entry, record)))
}

/// An entry as it was hashed before operations named their kind of layer: a record keeps its hash,
/// and with it the names of where it came from.
#[derive(Serialize)]
struct EarlierEntry<'a> {
    device: &'a DeviceIdentity,
    key: EarlierKey,
    workload: &'a Workload,
}

#[derive(Serialize)]
struct EarlierKey {
    operation: EarlierOperation,
    bucket_in: VoxelBucket,
    bucket_out: VoxelBucket,
    density: Density,
}

impl<'a> EarlierEntry<'a> {
    /// `None` of what no earlier release could measure.
    fn of(entry: &'a EntryKey) -> Option<Self> {
        let EntryKey { device, key, workload } = entry;
        let ShapeKey { operation, bucket_in, bucket_out, density } = *key;
        let earlier = EarlierOperation::of(&operation);
        let key = EarlierKey { operation: earlier, bucket_in, bucket_out, density };
        (Operation::from(earlier) == operation).then_some(Self { device, key, workload })
    }
}

fn content_hash(entry: &EntryKey, record: &Record) -> u64 {
    let content = match EarlierEntry::of(entry) {
        Some(earlier) => rmp_serde::to_vec_named(&(earlier, record)),
        None => rmp_serde::to_vec_named(&(entry, record)),
    };
    xxh3_64(&content.expect("a record holds only what MessagePack can hold"))
}
