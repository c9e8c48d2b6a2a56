//! The header of a `.ply` file, in the form that the library of PLY files reads.
//!
//! Source: Greg Turk, "The PLY Polygon File Format", 1994. Writers put any bytes into comments and
//! names, end lines in three ways and give two properties one name. `ply-rs-bw` refuses or misreads
//! all of these. So it gets lines of our own: without comments, with names that tell what is looked
//! for and number the rest.

use ply_rs_bw::parser::{Parser, Reader};
use ply_rs_bw::ply::{DefaultElement, ElementDef, Header, PropertyType, ScalarType, Version};

use crate::CloudError;
use crate::error::{InFile, excerpt};
use crate::header_lines::HeaderLines;

/// The axes of a point, as properties are called.
pub(crate) const AXES: [&str; 3] = ["x", "y", "z"];

/// An element as the file names it.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) def: ElementDef,
    /// Of x, y and z, which are integers of 64 bits. The library knows no such type and reads them
    /// as a float64 of the same bits.
    pub(crate) wide: [Option<Wide>; 3],
}

/// An integer type of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wide {
    Signed,
    Unsigned,
}

impl Wide {
    fn of(word: &str) -> Option<Self> {
        match word {
            "int64" => Some(Self::Signed),
            "uint64" => Some(Self::Unsigned),
            _ => None,
        }
    }
}

impl Element {
    /// The fewest bytes that a row takes in binary: its lists may be empty.
    pub(crate) fn least_row_bytes(&self) -> usize {
        let bytes = |data_type: &PropertyType| match data_type {
            PropertyType::Scalar(scalar) | PropertyType::List(scalar, _) => bytes_of(scalar),
        };
        self.def.properties.values().map(|property| bytes(&property.data_type)).sum()
    }

    pub(crate) fn has_lists(&self) -> bool {
        let mut properties = self.def.properties.values();
        properties.any(|property| matches!(property.data_type, PropertyType::List(..)))
    }
}

const fn bytes_of(scalar: &ScalarType) -> usize {
    match scalar {
        ScalarType::Char | ScalarType::UChar => 1,
        ScalarType::Short | ScalarType::UShort => 2,
        ScalarType::Int | ScalarType::UInt | ScalarType::Float => 4,
        ScalarType::Double => 8,
    }
}

/// The header, its elements in order, and the data behind it.
pub(crate) fn read<'a>(
    file: InFile<'_>,
    bytes: &'a [u8],
) -> Result<(Header, Vec<Element>, &'a [u8]), CloudError> {
    let mut lines = HeaderLines::of_ply(file, bytes)?;
    let magic = lines.next().unwrap_or(bytes);
    if magic != b"ply" {
        return Err(file.malformed("the PLY magic `ply`", excerpt(magic)));
    }
    let mut ours = OurLines::default();
    ours.push("ply", magic);
    loop {
        let Some(line) = lines.next() else {
            return Err(file.malformed("`end_header`", "the end of the file"));
        };
        // No word that is read has other bytes than ASCII.
        let text = String::from_utf8_lossy(line);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words[..] {
            ["end_header"] => break,
            [] | ["comment" | "obj_info", ..] => {}
            _ => ours.add(&words, line),
        }
    }
    ours.push("end_header", b"");
    let parser = Parser::<DefaultElement>::new();
    let header = parser.read_header(&mut Reader::new(ours.text.as_bytes())).map_err(|error| {
        let line = error.line().and_then(|line| ours.originals.get(line - 1));
        let expected = "a line `format`, `element` or `property` of PLY 1.0";
        match line {
            Some(line) if !line.is_empty() => file.malformed(expected, excerpt(line)),
            _ => file.malformed("a line `format`", "none"),
        }
    })?;
    if header.version != (Version { major: 1, minor: 0 }) {
        let Version { major, minor } = header.version;
        return Err(file.malformed("format 1.0", format!("format {major}.{minor}")));
    }
    let defs = header.elements.values().cloned();
    let elements = ours.names.iter().zip(&ours.wide).zip(defs);
    let elements: Vec<Element> =
        elements.map(|((name, &wide), def)| Element { name: name.clone(), def, wide }).collect();
    for Element { name, def, .. } in &elements {
        let counted_in_floats = def.properties.values().any(|property| {
            use ScalarType::{Double, Float};
            matches!(property.data_type, PropertyType::List(Float | Double, _))
        });
        if counted_in_floats {
            let expected = format!("lists in `{name}` whose count is an integer of up to 32 bits");
            return Err(file.malformed(expected, "a list with a count of another type"));
        }
    }
    Ok((header, elements, lines.rest()))
}

/// The lines that the library gets, and what they were.
#[derive(Default)]
struct OurLines<'a> {
    text: String,
    originals: Vec<&'a [u8]>,
    names: Vec<String>,
    wide: Vec<[Option<Wide>; 3]>,
    /// The axes of this element that have their property, and how many properties it has.
    axes: [bool; 3],
    properties: usize,
}

impl<'a> OurLines<'a> {
    fn push(&mut self, line: &str, original: &'a [u8]) {
        self.text.push_str(line);
        self.text.push('\n');
        self.originals.push(original);
    }

    fn add(&mut self, words: &[&str], original: &'a [u8]) {
        let line = match *words {
            ["element", name, rows] => {
                self.names.push(name.to_owned());
                self.wide.push([None; 3]);
                (self.axes, self.properties) = ([false; 3], 0);
                format!("element e{} {rows}", self.names.len())
            }
            ["property", "list", count, item, _] => {
                let item = if Wide::of(item).is_some() { "double" } else { item };
                format!("property list {count} {item} {}", self.number())
            }
            ["property", scalar, name] => {
                let wide = Wide::of(scalar);
                let axis = AXES.iter().position(|axis| *axis == name);
                let name = match axis.filter(|&axis| !self.axes[axis]) {
                    Some(axis) => {
                        self.axes[axis] = true;
                        if let Some(of_element) = self.wide.last_mut() {
                            of_element[axis] = wide;
                        }
                        AXES[axis].to_owned()
                    }
                    None => self.number(),
                };
                format!("property {} {name}", if wide.is_some() { "double" } else { scalar })
            }
            _ => words.join(" "),
        };
        self.push(&line, original);
    }

    fn number(&mut self) -> String {
        self.properties += 1;
        format!("p{}", self.properties)
    }
}
