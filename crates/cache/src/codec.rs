//! Between the bytes of a cache file and what they mean.

use std::path::Path;

use voxtune_types::{Arch, DeviceIdentity};

use crate::decision::Decisions;
use crate::envelope::{self, Defect, Opened};
use crate::error::CacheError;
use crate::evidence::Evidence;
use crate::file_name::{FileKind, FileName};
use crate::{decision_file, evidence_file};

/// The decisions in the bytes of a file. Its name, the last component of the path, must be that of
/// the architecture inside: `sm_90.msgpack`.
///
/// # Errors
/// If the bytes are no cache, damaged, of a later version, or not what their name says.
pub fn decode_decisions(bytes: &[u8], name: impl AsRef<Path>) -> Result<Decisions, CacheError> {
    decode(bytes, name.as_ref(), FileKind::Decisions, decision_file::decode)
}

/// The evidence in the bytes of a file. Its name, the last component of the path, must be that of
/// the architecture inside: `sm_90.evidence.msgpack`.
///
/// # Errors
/// If the bytes are no cache, damaged, of a later version, or not what their name says.
pub fn decode_evidence(bytes: &[u8], name: impl AsRef<Path>) -> Result<Evidence, CacheError> {
    decode(bytes, name.as_ref(), FileKind::Evidence, evidence_file::decode)
}

/// Which file these bytes are, and of which version of its format. Only what is around the body is
/// checked.
///
/// # Errors
/// If the bytes are no cache, damaged, or of a later version.
pub fn file_version(bytes: &[u8], name: impl AsRef<Path>) -> Result<(FileKind, u32), CacheError> {
    let opened = envelope::open(bytes).map_err(|defect| defect.at(name.as_ref()))?;
    Ok((opened.kind, opened.version))
}

/// The bytes of an architecture's decision file. The same decisions give the same bytes.
///
/// # Errors
/// If a device is of another architecture.
pub fn encode_decisions(arch: Arch, decisions: &Decisions) -> Result<Vec<u8>, CacheError> {
    check_devices(FileName { arch, kind: FileKind::Decisions }, &decisions.devices)?;
    Ok(decision_file::encode(arch, decisions))
}

/// The bytes of an architecture's evidence file. The same evidence gives the same bytes.
///
/// # Errors
/// If a device is of another architecture.
pub fn encode_evidence(arch: Arch, evidence: &Evidence) -> Result<Vec<u8>, CacheError> {
    let devices = evidence.entries().map(|(entry, _)| &entry.device);
    check_devices(FileName { arch, kind: FileKind::Evidence }, devices)?;
    Ok(evidence_file::encode(arch, evidence))
}

/// What the bytes of a file of this kind hold.
pub(crate) fn decode<'b, T>(
    bytes: &'b [u8],
    path: &Path,
    kind: FileKind,
    decode_body: impl FnOnce(Opened<'b>) -> Result<(Arch, T), Defect>,
) -> Result<T, CacheError> {
    let decoded = envelope::open(bytes).and_then(|file| {
        if file.kind == kind {
            return decode_body(file);
        }
        let found = format!("its format is `{}`", file.kind.format());
        let arch = FileName::of(path).map_or_else(|| "<arch>".to_owned(), |n| n.arch.to_string());
        let expected = match file.kind {
            FileKind::Decisions => format!("{arch}.msgpack"),
            FileKind::Evidence => format!("{arch}.evidence.msgpack"),
        };
        Err(Defect::Misnamed { found, expected })
    });
    let (arch, value) = decoded.map_err(|defect| defect.at(path))?;
    let right_name = FileName { arch, kind };
    if FileName::of(path) == Some(right_name) {
        return Ok(value);
    }
    let found = format!("it holds the architecture {arch}");
    Err(Defect::Misnamed { found, expected: right_name.to_string() }.at(path))
}

fn check_devices<'d>(
    name: FileName,
    devices: impl IntoIterator<Item = &'d DeviceIdentity>,
) -> Result<(), CacheError> {
    match devices.into_iter().find(|device| device.arch != name.arch) {
        None => Ok(()),
        Some(device) => Err(CacheError::ForeignDevice {
            path: name.to_string().into(),
            arch: name.arch,
            device: Box::new(device.clone()),
        }),
    }
}

impl Defect {
    fn at(self, path: &Path) -> CacheError {
        let path = path.to_owned();
        match self {
            Self::Foreign => CacheError::NotACache { path },
            Self::Corrupt(reason) => CacheError::Corrupt { path, reason },
            Self::Newer { found, supported } => CacheError::Newer { path, found, supported },
            Self::Misnamed { found, expected } => CacheError::Misnamed { path, found, expected },
        }
    }
}
