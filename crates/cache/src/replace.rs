//! Replacing a file in one step, and putting one aside.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::Builder;
use voxtune_files::{NotRegular, sync_folder};

use crate::error::CacheError;
use crate::link;

/// How the names of temporary files end.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Gives a file these bytes: at any moment, power loss included, it holds either the old ones or
/// the new ones. Where this fails the old ones stay and no temporary file is left. A link stays,
/// and what it leads to is replaced.
///
/// # Errors
/// If the file cannot be written, something else than a file lies in its place, or it is a link
/// that leads nowhere.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let path = &*link::target(path).map_err(CacheError::io("replace the file", path))?;
    let folder = parent(path);
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(TEMPORARY_SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Readable as any file that a program creates (tempfile's own default is for secrets), and
        // never writable by others: a runtime trusts a user's own files alone.
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    let mut temporary = builder
        .tempfile_in(folder)
        .map_err(CacheError::io("create a file in the folder", folder))?;
    temporary
        .write_all(bytes)
        .map_err(CacheError::io("write the new contents of the file", path))?;
    let synced = temporary.as_file().sync_all();
    synced.map_err(CacheError::io("sync the new contents of the file", path))?;
    refuse_special(path).map_err(CacheError::io("replace the file", path))?;
    temporary
        .persist(path)
        .map_err(|error| CacheError::io("replace the file", path)(error.error))?;
    sync_folder(folder).map_err(CacheError::io("sync the folder", folder))
}

/// Renames a file to a name next to it that nothing has, `<name>.corrupt-1` or the next number.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, CacheError> {
    let fresh = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{number}"));
        PathBuf::from(name)
    };
    let to = (1..).map(fresh).find(
        |to| matches!(fs::symlink_metadata(to), Err(e) if e.kind() == io::ErrorKind::NotFound),
    );
    let to = to.expect("a folder does not hold 2^32 files of one name");
    fs::rename(path, &to).map_err(CacheError::io("set the corrupt file aside", path))?;
    let folder = parent(path);
    sync_folder(folder).map_err(CacheError::io("sync the folder", folder))?;
    Ok(to)
}

/// Deletes what writers that were killed left of their temporary files. Only for the holder of the
/// lock that all writers of these names take. Those of kernel packs, which lie in the same folder,
/// take none.
pub(crate) fn sweep_temporaries(folder: &Path, stem: &str) {
    let (prefix, packs) = (format!(".{stem}."), format!(".{stem}.kernels."));
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let name = file.file_name();
        let ours = name.to_str().is_some_and(|name| {
            let is_temporary = name.starts_with(&prefix) && name.ends_with(TEMPORARY_SUFFIX);
            is_temporary && !name.starts_with(&packs)
        });
        if ours {
            // Residue harms nothing, so a file that cannot be deleted is no failure.
            _ = fs::remove_file(file.path());
        }
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A pipe, a socket or a device belongs to another program, and a rename would take it away.
fn refuse_special(path: &Path) -> io::Result<()> {
    match voxtune_files::open(path) {
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<NotRegular>()) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sm_90.msgpack");
        for bytes in [b"first and long".as_slice(), b"second"] {
            replace(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// A folder in the target's place fails the last step, as late as anything can fail.
    /// Permissions would not do: they do not bind the superuser.
    #[test]
    fn a_failure_leaves_the_old_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sm_90.msgpack");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"old").unwrap();
        let error = replace(&path, b"new").unwrap_err();
        assert!(matches!(error, CacheError::Io { action: "replace the file", .. }), "{error}");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn residue_is_swept_and_no_pack_that_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let names = [".sm_90.msgpack.a.tmp", ".sm_90.evidence.msgpack.b.tmp"];
        let others = [".sm_90.kernels.c.tmp", ".sm_80.msgpack.d.tmp", "sm_90.msgpack"];
        for name in names.iter().chain(&others) {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        sweep_temporaries(folder.path(), "sm_90");
        let left = |name: &&&str| folder.path().join(name).exists();
        assert_eq!(names.iter().filter(left).count(), 0);
        assert_eq!(others.iter().filter(left).count(), others.len());
    }

    #[test]
    fn nothing_is_overwritten_by_what_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sm_90.msgpack");
        for (number, bytes) in [(1, b"one"), (2, b"two")] {
            fs::write(&path, bytes).unwrap();
            let to = set_aside(&path).unwrap();
            assert_eq!(to, folder.path().join(format!("sm_90.msgpack.corrupt-{number}")));
        }
        assert_eq!(fs::read(folder.path().join("sm_90.msgpack.corrupt-1")).unwrap(), b"one");
        assert_eq!(fs::read(folder.path().join("sm_90.msgpack.corrupt-2")).unwrap(), b"two");
        assert!(set_aside(&path).is_err(), "there is nothing to set aside");
    }
}
