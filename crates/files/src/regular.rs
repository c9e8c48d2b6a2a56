//! Opening what is a regular file, and nothing that could block.
//!
//! A named pipe, a socket, a terminal or another device in the place of a file would make a reader
//! wait for ever. So nothing else than a regular file is opened. Swapping a pipe in meanwhile gains
//! nothing: opening does not block, and the open file is looked at again.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

/// Something else than a regular file in the place of one: the inner error of an [`io::Error`] of
/// the kind [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a regular file, found {found}")]
pub struct NotRegular {
    /// What it is, such as `a named pipe`.
    pub found: &'static str,
}

/// Opens a regular file for reading.
///
/// # Errors
/// If the system refuses, or it is no regular file ([`NotRegular`]).
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Opens a regular file for reading and appending; makes it where there is none.
///
/// # Errors
/// If the system refuses, or it is no regular file ([`NotRegular`]).
pub fn append(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true).append(true).create(true))
}

/// The bytes of a regular file.
///
/// # Errors
/// If the system refuses, or it is no regular file ([`NotRegular`]).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_all(open(path)?)
}

/// The text of a regular file.
///
/// # Errors
/// If the system refuses, or it is no regular file ([`NotRegular`]) or no UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// The bytes of a file that a command line names: a regular file, or what the shell hands over,
/// such as `/dev/stdin` or `<(command)`.
///
/// # Errors
/// If the system refuses, or it is neither ([`NotRegular`]).
pub fn read_argument(path: &Path) -> io::Result<Vec<u8>> {
    if is_handed_over(path) { read_all(File::open(path)?) } else { read(path) }
}

/// The text of a file that a command line names, as [`read_argument`] takes it.
///
/// # Errors
/// If the system refuses, or it is neither ([`NotRegular`]), or no UTF-8.
pub fn read_argument_to_string(path: &Path) -> io::Result<String> {
    text(read_argument(path)?)
}

/// Whether a path names a descriptor that this process was started with. A caller that hands one
/// over means it.
fn is_handed_over(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || [Path::new("/dev/fd"), Path::new("/proc/self/fd")].map(Some).contains(&path.parent())
}

fn read_all(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    String::from_utf8(bytes).map_err(invalid)
}

/// Opens what passes before and after: before, since a device may act on being opened; after, since
/// another file may lie there by then.
pub(crate) fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) => check(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = without_blocking(options).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

#[cfg(unix)]
fn without_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;

    use rustix::fs::OFlags;
    // Nor shall a terminal become that of this process.
    options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
}

#[cfg(not(unix))]
fn without_blocking(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn check(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NotRegular { found: name(kind) }))
}

fn name(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a folder" } else { "something else" }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }

    #[test]
    fn f16_nothing_but_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fifo(&at("fifo"));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("fifo"), at("link")).unwrap();
        let expected = [
            (at("fifo"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            (at("folder"), "a folder"),
            ("/dev/zero".into(), "a device"),
        ];
        for (path, found) in expected {
            for result in [read(&path).map(drop), append(&path).map(drop)] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert_eq!(error.to_string(), format!("expected a regular file, found {found}"));
            }
        }
    }

    /// What lies there when the file is opened may be another than what was looked at.
    #[test]
    fn f16_a_pipe_that_takes_the_place_meanwhile_neither_blocks_nor_passes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        fifo(&path);
        let file = without_blocking(OpenOptions::new().read(true)).open(&path).unwrap();
        assert!(check(&file.metadata().unwrap()).is_err());
        drop(file);
        // There is no reader any more, and an appender does not wait for one.
        assert!(without_blocking(OpenOptions::new().append(true)).open(&path).is_err());
    }

    #[test]
    fn regular_files_are_read_and_grow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        for text in ["one ", "two"] {
            append(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(read_to_string(&path).unwrap(), "one two");
        assert_eq!(read_argument(&path).unwrap(), b"one two");
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_to_string(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// A shell's `<(command)` is a pipe that another process writes to.
    #[test]
    fn f16_what_the_shell_hands_over_is_read() {
        use std::os::fd::AsRawFd as _;

        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"handed over").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert!(read(Path::new(&path)).is_err());
        assert_eq!(read_argument_to_string(Path::new(&path)).unwrap(), "handed over");
        assert!(is_handed_over(Path::new("/dev/stdin")) && !is_handed_over(Path::new("/dev/zero")));
    }
}
