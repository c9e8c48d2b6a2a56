//! The CUDA sources of voxtune, embedded so that a tuner built far from this repository can compile
//! them.
//!
//! A family of kernels is one `.cu` file. What families share lies in `.cuh` files, and so do the
//! parts of a long family, under its name or in a folder of its name. Each states its layouts, the
//! architecture it needs and its invariants at its head. Parameters are preprocessor defines: an
//! instance is a `.cu` file with its defines, compiled to one cubin. A line `// expected: spills on
//! sm_80 where ROWS=64: REASON` declares what ptxas says of the code of some instances. `cargo
//! xtask kernels` refuses instances of which it says anything else. This crate knows nothing else;
//! `voxtune-nvcc` compiles, and `voxtune-cuda` launches.
#![forbid(unsafe_code)]

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, with the folder that it lies in, as in `features/walk.cuh`.
    pub name: &'static str,
    /// Its contents.
    pub text: &'static str,
}

/// Every file, headers included, in order of name.
pub static SOURCES: &[Source] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Component, Path, PathBuf};

    use super::*;

    fn names_in(folder: &Path, prefix: &str) -> BTreeSet<String> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(Result::unwrap)
            .flat_map(|entry| {
                let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    names_in(&entry.path(), &format!("{name}/"))
                } else {
                    BTreeSet::from([name])
                }
            })
            .collect()
    }

    #[test]
    fn the_list_is_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda");
        let listed: BTreeSet<String> =
            SOURCES.iter().map(|source| source.name.to_owned()).collect();
        assert_eq!(listed, names_in(&folder, ""));
        assert!(SOURCES.is_sorted_by_key(|source| source.name));
    }

    /// What a source includes, as a name of the list: a path is one from the source's own folder.
    fn included(source: &Source, path: &str) -> String {
        let folder = Path::new(source.name).parent().unwrap();
        let mut name = PathBuf::new();
        for component in folder.join(path).components() {
            match component {
                Component::ParentDir => assert!(name.pop(), "{}: {path}", source.name),
                other => name.push(other),
            }
        }
        name.to_str().unwrap().replace('\\', "/")
    }

    #[test]
    fn includes_stay_within_the_list() {
        for source in SOURCES {
            for line in source.text.lines().filter(|line| line.starts_with("#include \"")) {
                let name = included(source, line.split('"').nth(1).unwrap());
                assert!(SOURCES.iter().any(|other| other.name == name), "{}: {line}", source.name);
            }
        }
    }

    #[test]
    fn a_folder_holds_the_parts_of_the_family_of_its_name() {
        for source in SOURCES {
            if let Some((folder, _)) = source.name.split_once('/') {
                let family = format!("{folder}.cu");
                assert!(SOURCES.iter().any(|other| other.name == family), "{}", source.name);
                assert!(source.name.ends_with(".cuh"), "{}", source.name);
            }
        }
    }
}
