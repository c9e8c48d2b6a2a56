//! The header of a `.ply` file.
//!
//! Source: Greg Turk, "The PLY Polygon File Format", 1994.

use crate::CloudError;
use crate::error::{InFile, excerpt};
use crate::header_lines::HeaderLines;
use crate::scalar::{Endian, Scalar};

/// How the data are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Ascii,
    Binary(Endian),
}

/// One property of an element.
#[derive(Clone, Debug)]
pub(crate) enum Property {
    Scalar { name: String, scalar: Scalar },
    List { count: Scalar, item: Scalar },
}

/// Rows of equal properties.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) properties: Vec<Property>,
}

impl Element {
    /// The fewest bytes that a row takes in binary: its lists may be empty.
    pub(crate) fn least_row_bytes(&self) -> usize {
        let bytes = |property: &Property| match property {
            Property::Scalar { scalar, .. } => scalar.bytes(),
            Property::List { count, .. } => count.bytes(),
        };
        self.properties.iter().map(bytes).sum()
    }

    pub(crate) fn has_lists(&self) -> bool {
        self.properties.iter().any(|property| matches!(property, Property::List { .. }))
    }
}

pub(crate) struct Header<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) elements: Vec<Element>,
    /// What follows the header.
    pub(crate) data: &'a [u8],
}

impl<'a> Header<'a> {
    pub(crate) fn parse(file: InFile<'_>, bytes: &'a [u8]) -> Result<Self, CloudError> {
        let mut lines = HeaderLines::of_ply(file, bytes)?;
        let magic = lines.next().unwrap_or(bytes);
        if magic != b"ply" {
            return Err(file.malformed("the PLY magic `ply`", excerpt(magic)));
        }
        let mut encoding = None;
        let mut elements: Vec<Element> = Vec::new();
        loop {
            let Some(line) = lines.next() else {
                return Err(file.malformed("`end_header`", "the end of the file"));
            };
            let unknown = |expected: &str| file.malformed(expected, excerpt(line));
            // No word that is read has other bytes than ASCII.
            let text = String::from_utf8_lossy(line);
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            match words[..] {
                ["end_header"] => break,
                [] | ["comment" | "obj_info", ..] => {}
                ["format", format, "1.0"] => {
                    encoding = Some(match format {
                        "ascii" => Encoding::Ascii,
                        "binary_little_endian" => Encoding::Binary(Endian::Little),
                        "binary_big_endian" => Encoding::Binary(Endian::Big),
                        _ => return Err(unknown("ascii or binary_{little,big}_endian")),
                    });
                }
                ["element", name, rows] => elements.push(Element {
                    name: name.to_owned(),
                    rows: rows.parse().map_err(|_| unknown("a count of rows"))?,
                    properties: Vec::new(),
                }),
                ["property", ref property @ ..] => {
                    let property = parse_property(property)
                        .ok_or_else(|| unknown("a property with a number type and a name"))?;
                    let element = elements.last_mut();
                    element
                        .ok_or_else(|| unknown("an element before its properties"))?
                        .properties
                        .push(property);
                }
                _ => return Err(unknown("format 1.0, element, property or end_header")),
            }
        }
        let encoding = encoding.ok_or_else(|| file.malformed("a line `format`", "none"))?;
        Ok(Self { encoding, elements, data: lines.rest() })
    }
}

fn parse_property(words: &[&str]) -> Option<Property> {
    match *words {
        ["list", count, item, _name] => {
            let count = number_type(count)?;
            (!count.is_float()).then_some(())?;
            Some(Property::List { count, item: number_type(item)? })
        }
        [scalar, name] => {
            Some(Property::Scalar { name: name.to_owned(), scalar: number_type(scalar)? })
        }
        _ => None,
    }
}

/// Both families of names that writers use.
fn number_type(name: &str) -> Option<Scalar> {
    Some(match name {
        "char" | "int8" => Scalar::I8,
        "uchar" | "uint8" => Scalar::U8,
        "short" | "int16" => Scalar::I16,
        "ushort" | "uint16" => Scalar::U16,
        "int" | "int32" => Scalar::I32,
        "uint" | "uint32" => Scalar::U32,
        "int64" => Scalar::I64,
        "uint64" => Scalar::U64,
        "float" | "float32" => Scalar::F32,
        "double" | "float64" => Scalar::F64,
        _ => return None,
    })
}
