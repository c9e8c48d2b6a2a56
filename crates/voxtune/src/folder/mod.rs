//! Where a user's own caches live, and whether they count.

mod trust;

use std::ffi::OsString;
use std::path::PathBuf;

pub use trust::Untrusted;
pub(crate) use trust::{check_file, check_folder};

/// Neither the variables nor a home folder say where caches live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no folder for caches: set VOXTUNE_CACHE_DIR, or HOME to an absolute path")]
pub struct NoUserFolder;

/// The variables that name the folder itself, the first that is set.
pub const FOLDER_VARIABLES: [&str; 3] = [
    "VOXTUNE_CACHE_DIR",
    "WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE",
    "WARPCONVNET_BENCHMARK_CACHE_DIR",
];

/// The user's cache folder, for tool and runtime alike: what the first of [`FOLDER_VARIABLES`]
/// says, else `$XDG_CACHE_HOME/voxtune`, else `$HOME/.cache/voxtune`. Empty variables count as
/// absent. So do the latter two where they hold no absolute path, as the text on `XDG_CACHE_HOME`
/// asks. The folder would be another in each place that a program is started from.
///
/// # Errors
/// If none of them is set.
pub fn user_folder(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoUserFolder> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let absolute = |name: &str| set(name).filter(|path| path.is_absolute());
    (FOLDER_VARIABLES.into_iter())
        .find_map(set)
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("voxtune")))
        .or_else(|| Some(absolute("HOME")?.join(".cache").join("voxtune")))
        .ok_or(NoUserFolder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_variable_wins() {
        let all = [
            ("VOXTUNE_CACHE_DIR", "/v"),
            ("WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE", "/o"),
            ("WARPCONVNET_BENCHMARK_CACHE_DIR", "/w"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        let expected = ["/v", "/o", "/w", "/x/voxtune", "/h/.cache/voxtune"];
        for (first, expected) in expected.into_iter().enumerate() {
            let vars = &all[first..];
            let found = user_folder(|name| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            });
            assert_eq!(found.unwrap(), PathBuf::from(expected));
        }
        assert_eq!(user_folder(|_| Some(OsString::new())), Err(NoUserFolder));
    }

    #[test]
    fn f19_a_relative_home_does_not_count() {
        let found = |vars: &[(&str, &str)]| {
            user_folder(|name| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        let relative = [("XDG_CACHE_HOME", "x"), ("HOME", "./h")];
        assert_eq!(found(&relative), Err(NoUserFolder));
        let home = [("XDG_CACHE_HOME", "../x"), ("HOME", "/h")];
        assert_eq!(found(&home), Ok(PathBuf::from("/h/.cache/voxtune")));
        // What is named for this program alone is taken as it is.
        assert_eq!(found(&[("VOXTUNE_CACHE_DIR", "v")]), Ok(PathBuf::from("v")));
    }
}
