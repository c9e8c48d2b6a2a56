//! Names out of files and from callers, made safe to print.
//!
//! Files, devices and clouds may be called anything. An escape sequence in a name would steer the
//! terminal, and an end of line would forge a line of its own. JSON has escapes of its own and
//! takes names as they are.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// A text with visible escapes in the place of what steers a terminal: `\n`, `\u{1b}`.
///
/// Escapes are for reading and cannot be undone, since a backslash stays as it is.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers_a_terminal) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if steers_a_terminal(char) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", char.escape_default());
        } else {
            safe.push(char);
        }
    }
    Cow::Owned(safe)
}

/// A path as [`printable`] text. Bytes that are not Unicode become U+FFFD.
#[must_use]
pub fn printable_path(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Whether a character ends a line, begins an escape sequence or turns the direction of writing
/// round.
#[must_use]
pub fn steers_a_terminal(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f19_names_cannot_steer_a_terminal() {
        let forged = printable("ev\u{1b}[31mil\nforged line\t\u{7f}\u{9b}\u{202e}");
        assert_eq!(forged, r"ev\u{1b}[31mil\nforged line\t\u{7f}\u{9b}\u{202e}");
        for plain in ["", "street", r"C:\scans", "Straße 7", "e\u{301}", "点群", "👩‍🚀"] {
            assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
        assert_eq!(printable_path(Path::new("a\rb.npy")), r"a\rb.npy");
    }

    #[test]
    fn f19_nothing_printable_steers() {
        for char in '\0'..=char::MAX {
            let text = format!("{char}a{char}");
            let safe = printable(&text);
            assert!(!safe.contains(steers_a_terminal), "{safe}");
            assert_eq!(safe == text, !steers_a_terminal(char));
            assert_eq!(printable(&safe), safe);
        }
    }
}
