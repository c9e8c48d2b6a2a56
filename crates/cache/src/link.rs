//! Cache files that are links to others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a file lies that may be a link: the last target of a link, else the path itself, whether
/// or not anything is there.
///
/// # Errors
/// If a link leads nowhere or in a circle, or the way to its target cannot be followed.
pub(crate) fn target(path: &Path) -> io::Result<PathBuf> {
    if !is_link(path) {
        return Ok(path.to_owned());
    }
    fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => leads_nowhere(path),
        kind => io::Error::new(kind, format!("cannot follow the link: {error}")),
    })
}

/// The error of a link whose target is not there. A file that is missing may be made, but the
/// target of a link may lie on a disk that is not mounted now.
pub(crate) fn leads_nowhere(path: &Path) -> io::Error {
    let to = fs::read_link(path).unwrap_or_default();
    let why = format!("it is a link to {}, which is not there: remove the link", to.display());
    io::Error::new(io::ErrorKind::NotFound, why)
}

pub(crate) fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}
