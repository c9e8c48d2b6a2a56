//! The decisions that travel in the binary.

use std::sync::OnceLock;

use voxtune_cache::{Decisions, Table, decode_decisions};

/// The embedded decisions, decoded and validated at the first call of a process.
pub(super) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::new(voxtune_caches::DECISIONS.iter().filter_map(decode)))
}

fn decode(file: &voxtune_caches::EmbeddedFile) -> Option<Decisions> {
    match decode_decisions(file.bytes, file.name) {
        Ok(decisions) => Some(decisions),
        Err(error) => {
            tracing::warn!(%error, "an embedded cache is left out");
            None
        }
    }
}
