//! Files that results go to beside the terminal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use voxtune_cache::CacheError;
use voxtune_types::printable_path;

use crate::exit::Failure;
use crate::output;

/// A file that can be written, as far as that can be said before there is something to write.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
}

impl OutputFile {
    /// Looks whether the file that a flag names can be written, and leaves it as it is.
    pub(crate) fn checked(flag: &str, path: &Path) -> Result<Self, Failure> {
        let refused = |error| {
            let path = printable_path(path);
            let why = "expected a file that can be written, in a folder that exists";
            Failure::usage(format!("{flag} {path}: {why}: {error}"))
        };
        try_to_write(path).map_err(refused)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Writes the file and says so.
    pub(crate) fn write(&self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        let path = printable_path(&self.path);
        write_whole(&self.path, text.as_ref())
            .map_err(|error| Failure::failed(format!("cannot write {path}: {error}")))?;
        output::status("Wrote", path);
        Ok(())
    }
}

/// Replaces a file in one step, so that a full disk costs neither the report that was there nor a
/// half of this one.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let found = match fs::metadata(path) {
        // A device or a pipe is written to, and so is what a link will lead to.
        Ok(found) if !found.is_file() => return fs::write(path, bytes),
        Err(_) if path.is_symlink() => return fs::write(path, bytes),
        found => found.ok(),
    };
    match voxtune_cache::replace(path, bytes) {
        Ok(()) => found.map_or(Ok(()), |found| fs::set_permissions(path, found.permissions())),
        // The file may be written and its folder may not, or it is a mount of its own.
        Err(CacheError::Io { source, .. }) if is_of_the_folder(&source) => fs::write(path, bytes),
        Err(CacheError::Io { source, .. }) => Err(source),
        Err(other) => Err(io::Error::other(other)),
    }
}

fn is_of_the_folder(error: &io::Error) -> bool {
    use ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    [PermissionDenied, ReadOnlyFilesystem, ResourceBusy].contains(&error.kind())
}

fn try_to_write(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        // Opening a pipe would wait for its reader, and closing it end the reader's input.
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) => OpenOptions::new().write(true).open(path).map(drop),
        // A link to what is not there yet: writing makes it.
        Err(_) if path.is_symlink() => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match File::create_new(path) {
            Ok(_) => fs::remove_file(path),
            // Another process has made it meanwhile.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn f13_a_place_that_cannot_be_written_is_refused_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        fs::write(inside("held.json"), "held").unwrap();
        for path in [inside("report.json"), inside("held.json")] {
            OutputFile::checked("--json", &path).unwrap();
        }
        assert_eq!(fs::read_to_string(inside("held.json")).unwrap(), "held");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        let long = inside(&"x".repeat(300));
        let inside_a_file = inside("held.json").join("report.json");
        for path in [folder.path(), &inside("no such folder/report.json"), &long, &inside_a_file] {
            let failure = OutputFile::checked("--svg", path).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{}", failure.message);
            assert!(failure.message.starts_with("--svg "), "{}", failure.message);
        }
    }

    /// A link or a second name of the old file shows whether it was written over.
    #[test]
    #[cfg(unix)]
    fn f13_a_report_takes_the_place_of_another_in_one_step() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| {
            OutputFile::checked("--json", &inside(name)).unwrap().write(text).unwrap();
        };
        write("report", "old");
        fs::hard_link(inside("report"), inside("kept")).unwrap();
        fs::set_permissions(inside("report"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("report", inside("link")).unwrap();
        symlink("later", inside("early")).unwrap();
        write("link", "new");
        write("early", "new");
        let read = |name: &str| fs::read_to_string(inside(name)).unwrap();
        assert_eq!(["kept", "report", "later"].map(read), ["old", "new", "new"]);
        assert!(inside("link").is_symlink() && inside("early").is_symlink());
        let mode = fs::metadata(inside("report")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "nothing is left behind");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn f13_devices_are_not_touched() {
        use std::os::unix::fs::FileTypeExt as _;
        let write =
            |path: &str| OutputFile::checked("--json", Path::new(path)).unwrap().write("text");
        write("/dev/null").unwrap();
        assert_eq!(write("/dev/full").unwrap_err().exit, Exit::Failure);
        for path in ["/dev/null", "/dev/full"] {
            assert!(fs::metadata(path).unwrap().file_type().is_char_device());
        }
    }
}
