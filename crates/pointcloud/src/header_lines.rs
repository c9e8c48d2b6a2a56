//! Lines of a header that data follow, whatever program wrote them.

use voxtune_types::text::without_mark;

use crate::CloudError;
use crate::error::InFile;

/// The lines of a header, without their ends.
///
/// An end is LF, with a CR before it or without. Where the header has no LF, as Turk wrote PLY
/// files, it is a CR alone. Data start at the very next byte, whatever that looks like.
pub(crate) struct HeaderLines<'a> {
    rest: &'a [u8],
    end: u8,
}

impl<'a> HeaderLines<'a> {
    /// The magic is a line of its own and tells how lines end.
    pub(crate) fn of_ply(file: InFile<'_>, bytes: &'a [u8]) -> Result<Self, CloudError> {
        let rest = text(file, bytes)?;
        let is_cr = rest.starts_with(b"ply\r") && !rest.starts_with(b"ply\r\n");
        Ok(Self { rest, end: if is_cr { b'\r' } else { b'\n' } })
    }

    /// The line `DATA` tells how lines end: a comment before it may hold a stray CR.
    pub(crate) fn of_pcd(file: InFile<'_>, bytes: &'a [u8]) -> Result<Self, CloudError> {
        let rest = text(file, bytes)?;
        let data = rest.windows(6).position(|bytes| {
            matches!(bytes, [b'\n' | b'\r', b'D', b'A', b'T', b'A', b' ' | b'\t'])
        });
        let is_cr = data.is_some_and(|start| rest[start] == b'\r');
        Ok(Self { rest, end: if is_cr { b'\r' } else { b'\n' } })
    }

    /// What follows the lines taken so far.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for HeaderLines<'a> {
    type Item = &'a [u8];

    /// The next line; `None` where no line ends.
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|&byte| byte == self.end)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn text<'a>(file: InFile<'_>, bytes: &'a [u8]) -> Result<&'a [u8], CloudError> {
    without_mark(bytes).map_err(|_| file.utf16())
}
