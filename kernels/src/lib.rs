//! The CUDA sources of voxtune, embedded so that a tuner built far from this repository can compile
//! them.
//!
//! A family of kernels is one `.cu` file; what families share lies in `.cuh` files, and so do the
//! parts of a long family, under its name. Each states its layouts, the architecture it needs and
//! its invariants at its head. Parameters are preprocessor defines: an instance is a `.cu` file
//! with its defines, compiled to one cubin. A line `// expected: spills on sm_80 where ROWS=64:
//! REASON` declares what ptxas says of the code of some instances; `cargo xtask kernels` refuses
//! instances of which it says anything else. This crate knows nothing else; `voxtune-cuda` compiles
//! and launches.
#![forbid(unsafe_code)]

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, as other sources include it.
    pub name: &'static str,
    /// Its contents.
    pub text: &'static str,
}

/// Every file, headers included, in order of name.
pub static SOURCES: &[Source] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_list_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let listed: BTreeSet<String> =
            SOURCES.iter().map(|source| source.name.to_owned()).collect();
        assert_eq!(listed, on_disk);
        assert!(SOURCES.is_sorted_by_key(|source| source.name));
    }

    #[test]
    fn includes_stay_within_the_list() {
        for source in SOURCES {
            for line in source.text.lines().filter(|line| line.starts_with("#include \"")) {
                let name = line.split('"').nth(1).unwrap();
                assert!(SOURCES.iter().any(|other| other.name == name), "{}: {line}", source.name);
            }
        }
    }
}
