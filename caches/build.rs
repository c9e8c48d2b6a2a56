//! Lists the decision files and kernel packs of this folder, so that the library can embed them.
//!
//! Each file's bytes are checked against their checksum here, so that a damaged one costs a warning
//! at build time and not a failure at run time. What they mean is the reader's to check.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

#[path = "src/listing.rs"]
mod listing;

use listing::{DECISIONS, PACKS, expression, list};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run this with cargo")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("run this with cargo")?);
    // A folder counts as changed when any file in it does, so this covers new files too.
    println!("cargo::rerun-if-changed={}", folder.display());
    for (kind, file, remedy) in [
        (DECISIONS, "decisions.rs", "populate again"),
        (PACKS, "packs.rs", "run `cargo xtask pack`"),
    ] {
        let mut listing = list(&folder, kind)?;
        listing.names.retain(|name| is_wanted(name));
        for name in &listing.names {
            println!("cargo::rerun-if-changed={}", folder.join(name).display());
        }
        for (name, defect) in &listing.left_out {
            println!("cargo::warning={name} is not embedded: {defect}; {remedy} to repair it");
        }
        fs::write(out.join(file), expression(&folder, &listing.names))?;
    }
    Ok(())
}

/// Whether a file's feature is on. Processors and architectures without a feature have none.
fn is_wanted(name: &str) -> bool {
    const FEATURES: [&str; 7] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "ptx"];
    let stem = name.split('.').next().unwrap_or(name);
    let variable = format!("CARGO_FEATURE_{}", stem.to_uppercase());
    !FEATURES.contains(&stem) || env::var_os(variable).is_some()
}
