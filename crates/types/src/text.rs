//! Text that a user hands in, whatever program wrote it: byte order marks, ends of line, comments.
//!
//! Bytes that nobody reads, such as comments, may be in any encoding. So these functions work on
//! bytes, and a caller that reads a word decides whether it has to be UTF-8.

/// What some editors put before UTF-8 text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text of two bytes a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected UTF-8 text, found UTF-16: save the file as UTF-8")]
pub struct Utf16Text;

/// The text without its byte order mark.
///
/// # Errors
/// If the text is UTF-16, with a mark or without.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], Utf16Text> {
    if is_utf16(bytes) {
        return Err(Utf16Text);
    }
    Ok(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes))
}

/// Whether a text starts with a mark of UTF-16, or as ASCII characters of two bytes each.
fn is_utf16(bytes: &[u8]) -> bool {
    const FIRST: usize = 8;
    let is_ascii = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let (pairs, _) = bytes.as_chunks::<2>();
    let first = &pairs[..pairs.len().min(FIRST)];
    let little = first.iter().all(|&[low, high]| high == 0 && is_ascii(low));
    let big = first.iter().all(|&[high, low]| high == 0 && is_ascii(low));
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || first.len() > 1 && (little || big)
}

/// The lines of a text, without their ends: LF or CR LF, or CR alone where there is no LF at all.
///
/// So a stray CR in a comment does not end it.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
    let lines = bytes.split(move |&byte| byte == end);
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// What a line says before the `#` of a comment.
#[must_use]
pub fn without_comment(line: &[u8]) -> &[u8] {
    line.split(|&byte| byte == b'#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f11_marks_go_and_utf16_is_refused() {
        assert_eq!(without_mark(b"\xef\xbb\xbfa"), Ok(&b"a"[..]));
        for text in [&b""[..], b"a", b"\0", b"a\0", b"\0\0a\0", b"ply\n", b"\xef\xbb"] {
            assert_eq!(without_mark(text), Ok(text));
        }
        let text = "forward = a";
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
            for bytes in [
                units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>(),
                units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            ] {
                assert_eq!(without_mark(&bytes), Err(Utf16Text), "{bytes:?}");
            }
        }
    }

    #[test]
    fn f11_every_end_of_line_ends_a_line() {
        let read = |text: &str| -> Vec<String> {
            lines(text.as_bytes()).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
        };
        for end in ["\n", "\r\n", "\r"] {
            assert_eq!(read(&["a", "", "b#c", ""].join(end)), ["a", "", "b#c", ""], "{end:?}");
        }
        assert_eq!(read("# a\rb\nc"), ["# a\rb", "c"]);
        assert_eq!(without_comment(b"a # \xe9 # b"), b"a ");
        assert_eq!(without_comment(b"#"), b"");
    }
}
