//! The name of a cubin's file: everything that decides its bytes.
//!
//! ```text
//! FAMILY-ARCH-SOURCES-cudaMAJOR.MINOR-COMPILER.cubin
//! ```
//!
//! `SOURCES` is a hash of the sources and of the instance's own arguments, which a program knows
//! that has no compiler; `COMPILER` is one of the compiler's version and of the arguments that
//! every call shares. So a machine without nvcc finds what another has compiled from the same
//! sources.

use std::borrow::Cow;
use std::ffi::OsString;

use voxtune_kernels::Source;
use xxhash_rust::xxh3::Xxh3;

use super::expected::is_declaration;

/// Hash of a source with all headers, and of the arguments that make an instance of it.
///
/// Every header counts, included or not: headers are few and change together. Declarations about
/// the code do not: they decide none of it, and whoever corrects one compiles nothing again.
pub(super) fn source_hash(sources: &[Source], source: &str, args: &[OsString]) -> u64 {
    let counts = |file: &&Source| file.name == source || file.name.ends_with(".cuh");
    let files: Vec<_> = sources.iter().filter(counts).collect();
    let texts: Vec<_> = files.iter().map(|file| without_declarations(file.text)).collect();
    let args = args.iter().map(|arg| arg.as_encoded_bytes());
    let named = files.iter().zip(&texts);
    hash(args.chain(named.flat_map(|(file, text)| [file.name.as_bytes(), text.as_bytes()])))
}

fn without_declarations(text: &str) -> Cow<'_, str> {
    if !text.lines().any(is_declaration) {
        return Cow::Borrowed(text);
    }
    text.split_inclusive('\n').filter(|line| !is_declaration(line)).collect()
}

/// Hash of a compiler's version and of the arguments that every call of it shares.
pub(super) fn compiler_hash(args: &[OsString], version: &str) -> u64 {
    hash(std::iter::once(version.as_bytes()).chain(args.iter().map(|arg| arg.as_encoded_bytes())))
}

/// Lengths separate the fields, so that no two lists of fields hash alike.
fn hash<'a>(fields: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Xxh3::new();
    for field in fields {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ingredient_counts() {
        let header = Source { name: "a.cuh", text: "int a;" };
        let kernel = Source { name: "k.cu", text: "int k;" };
        let other = Source { name: "o.cu", text: "int o;" };
        let args: Vec<OsString> = ["-DA=1", "-arch=sm_90"].map(Into::into).to_vec();
        let base = source_hash(&[header, kernel, other], "k.cu", &args);

        let changed_header = Source { text: "int b;", ..header };
        let changed_kernel = Source { text: "int l;", ..kernel };
        let changed_other = Source { text: "int p;", ..other };
        let declares = Source { text: "// expected: spills on sm_80: k\nint k;", ..kernel };
        let joined: Vec<OsString> = vec!["-DA=1-arch=sm_90".into()];
        assert_ne!(base, source_hash(&[changed_header, kernel, other], "k.cu", &args));
        assert_ne!(base, source_hash(&[header, changed_kernel, other], "k.cu", &args));
        assert_ne!(base, source_hash(&[header, kernel, other], "o.cu", &args));
        assert_ne!(base, source_hash(&[header, kernel, other], "k.cu", &args[..1]));
        assert_ne!(base, source_hash(&[header, kernel, other], "k.cu", &joined));
        assert_eq!(base, source_hash(&[header, kernel, changed_other], "k.cu", &args));
        assert_eq!(base, source_hash(&[header, declares, other], "k.cu", &args));
        assert_ne!(compiler_hash(&args, "13.0"), compiler_hash(&args, "13.1"));
        assert_ne!(compiler_hash(&args, "13.0"), compiler_hash(&args[..1], "13.0"));
    }
}
