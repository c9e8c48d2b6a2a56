//! Writing to stdout and stderr without dying of it, and without being steered by what is written.
//!
//! A reader that closes the pipe has seen enough: the work goes on in silence. Any other error,
//! such as a full disk, is a failure of the command, which is told once and ends up in the exit
//! status.
//!
//! Everything that a person reads passes through here. Names that a file or a caller chose lose
//! their escape sequences before they reach the terminal. Lines are broken to the width of the
//! page: the terminal's, `COLUMNS`, or 80 columns. Who writes a line makes names in it
//! [printable](voxtune_types::printable()) first: an end of line in a name would begin another
//! line.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;
use voxtune_cache::SetAside;
use voxtune_types::printable::steers_a_terminal;
use voxtune_types::{printable, printable_path};

use crate::exit::Failure;
use crate::page::{width_of_stderr, width_of_stdout};
use crate::styled::{Meaning, Text};

static QUIET: AtomicBool = AtomicBool::new(false);

static FAILED: AtomicBool = AtomicBool::new(false);

/// Says nothing of progress and status from now on.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether progress and status are not wanted.
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a line of results, or several.
pub(crate) fn result(line: impl Display) {
    results(&line.to_string());
}

/// Writes results that bring their own ends of line.
pub(crate) fn results(text: &str) {
    let mut all = Text::default();
    all.lines_of(text);
    print(&all);
}

/// Writes results, on a terminal in colours.
pub(crate) fn print(text: &Text) {
    let choice = AutoStream::choice(&io::stdout());
    let text = text.render(width_of_stdout(), choice != ColorChoice::Never);
    write(&mut AutoStream::new(io::stdout().lock(), choice), &text);
}

/// The same of what is said beside them.
fn print_aside(text: &Text) {
    let choice = AutoStream::choice(&io::stderr());
    let text = text.render(width_of_stderr(), choice != ColorChoice::Never);
    write(&mut AutoStream::new(io::stderr().lock(), choice), &text);
}

/// Writes results as JSON.
pub(crate) fn json(results: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(results)
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    write(&mut io::stdout().lock(), &format!("{}\n", safe_json(&text)));
    Ok(())
}

/// Writes a line of status: a verb, as cargo does, and what it is about.
pub(crate) fn status(verb: &str, text: impl Display) {
    const BEHIND_THE_VERB: usize = 13;
    if is_quiet() {
        return;
    }
    let meaning = match verb {
        "Warning" => Some(Meaning::Warning),
        "Failed" | "Lost" | "Wrong" => Some(Meaning::Error),
        _ => None,
    };
    print_aside(&labelled(&format!("{verb:>12}"), meaning, "", &text.to_string(), BEHIND_THE_VERB));
}

/// Writes a complaint.
pub(crate) fn complain(kind: &str, text: impl Display) {
    let meaning = if kind == "error" { Meaning::Error } else { Meaning::Warning };
    print_aside(&labelled(kind, Some(meaning), ":", &text.to_string(), 2));
}

/// A text behind a label. Its further lines begin with blanks: what begins at the margin is this
/// program's own.
fn labelled(label: &str, meaning: Option<Meaning>, sign: &str, text: &str, hang: usize) -> Text {
    let mut all = Text::default();
    let mut lines = text.split('\n');
    let first = all.line(hang);
    match meaning {
        Some(meaning) => first.push_as(meaning, label),
        None => first.push(label),
    };
    first.label(sign, sign.len() + 1).push(lines.next().unwrap_or_default());
    for line in lines {
        let indent = if line.is_empty() || line.starts_with(' ') { "" } else { "  " };
        all.line(4).push(indent).push(line);
    }
    all
}

/// Writes what the parser of the command line says, in its colours unless something steers the
/// terminal in it.
pub(crate) fn of_parser(error: &clap::Error) {
    let plain = error.render().to_string();
    if safe(&plain) == plain {
        // A reader that closed the pipe does not want it.
        let _ = error.print();
    } else {
        write(&mut io::stderr().lock(), &safe(&plain));
    }
}

/// Says which damaged files were moved out of the way.
pub(crate) fn set_aside(files: &[SetAside]) {
    for file in files {
        complain("warning", set_aside_line(file));
    }
}

/// Which damaged file was moved out of the way, and where it is.
pub(crate) fn set_aside_line(file: &SetAside) -> String {
    let (from, to) = (printable_path(&file.from), printable_path(&file.to));
    format!("{from} is corrupt ({}): kept as {to}", file.reason)
}

/// Whether something that was to be written is lost.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// A text whose lines and tabs stay, and in which nothing else steers a terminal.
fn safe(text: &str) -> Cow<'_, str> {
    let is_layout = |char| matches!(char, '\n' | '\t');
    if !text.contains(|char| steers_a_terminal(char) && !is_layout(char)) {
        return Cow::Borrowed(text);
    }
    text.split_inclusive(is_layout)
        .map(|piece| {
            let end = piece.chars().next_back().filter(|&char| is_layout(char));
            let inner = piece.strip_suffix(is_layout).unwrap_or(piece);
            printable(inner).into_owned()
                + end.map_or("", |end| if end == '\n' { "\n" } else { "\t" })
        })
        .collect::<String>()
        .into()
}

/// JSON whose strings have escapes for what steers a terminal and JSON itself would let pass, such
/// as the one-byte introducer of control sequences. All of it lies in strings.
fn safe_json(text: &str) -> Cow<'_, str> {
    let steers = |char| steers_a_terminal(char) && char != '\n';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escaped = |char: char| match char {
        char if steers(char) => format!("\\u{:04x}", u32::from(char)),
        char => char.to_string(),
    };
    text.chars().map(escaped).collect::<String>().into()
}

fn write(stream: &mut impl Write, text: &str) {
    let Err(error) = stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) else {
        return;
    };
    if error.kind() != ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) {
        // If stderr is what fails, there is no place left to say so.
        let _ = writeln!(io::stderr(), "error: failed to write the output: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f19_nothing_written_steers_the_terminal() {
        let text = "a\tb\n  c \u{1b}[2Jd\re\u{9b}\n";
        assert_eq!(safe(text), "a\tb\n  c \\u{1b}[2Jd\\re\\u{9b}\n");
        assert!(matches!(safe("plain\n\tlines ±\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn f19_a_message_cannot_forge_a_line_at_the_margin() {
        let text = "no/such\nerror: forged.npy: not found\n  listed\n";
        let said = labelled("error", None, ":", text, 2).render(80, false);
        assert_eq!(said, "error: no/such\n  error: forged.npy: not found\n  listed\n\n");
    }

    #[test]
    fn f19_json_keeps_names_behind_escapes() {
        let name = "ev\u{1b}[31mil\n\u{7f}\u{9b}\u{202e}";
        let json = serde_json::to_string_pretty(&[name]).unwrap();
        let safe = safe_json(&json);
        assert!(!safe.contains(|char| steers_a_terminal(char) && char != '\n'), "{safe}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [name]);
    }
}
