//! Algorithms pinned by variables and by a file.

use std::io;
use std::path::{Path, PathBuf};

use voxtune_types::mode::{AlgoModes, MalformedAlgoModeVariable, MalformedAlgoModes};
use voxtune_types::text::without_mark;

use crate::trust::check_file;

/// The file in the user's folder that pins algorithms, one line a direction: `forward = mask_gemm`.
pub(super) const MODES_FILE: &str = "algo-modes";

/// A restriction of algorithms that cannot be understood. Passing it over would run what somebody
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

/// The modes that the `WARPCONVNET_*_ALGO_MODE` variables name, over those of the file `algo-modes` in this
/// folder, the user's: what [`Tuner::global`](crate::Tuner::global) obeys.
///
/// # Errors
/// If a variable holds no mode, or the file is malformed or cannot be read.
pub fn modes_of_process(folder: Option<&Path>) -> Result<AlgoModes, PinError> {
    let of_file = folder.map_or_else(
        || Ok(AlgoModes::default()),
        |folder| {
            let path = folder.join(MODES_FILE);
            match check_file(&path) {
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

/// The modes that a file pins: lines such as `forward = mask_gemm` or `wgrad = [a,b]`, and comments
/// after `#`, in any encoding. A file that does not exist pins nothing.
///
/// # Errors
/// If the file cannot be read, or a line is none.
pub fn read_modes(path: &Path) -> Result<AlgoModes, PinError> {
    let unreadable = |detail: String| PinError::Unreadable { path: path.to_owned(), detail };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AlgoModes::default()),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let text = without_mark(&bytes).map_err(|error| unreadable(error.to_string()))?;
    AlgoModes::parse(text).map_err(|source| PinError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
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
}
