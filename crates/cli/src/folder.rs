//! Which cache folder a command means.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use voxtune::user_folder;

use crate::exit::Failure;

/// Where populate writes, and where the other commands look.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FolderArguments {
    /// Folder of the cache files; populate and merge create it if missing [default: the user folder if --user or
    /// one of its variables is given, else the workspace's caches/]
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    pub(crate) out: Option<PathBuf>,
    /// Use the user's cache folder: $VOXTUNE_CACHE_DIR, else $WARPCONVNET_BENCHMARK_CACHE_DIR, else
    /// $XDG_CACHE_HOME/voxtune, else ~/.cache/voxtune
    #[arg(long)]
    pub(crate) user: bool,
}

impl FolderArguments {
    /// The folder.
    pub(crate) fn resolve(&self) -> Result<PathBuf, Failure> {
        self.resolve_in(|name| std::env::var_os(name), &std::env::current_dir().unwrap_or_default())
    }

    fn resolve_in(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        current: &Path,
    ) -> Result<PathBuf, Failure> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let given = ["VOXTUNE_CACHE_DIR", "WARPCONVNET_BENCHMARK_CACHE_DIR"];
        let set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
        if self.user || given.iter().any(set) {
            return user_folder(variable).map_err(Failure::usage);
        }
        // Cargo says where the tool's package is; a program that was copied away looks around.
        let manifest = variable("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let start = manifest.as_deref().unwrap_or(current);
        let found = workspace_above(start).or_else(|| workspace_above(current));
        found.map(|workspace| workspace.join("caches")).ok_or_else(|| {
            Failure::usage(
                "no workspace of voxtune here whose caches/ could be meant: name a folder with \
                 --out DIR, or take the user's with --user",
            )
        })
    }
}

/// Refuses a folder that is to be read and is not there.
pub(crate) fn must_exist(folder: &Path) -> Result<(), Failure> {
    let path = folder.display();
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

/// Whether a path that is to be read is a file, else it is a folder; whoever reads it says what else it may be.
pub(crate) fn is_file(path: &Path) -> Result<bool, Failure> {
    let name = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(!metadata.is_dir()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure::failed(format!(
            "{name}: no such file or folder: `cargo xtask populate` writes one"
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
        arguments.resolve_in(variable, Path::new(env!("CARGO_MANIFEST_DIR")))
    }

    #[test]
    fn flag_then_variable_then_workspace() {
        let none = FolderArguments::default();
        let user = FolderArguments { user: true, ..FolderArguments::default() };
        let out = FolderArguments { out: Some("/o".into()), ..FolderArguments::default() };
        let vars = [("VOXTUNE_CACHE_DIR", "/v"), ("HOME", "/h")];
        assert_eq!(resolve(&out, &vars).unwrap(), PathBuf::from("/o"));
        assert_eq!(resolve(&none, &vars).unwrap(), PathBuf::from("/v"));
        assert_eq!(resolve(&user, &vars[1..]).unwrap(), PathBuf::from("/h/.cache/voxtune"));
        assert!(resolve(&none, &vars[1..]).unwrap().ends_with("caches"));
    }

    #[test]
    fn nowhere_is_a_usage_error() {
        let none = FolderArguments::default();
        let failure = none.resolve_in(|_| None, Path::new("/")).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
    }
}
