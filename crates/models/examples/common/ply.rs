//! Coloured points in a PLY file.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use ply_rs_bw::ply::{
    Addable as _, ElementDef, Encoding, Ply, PropertyAccess, PropertyDef, PropertyType, ScalarType,
};
use ply_rs_bw::writer::Writer;

use super::outcome::Anything;

/// A point.
pub(crate) struct Vertex {
    /// In the file's unit.
    pub(crate) xyz: [f32; 3],
    /// Red, green and blue.
    pub(crate) colour: [u8; 3],
}

const AXES: [&str; 3] = ["x", "y", "z"];
const COLOURS: [&str; 3] = ["red", "green", "blue"];

impl PropertyAccess for Vertex {
    fn new() -> Self {
        Self { xyz: [0.0; 3], colour: [0; 3] }
    }

    fn get_float(&self, name: &str) -> Option<f32> {
        AXES.iter().position(|axis| *axis == name).map(|axis| self.xyz[axis])
    }

    fn get_uchar(&self, name: &str) -> Option<u8> {
        COLOURS.iter().position(|colour| *colour == name).map(|colour| self.colour[colour])
    }
}

/// Writes points, as text or in the binary format of little-endian numbers.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(path: &Path, vertices: Vec<Vertex>, is_text: bool) -> Result<(), Anything> {
    let mut element = ElementDef::new("vertex".to_owned());
    let axes = AXES.map(|name| (name, ScalarType::Float));
    for (name, scalar) in axes.into_iter().chain(COLOURS.map(|name| (name, ScalarType::UChar))) {
        element.properties.add(PropertyDef::new(name.to_owned(), PropertyType::Scalar(scalar)));
    }
    let mut ply = Ply::new();
    ply.header.encoding = if is_text { Encoding::Ascii } else { Encoding::BinaryLittleEndian };
    ply.header.elements.add(element);
    ply.payload.insert("vertex".to_owned(), vertices);
    let written = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        Writer::new().write_ply(&mut file, &mut ply)?;
        file.flush()
    });
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
