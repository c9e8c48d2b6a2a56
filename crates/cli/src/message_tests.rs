//! Every flag that a message names is one that the reader can type.
//!
//! Messages are the string literals of the sources. A flag belongs to the command that stands
//! before it in the same literal, or else to the command whose source the literal is in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::Cli;

/// A string literal that is no test's, and where it begins.
struct Literal {
    line: usize,
    text: String,
}

/// The literals of a source up to its tests, with escapes resolved as far as they matter here.
fn literals(source: &str) -> Vec<Literal> {
    let code = source.split("mod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut chars = code.chars().peekable();
    let mut line = 1;
    let mut before = [' '; 2];
    while let Some(char) = chars.next() {
        match char {
            '/' if chars.peek() == Some(&'/') => {
                while chars.next_if(|&next| next != '\n').is_some() {}
            }
            '\'' if before[1] != '&' => {
                // A character, or a lifetime, which has no end.
                let is_escape = chars.next_if_eq(&'\\').is_some();
                if is_escape || chars.peek() == Some(&'"') {
                    chars.next();
                }
            }
            '"' => {
                let is_raw = before[1] == '#' || before[1] == 'r';
                let (start, mut text) = (line, String::new());
                while let Some(char) = chars.next() {
                    match char {
                        '"' if before[1] != '#' || chars.peek() == Some(&'#') => break,
                        '\\' if !is_raw => match chars.next() {
                            Some('\n') => {
                                line += 1;
                                while chars.next_if(|next| matches!(next, ' ' | '\t')).is_some() {}
                            }
                            Some(escaped) => text.push(escaped),
                            None => {}
                        },
                        other => {
                            line += usize::from(other == '\n');
                            text.push(other);
                        }
                    }
                }
                found.push(Literal { line: start, text });
            }
            '\n' => line += 1,
            _ => {}
        }
        before = [before[1], char];
    }
    found
}

/// The flags of a text, without `--`, each with the words before it. Those words begin where a
/// command may: at the start of the text or of a span of code.
fn flags(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    for (place, _) in text.match_indices("--") {
        let is_start =
            text[..place].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '-');
        let rest = &text[place + 2..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
        let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('-');
        if is_start && name.len() > 1 {
            let before = &text[..place];
            let is_code = before.matches('`').count() % 2 == 1;
            let from = if is_code { before.rfind('`').map_or(0, |tick| tick + 1) } else { 0 };
            found.push((name, before[from..].to_owned()));
        }
    }
    found
}

/// The command that the words before a flag begin with, `voxtune` or `cargo xtask` left out.
fn named<'c>(before: &str, commands: &[&'c str]) -> Option<&'c str> {
    let words = before.split_whitespace().skip_while(|word| {
        matches!(*word, "voxtune" | "cargo" | "xtask" | "--" | "{}" | "{program}")
    });
    let first = words.into_iter().next()?;
    commands.iter().copied().find(|command| *command == first)
}

/// The sources of the crates whose messages a user of the command line reads.
fn sources() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["analyze", "bench", "cache", "cli", "cuda", "pack", "tune", "types", "voxtune"]
            .map(|name| crates.join(name).join("src"))
            .into();
    while let Some(folder) = folders.pop() {
        // A package has its own sources alone.
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = file.path();
            let is_test =
                path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|one| one == "rs") && !is_test {
                sources.push(path);
            }
        }
    }
    sources
}

#[test]
fn messages_name_flags_that_exist() {
    let command = Cli::command();
    let of = |name: &str| -> BTreeSet<String> {
        let known = command.find_subcommand(name);
        let arguments = known.into_iter().flat_map(clap::Command::get_arguments);
        let longs = arguments.chain(command.get_arguments()).filter_map(|one| one.get_long());
        longs.map(str::to_owned).chain(["help".to_owned()]).collect()
    };
    let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let all: BTreeSet<String> = commands.iter().flat_map(|name| of(name)).collect();
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("cli").join("src");
    let mut checked = 0;
    for path in sources() {
        let inside = path.strip_prefix(&cli).ok();
        // `regret` takes flags of populate behind `--`, too.
        let own = inside.and_then(|inside| inside.iter().next()).and_then(|first| {
            let name = first.to_str()?.trim_end_matches(".rs").replace('_', "-");
            commands.iter().copied().find(|command| *command == name)
        });
        let own_flags = own.map(|own| match own {
            "regret" => of("regret").union(&of("populate")).cloned().collect(),
            own => of(own),
        });
        let source = fs::read_to_string(&path).unwrap();
        for Literal { line, text } in literals(&source) {
            for (flag, before) in flags(&text) {
                let allowed = match named(&before, &commands) {
                    Some(command) => of(command),
                    // What a library says of other programs is none of ours.
                    None if inside.is_none() => continue,
                    None => own_flags.clone().unwrap_or_else(|| all.clone()),
                };
                let place = path.display();
                assert!(allowed.contains(flag), "{place}:{line}: there is no --{flag}: {text}");
                checked += 1;
            }
        }
    }
    // A package has the sources of one crate.
    assert!(checked > 30, "{checked}");
}

#[test]
fn literals_and_flags_are_found() {
    let source = r##"
        // "--comment"
        let a = '"'; let b: &'static str = "one --flag-a, \
            and `voxtune merge A --out B`"; let c = r#"raw --x "quoted" --flag-b"#;
        #[cfg(test)]
        mod tests { const D: &str = "--test"; }
    "##;
    let found: Vec<(usize, String)> =
        literals(source).into_iter().map(|one| (one.line, one.text)).collect();
    let joined = "one --flag-a, and `voxtune merge A --out B`".to_owned();
    assert_eq!(found, [(3, joined.clone()), (4, "raw --x \"quoted\" --flag-b".to_owned())]);
    let names = |text| flags(text).into_iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&joined), ["flag-a", "out"]);
    assert_eq!(names("a--b, ---, -- --gpus all"), ["gpus"]);
    let before: Vec<String> = flags(&joined).into_iter().map(|(_, before)| before).collect();
    assert_eq!(
        before.iter().map(|one| named(one, &["merge"])).collect::<Vec<_>>(),
        [None, Some("merge")]
    );
}
