//! Which crate may depend on which, and what a user's build has of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate of the workspace with the crates of it that it may depend on, directly and in every
/// build: below it in the order of layers. Dependencies of tests alone do not count.
const TABLE: &[(&str, &[&str])] = &[
    // Everybody's words and files.
    ("voxtune-types", &[]),
    ("voxtune-files", &[]),
    ("voxtune-cache", &["voxtune-files", "voxtune-types"]),
    ("voxtune-pack", &[]),
    ("voxtune-embed", &[]),
    ("voxtune-caches", &["voxtune-embed"]),
    ("voxtune-kernels", &[]),
    // Users' backends, and the facade.
    ("voxtune-cpu", &["voxtune-types"]),
    ("voxtune-cuda", &["voxtune-files", "voxtune-types"]),
    (
        "voxtune",
        &[
            "voxtune-cache",
            "voxtune-caches",
            "voxtune-cpu",
            "voxtune-cuda",
            "voxtune-files",
            "voxtune-pack",
            "voxtune-types",
        ],
    ),
    ("voxtune-models", &["voxtune", "voxtune-files", "voxtune-types"]),
    // Tools.
    ("voxtune-pointcloud", &["voxtune-files", "voxtune-types"]),
    ("voxtune-nvcc", &["voxtune-cuda", "voxtune-files", "voxtune-kernels", "voxtune-types"]),
    (
        "voxtune-tune",
        &[
            "voxtune",
            "voxtune-cache",
            "voxtune-cuda",
            "voxtune-files",
            "voxtune-nvcc",
            "voxtune-pointcloud",
            "voxtune-types",
        ],
    ),
    (
        "voxtune-bench",
        &[
            "voxtune",
            "voxtune-cache",
            "voxtune-cpu",
            "voxtune-cuda",
            "voxtune-files",
            "voxtune-models",
            "voxtune-nvcc",
            "voxtune-pointcloud",
            "voxtune-tune",
            "voxtune-types",
        ],
    ),
    (
        "voxtune-analyze",
        &[
            "voxtune",
            "voxtune-cache",
            "voxtune-cpu",
            "voxtune-cuda",
            "voxtune-files",
            "voxtune-nvcc",
            "voxtune-pack",
            "voxtune-pointcloud",
            "voxtune-tune",
            "voxtune-types",
        ],
    ),
    (
        "voxtune-cli",
        &[
            "voxtune",
            "voxtune-analyze",
            "voxtune-bench",
            "voxtune-cache",
            "voxtune-cuda",
            "voxtune-files",
            "voxtune-models",
            "voxtune-nvcc",
            "voxtune-pointcloud",
            "voxtune-tune",
            "voxtune-types",
        ],
    ),
    ("xtask", &["voxtune-cli"]),
    ("voxtune-tests", &["voxtune", "voxtune-cli", "voxtune-cpu", "voxtune-cuda", "voxtune-tune"]),
];

/// Packages that a program which only runs networks must not compile: compilers, archives, what
/// asks the system about itself, and the kernels' sources.
const NOT_FOR_USERS: &[&str] = &[
    "voxtune-nvcc",
    "voxtune-kernels",
    "voxtune-tune",
    "voxtune-pointcloud",
    "cc",
    "clap",
    "gemm",
    "sysinfo",
    "tempfile",
    "xshell",
    "zip",
    "zstd",
];

/// Packages of the facade's tree, itself included: those of today, and none more.
const MOST_PACKAGES: usize = 50;

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .arg("--offline")
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

/// The crates of the workspace, as `cargo metadata` describes them.
fn members() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&text).expect("cargo metadata is JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("expected a list of packages, found {other}"),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[test]
fn crates_depend_as_the_table_says() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        TABLE.iter().map(|(name, of)| (*name, of.iter().copied().collect())).collect();
    // Each row names only rows above it, so the table has no circle.
    for (at, (name, of)) in TABLE.iter().enumerate() {
        for one in *of {
            assert!(TABLE[..at].iter().any(|(above, _)| above == one), "{one} is below {name}");
        }
    }
    let members = members();
    let names: BTreeSet<&str> = members.iter().map(|package| text(package, "name")).collect();
    assert_eq!(names, table.keys().copied().collect(), "the workspace and the table");
    for package in &members {
        let all = package["dependencies"].as_array().expect("a list of dependencies");
        let found: BTreeSet<&str> = all
            .iter()
            .filter(|one| one["kind"] != "dev")
            .map(|one| text(one, "name"))
            .filter(|name| names.contains(name))
            .collect();
        let name = text(package, "name");
        assert_eq!(found, table[name], "{name}: found, and what the table says");
    }
}

/// Names in the tree of a package's dependencies, without those of tests and build scripts.
fn tree(package: &str) -> BTreeSet<String> {
    let listed = cargo(&["tree", "--package", package, "--edges", "normal", "--prefix", "none"]);
    listed
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{} {}", words.next()?, words.next()?))
        })
        .collect()
}

#[test]
fn users_build_no_tools() {
    let tree = tree("voxtune");
    for name in NOT_FOR_USERS {
        let prefix = format!("{name} v");
        assert!(!tree.iter().any(|one| one.starts_with(&prefix)), "{name} is in {tree:#?}");
    }
    assert!(tree.len() <= MOST_PACKAGES, "{} packages: {tree:#?}", tree.len());
    // What is looked for is found where it is meant to be.
    let tuner = self::tree("voxtune-tune");
    for name in ["voxtune-nvcc v", "zip v", "cc v", "xshell v"] {
        assert!(tuner.iter().any(|one| one.starts_with(name)), "{name} is not in {tuner:#?}");
    }
}

/// Crates of a published program state what they are, and ask for no later compiler than the
/// facade.
#[test]
fn what_ships_needs_an_old_compiler() {
    for package in members() {
        let name = text(&package, "name");
        assert_eq!(text(&package, "rust_version"), "1.89", "{name}");
        if package["publish"].is_array() {
            continue;
        }
        for field in ["description", "license", "readme"] {
            assert!(!text(&package, field).is_empty(), "{name} has no {field}");
        }
        let docs = &package["metadata"]["docs"]["rs"]["all-features"];
        assert_eq!(*docs, Value::Bool(true), "{name}: docs.rs builds with all features");
    }
}
