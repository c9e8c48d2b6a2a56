//! Lists the sources of `cuda/`, so that a new file needs no entry anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = sources_of(&folder, "")?;
    names.sort_unstable();
    let mut list = String::from("&[\n");
    for name in names {
        let path = folder.join(&name);
        writeln!(list, "    Source {{ name: {name:?}, text: include_str!({path:?}) }},")
            .map_err(io::Error::other)?;
    }
    list.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(PathBuf::from(out).join("sources.rs"), list)
}

/// Names of a folder's sources, under a prefix, and of those in its folders.
fn sources_of(folder: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type()?.is_dir() {
            names.extend(sources_of(&entry.path(), &format!("{prefix}{name}/"))?);
        } else if name.ends_with(".cu") || name.ends_with(".cuh") {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(names)
}
