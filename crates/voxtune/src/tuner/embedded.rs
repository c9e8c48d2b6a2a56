//! The decisions that travel in the binary.

use std::sync::OnceLock;

use voxtune_cache::{Decisions, decode_decisions};

use super::decision_cache::DecisionCache;

/// The embedded decisions, decoded and validated at the first call of a process.
pub(super) fn decision_cache() -> &'static DecisionCache {
    static CACHE: OnceLock<DecisionCache> = OnceLock::new();
    CACHE.get_or_init(|| DecisionCache::new(voxtune_caches::DECISIONS.iter().filter_map(decode)))
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
