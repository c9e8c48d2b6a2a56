//! The header of a `.pcd` file.
//!
//! Source: "The PCD (Point Cloud Data) file format" of the Point Cloud Library, version 0.7.

use crate::CloudError;
use crate::error::{InFile, excerpt};
use crate::header_lines::HeaderLines;
use crate::scalar::Scalar;

/// How the data are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Ascii,
    Binary,
    BinaryCompressed,
}

/// One field of a point: `count` numbers of a type.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// `None` for a type of padding that no number has, such as 3 bytes.
    pub(crate) scalar: Option<Scalar>,
    pub(crate) count: u64,
    /// All its numbers together.
    pub(crate) bytes: u64,
}

impl Field {
    /// Padding is named `_`.
    pub(crate) fn is_padding(&self) -> bool {
        self.name == "_"
    }
}

pub(crate) struct Header<'a> {
    pub(crate) fields: Vec<Field>,
    pub(crate) points: u64,
    pub(crate) encoding: Encoding,
    /// What follows the header.
    pub(crate) data: &'a [u8],
}

/// The header's lines as they stand.
#[derive(Default)]
struct Lines {
    names: Vec<String>,
    sizes: Vec<String>,
    types: Vec<String>,
    counts: Option<Vec<String>>,
    width: Option<u64>,
    height: Option<u64>,
    points: Option<u64>,
}

impl<'a> Header<'a> {
    pub(crate) fn parse(file: InFile<'_>, bytes: &'a [u8]) -> Result<Self, CloudError> {
        let mut lines = Lines::default();
        let mut header = HeaderLines::of_pcd(file, bytes)?;
        let encoding = loop {
            let Some(line) = header.next() else {
                let rest = excerpt(header.rest());
                return Err(file.malformed("a PCD header with a line `DATA`", rest));
            };
            let unknown = |expected: &str| file.malformed(expected, excerpt(line));
            // No word that is read has other bytes than ASCII.
            let text = String::from_utf8_lossy(line);
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            let count = |word: &str| word.parse().map(Some).map_err(|_| unknown("a count"));
            match words[..] {
                [] | ["VERSION" | "VIEWPOINT", ..] => {}
                [first, ..] if first.starts_with('#') => {}
                ["FIELDS" | "COLUMNS", ref names @ ..] => lines.names = owned(names),
                ["SIZE", ref sizes @ ..] => lines.sizes = owned(sizes),
                ["TYPE", ref types @ ..] => lines.types = owned(types),
                ["COUNT", ref counts @ ..] => lines.counts = Some(owned(counts)),
                ["WIDTH", width] => lines.width = count(width)?,
                ["HEIGHT", height] => lines.height = count(height)?,
                ["POINTS", points] => lines.points = count(points)?,
                ["DATA", "ascii"] => break Encoding::Ascii,
                ["DATA", "binary"] => break Encoding::Binary,
                ["DATA", "binary_compressed"] => break Encoding::BinaryCompressed,
                _ => {
                    return Err(unknown(
                        "a PCD header line: VERSION, FIELDS, SIZE, TYPE, COUNT, WIDTH, HEIGHT, \
                         VIEWPOINT, POINTS or DATA ascii|binary|binary_compressed",
                    ));
                }
            }
        };
        let (fields, points) = (lines.fields(file)?, lines.points(file)?);
        Ok(Self { fields, points, encoding, data: header.rest() })
    }
}

impl Lines {
    fn points(&self, file: InFile<'_>) -> Result<u64, CloudError> {
        let area = match (self.width, self.height) {
            (Some(width), Some(height)) => {
                let area = width.checked_mul(height);
                Some(area.ok_or_else(|| {
                    file.malformed("WIDTH times HEIGHT points", format!("{width} times {height}"))
                })?)
            }
            _ => None,
        };
        match (self.points, area) {
            (Some(points), Some(area)) if points != area => Err(file
                .malformed(format!("WIDTH times HEIGHT, {area}, as POINTS"), points.to_string())),
            (Some(points), _) | (None, Some(points)) => Ok(points),
            (None, None) => Err(file.malformed("a line POINTS, or WIDTH and HEIGHT", "neither")),
        }
    }

    fn fields(&self, file: InFile<'_>) -> Result<Vec<Field>, CloudError> {
        let entries = self.names.len();
        let others = [("SIZE", self.sizes.len()), ("TYPE", self.types.len())];
        let counts = self.counts.as_ref().map(|counts| ("COUNT", counts.len()));
        for (line, found) in others.into_iter().chain(counts) {
            if found != entries {
                let expected = format!("{entries} entries in {line}, as in FIELDS");
                return Err(file.malformed(expected, found.to_string()));
            }
        }
        let field = |place: usize| {
            let (name, kind, size) = (&self.names[place], &self.types[place], &self.sizes[place]);
            let count = self.counts.as_ref().map_or("1", |counts| &counts[place]);
            let malformed = || {
                let found = format!("SIZE {size}, TYPE {kind}, COUNT {count}");
                file.malformed(format!("a number type and a count for the field `{name}`"), found)
            };
            let size: u64 = size.parse().map_err(|_| malformed())?;
            let count: u64 = count.parse().map_err(|_| malformed())?;
            let field = Field {
                name: name.to_owned(),
                scalar: number_type(kind, size),
                count,
                bytes: size.checked_mul(count).ok_or_else(malformed)?,
            };
            let usable = field.scalar.is_some() || field.is_padding();
            if usable { Ok(field) } else { Err(malformed()) }
        };
        (0..entries).map(field).collect()
    }
}

fn number_type(kind: &str, size: u64) -> Option<Scalar> {
    Some(match (kind, size) {
        ("I", 1) => Scalar::I8,
        ("U", 1) => Scalar::U8,
        ("I", 2) => Scalar::I16,
        ("U", 2) => Scalar::U16,
        ("I", 4) => Scalar::I32,
        ("U", 4) => Scalar::U32,
        ("I", 8) => Scalar::I64,
        ("U", 8) => Scalar::U64,
        ("F", 4) => Scalar::F32,
        ("F", 8) => Scalar::F64,
        _ => return None,
    })
}
