//! What both files have in common: checksum, format and version around a body.

use std::io::{self, Write};

use rmp_serde::{Deserializer, Serializer};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::file_name::FileKind;

/// A map of four fields, the first one called `checksum` and an unsigned integer of 64 bits.
const PREFIX: &[u8; 11] = b"\x84\xA8checksum\xCF";

/// Where the checked bytes begin: after the prefix and the checksum itself.
const CHECKED_FROM: usize = PREFIX.len() + size_of::<u64>();

/// What is wrong with the bytes of a file, wherever it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Not a cache at all.
    Foreign,
    /// A cache with damage, in words.
    Corrupt(String),
    /// Sound, and written by a later release.
    Newer { found: u32, supported: u32 },
    /// Sound, and not what its name says, in words.
    Misnamed { found: String, expected: String },
}

impl Defect {
    pub(crate) fn corrupt(reason: impl ToString) -> Self {
        Self::Corrupt(reason.to_string())
    }
}

/// The bytes of a file with this body.
pub(crate) fn seal(kind: FileKind, body: &impl Serialize) -> Vec<u8> {
    let mut bytes = PREFIX.to_vec();
    bytes.extend([0; size_of::<u64>()]);
    write_checked(&mut bytes, kind, kind.version(), body)
        .expect("memory takes what MessagePack can hold");
    let checksum = xxh3_64(&bytes[CHECKED_FROM..]);
    bytes[PREFIX.len()..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// A file whose checksum is right, opened up to its body.
pub(crate) struct Opened<'a> {
    /// Which file it is.
    pub(crate) kind: FileKind,
    /// The version that it was written in.
    pub(crate) version: u32,
    checked: &'a [u8],
    body: Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>,
}

/// Checks everything around the body: prefix, checksum, format and version.
pub(crate) fn open(bytes: &[u8]) -> Result<Opened<'_>, Defect> {
    let checked = check_sum(bytes)?;
    let mut fields = Deserializer::from_read_ref(checked);
    expect_field(&mut fields, "format")?;
    let format = <&str>::deserialize(&mut fields).map_err(Defect::corrupt)?;
    let kind = [FileKind::Decisions, FileKind::Evidence]
        .into_iter()
        .find(|kind| kind.format() == format)
        .ok_or_else(|| Defect::Corrupt(format!("unknown format `{format}`")))?;
    expect_field(&mut fields, "version")?;
    let version = u32::deserialize(&mut fields).map_err(Defect::corrupt)?;
    if version > kind.version() {
        return Err(Defect::Newer { found: version, supported: kind.version() });
    }
    if version == 0 {
        return Err(Defect::corrupt("versions begin at 1, and this is 0"));
    }
    expect_field(&mut fields, "body")?;
    Ok(Opened { kind, version, checked, body: fields })
}

impl<'a> Opened<'a> {
    /// Whether its operations name their kind of layer.
    pub(crate) const fn names_kinds(&self) -> bool {
        self.version >= self.kind.names_kinds_since()
    }

    /// Decodes the body.
    pub(crate) fn decode<B: Deserialize<'a>>(&mut self) -> Result<B, Defect> {
        B::deserialize(&mut self.body).map_err(Defect::corrupt)
    }

    /// Checks that this body, written again in the file's version, gives the same bytes. So nothing
    /// follows it, and there is one way only to write what the file says.
    pub(crate) fn check_canonical(&self, body: &impl Serialize) -> Result<(), Defect> {
        let mut rest = Comparer { rest: self.checked };
        let same = write_checked(&mut rest, self.kind, self.version, body).is_ok();
        match rest.rest.len() {
            0 if same => Ok(()),
            left if same => Err(Defect::Corrupt(format!("{left} bytes follow its end"))),
            left => Err(Defect::Corrupt(format!(
                "not in canonical form near byte {}",
                CHECKED_FROM + self.checked.len() - left
            ))),
        }
    }
}

/// The bytes that the checksum covers, if it is right.
fn check_sum(bytes: &[u8]) -> Result<&[u8], Defect> {
    if bytes.is_empty() {
        return Err(Defect::corrupt("the file is empty"));
    }
    if !bytes.starts_with(&PREFIX[..PREFIX.len().min(bytes.len())]) {
        return Err(Defect::Foreign);
    }
    let Some((head, checked)) = bytes.split_first_chunk::<CHECKED_FROM>() else {
        return Err(Defect::Corrupt(format!("truncated to {} bytes", bytes.len())));
    };
    let (_, stored) = head.split_last_chunk().expect("the checksum ends the head");
    let stored = u64::from_be_bytes(*stored);
    let actual = xxh3_64(checked);
    if stored != actual {
        return Err(Defect::Corrupt(format!(
            "its checksum says {stored:016x} and its bytes {actual:016x}: damaged or truncated"
        )));
    }
    Ok(checked)
}

fn expect_field<'a>(
    fields: &mut Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>,
    name: &str,
) -> Result<(), Defect> {
    let found = <&str>::deserialize(fields).map_err(Defect::corrupt)?;
    if found == name {
        Ok(())
    } else {
        Err(Defect::Corrupt(format!("expected the field `{name}`, found `{found}`")))
    }
}

/// Writes the fields behind the checksum.
fn write_checked(
    writer: impl Write,
    kind: FileKind,
    version: u32,
    body: &impl Serialize,
) -> Result<(), rmp_serde::encode::Error> {
    let mut fields = Serializer::new(writer).with_struct_map();
    "format".serialize(&mut fields)?;
    kind.format().serialize(&mut fields)?;
    "version".serialize(&mut fields)?;
    version.serialize(&mut fields)?;
    "body".serialize(&mut fields)?;
    body.serialize(&mut fields)
}

/// A writer that accepts only the bytes that it already has.
struct Comparer<'a> {
    rest: &'a [u8],
}

impl Write for Comparer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    /// Most writes are of a byte or two, so the loop of the provided method would dominate.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
