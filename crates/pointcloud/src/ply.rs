//! The data of a `.ply` file: x, y, z of the element `vertex`, whatever else there is.
//!
//! Binary rows are read by `ply-rs-bw`, once the file is known to be long enough for what its
//! header counts. Text is read here: the library knows neither NaN nor infinity in text, and rounds
//! digits to the type that the header names.

use std::io::ErrorKind;

use ply_rs_bw::parser::{Parser, Reader};
use ply_rs_bw::ply::{
    Encoding, Header, Property, PropertyAccess, PropertyAccessResult, PropertyType, ScalarType,
};

use crate::error::{InFile, excerpt};
use crate::ply_header::{self, AXES, Element, Wide};
use crate::{CloudError, Points, number};

pub(crate) fn read(file: InFile<'_>, bytes: &[u8]) -> Result<Points, CloudError> {
    let (header, elements, data) = ply_header::read(file, bytes)?;
    let Some(place) = elements.iter().position(|element| element.name == "vertex") else {
        let names: Vec<&str> = elements.iter().map(|element| &element.name[..]).collect();
        return Err(file.malformed("an element `vertex`", excerpt(names.join(" ").as_bytes())));
    };
    for axis in AXES {
        let property = elements[place].def.properties.get(axis);
        if !property.is_some_and(|one| matches!(one.data_type, PropertyType::Scalar(_))) {
            let expected = format!("a number `{axis}` in the element `vertex`");
            return Err(file.malformed(expected, "none"));
        }
    }
    match header.encoding {
        Encoding::Ascii => Ascii { file, data }.read(&elements, place),
        _ => Binary { file, data, header: &header }.read(&elements, place),
    }
}

/// What is expected after the last row: a file that goes on has more rows than its header says.
const END: &str = "the end of the file after the rows that the header counts";

/// The elements before one, itself, and those after it.
fn around(elements: &[Element], place: usize) -> (&[Element], &Element, &[Element]) {
    (&elements[..place], &elements[place], &elements[place + 1..])
}

/// Points of a vertex element without any yet.
fn no_points(vertex: &Element) -> Points {
    let stored_as_float32 = AXES.iter().any(|axis| {
        vertex.def.properties[*axis].data_type == PropertyType::Scalar(ScalarType::Float)
    });
    Points { stored_as_float32, ..Points::default() }
}

/// A row of which only x, y and z are kept.
struct Vertex([f64; 3]);

impl PropertyAccess for Vertex {
    fn new() -> Self {
        Self([0.0; 3])
    }

    fn set_property(&mut self, name: &str, property: Property) -> PropertyAccessResult {
        let Some(axis) = AXES.iter().position(|axis| *axis == name) else {
            return PropertyAccessResult::Ignored;
        };
        self.0[axis] = match property {
            Property::Char(value) => f64::from(value),
            Property::UChar(value) => f64::from(value),
            Property::Short(value) => f64::from(value),
            Property::UShort(value) => f64::from(value),
            Property::Int(value) => f64::from(value),
            Property::UInt(value) => f64::from(value),
            Property::Float(value) => f64::from(value),
            Property::Double(value) => value,
            _ => return PropertyAccessResult::UnsupportedType,
        };
        PropertyAccessResult::Set
    }
}

/// A row of which nothing is kept; a list of such takes no memory.
struct Skipped;

impl PropertyAccess for Skipped {
    fn new() -> Self {
        Self
    }
}

struct Binary<'a> {
    file: InFile<'a>,
    data: &'a [u8],
    header: &'a Header,
}

impl Binary<'_> {
    fn read(mut self, elements: &[Element], place: usize) -> Result<Points, CloudError> {
        let (before, vertex, after) = around(elements, place);
        self.skip(before)?;
        self.check_rows(vertex)?;
        let mut points = no_points(vertex);
        for Vertex(mut point) in self.rows(vertex)? {
            for (value, wide) in point.iter_mut().zip(vertex.wide) {
                *value = match wide {
                    None => *value,
                    Some(Wide::Signed) => value.to_bits().cast_signed() as f64,
                    Some(Wide::Unsigned) => value.to_bits() as f64,
                };
            }
            points.push(point);
        }
        self.skip(after)?;
        // Less than a row is the padding or the line end of some writer.
        match self.data.len() {
            more if more < vertex.least_row_bytes() => Ok(points),
            more => Err(self.file.malformed(END, format!("{more} more bytes"))),
        }
    }

    /// Steps over the rows of some elements.
    fn skip(&mut self, elements: &[Element]) -> Result<(), CloudError> {
        for element in elements {
            self.check_rows(element)?;
            if element.has_lists() {
                self.rows::<Skipped>(element)?;
            } else {
                // Rows of no property take no bytes, however many there are.
                self.data = &self.data[element.def.count * element.least_row_bytes()..];
            }
        }
        Ok(())
    }

    /// That the rest of the file is long enough for the rows of an element.
    fn check_rows(&self, element: &Element) -> Result<(), CloudError> {
        let (rows, row_bytes) = (element.def.count, element.least_row_bytes());
        if rows.checked_mul(row_bytes).is_some_and(|bytes| bytes <= self.data.len()) {
            return Ok(());
        }
        let expected =
            format!("{rows} rows of `{}`, at least {row_bytes} bytes each", element.name);
        Err(self.file.too_short(expected, self.data.len()))
    }

    fn rows<E: PropertyAccess>(&mut self, element: &Element) -> Result<Vec<E>, CloudError> {
        let mut reader = Reader::new(self.data);
        let rows = Parser::new().read_payload_for_element(&mut reader, &element.def, self.header);
        let rows = rows.map_err(|error| {
            let expected = format!("{} rows of `{}`", element.def.count, element.name);
            if error.kind() == ErrorKind::UnexpectedEof {
                return self.file.too_short(expected, self.data.len());
            }
            // The library's words, of which the first line says what is wrong.
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default();
            let why = why
                .strip_prefix("Line ")
                .and_then(|why| why.split_once(": "))
                .map_or(why, |why| why.1);
            self.file.malformed(expected, why)
        })?;
        self.data = reader.into_inner();
        Ok(rows)
    }
}

struct Ascii<'a> {
    file: InFile<'a>,
    data: &'a [u8],
}

impl Ascii<'_> {
    fn read(self, elements: &[Element], place: usize) -> Result<Points, CloudError> {
        let (before, vertex, after) = around(elements, place);
        let mut words = self.data.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        self.skip(before, &mut words)?;
        let mut points = no_points(vertex);
        for _ in 0..self.check_rows(vertex)? {
            let mut point = [0.0; 3];
            self.row(vertex, &mut words, |name, word| {
                if let Some(axis) = AXES.iter().position(|axis| *axis == name) {
                    point[axis] = self.number(word)?;
                }
                Ok(())
            })?;
            points.push(point);
        }
        self.skip(after, &mut words)?;
        match words.next() {
            None => Ok(points),
            Some(word) => Err(self.file.malformed(END, excerpt(word))),
        }
    }

    /// Steps over the rows of some elements.
    fn skip<'w>(
        &self,
        elements: &[Element],
        words: &mut impl Iterator<Item = &'w [u8]>,
    ) -> Result<(), CloudError> {
        for element in elements {
            for _ in 0..self.check_rows(element)? {
                self.row(element, words, |_, _| Ok(()))?;
            }
        }
        Ok(())
    }

    /// As in binary; a number takes a digit and a space at least.
    fn check_rows(&self, element: &Element) -> Result<usize, CloudError> {
        let (rows, numbers) = (element.def.count, element.def.properties.len());
        let bytes = rows.checked_mul(2 * numbers);
        if bytes.is_some_and(|bytes| bytes <= self.data.len() + 1) {
            // Nothing is read of rows without properties.
            return Ok(if numbers == 0 { 0 } else { rows });
        }
        let expected = format!("{rows} rows of `{}`, {numbers} numbers each", element.name);
        Err(self.file.too_short(expected, self.data.len()))
    }

    fn row<'w>(
        &self,
        element: &Element,
        words: &mut impl Iterator<Item = &'w [u8]>,
        mut show: impl FnMut(&str, &[u8]) -> Result<(), CloudError>,
    ) -> Result<(), CloudError> {
        let mut next = || {
            words.next().ok_or_else(|| {
                let expected = format!("{} rows of `{}`", element.def.count, element.name);
                self.file.malformed(expected, "the end of the file within them")
            })
        };
        for (name, property) in &element.def.properties {
            match property.data_type {
                PropertyType::Scalar(_) => show(name, next()?)?,
                PropertyType::List(..) => {
                    let word = next()?;
                    let items = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
                    let items: u64 = items
                        .ok_or_else(|| self.file.malformed("a count of items", excerpt(word)))?;
                    for _ in 0..items {
                        next()?;
                    }
                }
            }
        }
        Ok(())
    }

    fn number(&self, word: &[u8]) -> Result<f64, CloudError> {
        number::parse(word)
            .ok_or_else(|| self.file.malformed(number::expected(word), excerpt(word)))
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{message_as, points_as};

    /// Properties in any order and of any type, a list within the vertex, elements around it.
    const HEADER: &str = "element camera 2
property list uchar short path
property uint id
element vertex 2
property double z
property list ushort float normals
property float x
property uchar red
property short y
element face 1
property list uchar int vertex_indices
end_header
";

    fn with_format(format: &str, data: &[u8]) -> Vec<u8> {
        let start = format!("ply\nformat {format} 1.0\ncomment any\nobj_info any\n{HEADER}");
        [start.as_bytes(), data].concat()
    }

    fn binary(big: bool) -> Vec<u8> {
        let mut data: Vec<u8> = Vec::new();
        let mut put = |little: &[u8]| {
            if big {
                data.extend(little.iter().rev());
            } else {
                data.extend(little);
            }
        };
        put(&[2]);
        put(&7_i16.to_le_bytes());
        put(&8_i16.to_le_bytes());
        put(&1_u32.to_le_bytes());
        put(&[0]);
        put(&2_u32.to_le_bytes());
        for [x, y, z] in [[1.5, 2.0, 3.25], [-1.0, -2.0, 0.1]] {
            put(&f64::to_le_bytes(z));
            put(&1_u16.to_le_bytes());
            put(&9_f32.to_le_bytes());
            put(&(x as f32).to_le_bytes());
            put(&[255]);
            put(&(y as i16).to_le_bytes());
        }
        put(&[1]);
        put(&0_i32.to_le_bytes());
        data
    }

    const ASCII: &str = "2 7 8 1\n0 2\n3.25 1 9 1.5 255 2\r\n 0.1 2 9 9 -1 255 -2\n1 0\n";

    #[test]
    fn every_encoding_gives_the_same_points() {
        let expected = [[1.5, 2.0, 3.25], [-1.0, -2.0, 0.1]];
        let [little, big] = [false, true].map(binary);
        let files = [
            with_format("binary_little_endian", &little),
            with_format("binary_big_endian", &big),
            with_format("ascii", ASCII.as_bytes()),
        ];
        for file in &files {
            assert_eq!(points_as("a.ply", file).xyz, expected);
        }
        let windows = String::from_utf8(files[2].clone()).unwrap().replace('\n', "\r\n");
        assert_eq!(points_as("a.ply", windows.as_bytes()).xyz, expected);
    }

    /// Writers give two properties one name, and integers of 64 bits, which the library refuses.
    #[test]
    fn doubled_names_and_wide_integers_are_read() {
        let header = "ply\nformat FORMAT 1.0\nelement vertex 2\nproperty uchar p1\n\
            property int64 x\nproperty uint64 y\nproperty float z\nproperty double x\n\
            property uchar p1\nproperty list uchar int64 more\nend_header\n";
        let rows = [(-5_i64, u64::MAX, 0.5_f32), (i64::MAX, 3, -1.0)];
        let mut little = header.replace("FORMAT", "binary_little_endian").into_bytes();
        let mut big = header.replace("FORMAT", "binary_big_endian").into_bytes();
        let mut ascii = header.replace("FORMAT", "ascii");
        for (x, y, z) in rows {
            little
                .extend([&[1][..], &x.to_le_bytes(), &y.to_le_bytes(), &z.to_le_bytes()].concat());
            little.extend([&9_f64.to_le_bytes()[..], &[1, 1], &7_i64.to_le_bytes()].concat());
            big.extend([&[1][..], &x.to_be_bytes(), &y.to_be_bytes(), &z.to_be_bytes()].concat());
            big.extend([&9_f64.to_be_bytes()[..], &[1, 1], &7_i64.to_be_bytes()].concat());
            ascii += &format!("1 {x} {y} {z} 9 1 1 7\n");
        }
        let expected = rows.map(|(x, y, z)| [x as f64, y as f64, f64::from(z)]);
        for file in [&little, &big, ascii.as_bytes()] {
            assert_eq!(points_as("a.ply", file).xyz, expected);
        }
    }

    #[test]
    fn elements_without_properties_take_no_room() {
        let header = "ply\nformat FORMAT 1.0\nelement nothing 18446744073709551615\n\
            element vertex 1\nproperty char x\nproperty char y\nproperty char z\nend_header\n";
        let ascii = header.replace("FORMAT", "ascii") + "1 2 3";
        assert_eq!(points_as("a.ply", ascii.as_bytes()).xyz, [[1.0, 2.0, 3.0]]);
        let binary = header.replace("FORMAT", "binary_big_endian") + "\x01\x02\x03";
        assert_eq!(points_as("a.ply", binary.as_bytes()).xyz, [[1.0, 2.0, 3.0]]);
    }

    #[test]
    fn rows_that_the_header_does_not_count_are_named() {
        let with_faces = |count: usize, format: &str, data: &[u8]| {
            let file = with_format(format, data);
            let place = file.windows(6).position(|bytes| bytes == b"face 1").unwrap() + 5;
            [&file[..place], count.to_string().as_bytes(), &file[place + 1..]].concat()
        };
        for (format, data) in
            [("ascii", ASCII.as_bytes()), ("binary_little_endian", &binary(false)[..])]
        {
            assert_eq!(points_as("a.ply", &with_faces(1, format, data)).xyz.len(), 2);
            let padded = [data, b"\r\n"].concat();
            assert_eq!(points_as("a.ply", &with_faces(1, format, &padded)).xyz.len(), 2);
            let longer = [data, b" 1 2 3 4 5 6 7 8 9 10 11 12"].concat();
            let message = message_as("a.ply", &with_faces(1, format, &longer));
            assert!(message.contains("the rows that the header counts"), "{message}");
        }
        let message = message_as("a.ply", &with_faces(0, "ascii", ASCII.as_bytes()));
        assert!(message.contains("the rows that the header counts"), "{message}");
    }

    #[test]
    fn files_that_contradict_themselves_are_named() {
        let message = |format: &str, from: &str, to: &str, data: &[u8]| {
            let file = with_format(format, &[]);
            let header = String::from_utf8(file).unwrap();
            assert!(header.contains(from));
            message_as("a.ply", &[header.replacen(from, to, 1).as_bytes(), data].concat())
        };
        let (little, ascii) = ("binary_little_endian", ASCII.as_bytes());
        let data = binary(false);
        insta::assert_snapshot!(message_as("a.ply", b"\x93NUMPY"), @r"a.ply: expected the PLY magic `ply`, found `\x93NUMPY`");
        insta::assert_snapshot!(message_as("a.ply", b"ply\nformat ascii 1.0\n"), @"a.ply: expected `end_header`, found the end of the file");
        insta::assert_snapshot!(message(little, "vertex 2", "vertex 18446744073709551615", &data), @"a.ply: expected 18446744073709551615 rows of `vertex`, at least 17 bytes each, found 47 bytes");
        insta::assert_snapshot!(message("ascii", "vertex 2", "vertex 1000000000", ascii), @"a.ply: expected 1000000000 rows of `vertex`, 5 numbers each, found 57 bytes");
        insta::assert_snapshot!(message(little, "vertex 2", "vertex -2", &data), @"a.ply: expected a line `format`, `element` or `property` of PLY 1.0, found `element vertex -2`");
        insta::assert_snapshot!(message(little, "element vertex", "element points", &data), @"a.ply: expected an element `vertex`, found `camera points face`");
        insta::assert_snapshot!(message(little, "float x", "float u", &data), @"a.ply: expected a number `x` in the element `vertex`, found none");
        insta::assert_snapshot!(message(little, "float x", "half x", &data), @"a.ply: expected a line `format`, `element` or `property` of PLY 1.0, found `property half x`");
        insta::assert_snapshot!(message(little, "list uchar", "list float", &data), @"a.ply: expected lists in `camera` whose count is an integer of up to 32 bits, found a list with a count of another type");
        insta::assert_snapshot!(message(little, "1.0", "2.0", &data), @"a.ply: expected format 1.0, found format 2.0");
        insta::assert_snapshot!(message("middle_endian", "any", "any", &data), @"a.ply: expected a line `format`, `element` or `property` of PLY 1.0, found `format middle_endian 1.0`");
        insta::assert_snapshot!(message(little, "any", "any", &data[..30]), @"a.ply: expected 2 rows of `vertex`, at least 17 bytes each, found 16 bytes");
        insta::assert_snapshot!(message("ascii", "any", "any", &ascii[..30]), @"a.ply: expected 2 rows of `vertex`, found the end of the file within them");
        insta::assert_snapshot!(message("ascii", "any", "any", b"2 7 8 1 0 2 3.25 1 9 one 2 3 4 5 6 7 8"), @"a.ply: expected a number, found `one`");
        insta::assert_snapshot!(message("ascii", "any", "any", &b"-1 ".repeat(30)), @"a.ply: expected a count of items, found `-1`");
        let negative = message(little, "list uchar", "list char", &[&[255], &data[1..]].concat());
        insta::assert_snapshot!(negative, @"a.ply: expected 2 rows of `camera`, found List length cannot be negative (i8).");
    }
}
