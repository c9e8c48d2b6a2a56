//! Which files of a folder are embedded. Part of the build script, here to be tested.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::{fs, iter};

use xxhash_rust::xxh3::xxh3_64;

/// A kind of file that is embedded: how it is named, how it begins, what its checksum covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The name's ending.
    extension: &'static str,
    /// What the file begins with, up to its checksum of eight bytes.
    prefix: &'static [u8],
    /// Whether the checksum's least byte comes first.
    little_endian: bool,
    /// How the file goes on behind the checksum.
    format: &'static [u8],
}

/// Decision files: a map of four fields, of which the first is the checksum.
pub(crate) const DECISIONS: Kind = Kind {
    extension: ".msgpack",
    prefix: b"\x84\xA8checksum\xCF",
    little_endian: false,
    format: b"\xA6format\xB1voxtune decisions",
};

/// Kernel packs, of the one version that there is.
pub(crate) const PACKS: Kind = Kind {
    extension: ".kernels",
    prefix: b"voxtune kernels\n",
    little_endian: true,
    format: &1_u32.to_le_bytes(),
};

/// What a folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Names of the sound files, sorted.
    pub(crate) names: Vec<String>,
    /// Names of the other ones, with what is wrong.
    pub(crate) left_out: Vec<(String, &'static str)>,
}

/// Looks through a folder for files of a kind.
pub(crate) fn list(folder: &Path, kind: Kind) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let Some(name) = file.file_name().to_str().map(str::to_owned) else { continue };
        if !is_named_so(&name, kind) {
            continue;
        }
        match defect(&fs::read(file.path())?, kind) {
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

/// Whether this is the name of such a file: `<arch>.msgpack`, architectures having no dots.
/// Evidence, locks, temporary files and ones that were set aside are named otherwise.
fn is_named_so(name: &str, kind: Kind) -> bool {
    name.strip_suffix(kind.extension).is_some_and(|arch| !arch.is_empty() && !arch.contains('.'))
}

/// What is wrong with the bytes of a file, if anything.
fn defect(bytes: &[u8], kind: Kind) -> Option<&'static str> {
    let Some((checksum, checked)) =
        bytes.strip_prefix(kind.prefix).and_then(|rest| rest.split_first_chunk())
    else {
        return Some("it does not begin as such a file");
    };
    let checksum = match kind.little_endian {
        true => u64::from_le_bytes(*checksum),
        false => u64::from_be_bytes(*checksum),
    };
    if checksum != xxh3_64(checked) {
        return Some("its checksum is wrong, so it is damaged or truncated");
    }
    if !checked.starts_with(kind.format) {
        return Some("it holds something else than its name says");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &[u8] = DECISIONS.format;

    fn sealed(checked: &[u8]) -> Vec<u8> {
        [DECISIONS.prefix, &xxh3_64(checked).to_be_bytes(), checked].concat()
    }

    #[test]
    fn an_empty_folder_gives_an_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        let listing = list(folder.path(), DECISIONS).unwrap();
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
        let listing = list(folder.path(), DECISIONS).unwrap();
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
        let foreign = "it does not begin as such a file";
        for (bytes, expected) in [
            (Vec::new(), foreign),
            (b"{}".to_vec(), foreign),
            (DECISIONS.prefix.to_vec(), foreign),
            (flipped, damaged),
            (sealed(FORMAT)[..30].to_vec(), damaged),
            (
                sealed(b"\xA6format\xB0voxtune evidence"),
                "it holds something else than its name says",
            ),
        ] {
            assert_eq!(defect(&bytes, DECISIONS), Some(expected), "{bytes:x?}");
        }
        assert_eq!(defect(&sealed(FORMAT), DECISIONS), None);
    }

    #[test]
    fn packs_are_told_from_decisions_and_from_temporaries() {
        let folder = tempfile::tempdir().unwrap();
        let checked = [PACKS.format, b"index and blocks"].concat();
        let sound = [PACKS.prefix, &xxh3_64(&checked).to_le_bytes(), &checked].concat();
        let mut flipped = sound.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for (name, bytes) in [
            ("sm_90.kernels", &sound),
            ("ptx.kernels", &flipped),
            (".a1b2.tmp", &sound),
            ("sm_90.kernels.corrupt-1", &sound),
            ("sm_90.msgpack", &sound),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let listing = list(folder.path(), PACKS).unwrap();
        assert_eq!(listing.names, ["sm_90.kernels"]);
        let damaged = "its checksum is wrong, so it is damaged or truncated";
        assert_eq!(listing.left_out, [("ptx.kernels".to_owned(), damaged)]);
        let listing = list(folder.path(), DECISIONS).unwrap();
        assert_eq!((listing.names.len(), listing.left_out.len()), (0, 1));
    }
}
