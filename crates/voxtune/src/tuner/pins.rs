//! Algorithms pinned by variables and by a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use voxtune_types::mode::{AlgoModes, MalformedAlgoModeVariable, MalformedAlgoModes};
use voxtune_types::text::without_mark;

use crate::folder::{Untrusted, check_file, check_folder};

/// The file in the user's folder that pins algorithms, one line a direction: `forward = mask_gemm`.
pub(super) const MODES_FILE: &str = "algo-modes";

/// A restriction of algorithms that cannot be understood. Passing it over would run what the user
/// wanted excluded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// A variable whose value is no mode.
    #[error(transparent)]
    Variable(#[from] MalformedAlgoModeVariable),
    /// A file with a line that is none.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: MalformedAlgoModes,
    },
    /// A file that is there and cannot be read.
    #[error("{}: cannot read it: {detail}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

/// The modes that the `WARPCONVNET_*_ALGO_MODE` variables name, over those of the file `algo-modes`
/// in this folder, the user's: what [`Tuner::global`](crate::Tuner::global) obeys.
///
/// # Errors
/// If a variable holds no mode, or the file is malformed or cannot be read.
pub fn modes_of_process(folder: Option<&Path>) -> Result<AlgoModes, PinError> {
    let of_file = folder.map_or_else(
        || Ok(AlgoModes::default()),
        |folder| {
            let path = folder.join(MODES_FILE);
            match is_users(folder, &path) {
                Ok(()) => read_modes(&path),
                Err(error) => {
                    tracing::warn!(%error, "a file of algorithm modes is left out");
                    Ok(AlgoModes::default())
                }
            }
        },
    )?;
    // What is not Unicode is no mode either: it is to be refused, not passed over.
    let variable = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    Ok(of_file.overridden_by(variable)?)
}

/// Whether only this user can have written the file: who can write to its folder can put another in
/// its place. A file that is not there counts as the user's.
fn is_users(folder: &Path, file: &Path) -> Result<(), Untrusted> {
    if fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    check_folder(folder)?;
    check_file(file)
}

/// The modes that a file pins: lines such as `forward = mask_gemm` or `wgrad = [a,b]`, and comments
/// after `#`, in any encoding. A file that does not exist pins nothing. Nor does one in a folder
/// that cannot be looked into, such as another user's home: that is a warning in the log.
///
/// # Errors
/// If the file is there and cannot be read, or a line is none.
pub fn read_modes(path: &Path) -> Result<AlgoModes, PinError> {
    let is_there = |path: &Path| fs::symlink_metadata(path).map(drop);
    modes_of(path, voxtune_files::read, is_there)
}

fn modes_of(
    path: &Path,
    read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
    is_there: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<AlgoModes, PinError> {
    let unreadable = |detail: String| PinError::Unreadable { path: path.to_owned(), detail };
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AlgoModes::default()),
        Err(error) => {
            // Where the way to the file is barred, it cannot be meant to pin anything here.
            if let Err(barred) = is_there(path) {
                let path = path.display();
                tracing::warn!(%path, error = %barred, "algorithm modes are not looked for");
                return Ok(AlgoModes::default());
            }
            return Err(unreadable(error.to_string()));
        }
    };
    let text = without_mark(&bytes).map_err(|error| unreadable(error.to_string()))?;
    AlgoModes::parse(text).map_err(|source| PinError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use rustix::fs::{CWD, FileType, Mode};
    #[cfg(unix)]
    use rustix::io::Errno;
    use voxtune_types::Direction;

    use super::*;

    #[test]
    fn a_file_pins_directions_and_nothing_pins_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODES_FILE);
        assert_eq!(read_modes(&path), Ok(AlgoModes::default()));
        std::fs::write(&path, "# mine\nforward = [a,b]\n\nwgrad=all # why not\n").unwrap();
        let modes = read_modes(&path).unwrap();
        let found = Direction::ALL.map(|direction| modes.of(direction).to_string());
        assert_eq!(found, ["[a,b]", "auto", "all"]);
        std::fs::write(&path, "forward = a\nsideways = b\n").unwrap();
        let error = read_modes(&path).unwrap_err().to_string();
        assert!(error.contains("algo-modes") && error.contains("line 2"), "{error}");
    }

    fn read(bytes: &[u8]) -> Result<[String; 3], String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODES_FILE);
        std::fs::write(&path, bytes).unwrap();
        let modes = read_modes(&path).map_err(|error| error.to_string())?;
        Ok(Direction::ALL.map(|direction| modes.of(direction).to_string()))
    }

    #[test]
    fn f10_a_comment_may_be_in_any_encoding() {
        let expected = Ok(["[a,b]", "auto", "all"].map(str::to_owned));
        let file = b"# caf\xe9 \xff\x00\r\x80\nforward = [a,b] # \xe9t\xe9\nwgrad=all\n";
        assert_eq!(read(file), expected);
        let error = read(b"forward = caf\xe9\n").unwrap_err();
        assert!(error.contains("line 1") && error.contains("expected a direction"), "{error}");
    }

    #[test]
    fn f11_marks_and_line_ends_of_any_editor_are_read() {
        let expected = Ok(["[a,b]", "auto", "all"].map(str::to_owned));
        for end in ["\n", "\r\n", "\r"] {
            for mark in ["", "\u{feff}"] {
                let text = format!("{mark}forward = [a,b]{end}# mine{end}wgrad=all");
                assert_eq!(read(text.as_bytes()), expected, "{text:?}");
            }
        }
        let units = "\u{feff}forward = a".encode_utf16();
        let error = read(&units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap_err();
        assert!(error.contains("UTF-16") && error.contains("algo-modes"), "{error}");
    }

    /// Homes without an owner, of another user, on a disk that is not there, and what is no folder
    /// at all.
    #[test]
    #[cfg(unix)]
    fn f02_a_folder_that_cannot_be_entered_pins_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let too_long = "n".repeat(300);
        for name in ["missing", "file", "loop", "file/below", &too_long] {
            let path = at(name).join(MODES_FILE);
            assert_eq!(read_modes(&path), Ok(AlgoModes::default()), "{name}");
            assert_eq!(modes_of_process(Some(&at(name))), Ok(AlgoModes::default()), "{name}");
        }
        // What the superuser's tests cannot provoke.
        for errno in [Errno::ACCESS, Errno::IO, Errno::STALE, Errno::NOTCONN] {
            let barred = |_: &Path| Err(errno.into());
            let found = modes_of(&at(MODES_FILE), |_| Err(errno.into()), barred);
            assert_eq!(found, Ok(AlgoModes::default()), "{errno}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn f02_a_file_that_is_there_and_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODES_FILE);
        let unreadable = |found: Result<AlgoModes, PinError>| {
            assert!(matches!(&found, Err(PinError::Unreadable { .. })), "{found:?}");
        };
        std::os::unix::fs::symlink(MODES_FILE, &path).unwrap();
        unreadable(read_modes(&path));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        unreadable(read_modes(&path));
        fs::remove_dir(&path).unwrap();
        for errno in [Errno::ACCESS, Errno::IO] {
            unreadable(modes_of(&path, |_| Err(errno.into()), |_| Ok(())));
        }
    }

    #[test]
    #[cfg(unix)]
    fn f16_a_pipe_in_the_place_of_modes_is_an_error_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODES_FILE);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let error = read_modes(&path).unwrap_err().to_string();
        assert!(error.contains("algo-modes") && error.contains("a named pipe"), "{error}");
    }

    /// Who can write to a folder can put a file of the user's into it, by a link.
    #[test]
    #[cfg(unix)]
    fn f19_modes_in_a_folder_of_everybodys_do_not_count() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MODES_FILE);
        fs::write(&path, "forward = a\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for (mode, counts) in [(0o755, true), (0o777, false), (0o1777, false), (0o775, false)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let modes = modes_of_process(Some(folder.path())).unwrap();
            assert_eq!(modes != AlgoModes::default(), counts, "{mode:o}");
        }
    }
}
