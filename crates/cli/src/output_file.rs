//! Files that results go to beside the terminal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

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
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let path = printable_path(&self.path);
        fs::write(&self.path, text)
            .map_err(|error| Failure::failed(format!("cannot write {path}: {error}")))?;
        output::status("Wrote", path);
        Ok(())
    }
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
            // Somebody else has made it meanwhile.
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

    #[test]
    #[cfg(target_os = "linux")]
    fn f13_devices_are_not_touched() {
        for path in ["/dev/null", "/dev/full"] {
            OutputFile::checked("--json", Path::new(path)).unwrap();
        }
        let full = OutputFile::checked("--json", Path::new("/dev/full")).unwrap();
        assert_eq!(full.write("text").unwrap_err().exit, Exit::Failure);
    }
}
