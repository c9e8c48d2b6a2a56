//! Writing to stdout and stderr without dying of it.
//!
//! Whoever closes the pipe has seen enough: the work goes on in silence. Any other error, such as a
//! full disk, is a failure of the command, which is told once and ends up in the exit status.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use voxtune_cache::SetAside;

static FAILED: AtomicBool = AtomicBool::new(false);

/// Writes a line of results.
pub(crate) fn result(line: impl Display) {
    write(&mut io::stdout().lock(), &format!("{line}\n"));
}

/// Writes results that bring their own ends of line.
pub(crate) fn results(text: &str) {
    write(&mut io::stdout().lock(), text);
}

/// Writes a line of status: a verb, as cargo does, and what it is about.
pub(crate) fn status(verb: &str, text: impl Display) {
    write(&mut io::stderr().lock(), &format!("{verb:>12} {text}\n"));
}

/// Writes a complaint.
pub(crate) fn complain(kind: &str, text: impl Display) {
    write(&mut io::stderr().lock(), &format!("{kind}: {text}\n"));
}

/// Says which damaged files were moved out of the way.
pub(crate) fn set_aside(files: &[SetAside]) {
    for file in files {
        let (from, to) = (file.from.display(), file.to.display());
        complain("warning", format_args!("{from} is corrupt ({}): kept as {to}", file.reason));
    }
}

/// Whether something that was to be written is lost.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

fn write(stream: &mut impl Write, text: &str) {
    let Err(error) = stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) else {
        return;
    };
    if error.kind() != ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) {
        // If stderr is what fails, nobody is left to tell.
        let _ = writeln!(io::stderr(), "error: failed to write the output: {error}");
    }
}
