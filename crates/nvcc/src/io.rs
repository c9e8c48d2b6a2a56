//! Errors of files, with the file.

use std::path::PathBuf;

use voxtune_cuda::{CudaError, Result};

/// Names the file on which the system failed.
pub(crate) trait IoContext<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn at(self, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| CudaError::Io { path: path.into(), source })
    }
}
