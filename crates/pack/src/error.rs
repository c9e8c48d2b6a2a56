//! What can be wrong with a pack.

/// A pack that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The file is something else.
    #[error("{name}: not a kernel pack: it does not begin as one")]
    NotAPack {
        /// The file.
        name: String,
    },
    /// The file was written by a later release.
    #[error(
        "{name}: the pack has format version {found}, and this release reads up to {supported}; \
         upgrade voxtune"
    )]
    Newer {
        /// The file.
        name: String,
        /// Its version.
        found: u32,
        /// The last version that this release reads.
        supported: u32,
    },
    /// The file began as a pack and is damaged.
    #[error("{name}: corrupt kernel pack: {reason}; make it again with `voxtune pack`")]
    Corrupt {
        /// The file.
        name: String,
        /// What is wrong with its bytes.
        reason: String,
    },
    /// What was to be written is no pack.
    #[error("{name}: cannot write a kernel pack: {reason}")]
    Unwritable {
        /// The file.
        name: String,
        /// Why.
        reason: String,
    },
}
