//! Provenance files: where they lie, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
#[cfg(feature = "write")]
use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune_types::Arch;

use crate::codec;
#[cfg(feature = "write")]
use crate::envelope::seal;
use crate::envelope::{Defect, Opened};
use crate::error::CacheError;
use crate::file_name::{FileKind, FileName};
use crate::intern::Interner;
#[cfg(feature = "write")]
use crate::lock::Locks;
use crate::provenance::Provenance;
use crate::store::{CacheDir, read_file};
#[cfg(feature = "write")]
use crate::store::{SetAside, Slot};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    arch: Arch,
    /// Distinct and ascending.
    sources: Vec<String>,
    /// Hashes of records, ascending.
    records: Vec<u64>,
    /// Where each record's part of `source` ends.
    source_end: Vec<u32>,
    /// Numbers into `sources`.
    source: Vec<u32>,
}

impl Body {
    fn new(arch: Arch, provenance: &Provenance) -> Self {
        let named = || provenance.0.iter().filter(|(_, sources)| !sources.is_empty());
        let sources = Interner::new(named().flat_map(|(_, sources)| sources));
        let mut body = Self {
            arch,
            sources: Vec::new(),
            records: Vec::new(),
            source_end: Vec::new(),
            source: Vec::new(),
        };
        for (&hash, names) in named() {
            body.records.push(hash);
            body.source.extend(names.iter().map(|name| sources.number(name)));
            let end = u32::try_from(body.source.len()).expect("fewer than 2^32 sources are named");
            body.source_end.push(end);
        }
        body.sources = sources.into_table();
        body
    }
}

#[cfg(feature = "write")]
/// The bytes of a provenance file.
pub(crate) fn encode(arch: Arch, provenance: &Provenance) -> Vec<u8> {
    seal(FileKind::Provenance, &Body::new(arch, provenance))
}

/// The provenance in the bytes of a file.
pub(crate) fn decode(bytes: &[u8], name: &Path) -> Result<Provenance, CacheError> {
    codec::decode(bytes, name, FileKind::Provenance, decode_body)
}

fn decode_body(mut file: Opened<'_>) -> Result<(Arch, Provenance), Defect> {
    let body: Body = file.decode()?;
    if body.records.len() != body.source_end.len() {
        return Err(Defect::corrupt("its columns differ in length"));
    }
    let mut provenance = BTreeMap::new();
    let mut start = 0;
    for (&hash, &end) in body.records.iter().zip(&body.source_end) {
        let numbers = body.source.get(start..end as usize);
        let numbers = numbers.ok_or_else(|| Defect::corrupt("`source_end` leaves `source`"))?;
        let names = numbers.iter().map(|&number| body.sources.get(number as usize).cloned());
        let names: Option<BTreeSet<String>> = names.collect();
        let names = names.ok_or_else(|| Defect::corrupt("`source` leaves `sources`"))?;
        provenance.insert(hash, names);
        start = end as usize;
    }
    let provenance = Provenance(provenance);
    // Also refuses what the set does not keep: an order, a duplicate, an unused source.
    file.check_canonical(&Body::new(body.arch, &provenance))?;
    Ok((body.arch, provenance))
}

impl CacheDir {
    /// Where an architecture's provenance is.
    #[must_use]
    pub fn provenance_path(&self, arch: Arch) -> PathBuf {
        self.path().join(FileName { arch, kind: FileKind::Provenance }.to_string())
    }

    /// Reads where an architecture's records came from, without a lock; nothing where there is no
    /// file.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged, of a later version, misnamed or no cache.
    pub fn read_provenance(&self, arch: Arch) -> Result<Provenance, CacheError> {
        let path = self.provenance_path(arch);
        let bytes = read_file(&path)?;
        let decoded = bytes.map(|bytes| decode(&bytes, &path)).transpose()?;
        Ok(decoded.unwrap_or_default())
    }

    #[cfg(feature = "write")]
    /// Adds sources to an architecture's records, under its lock, and drops those of records that
    /// it no longer holds. Without any left, no file is made. Returns a damaged file that was set
    /// aside.
    ///
    /// # Errors
    /// If the lock was not free within `wait`, or a file cannot be read or written, is of a later
    /// version, misnamed or no cache. The file is as it was.
    pub fn add_provenance(
        &self,
        arch: Arch,
        wait: Duration,
        added: Provenance,
    ) -> Result<Option<SetAside>, CacheError> {
        let _locks = Locks::acquire(self.path(), arch, wait)?;
        let evidence = self.read_evidence(arch)?.unwrap_or_default();
        let mut slot = Slot::load(self.provenance_path(arch), decode)?;
        let mut provenance = slot.value.take().unwrap_or_default();
        provenance.merge(added);
        provenance.retain_of(&evidence);
        let aside = slot.make_room()?;
        slot.store(encode(arch, &provenance), !provenance.is_empty())?;
        Ok(aside)
    }
}
