//! For build scripts: lists a folder of voxtune caches, so that a program carries what its owner
//! has tuned.
//!
//! ```no_run
//! // build.rs
//! fn main() -> std::io::Result<()> {
//!     voxtune_embed::caches("caches")
//! }
//! ```
//!
//! In the program, `voxtune::embed_caches!()` then gives the decision files and
//! `voxtune::embed_packs!()` the kernel packs, for `Tuner::builder().files(…).packs(…)`. A file
//! that is added to the folder is embedded by the next build.
#![forbid(unsafe_code)]

mod listing;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use listing::{Kind, Listing};

/// Lists the decision files and kernel packs of a folder, named relative to the package, for
/// `voxtune::embed_caches!()` and `voxtune::embed_packs!()`. A folder that does not exist is empty.
/// A damaged file is left out, with a warning of the build; evidence, locks and files that were set
/// aside are never embedded.
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
    // A folder counts as changed when any file in it does, so this covers new files too.
    println!("cargo::rerun-if-changed={}", folder.display());
    for (kind, included) in
        [(Kind::DECISIONS, "voxtune_caches.rs"), (Kind::PACKS, "voxtune_packs.rs")]
    {
        let listing = Listing::of(&folder, kind)?;
        for path in &listing.files {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        for (path, defect) in &listing.left_out {
            println!("cargo::warning={} is not embedded: {defect}", path.display());
        }
        let files = listing.expression("::voxtune::EmbeddedFile");
        let expression = format!("{{ const FILES: &[::voxtune::EmbeddedFile] = {files}; FILES }}");
        fs::write(out.join(included), expression)?;
    }
    Ok(())
}
