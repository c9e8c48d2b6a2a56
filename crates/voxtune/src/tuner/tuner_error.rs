//! What a tuner does without.

use voxtune_cache::CacheError;

use crate::folder::Untrusted;

/// Something that a tuner was to use and cannot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunerError {
    /// A cache that is damaged, newer, misnamed or cannot be read.
    #[error(transparent)]
    Cache(CacheError),
    /// A folder or a file that another user could have written.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}
