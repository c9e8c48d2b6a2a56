//! The decisions that travel in the binary.

use std::sync::OnceLock;

use voxtune_cache::{Decisions, decode_decisions};

use super::layer::Layer;

/// The embedded decisions, decoded and validated at the first call of a process.
pub(super) fn layer() -> &'static Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(|| Layer::new(voxtune_caches::DECISIONS.iter().filter_map(decode)))
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
