//! Algorithms pinned by variables and by a file.

use std::io;
use std::path::{Path, PathBuf};

use voxtune_types::mode::{AlgoModes, MalformedAlgoModeVariable, MalformedAlgoModes};

use super::trust::check_file;

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
/// after `#`. A file that does not exist pins nothing.
///
/// # Errors
/// If the file cannot be read, or a line is none.
pub fn read_modes(path: &Path) -> Result<AlgoModes, PinError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AlgoModes::default()),
        Err(error) => {
            return Err(PinError::Unreadable { path: path.to_owned(), detail: error.to_string() });
        }
    };
    text.parse().map_err(|source| PinError::File { path: path.to_owned(), source })
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
}
