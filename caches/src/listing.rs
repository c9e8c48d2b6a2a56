//! Which files of a folder are decision files. Part of the build script, here to be tested.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::{fs, iter};

use xxhash_rust::xxh3::xxh3_64;

/// How every cache file begins: a map of four fields, of which the first is the checksum.
const PREFIX: &[u8] = b"\x84\xA8checksum\xCF";

/// How a decision file goes on behind the checksum.
const FORMAT: &[u8] = b"\xA6format\xB1voxtune decisions";

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Names of the sound decision files, sorted.
    pub(crate) names: Vec<String>,
    /// Names of the other ones, with what is wrong.
    pub(crate) left_out: Vec<(String, &'static str)>,
}

/// Looks through a folder.
pub(crate) fn list(folder: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let Some(name) = file.file_name().to_str().map(str::to_owned) else { continue };
        if !is_decision_file(&name) {
            continue;
        }
        match defect(&fs::read(file.path())?) {
            None => listing.names.push(name),
            Some(defect) => listing.left_out.push((name, defect)),
        }
    }
    listing.names.sort_unstable();
    listing.left_out.sort_unstable();
    Ok(listing)
}

/// The Rust expression for the files of this name.
pub(crate) fn expression(folder: &Path, names: &[String]) -> String {
    let mut text = String::from("&[\n");
    for name in names {
        let path = folder.join(name);
        writeln!(text, "    EmbeddedFile {{ name: {name:?}, bytes: include_bytes!({path:?}) }},")
            .expect("a string takes any text");
    }
    text.extend(iter::once(']'));
    text
}

/// Whether this is the name of a decision file: `<arch>.msgpack`, architectures having no dots.
/// Evidence, locks, temporary files and ones that were set aside are named otherwise.
fn is_decision_file(name: &str) -> bool {
    name.strip_suffix(".msgpack").is_some_and(|arch| !arch.is_empty() && !arch.contains('.'))
}

/// What is wrong with the bytes of a decision file, if anything.
fn defect(bytes: &[u8]) -> Option<&'static str> {
    let Some((checksum, checked)) =
        bytes.strip_prefix(PREFIX).and_then(|rest| rest.split_first_chunk())
    else {
        return Some("it does not begin as a cache file");
    };
    if u64::from_be_bytes(*checksum) != xxh3_64(checked) {
        return Some("its checksum is wrong, so it is damaged or truncated");
    }
    if !checked.starts_with(FORMAT) {
        return Some("it holds something else than decisions");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(checked: &[u8]) -> Vec<u8> {
        [PREFIX, &xxh3_64(checked).to_be_bytes(), checked].concat()
    }

    #[test]
    fn an_empty_folder_gives_an_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        let listing = list(folder.path()).unwrap();
        assert_eq!(listing, Listing::default());
        assert_eq!(expression(folder.path(), &listing.names), "&[\n]");
    }

    #[test]
    fn sound_decision_files_are_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let sound = sealed(FORMAT);
        for name in ["sm_90.msgpack", "cpu-portable.msgpack"] {
            fs::write(folder.path().join(name), &sound).unwrap();
        }
        for name in [
            "sm_90.evidence.msgpack",
            "sm_90.lock",
            "sm_90.msgpack.corrupt-1",
            ".sm_90.msgpack.a1b2.tmp",
            ".msgpack",
            "README.md",
        ] {
            fs::write(folder.path().join(name), &sound).unwrap();
        }
        let listing = list(folder.path()).unwrap();
        assert_eq!(listing.names, ["cpu-portable.msgpack", "sm_90.msgpack"]);
        assert_eq!(listing.left_out, []);
        let text = expression(folder.path(), &listing.names);
        assert_eq!(text.matches("include_bytes!").count(), 2);
    }

    #[test]
    fn damaged_and_foreign_files_are_left_out() {
        let mut flipped = sealed(FORMAT);
        *flipped.last_mut().unwrap() ^= 1;
        let damaged = "its checksum is wrong, so it is damaged or truncated";
        let foreign = "it does not begin as a cache file";
        for (bytes, expected) in [
            (Vec::new(), foreign),
            (b"{}".to_vec(), foreign),
            (PREFIX.to_vec(), foreign),
            (flipped, damaged),
            (sealed(FORMAT)[..30].to_vec(), damaged),
            (sealed(b"\xA6format\xB0voxtune evidence"), "it holds something else than decisions"),
        ] {
            assert_eq!(defect(&bytes), Some(expected), "{bytes:x?}");
        }
        assert_eq!(defect(&sealed(FORMAT)), None);
    }
}
