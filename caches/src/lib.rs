//! The tuned decisions that ship with voxtune: every `<arch>.msgpack` of this package's folder, as
//! it was when the package was built.
//!
//! The build script lists the folder, so a file that `cargo xtask populate` adds is embedded by the
//! next build, and a folder without any gives an empty list. It leaves out what is damaged, with a
//! warning. This package knows bytes only; `voxtune-cache` decodes them:
//!
//! ```text
//! Table::new(DECISIONS.iter().filter_map(|file| decode_decisions(file.bytes, file.name).ok()))
//! ```
#![forbid(unsafe_code)]

#[cfg(test)]
mod listing;

/// One file of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedFile {
    /// The file's name, such as `sm_90.msgpack`.
    pub name: &'static str,
    /// Its contents. The checksum was right at build time; the rest is unchecked.
    pub bytes: &'static [u8],
}

/// The decision files, sorted by name.
pub static DECISIONS: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/decisions.rs"));
