//! Whether the sources that are compiled are those that the runtime knows the hashes of.

use std::sync::OnceLock;

use voxtune_cuda::{CudaError, Result, hash_of_files, source_hash_of};
use voxtune_kernels::SOURCES;

/// Code compiled from other sources than the runtime's hashes name would be taken for today's, and
/// a stale file for fresh.
///
/// # Errors
/// [`CudaError::OtherSources`] with the first source that differs.
pub(crate) fn check_sources() -> Result<()> {
    static DIFFERS: OnceLock<Option<&'static str>> = OnceLock::new();
    let differs = DIFFERS.get_or_init(|| {
        let files = || SOURCES.iter().map(|file| (file.name, file.text));
        let mut kernels = SOURCES.iter().map(|file| file.name).filter(|name| name.ends_with(".cu"));
        kernels.find(|name| source_hash_of(name) != Some(hash_of_files(files(), name)))
    });
    differs.map_or(Ok(()), |file| Err(CudaError::OtherSources { file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_those_of_the_runtime() {
        check_sources().unwrap();
    }
}
