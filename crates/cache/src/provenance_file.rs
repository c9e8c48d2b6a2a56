//! The body of a provenance file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use voxtune_types::Arch;

use crate::codec;
#[cfg(feature = "write")]
use crate::envelope::seal;
use crate::envelope::{Defect, Opened};
use crate::error::CacheError;
use crate::file_name::FileKind;
use crate::intern::Interner;
use crate::provenance::Provenance;

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
