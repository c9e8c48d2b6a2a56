//! Hashes by which compiled code is known to be of today's sources.
//!
//! A file of compiled code is named by everything that decides its bytes:
//!
//! ```text
//! FAMILY-ARCH-SOURCES-cudaMAJOR.MINOR-COMPILER.cubin
//! ```
//!
//! `SOURCES` is a hash of the sources, without lines of comments, and of the instance's own
//! arguments. A program knows it
//! without a compiler and without the sources: it carries the hash of each family's files
//! ([`source_hash_of`]). `COMPILER` is a hash of the compiler's version and of the arguments that
//! every call shares. So a machine without nvcc finds what another has compiled from the same
//! sources.

use std::borrow::Cow;

use voxtune_types::ComputeCapability;
use xxhash_rust::xxh3::Xxh3;

use super::compiled::Code;
use super::folder::instance_args;
use super::source_hashes::SOURCE_HASHES;
use crate::instance::Instance;

/// Hash of the sources of an instance and of the arguments of its compilation: what a compiled one
/// must have been made of to be today's.
#[must_use]
pub fn source_hash(code: Code, instance: &Instance, arch: ComputeCapability) -> u64 {
    // A family that this crate does not know has no files.
    let files = source_hash_of(instance.source).unwrap_or_default().to_le_bytes();
    let args = instance_args(code, instance, arch);
    let args = args.iter().map(|arg| arg.as_encoded_bytes());
    hash_fields(args.chain(std::iter::once(files.as_slice())))
}

/// Hash of the files that make a family, as this crate was built for: [`hash_of_files`] of its
/// source. `None` if there is no such source.
#[must_use]
pub fn source_hash_of(source: &str) -> Option<u64> {
    let place = SOURCE_HASHES.binary_search_by_key(&source, |(name, _)| name).ok()?;
    Some(SOURCE_HASHES[place].1)
}

/// Hash of a source with all headers among these files, given by name and text in one order.
///
/// Every header that families share counts, included or not: they are few and change together. One
/// in a folder is a part of the family of that name and counts for it alone. Declarations about the
/// code do not count: they decide none of it, and correcting one compiles nothing again.
#[must_use]
pub fn hash_of_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>, source: &str) -> u64 {
    let of_source: Vec<_> = files
        .into_iter()
        .filter(|(name, _)| *name == source || is_header_of(name, source))
        .map(|(name, text)| (name, without_comments(text)))
        .collect();
    hash_fields(of_source.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]))
}

/// Whether a file is a header that a source can include.
fn is_header_of(name: &str, source: &str) -> bool {
    let is_own = |(folder, _)| source.strip_suffix(".cu") == Some(folder);
    name.ends_with(".cuh") && name.split_once('/').is_none_or(is_own)
}

/// How a line begins by which a source declares a finding about its own code that is known.
pub const DECLARATION: &str = "// expected:";

/// Whether a line of a source declares something, or means to.
#[must_use]
pub fn is_declaration(line: &str) -> bool {
    line.trim().starts_with(DECLARATION)
}

/// Whether a line is a comment and nothing else: no other word of it, and none of the next line's,
/// reaches the compiler.
fn is_comment(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("//") && !line.ends_with('\\')
}

/// What the compiler makes code of: a better comment leaves packs and timings valid.
fn without_comments(text: &str) -> Cow<'_, str> {
    if !text.lines().any(is_comment) {
        return Cow::Borrowed(text);
    }
    text.split_inclusive('\n').filter(|line| !is_comment(line)).collect()
}

/// Hash of a list of fields. Lengths separate them, so that no two lists hash alike.
#[must_use]
pub fn hash_fields<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Xxh3::new();
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use voxtune_kernels::SOURCES;

    use super::*;

    #[test]
    fn each_file_of_a_family_counts() {
        let (header, kernel, other) = (("a.cuh", "int a;"), ("k.cu", "int k;"), ("o.cu", "int o;"));
        let base = hash_of_files([header, kernel, other], "k.cu");
        assert_ne!(base, hash_of_files([("a.cuh", "int b;"), kernel, other], "k.cu"));
        assert_ne!(base, hash_of_files([header, ("k.cu", "int l;"), other], "k.cu"));
        assert_ne!(base, hash_of_files([header, kernel, other], "o.cu"));
        assert_eq!(base, hash_of_files([header, kernel, ("o.cu", "int p;")], "k.cu"));
        let part = |name| [header, (name, "int p;"), kernel, other];
        assert_ne!(base, hash_of_files(part("k/part.cuh"), "k.cu"));
        assert_eq!(base, hash_of_files(part("o/part.cuh"), "k.cu"));
        let declares = ("k.cu", "// expected: spills on sm_80: k\nint k;");
        assert_eq!(base, hash_of_files([header, declares, other], "k.cu"));
    }

    #[test]
    fn comments_alone_change_no_code() {
        let hash = |text| hash_of_files([("k.cu", text)], "k.cu");
        let base = hash("int a;\nint b;\n");
        assert_eq!(base, hash("// What a is.\nint a;\n    // And b.\nint b;\n"));
        assert_ne!(base, hash("int a; // What a is.\nint b;\n"), "a line of code is hashed whole");
        assert_ne!(base, hash("int a;\n// a line that the next one is part of \\\nint b;\n"));
        assert_ne!(base, hash("int a;\n/int b;\n"));
    }

    #[test]
    fn each_argument_counts() {
        let arch = |major| ComputeCapability { major, minor: 0 };
        let instance = Instance::new("mask_gemm.cu", &[("ROWS", 128)]);
        let base = source_hash(Code::Cubin, &instance, arch(9));
        assert_ne!(base, source_hash(Code::Ptx, &instance, arch(9)));
        assert_ne!(base, source_hash(Code::Cubin, &instance, arch(8)));
        let narrow = Instance::new("mask_gemm.cu", &[("ROWS", 64)]);
        assert_ne!(base, source_hash(Code::Cubin, &narrow, arch(9)));
        let other = Instance { source: "pair_gemm.cu", ..instance };
        assert_ne!(base, source_hash(Code::Cubin, &other, arch(9)));
        assert_ne!(hash_fields([b"ab".as_slice()]), hash_fields([b"a".as_slice(), b"b"]));
    }

    /// The hashes are those of the sources. Where they are not, the test writes the file anew and
    /// fails: run it again, and commit the file together with the sources.
    #[test]
    fn the_hashes_are_of_the_sources() {
        let mut text = String::from(
            "//! Hashes of the files of each kernel family. Written by the test\n\
             //! `the_hashes_are_of_the_sources`.\n\n\
             /// By name of the source, in order.\n\
             pub(super) const SOURCE_HASHES: &[(&str, u64)] = &[\n",
        );
        let files = || SOURCES.iter().map(|file| (file.name, file.text));
        for (source, _) in files().filter(|(name, _)| name.ends_with(".cu")) {
            let hash = hash_of_files(files(), source);
            writeln!(text, "    (\"{source}\", 0x{hash:016x}),").unwrap();
        }
        text.push_str("];\n");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/code/source_hashes.rs");
        if std::fs::read_to_string(&path).unwrap() != text {
            std::fs::write(&path, text).unwrap();
            panic!("kernel sources have changed: {} is written anew, commit it", path.display());
        }
    }
}
