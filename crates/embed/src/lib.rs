//! For build scripts: lists a folder of voxtune caches, so that a program carries what its owner has
//! tuned.
//!
//! ```no_run
//! // build.rs
//! fn main() -> std::io::Result<()> {
//!     voxtune_embed::caches("caches")
//! }
//! ```
//!
//! In the program, `voxtune::embed_caches!()` then gives the files, for
//! `Tuner::builder().files(…)`. A file that is added to the folder is embedded by the next build.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::{env, fs};

use xxhash_rust::xxh3::xxh3_64;

/// What `voxtune::embed_caches!()` includes.
const LISTING: &str = "voxtune_caches.rs";

/// How every cache file begins: a map of four fields, of which the first is the checksum.
const PREFIX: &[u8] = b"\x84\xA8checksum\xCF";

/// How a decision file goes on behind the checksum.
const FORMAT: &[u8] = b"\xA6format\xB1voxtune decisions";

/// Lists the decision files of a folder, named relative to the package, for
/// `voxtune::embed_caches!()`. A folder that does not exist is empty. A damaged file is left out, with
/// a warning of the build; evidence, locks and files that were set aside are never embedded.
///
/// # Errors
/// If this is not called by a build script, or the folder cannot be read.
#[expect(clippy::print_stdout, reason = "a build script speaks to cargo on stdout")]
pub fn caches(folder: impl AsRef<Path>) -> io::Result<()> {
    let variable = |name: &str| {
        env::var_os(name).map(PathBuf::from).ok_or_else(|| {
            io::Error::other(format!("{name} is not set: call this from a build script"))
        })
    };
    let folder = variable("CARGO_MANIFEST_DIR")?.join(folder);
    let out = variable("OUT_DIR")?;
    let listing = Listing::of(&folder)?;
    // A folder counts as changed when any file in it does, so this covers new files too.
    println!("cargo::rerun-if-changed={}", folder.display());
    for path in &listing.files {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for (path, defect) in &listing.left_out {
        println!("cargo::warning={} is not embedded: {defect}", path.display());
    }
    fs::write(out.join(LISTING), listing.expression())
}

/// The decision files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sound ones, sorted.
    pub files: Vec<PathBuf>,
    /// Other ones, with what is wrong.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

impl Listing {
    /// Looks through a folder, which need not exist.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        let files = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(listing),
            files => files?,
        };
        for file in files {
            let path = file?.path();
            if !is_decision_file(&path) {
                continue;
            }
            match defect(&fs::read(&path)?) {
                None => listing.files.push(path),
                Some(defect) => listing.left_out.push((path, defect)),
            }
        }
        listing.files.sort_unstable();
        listing.left_out.sort_unstable();
        Ok(listing)
    }

    /// The Rust expression of the files: a `&[EmbeddedFile]`.
    #[must_use]
    pub fn expression(&self) -> String {
        let item = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!(
                "    ::voxtune::EmbeddedFile {{ name: {name:?}, bytes: include_bytes!({path:?}) }},\n"
            )
        };
        let items: String = self.files.iter().map(item).collect();
        format!("{{ const FILES: &[::voxtune::EmbeddedFile] = &[\n{items}]; FILES }}")
    }
}

/// Whether a file is named as decisions are: `<arch>.msgpack`, architectures having no dots.
fn is_decision_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".msgpack").is_some_and(|arch| !arch.is_empty() && !arch.contains('.'))
}

/// What is wrong with the bytes of a decision file, if anything. What they mean is the reader's to
/// check.
fn defect(bytes: &[u8]) -> Option<&'static str> {
    let Some((checksum, checked)) =
        bytes.strip_prefix(PREFIX).and_then(|rest| rest.split_first_chunk())
    else {
        return Some("it does not begin as a cache file");
    };
    if u64::from_be_bytes(*checksum) != xxh3_64(checked) {
        return Some("its checksum is wrong, so it is damaged or truncated");
    }
    (!checked.starts_with(FORMAT)).then_some("it holds something else than decisions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(checked: &[u8]) -> Vec<u8> {
        [PREFIX, &xxh3_64(checked).to_be_bytes(), checked].concat()
    }

    #[test]
    fn a_missing_folder_embeds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let listing = Listing::of(&folder.path().join("missing")).unwrap();
        assert_eq!(listing, Listing::default());
        assert!(listing.expression().contains("&[\n]"), "{}", listing.expression());
    }

    #[test]
    fn sound_decisions_alone_are_embedded() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let sound = sealed(FORMAT);
        for name in [
            "sm_90.msgpack",
            "cpu-portable.msgpack",
            "sm_90.evidence.msgpack",
            "sm_90.lock",
            "sm_90.msgpack.corrupt-1",
            ".sm_90.msgpack.a1b2.tmp",
            "notes.txt",
        ] {
            fs::write(at(name), &sound).unwrap();
        }
        let mut flipped = sound.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(at("sm_80.msgpack"), flipped).unwrap();
        fs::write(at("sm_86.msgpack"), sealed(b"\xA6format\xB0voxtune evidence")).unwrap();
        fs::write(at("sm_89.msgpack"), "{}").unwrap();
        let listing = Listing::of(folder.path()).unwrap();
        assert_eq!(listing.files, [at("cpu-portable.msgpack"), at("sm_90.msgpack")]);
        let reasons: Vec<&str> = listing.left_out.iter().map(|(_, reason)| *reason).collect();
        assert_eq!(reasons.len(), 3);
        assert!(reasons[0].contains("checksum") && reasons[1].contains("something else"));
        assert_eq!(listing.expression().matches("include_bytes!").count(), 2);
    }
}
