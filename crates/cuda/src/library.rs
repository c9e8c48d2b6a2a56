//! Whether NVIDIA's libraries are there.

#[cfg(feature = "driver")]
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

#[cfg(feature = "driver")]
use crate::binding::driver::sys::CUDA_VERSION;

/// The driver's library, by its names on the systems that have one.
pub(crate) const DRIVER: &[&str] = &["cuda", "nvcuda"];
/// cuBLAS.
pub(crate) const CUBLAS: &[&str] = &["cublas"];

/// Whether a library can be loaded under one of these names. cudarc, which would panic where it
/// cannot, looks under these file names too. Where a program links the library, it is loaded
/// already.
#[cfg(feature = "driver")]
pub(crate) fn is_present(names: &[&str]) -> bool {
    names.iter().flat_map(|name| file_names(name)).any(|file| {
        // SAFETY: loading a library of NVIDIA's runs its initialisers and nothing else.
        unsafe { libloading::Library::new(file) }.is_ok()
    })
}

/// A program that is built without CUDA has none.
#[cfg(not(feature = "driver"))]
pub(crate) const fn is_present(_names: &[&str]) -> bool {
    false
}

/// File names of a library, of any release that cudarc loads.
#[cfg(feature = "driver")]
fn file_names(name: &str) -> Vec<String> {
    let major = CUDA_VERSION / 1000;
    let plain = format!("{DLL_PREFIX}{name}{DLL_SUFFIX}");
    let windows = [major, 12, 11].map(|major| format!("{DLL_PREFIX}{name}64_{major}{DLL_SUFFIX}"));
    let unix = [major, 12, 11, 1].map(|release| format!("{plain}.{release}"));
    std::iter::once(plain)
        .chain(if cfg!(windows) { windows.to_vec() } else { unix.to_vec() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_nobody_has_is_not_there() {
        assert!(!is_present(&["voxtune_of_nobody"]));
    }

    /// What is found here and not by cudarc would be a panic of its later.
    #[cfg(feature = "driver")]
    #[test]
    fn the_names_are_among_those_of_cudarc() {
        for name in DRIVER.iter().chain(CUBLAS) {
            let theirs = cudarc::get_lib_name_candidates(name);
            for file in file_names(name) {
                assert!(theirs.contains(&file), "{file} is not one of {theirs:?}");
            }
        }
    }
}
