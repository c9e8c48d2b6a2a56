//! Lists the decision files, kernel packs and models of cost of this folder, so that the library
//! can embed them.
//!
//! Each file's bytes are checked against their checksum here, so that a damaged one costs a warning
//! at build time and not a failure at run time. What they mean is the reader's to check.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use voxtune_embed::{Kind, Listing};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run this with cargo")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("run this with cargo")?);
    // A folder counts as changed when any file in it does, so this covers new files too.
    println!("cargo::rerun-if-changed={}", folder.display());
    for (kind, file, remedy) in [
        (Kind::DECISIONS, "decisions.rs", "populate again"),
        (Kind::PACKS, "packs.rs", "run `cargo xtask pack`"),
        (Kind::MODELS, "models.rs", "run `cargo xtask fit`"),
    ] {
        let mut listing = Listing::of(&folder, kind)?;
        listing.files.retain(|path| is_wanted(path));
        for path in &listing.files {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        for (path, defect) in &listing.left_out {
            let path = path.display();
            println!("cargo::warning={path} is not embedded: {defect}; {remedy} to repair it");
        }
        fs::write(out.join(file), listing.expression("EmbeddedFile"))?;
    }
    Ok(())
}

/// Whether a file's feature is on. Processors and architectures without a feature have none.
fn is_wanted(path: &Path) -> bool {
    const FEATURES: [&str; 7] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "ptx"];
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let variable = format!("CARGO_FEATURE_{}", stem.to_uppercase());
    !FEATURES.contains(&&*stem) || env::var_os(variable).is_some()
}
