//! Lists the decision files of this folder, so that the library can embed them.
//!
//! Each file's bytes are checked against their checksum here, so that a damaged one costs a warning
//! at build time and not a failure at run time. What they mean is the reader's to check.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

#[path = "src/listing.rs"]
mod listing;

use listing::{expression, list};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run this with cargo")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("run this with cargo")?);
    // A folder counts as changed when any file in it does, so this covers new files too.
    println!("cargo::rerun-if-changed={}", folder.display());
    let listing = list(&folder)?;
    for name in &listing.names {
        println!("cargo::rerun-if-changed={}", folder.join(name).display());
    }
    for (name, defect) in &listing.left_out {
        println!("cargo::warning={name} is not embedded: {defect}; populate again to repair it");
    }
    fs::write(out.join("decisions.rs"), expression(&folder, &listing.names))?;
    Ok(())
}
