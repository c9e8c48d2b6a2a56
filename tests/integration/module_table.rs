//! Which modules of a crate import which: few, by levels, without cycles.
//!
//! The imports are read from the sources, test code left out. A dependency is counted once for each
//! pair of modules, whatever the number of items.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The modules of the tuner's crate, the lowest first: each may import those before it.
const TUNE_LEVELS: [&str; 8] =
    ["inputs", "plan", "verify", "race", "evidence", "measure", "worker", "run"];

/// Most modules at the top of the tuner's crate.
const TUNE_MODULES: usize = 12;

/// Crates whose modules still have cycles, with how many.
const CYCLES: [(&str, usize); 1] = [("voxtune", 1)];

/// A module by its path inside the crate, `["race", "policy"]`; the crate itself is the empty one.
type Module = Vec<String>;

/// What each module imports.
type Dependencies = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn the_tuner_has_levels() {
    let files = dependencies(&sources(&crates().join("tune/src")));
    let top = at_top(&files);
    let level = |module: &Module| TUNE_LEVELS.iter().position(|one| module[0] == *one);
    let edges = top.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let upwards: Vec<_> = edges.clone().filter(|(from, to)| level(from) < level(to)).collect();
    let (modules, all) = (top.len(), edges.count());
    println!("tune: {modules} modules, {all} dependencies, {} upwards", upwards.len());
    let without_level: Vec<_> = top.keys().filter(|module| level(module).is_none()).collect();
    assert!(without_level.is_empty(), "give these a place in TUNE_LEVELS: {without_level:?}");
    assert!(modules <= TUNE_MODULES, "{modules} modules, expected at most {TUNE_MODULES}");
    assert!(upwards.is_empty(), "dependencies upwards: {upwards:?}");
    let found = cycles(&files);
    assert!(found.is_empty(), "cycles among the files of folders: {found:?}");
}

#[test]
fn crates_have_no_new_cycles() {
    for entry in crates().read_dir().unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let found = cycles(&at_top(&dependencies(&sources(&folder.join("src")))));
        let most = CYCLES.iter().find(|(one, _)| *one == name).map_or(0, |(_, most)| *most);
        assert!(found.len() <= most, "{name}: expected at most {most} cycles, found {found:?}");
    }
}

#[test]
fn imports_are_found() {
    let lib = "mod a;\nmod b;\nmod c;\npub use c::d::{Name, Other};\n";
    let a = "use crate::b::{self, one::Two};\nuse std::fmt;\nuse super::Name;\n// crate::c::no\n\
             #[cfg(test)]\nmod tests {\n    use crate::c;\n}\nfn f() { crate::c::d::g() }\n";
    let deep =
        "use super::super::a::A;\nuse super::Sibling;\nuse crate::{\n    b,\n    c::e,\n};\n";
    let sources = [("", lib), ("a", a), ("b", ""), ("c", "mod d;\n"), ("c/d", deep), ("c/e", "")]
        .map(|(path, text)| (module(path), text.to_owned()));
    let found = dependencies(&sources.into_iter().collect());
    let of = |path: &str| found[&module(path)].iter().map(|one| one.join("/")).collect::<Vec<_>>();
    assert_eq!(of("a"), ["b", "c/d"]);
    assert_eq!(of("c/d"), ["a", "b", "c/e"]);
    let top = at_top(&found);
    assert_eq!(top[&module("c")], [module("a"), module("b")].into());
}

#[test]
fn cycles_are_found() {
    let edges =
        [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("f", "g"), ("g", "f")];
    let mut graph = Dependencies::new();
    for (from, to) in edges {
        graph.entry(module(from)).or_default().insert(module(to));
    }
    let found: Vec<String> = cycles(&graph).iter().map(|one| one.concat().concat()).collect();
    assert_eq!(found, ["abc", "fg"]);
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn module(path: &str) -> Module {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The text of every module below a source folder, without test code.
fn sources(folder: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), Module::new())];
    while let Some((folder, parent)) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut module = parent.clone();
            if path.is_dir() {
                module.push(stem);
                folders.push((path, module));
            } else if path.extension().is_some_and(|ext| ext == "rs") && stem != "tests" {
                if !["mod", "lib", "main"].contains(&stem.as_str()) {
                    module.push(stem);
                }
                found.insert(module, read_to_string(path).unwrap());
            }
        }
    }
    let root = found.get(&Module::new()).cloned().unwrap_or_default();
    found.retain(|module, _| module.first().is_none_or(|top| !is_for_tests(&root, top)));
    found
}

/// Whether a crate has this module for tests alone.
fn is_for_tests(root: &str, top: &str) -> bool {
    let declaration = format!("mod {top};");
    root.contains(&declaration) && !without_tests(root).contains(&declaration)
}

/// The lines of a source that are neither comment nor test code, which stands at the left margin.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if ["test", "all(test", "any(test"]
            .iter()
            .any(|on| line.starts_with(&format!("#[cfg({on}")))
        {
            let is_last =
                |line: &&str| *line == "}" || line.ends_with(';') && !line.starts_with(' ');
            lines.find(is_last);
            continue;
        }
        kept.push_str(line.split("//").next().unwrap_or_default());
        kept.push('\n');
    }
    kept
}

/// What each module imports of its crate. Items that the crate exports at its top are of the module
/// that they come from; a module and those inside it are one.
fn dependencies(sources: &BTreeMap<Module, String>) -> Dependencies {
    let root = sources.get(&Module::new()).map(|text| without_tests(text)).unwrap_or_default();
    let mut exports = BTreeMap::new();
    for (at, _) in root.match_indices("pub use ") {
        let statement = &root[at + "pub use ".len()..];
        let statement = statement.split(';').next().unwrap_or_default();
        for path in paths(statement.trim_start_matches("crate::")) {
            exports.insert(path.last().cloned().unwrap_or_default(), path);
        }
    }
    let resolve = |path: &[String]| -> Module {
        let path = path.first().and_then(|name| exports.get(name)).map_or(path, Vec::as_slice);
        let known = (0..=path.len()).rev().find(|&len| sources.contains_key(&path[..len]));
        path[..known.unwrap_or(0)].to_vec()
    };
    let mut found = Dependencies::new();
    for (module, text) in sources.iter().filter(|(module, _)| !module.is_empty()) {
        let imports = imports(module, &without_tests(text));
        let others = imports.iter().map(|path| resolve(path)).filter(|other| {
            !other.is_empty() && !other.starts_with(module) && !module.starts_with(other)
        });
        found.insert(module.clone(), others.collect());
    }
    found
}

/// The paths that a module names from the top of its crate.
fn imports(module: &Module, text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        found.extend(paths(&text[at + "crate::".len()..]));
    }
    for (at, _) in text.match_indices("super::") {
        if text[..at].ends_with("super::") {
            continue;
        }
        let rest = text[at..].trim_start_matches("super::");
        let supers = (text.len() - at - rest.len()) / "super::".len();
        let base = &module[..module.len().saturating_sub(supers)];
        found.extend(paths(rest).into_iter().map(|path| [base, &path].concat()));
    }
    found
}

/// The paths of `a::{b, c::d}`, which ends where no path goes on.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('{') {
        return branches(inner).into_iter().flat_map(paths).collect();
    }
    let len = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(len);
    let own = || vec![vec![name.to_owned()]];
    match rest.strip_prefix("::") {
        _ if name.is_empty() || name == "self" => vec![Vec::new()],
        None => own(),
        Some(rest) => {
            let with_name = |path: Vec<String>| [vec![name.to_owned()], path].concat();
            paths(rest).into_iter().map(with_name).collect()
        }
    }
}

/// What stands between the commas of a list whose opening brace is before the text.
fn branches(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_usize, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// The same between the modules at the top of the crate.
fn at_top(files: &Dependencies) -> Dependencies {
    let mut found = Dependencies::new();
    for (from, to) in files {
        let others = found.entry(from[..1].to_vec()).or_default();
        others.extend(to.iter().filter(|to| to[0] != from[0]).map(|to| to[..1].to_vec()));
    }
    found
}

/// The largest sets of modules each of which imports, by others, all others of the set.
fn cycles(graph: &Dependencies) -> Vec<Vec<Module>> {
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            let others = graph.get(module).into_iter().flatten();
            next.extend(others.filter(|other| seen.insert((*other).clone())));
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        graph.keys().map(|from| (from, reached(from))).collect();
    let mut found = BTreeSet::new();
    for (from, to) in &reached {
        if to.contains(*from) {
            let back = |other: &&Module| reached.get(other).is_some_and(|to| to.contains(*from));
            found.insert(to.iter().filter(back).cloned().collect::<Vec<Module>>());
        }
    }
    found.into_iter().collect()
}
