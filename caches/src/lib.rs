//! The tuned decisions and kernels that ship with voxtune, and what a model of cost has learned.
//! They are every `<arch>.msgpack`, `<arch>.kernels` and `<arch>.model` of this package's folder
//! whose feature is on, as it was when the package was built.
//!
//! The build script lists the folder, so a file that `cargo xtask populate` adds is embedded by the
//! next build, and a folder without any gives an empty list. It leaves out what is damaged, with a
//! warning. Files of an architecture come with the feature of its name, those of processors always.
//! This package knows bytes only; `voxtune-cache`, `voxtune-pack` and `voxtune-cuda` decode them:
//!
//! ```text
//! Table::new(DECISIONS.iter().filter_map(|file| decode_decisions(file.bytes, file.name).ok()))
//! ```
#![forbid(unsafe_code)]

/// One file of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedFile {
    /// The file's name, such as `sm_90.msgpack`.
    pub name: &'static str,
    /// Its contents. The checksum was right at build time; the rest is unchecked.
    pub bytes: &'static [u8],
}

/// The kernel packs, sorted by name.
pub static PACKS: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// What models of cost have learned of architectures, sorted by name.
pub static MODELS: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/models.rs"));

/// The decision files, sorted by name.
pub static DECISIONS: &[EmbeddedFile] = include!(concat!(env!("OUT_DIR"), "/decisions.rs"));
