//! The data of a `.ply` file: x, y, z of the element `vertex`, whatever else there is.

use crate::error::{InFile, excerpt};
use crate::ply_header::{Element, Encoding, Header, Property};
use crate::scalar::{Endian, Scalar};
use crate::{CloudError, Points, number};

pub(crate) fn read(file: InFile<'_>, bytes: &[u8]) -> Result<Points, CloudError> {
    let header = Header::parse(file, bytes)?;
    let Some(place) = header.elements.iter().position(|element| element.name == "vertex") else {
        let names: Vec<&str> = header.elements.iter().map(|element| &element.name[..]).collect();
        return Err(file.malformed("an element `vertex`", excerpt(names.join(" ").as_bytes())));
    };
    let axes = Axes::of(file, &header.elements[place])?;
    match header.encoding {
        Encoding::Ascii => Ascii { file, data: header.data }.read(&header.elements, place, &axes),
        Encoding::Binary(endian) => {
            Binary { file, data: header.data, endian }.read(&header.elements, place, &axes)
        }
    }
}

/// What is expected after the last row: a file that goes on has more rows than its header says.
const END: &str = "the end of the file after the rows that the header counts";

/// The elements before one, itself, and those after it.
fn around(elements: &[Element], place: usize) -> (&[Element], &Element, &[Element]) {
    (&elements[..place], &elements[place], &elements[place + 1..])
}

/// The places of x, y, z among the properties of a vertex.
struct Axes {
    places: [usize; 3],
    types: [Option<Scalar>; 3],
}

impl Axes {
    fn of(file: InFile<'_>, vertex: &Element) -> Result<Self, CloudError> {
        let (mut places, mut types) = ([0; 3], [None; 3]);
        for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
            let found = vertex.properties.iter().enumerate().find_map(|(place, property)| {
                let Property::Scalar { name: found, scalar } = property else { return None };
                (found == name).then_some((place, Some(*scalar)))
            });
            (places[axis], types[axis]) = found.ok_or_else(|| {
                file.malformed(format!("a number `{name}` in the element `vertex`"), "none")
            })?;
        }
        Ok(Self { places, types })
    }

    /// Keeps a value of a row if it is one of the coordinates.
    fn keep(&self, point: &mut [f64; 3], place: usize, value: impl FnOnce() -> f64) {
        if let Some(axis) = self.places.iter().position(|&axis| axis == place) {
            point[axis] = value();
        }
    }
}

struct Binary<'a> {
    file: InFile<'a>,
    data: &'a [u8],
    endian: Endian,
}

impl Binary<'_> {
    fn read(
        mut self,
        elements: &[Element],
        place: usize,
        axes: &Axes,
    ) -> Result<Points, CloudError> {
        let (before, vertex, after) = around(elements, place);
        self.skip(before)?;
        let rows = self.check_rows(vertex)?;
        let endian = self.endian;
        let mut points = Points::of_types(axes.types, rows);
        for _ in 0..rows {
            let mut point = [0.0; 3];
            self.row(vertex, |place, scalar, bytes| {
                axes.keep(&mut point, place, || scalar.to_f64(bytes, endian));
            })?;
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
            let rows = self.check_rows(element)?;
            if element.has_lists() {
                for _ in 0..rows {
                    self.row(element, |_, _, _| {})?;
                }
            } else {
                self.data = &self.data[rows * element.least_row_bytes()..];
            }
        }
        Ok(())
    }

    /// The rows of an element, once the rest of the file is known to be long enough for them.
    fn check_rows(&self, element: &Element) -> Result<usize, CloudError> {
        let row_bytes = element.least_row_bytes();
        let bytes = element.rows.checked_mul(row_bytes as u64);
        if bytes.is_some_and(|bytes| bytes <= self.data.len() as u64) {
            // Rows of no property take no bytes, and nothing is read of them.
            return Ok(if row_bytes == 0 { 0 } else { element.rows as usize });
        }
        let Element { name, rows, .. } = element;
        let expected = format!("{rows} rows of `{name}`, at least {row_bytes} bytes each");
        Err(self.file.too_short(expected, self.data.len()))
    }

    /// Steps over one row and shows its scalars by place.
    fn row(
        &mut self,
        element: &Element,
        mut show: impl FnMut(usize, Scalar, &[u8]),
    ) -> Result<(), CloudError> {
        for (place, property) in element.properties.iter().enumerate() {
            match *property {
                Property::Scalar { scalar, .. } => {
                    show(place, scalar, self.take(element, scalar.bytes() as u64)?);
                }
                Property::List { count, item } => {
                    let endian = self.endian;
                    let number = count.to_i64(self.take(element, count.bytes() as u64)?, endian);
                    let items = number.and_then(|number| u64::try_from(number).ok());
                    let bytes = items.and_then(|items| items.checked_mul(item.bytes() as u64));
                    let bytes = bytes.ok_or_else(|| {
                        let found = match number {
                            Some(number) => format!("a list of {number} items"),
                            None => "a list of more items than 63 bits count".to_owned(),
                        };
                        self.file.malformed(format!("a list in `{}`", element.name), found)
                    })?;
                    self.take(element, bytes)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, element: &Element, bytes: u64) -> Result<&[u8], CloudError> {
        let taken = usize::try_from(bytes).ok().and_then(|bytes| self.data.split_at_checked(bytes));
        let (taken, rest) = taken.ok_or_else(|| {
            let expected = format!("{} rows of `{}`", element.rows, element.name);
            self.file.too_short(expected, self.data.len())
        })?;
        self.data = rest;
        Ok(taken)
    }
}

struct Ascii<'a> {
    file: InFile<'a>,
    data: &'a [u8],
}

impl Ascii<'_> {
    fn read(self, elements: &[Element], place: usize, axes: &Axes) -> Result<Points, CloudError> {
        let (before, vertex, after) = around(elements, place);
        let mut words = self.data.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        self.skip(before, &mut words)?;
        let rows = self.check_rows(vertex)?;
        let mut points = Points::of_types(axes.types, rows);
        for _ in 0..rows {
            let mut point = [0.0; 3];
            self.row(vertex, &mut words, |place, word| {
                if axes.places.contains(&place) {
                    let value = self.number(word)?;
                    axes.keep(&mut point, place, || value);
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
        let Element { name, rows, properties } = element;
        let bytes = rows.checked_mul(2 * properties.len() as u64);
        if bytes.is_some_and(|bytes| bytes <= self.data.len() as u64 + 1) {
            return Ok(if properties.is_empty() { 0 } else { *rows as usize });
        }
        let expected = format!("{rows} rows of `{name}`, {} numbers each", properties.len());
        Err(self.file.too_short(expected, self.data.len()))
    }

    fn row<'w>(
        &self,
        element: &Element,
        words: &mut impl Iterator<Item = &'w [u8]>,
        mut show: impl FnMut(usize, &[u8]) -> Result<(), CloudError>,
    ) -> Result<(), CloudError> {
        let mut next = || {
            words.next().ok_or_else(|| {
                let expected = format!("{} rows of `{}`", element.rows, element.name);
                self.file.malformed(expected, "the end of the file within them")
            })
        };
        for (place, property) in element.properties.iter().enumerate() {
            match property {
                Property::Scalar { .. } => show(place, next()?)?,
                Property::List { .. } => {
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
    use crate::scans::{message_as, points_as};

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
        insta::assert_snapshot!(message(little, "vertex 2", "vertex -2", &data), @"a.ply: expected a count of rows, found `element vertex -2`");
        insta::assert_snapshot!(message(little, "element vertex", "element points", &data), @"a.ply: expected an element `vertex`, found `camera points face`");
        insta::assert_snapshot!(message(little, "float x", "float u", &data), @"a.ply: expected a number `x` in the element `vertex`, found none");
        insta::assert_snapshot!(message(little, "float x", "half x", &data), @"a.ply: expected a property with a number type and a name, found `property half x`");
        insta::assert_snapshot!(message(little, "list uchar", "list float", &data), @"a.ply: expected a property with a number type and a name, found `property list float short path`");
        insta::assert_snapshot!(message(little, "1.0", "2.0", &data), @"a.ply: expected format 1.0, element, property or end_header, found `format binary_little_endian 2.0`");
        insta::assert_snapshot!(message("middle_endian", "any", "any", &data), @"a.ply: expected ascii or binary_{little,big}_endian, found `format middle_endian 1.0`");
        insta::assert_snapshot!(message(little, "any", "any", &data[..30]), @"a.ply: expected 2 rows of `vertex`, at least 17 bytes each, found 16 bytes");
        insta::assert_snapshot!(message("ascii", "any", "any", &ascii[..30]), @"a.ply: expected 2 rows of `vertex`, found the end of the file within them");
        insta::assert_snapshot!(message("ascii", "any", "any", b"2 7 8 1 0 2 3.25 1 9 one 2 3 4 5 6 7 8"), @"a.ply: expected a number, found `one`");
        insta::assert_snapshot!(message("ascii", "any", "any", &b"-1 ".repeat(30)), @"a.ply: expected a count of items, found `-1`");
        let negative = message(little, "list uchar", "list char", &[&[255], &data[1..]].concat());
        insta::assert_snapshot!(negative, @"a.ply: expected a list in `camera`, found a list of -1 items");
    }
}
