//! Whether a folder is the user's own.

use std::path::{Path, PathBuf};

/// A folder or file that another user could have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: {reason}, so it does not count: make it yours alone (chown, chmod go-w), or have the \
     program name it as a folder that it vouches for",
    path.display()
)]
pub struct Untrusted {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks that a folder belongs to this user, or to the superuser, and that no other user can put
/// files into it. One that does not exist passes.
pub(crate) fn check_folder(path: &Path) -> Result<(), Untrusted> {
    check(path)
}

/// [`check_folder`] for a file.
pub(crate) fn check_file(path: &Path) -> Result<(), Untrusted> {
    check(path)
}

#[cfg(unix)]
fn check(path: &Path) -> Result<(), Untrusted> {
    use std::os::unix::fs::MetadataExt as _;

    /// Write permission for the group and for everybody.
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    const SUPERUSER: u32 = 0;
    // What cannot be looked at cannot be read either, which its reader reports.
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    let untrusted = |reason: String| Err(Untrusted { path: path.to_owned(), reason });
    let user = match user_of_process() {
        Ok(user) => user,
        Err(error) => return untrusted(format!("this process's user is not known ({error})")),
    };
    if metadata.uid() != user && metadata.uid() != SUPERUSER {
        let owner = metadata.uid();
        return untrusted(format!("it belongs to user {owner} and this process runs as {user}"));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let mode = metadata.mode() & 0o777;
        return untrusted(format!("others can write to it (mode {mode:o})"));
    }
    Ok(())
}

/// The user as whom this process opens files.
#[cfg(target_os = "linux")]
fn user_of_process() -> std::io::Result<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(std::fs::metadata("/proc/self")?.uid())
}

/// The user as whom this process opens files.
#[cfg(all(unix, not(target_os = "linux")))]
fn user_of_process() -> std::io::Result<u32> {
    Ok(rustix::process::geteuid().as_raw())
}

/// Elsewhere a home folder is its user's by the system's rules.
#[cfg(not(unix))]
fn check(_path: &Path) -> Result<(), Untrusted> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_others_can_write_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("caches");
        assert_eq!(check_folder(&path), Ok(()));
        fs::create_dir(&path).unwrap();
        for (mode, counts) in [(0o755, true), (0o700, true), (0o775, false), (0o757, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = check_folder(&path);
            assert_eq!(found.is_ok(), counts, "{mode:o}");
            if let Err(error) = found {
                let text = error.to_string();
                assert!(text.contains("caches") && text.contains(&format!("{mode:o}")), "{text}");
            }
        }
    }
}
