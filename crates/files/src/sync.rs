//! Making renames durable.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes renames in a folder durable, as far as its file system and its owner let it. Windows has
/// no such call and needs none.
///
/// # Errors
/// If the folder cannot be opened, or syncing it fails. A file system that does not sync folders is
/// no failure, nor is a folder that may be written and not read.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder) {
        Ok(file) => as_far_as_it_can(file.sync_all()),
        Err(error) => may_be_unreadable(error),
    }
}

/// A folder that files may be put into and that may not be listed, as a drop box, cannot be opened.
fn may_be_unreadable(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::PermissionDenied { Ok(()) } else { Err(error) }
}

/// Some network and virtual file systems have no call for folders: they refuse the file as such,
/// which says nothing of the rename before it.
#[cfg(unix)]
fn as_far_as_it_can(synced: io::Result<()>) -> io::Result<()> {
    use rustix::io::Errno;

    const NO_SUCH_CALL: [Errno; 4] = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::BADF];
    match synced {
        Err(error)
            if Errno::from_io_error(&error).is_some_and(|one| NO_SUCH_CALL.contains(&one)) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(not(unix))]
fn as_far_as_it_can(synced: io::Result<()>) -> io::Result<()> {
    synced
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn f05_a_file_system_that_does_not_sync_folders_is_no_failure() {
        let after = |error: Errno| as_far_as_it_can(Err(error.into()));
        for refusal in [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::BADF] {
            assert!(after(refusal).is_ok(), "{refusal}");
        }
        for failure in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::STALE] {
            let code = after(failure).unwrap_err().raw_os_error();
            assert_eq!(code, Some(failure.raw_os_error()), "{failure}");
        }
    }

    #[test]
    fn f05_a_folder_that_may_not_be_read_is_no_failure() {
        assert!(may_be_unreadable(Errno::ACCESS.into()).is_ok());
        for failure in [Errno::NOENT, Errno::IO, Errno::STALE, Errno::MFILE] {
            assert!(may_be_unreadable(failure.into()).is_err(), "{failure}");
        }
    }

    #[test]
    fn folders_are_synced_and_missing_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        sync_folder(folder.path()).unwrap();
        assert!(sync_folder(&folder.path().join("missing")).is_err());
    }
}
