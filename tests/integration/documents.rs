//! Documents and comments: links that lead somewhere, and lines that fit a page.

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown file that people read, below some folders and at the top.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![repository(), repository().join("docs")];
    let mut found = Vec::new();
    let top = folders[0].clone();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && folder != top {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    for folder in ["crates", "examples"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            found.extend(
                Some(entry.unwrap().path().join("README.md")).filter(|path| path.is_file()),
            );
        }
    }
    found.sort();
    assert!(found.len() > 30, "{found:?}");
    found
}

/// The targets of links, without those into the web and within the page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default());
    files.filter(|file| !file.is_empty() && !file.contains("://"))
}

#[test]
fn links_lead_to_files() {
    assert_eq!(links("[a](b.md#c) [d](https://e) [f](#g) ![h](i/j.png)").count(), 2);
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let folder = document.parent().unwrap();
        // What stands between fences is no link.
        let prose: String = text.split("```").step_by(2).collect();
        for link in links(&prose).filter(|link| !folder.join(link).exists()) {
            broken.push(format!("{}: {link}", document.display()));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn lines_of_the_journal_and_the_readme_fit_a_page() {
    let journal = repository().join("docs/journal");
    for document in documents().into_iter().filter(|path| path.starts_with(&journal)) {
        let text = fs::read_to_string(&document).unwrap();
        let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 120).collect();
        assert!(long.is_empty(), "{}: {long:#?}", document.display());
    }
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 120);
}

/// Every file and folder below those that hold sources, with its path from the top.
fn paths() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let tops = [".ci", ".github", "caches", "crates", "docs", "examples", "kernels", "tests"];
    let mut folders: Vec<PathBuf> = tops.map(PathBuf::from).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(repository().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() && path.file_name().unwrap() != "target" {
                folders.push(path.clone());
            }
            found.push(path);
        }
        found.push(folder);
    }
    found
}

/// What prose names by a path, whole or from a folder on that the sentence is about.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split('`').skip(1).step_by(2);
    names.filter(|name| {
        let is_path = name.contains('/')
            || [".rs", ".cu", ".cuh", ".md"].iter().any(|end| name.ends_with(end) && name != end);
        is_path && !name.contains(['<', '*', ' ', ':'])
    })
}

#[test]
fn files_that_architecture_names_are_there() {
    let found: Vec<&str> = named_paths("`a/b.rs`, `c.cu`, `.cu`, `d <e>/f`, `g`").collect();
    assert_eq!(found, ["a/b.rs", "c.cu"]);
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let paths = paths();
    let is_there =
        |name: &&str| paths.iter().any(|path| path.ends_with(name.trim_end_matches('/')));
    let missing: Vec<&str> = named_paths(&text).filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named_paths(&text).count() > 100);
}

#[test]
fn comments_end_within_a_hundred_columns() {
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|end| ["rs", "cu", "cuh"].iter().any(|one| end == *one))
    };
    let sources: Vec<PathBuf> = paths().into_iter().filter(is_source).collect();
    assert!(sources.len() > 500, "{}", sources.len());
    let mut long = Vec::new();
    for source in sources {
        let text = fs::read_to_string(repository().join(&source)).unwrap();
        let is_long = |line: &str| {
            // A declaration is data, a line each.
            let text = line.trim_start();
            let is_comment = text.starts_with("//") && !text.starts_with("// expected:");
            is_comment && line.chars().count() > 100
        };
        for (number, _) in text.lines().enumerate().filter(|(_, line)| is_long(line)) {
            long.push(format!("{}:{}", source.display(), number + 1));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}
