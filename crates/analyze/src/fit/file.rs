//! The file of what was learned, beside the evidence that it was learned from.

use std::path::{Path, PathBuf};

use voxtune::Arch;
use voxtune_cache::{CacheError, read_file};
use voxtune_cuda::model::{LearnedModel, LearnedModelError};

/// Where a folder of caches has what was learned of an architecture.
#[must_use]
pub fn model_path(folder: &Path, arch: Arch) -> PathBuf {
    folder.join(format!("{arch}.model"))
}

/// A file that says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] CacheError),
    /// It is damaged, or of another version.
    #[error(transparent)]
    Damaged(#[from] LearnedModelError),
}

/// What a folder of caches says was learned of an architecture; `None` where it has no such file.
///
/// # Errors
/// If there is a file and it says nothing.
pub fn read_model(folder: &Path, arch: Arch) -> Result<Option<LearnedModel>, ModelFileError> {
    let path = model_path(folder, arch);
    let Some(bytes) = read_file(&path)? else { return Ok(None) };
    Ok(Some(LearnedModel::decode(&bytes, &path.display().to_string())?))
}

/// Whether a model was learned from other evidence than these bytes; `None` where there is none.
///
/// # Errors
/// If there is a file and it says nothing.
pub fn is_stale(path: &Path, evidence: &[u8]) -> Result<Option<bool>, ModelFileError> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let model = LearnedModel::decode(&bytes, &path.display().to_string())?;
    Ok(Some(!model.is_fitted_to(evidence)))
}
