//! Which files of a folder are embedded.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// A kind of file that is embedded: how it is named, how it begins, what its checksum covers.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The name's ending.
    extension: &'static str,
    /// What the file begins with, up to its checksum of eight bytes.
    prefix: &'static [u8],
    /// Whether the checksum's least byte comes first.
    little_endian: bool,
    /// How the file goes on behind the checksum.
    format: &'static [u8],
}

impl Kind {
    /// Decision files: a map of four fields, of which the first is the checksum.
    pub const DECISIONS: Self = Self {
        extension: ".msgpack",
        prefix: b"\x84\xA8checksum\xCF",
        little_endian: false,
        format: b"\xA6format\xB1voxtune decisions",
    };

    /// Kernel packs, of the one version that there is.
    pub const PACKS: Self = Self {
        extension: ".kernels",
        prefix: b"voxtune kernels\n",
        little_endian: true,
        format: &1_u32.to_le_bytes(),
    };

    /// What models of cost have learned, of the one version that there is.
    pub const MODELS: Self = Self {
        extension: ".model",
        prefix: b"voxtune model 1\n",
        little_endian: true,
        format: &1_u32.to_le_bytes(),
    };

    /// Whether a file is named so: `<arch>.msgpack`, architectures having no dots. Evidence, locks,
    /// temporary files and ones that were set aside are named otherwise. So is what would give
    /// cargo another line to read.
    fn names(self, path: &Path) -> bool {
        let is_of_arch = |char: u8| char.is_ascii_alphanumeric() || char == b'_' || char == b'-';
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.strip_suffix(self.extension)
            .is_some_and(|arch| !arch.is_empty() && arch.bytes().all(is_of_arch))
    }
}

/// The files of a kind in a folder.
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
    /// If it cannot be read, or is to be named in a way that no program can include files by: its
    /// path must be UTF-8.
    pub fn of(folder: &Path, kind: Kind) -> io::Result<Self> {
        let mut listing = Self::default();
        let files = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(listing),
            files => files.map_err(|error| named(folder, error))?,
        };
        for file in files {
            let path = file?.path();
            if !kind.names(&path) {
                continue;
            }
            if path.to_str().is_none() {
                let why = "expected a path in UTF-8, the only ones that `include_bytes!` takes: \
                           rename the folder";
                return Err(named(folder, io::Error::new(ErrorKind::InvalidInput, why)));
            }
            match fs::metadata(&path) {
                Ok(found) if found.is_file() => {}
                // A pipe would hang the build.
                Ok(_) => {
                    listing.left_out.push((path, "it is no regular file"));
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    listing.left_out.push((path, "it is a link that leads nowhere"));
                    continue;
                }
                Err(error) => return Err(named(&path, error)),
            }
            match defect(&fs::read(&path).map_err(|error| named(&path, error))?, kind) {
                None => listing.files.push(path),
                Some(defect) => listing.left_out.push((path, defect)),
            }
        }
        listing.files.sort_unstable();
        listing.left_out.sort_unstable();
        Ok(listing)
    }

    /// The Rust expression of the files: a slice of what `item` names, a structure with the fields
    /// `name` and `bytes`.
    #[must_use]
    pub fn expression(&self, item: &str) -> String {
        let mut text = String::from("&[\n");
        for path in &self.files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            writeln!(text, "    {item} {{ name: {name:?}, bytes: include_bytes!({path:?}) }},")
                .expect("a string takes any text");
        }
        text.push(']');
        text
    }
}

/// The error with the path that it is about.
fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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

    const DAMAGED: &str = "its checksum is wrong, so it is damaged or truncated";
    const FOREIGN: &str = "it does not begin as such a file";

    fn sealed(checked: &[u8]) -> Vec<u8> {
        [Kind::DECISIONS.prefix, &xxh3_64(checked).to_be_bytes(), checked].concat()
    }

    #[test]
    fn a_missing_or_empty_folder_gives_an_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing")] {
            let listing = Listing::of(path, Kind::DECISIONS).unwrap();
            assert_eq!(listing, Listing::default());
            assert_eq!(listing.expression("File"), "&[\n]");
        }
    }

    #[test]
    fn sound_decisions_alone_are_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let sound = sealed(Kind::DECISIONS.format);
        for name in [
            "sm_90.msgpack",
            "cpu-portable.msgpack",
            "sm_90.evidence.msgpack",
            "sm_90.lock",
            "sm_90.msgpack.corrupt-1",
            ".sm_90.msgpack.a1b2.tmp",
            ".msgpack",
            "README.md",
        ] {
            fs::write(at(name), &sound).unwrap();
        }
        let listing = Listing::of(folder.path(), Kind::DECISIONS).unwrap();
        assert_eq!(listing.files, [at("cpu-portable.msgpack"), at("sm_90.msgpack")]);
        assert_eq!(listing.left_out, []);
        assert_eq!(listing.expression("File").matches("File { name: ").count(), 2);
    }

    #[test]
    fn damaged_and_foreign_files_are_left_out() {
        let mut flipped = sealed(Kind::DECISIONS.format);
        *flipped.last_mut().unwrap() ^= 1;
        for (bytes, expected) in [
            (Vec::new(), FOREIGN),
            (b"{}".to_vec(), FOREIGN),
            (Kind::DECISIONS.prefix.to_vec(), FOREIGN),
            (flipped, DAMAGED),
            (sealed(Kind::DECISIONS.format)[..30].to_vec(), DAMAGED),
            (
                sealed(b"\xA6format\xB0voxtune evidence"),
                "it holds something else than its name says",
            ),
        ] {
            assert_eq!(defect(&bytes, Kind::DECISIONS), Some(expected), "{bytes:x?}");
        }
        assert_eq!(defect(&sealed(Kind::DECISIONS.format), Kind::DECISIONS), None);
    }

    #[test]
    #[cfg(unix)]
    fn f19_names_that_no_program_includes_neither_break_a_build_nor_steer_it() {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let sound = sealed(Kind::DECISIONS.format);
        let names: [&[u8]; 3] =
            [b"sm_\xff.msgpack", b"a\ncargo::rustc-env=PATH=x.msgpack", b"sm_90.msgpack"];
        for name in names {
            fs::write(root.path().join(OsStr::from_bytes(name)), &sound).unwrap();
        }
        let astray = root.path().join("sm_80.msgpack");
        symlink("nowhere", &astray).unwrap();
        let listing = Listing::of(root.path(), Kind::DECISIONS).unwrap();
        assert_eq!(listing.files, [root.path().join("sm_90.msgpack")]);
        assert_eq!(listing.left_out, [(astray, "it is a link that leads nowhere")]);

        let folder = root.path().join(OsStr::from_bytes(b"caches\xff"));
        fs::create_dir(&folder).unwrap();
        assert_eq!(Listing::of(&folder, Kind::DECISIONS).unwrap(), Listing::default());
        fs::write(folder.join("sm_90.msgpack"), &sound).unwrap();
        let error = Listing::of(&folder, Kind::DECISIONS).unwrap_err().to_string();
        assert!(error.contains("caches") && error.contains("UTF-8"), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn f16_nothing_but_a_file_is_embedded() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(at("sm_80.msgpack")).unwrap();
        fs::create_dir(at("sm_86.msgpack")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("sm_89.msgpack")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("sm_90.msgpack")).status().is_ok());
        let listing = Listing::of(folder.path(), Kind::DECISIONS).unwrap();
        assert!(listing.files.is_empty(), "{listing:?}");
        let why: Vec<_> = listing.left_out.iter().map(|(_, why)| *why).collect();
        assert_eq!(why, ["it is no regular file"; 4]);
    }

    #[test]
    fn packs_are_told_from_decisions_and_from_temporaries() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let checked = [Kind::PACKS.format, b"index and blocks"].concat();
        let sound = [Kind::PACKS.prefix, &xxh3_64(&checked).to_le_bytes(), &checked].concat();
        let mut flipped = sound.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for (name, bytes) in [
            ("sm_90.kernels", &sound),
            ("ptx.kernels", &flipped),
            (".a1b2.tmp", &sound),
            ("sm_90.kernels.corrupt-1", &sound),
            ("sm_90.msgpack", &sound),
        ] {
            fs::write(at(name), bytes).unwrap();
        }
        let listing = Listing::of(folder.path(), Kind::PACKS).unwrap();
        assert_eq!(listing.files, [at("sm_90.kernels")]);
        assert_eq!(listing.left_out, [(at("ptx.kernels"), DAMAGED)]);
        let listing = Listing::of(folder.path(), Kind::DECISIONS).unwrap();
        assert_eq!((listing.files.len(), listing.left_out.len()), (0, 1));
    }
}
