//! Which cache folder a command means.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use voxtune::{FOLDER_VARIABLES, user_folder};
use voxtune_types::printable_path;

use crate::exit::Failure;
use crate::output;
use crate::program;

/// Where populate writes, and where the other commands look.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FolderArguments {
    /// Folder of the cache files. Populate and merge create it if missing [default: the user folder
    /// if --user or one of its variables is given, or outside a workspace; else the workspace's
    /// caches/]
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    pub(crate) out: Option<PathBuf>,
    /// Use the user's cache folder: $VOXTUNE_CACHE_DIR, else
    /// $WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE, else $WARPCONVNET_BENCHMARK_CACHE_DIR, else
    /// $XDG_CACHE_HOME/voxtune, else ~/.cache/voxtune
    #[arg(long)]
    pub(crate) user: bool,
}

impl FolderArguments {
    /// The folder. Says so where it is the user's without having been asked for.
    pub(crate) fn resolve(&self) -> Result<PathBuf, Failure> {
        self.resolve_or("--out DIR")
    }

    /// The folder of a command that has none of these flags, and names one in another way.
    pub(crate) fn default_folder(named_by: &str) -> Result<PathBuf, Failure> {
        Self::default().resolve_or(named_by)
    }

    fn resolve_or(&self, named_by: &str) -> Result<PathBuf, Failure> {
        let current = std::env::current_dir().unwrap_or_default();
        let resolved = self.resolve_in(|name| std::env::var_os(name), &current, named_by)?;
        if let Resolved::Fallback(folder) = &resolved {
            let folder = folder.display();
            output::status(
                "Folder",
                format_args!("{folder}, the user's: no workspace here, and no {named_by}"),
            );
        }
        Ok(resolved.into_path())
    }

    fn resolve_in(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        current: &Path,
        named_by: &str,
    ) -> Result<Resolved, Failure> {
        if let Some(out) = &self.out {
            return Ok(Resolved::Asked(out.clone()));
        }
        let set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
        if self.user || FOLDER_VARIABLES.iter().any(set) {
            return user_folder(variable).map(Resolved::Asked).map_err(Failure::usage);
        }
        // Cargo says where the tool's package is; a program that was copied away looks around.
        let manifest = variable("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let start = manifest.as_deref().unwrap_or(current);
        let found = workspace_above(start).or_else(|| workspace_above(current));
        if let Some(workspace) = found {
            return Ok(Resolved::Asked(workspace.join("caches")));
        }
        user_folder(variable).map(Resolved::Fallback).map_err(|error| {
            Failure::usage(format!(
                "no workspace of voxtune here whose caches/ could be meant, and {error}; or name a \
                 folder by {named_by}"
            ))
        })
    }
}

/// A folder, and whether the command line, a variable or the workspace names it.
#[derive(Debug, PartialEq, Eq)]
enum Resolved {
    Asked(PathBuf),
    /// The user's, for want of a workspace.
    Fallback(PathBuf),
}

impl Resolved {
    fn into_path(self) -> PathBuf {
        match self {
            Self::Asked(path) | Self::Fallback(path) => path,
        }
    }
}

/// Refuses a folder that is to be read and is not there.
pub(crate) fn must_exist(folder: &Path) -> Result<(), Failure> {
    let path = printable_path(folder);
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{path}: expected a folder of cache files"))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::usage(format!("{path}: expected a folder of cache files, found none")))
        }
        // It may well be there, behind what cannot be entered.
        Err(error) => Err(Failure::usage(format!("{path}: cannot look at it: {error}"))),
    }
}

/// Whether a path that is to be read is a file; else it is a folder. If it is neither, reading it
/// fails and says so.
pub(crate) fn is_file(path: &Path) -> Result<bool, Failure> {
    let name = printable_path(path);
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(!metadata.is_dir()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure::failed(format!(
            "{name}: no such file or folder: {} writes one",
            program::command("populate")
        ))),
        Err(error) => Err(Failure::failed(format!("{name}: cannot look at it: {error}"))),
    }
}

/// The workspace that holds a folder.
pub(crate) fn workspace_above(start: &Path) -> Option<PathBuf> {
    let is_workspace = |folder: &&Path| {
        folder.join("xtask").join("Cargo.toml").is_file()
            && folder.join("caches").join("Cargo.toml").is_file()
    };
    start.ancestors().find(is_workspace).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &FolderArguments, vars: &[(&str, &str)]) -> Result<PathBuf, Failure> {
        let variable = |name: &str| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let current = Path::new(env!("CARGO_MANIFEST_DIR"));
        arguments.resolve_in(variable, current, "--out DIR").map(Resolved::into_path)
    }

    #[test]
    fn flag_then_variable_then_workspace() {
        let none = FolderArguments::default();
        let user = FolderArguments { user: true, ..FolderArguments::default() };
        let out = FolderArguments { out: Some("/o".into()), ..FolderArguments::default() };
        let vars = [("VOXTUNE_CACHE_DIR", "/v"), ("HOME", "/h")];
        assert_eq!(resolve(&out, &vars).unwrap(), PathBuf::from("/o"));
        assert_eq!(resolve(&none, &vars).unwrap(), PathBuf::from("/v"));
        let theirs = [
            ("WARPCONVNET_BENCHMARK_CACHE_DIR", "/w"),
            ("WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE", "/o"),
        ];
        assert_eq!(resolve(&none, &theirs).unwrap(), PathBuf::from("/o"));
        assert_eq!(resolve(&none, &theirs[..1]).unwrap(), PathBuf::from("/w"));
        assert_eq!(resolve(&user, &vars[1..]).unwrap(), PathBuf::from("/h/.cache/voxtune"));
        assert!(resolve(&none, &vars[1..]).unwrap().ends_with("caches"));
    }

    #[test]
    fn outside_a_workspace_it_is_the_users() {
        let none = FolderArguments::default();
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/h"));
        let resolved = none.resolve_in(home, Path::new("/"), "--out DIR").unwrap();
        assert_eq!(resolved, Resolved::Fallback("/h/.cache/voxtune".into()));
        // Where a folder is named or a workspace is found, nothing is said.
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let inside = none.resolve_in(home, here, "--out DIR").unwrap();
        assert!(matches!(inside, Resolved::Asked(_)), "{inside:?}");
    }

    #[test]
    fn nowhere_is_a_usage_error() {
        let none = FolderArguments::default();
        let failure = none.resolve_in(|_| None, Path::new("/"), "--cache DIR").unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        let text = &failure.message;
        assert!(text.ends_with("--cache DIR") && !text.contains("--out"), "{text}");
    }
}
