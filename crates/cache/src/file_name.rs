//! Names of the files in a cache folder.

use std::fmt;
use std::path::Path;

use voxtune_types::Arch;

/// Which of an architecture's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// What the runtime reads.
    Decisions,
    /// What was measured.
    Evidence,
}

impl FileKind {
    /// The text in the file's `format` field.
    pub(crate) const fn format(self) -> &'static str {
        match self {
            Self::Decisions => "voxtune decisions",
            Self::Evidence => "voxtune evidence",
        }
    }

    /// The last version of the format, which is the one that is written.
    #[must_use]
    pub const fn version(self) -> u32 {
        match self {
            Self::Decisions => 2,
            Self::Evidence => 5,
        }
    }

    /// The first version in which operations name their kind of layer.
    pub(crate) const fn names_kinds_since(self) -> u32 {
        match self {
            Self::Decisions => 2,
            Self::Evidence => 3,
        }
    }
}

/// The name of a cache file: `<arch>.msgpack` or `<arch>.evidence.msgpack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The architecture of everything in it.
    pub arch: Arch,
    /// Decisions or evidence.
    pub kind: FileKind,
}

impl FileName {
    /// Reads the last component of a path; `None` where no cache file is called so. Locks,
    /// temporary files and files that were set aside are not.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".msgpack")?;
        let (arch, kind) = match stem.rsplit_once('.') {
            Some((arch, "evidence")) => (arch, FileKind::Evidence),
            Some(_) => return None,
            None => (stem, FileKind::Decisions),
        };
        Some(Self { arch: arch.parse().ok()?, kind })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FileKind::Decisions => f.pad(&format!("{}.msgpack", self.arch)),
            FileKind::Evidence => f.pad(&format!("{}.evidence.msgpack", self.arch)),
        }
    }
}

/// The name of the file that is locked while an architecture's files are written.
pub(crate) fn lock_name(arch: Arch) -> String {
    format!("{arch}.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["sm_90.msgpack", "sm_90.evidence.msgpack", "cpu-x86_64-avx2.msgpack"] {
            assert_eq!(FileName::of(Path::new(text)).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_names_are_no_caches() {
        for text in [
            "sm_90.lock",
            "sm_90.provenance.msgpack",
            "sm_90.kernels",
            "sm_90.msgpack.corrupt-1",
            ".sm_90.msgpack.a1b2.tmp",
            "sm_90.evidence.evidence.msgpack",
            "evidence.msgpack",
            ".msgpack",
            "",
        ] {
            assert_eq!(FileName::of(Path::new(text)), None, "{text:?}");
        }
    }
}
