//! NumPy's `.npy`: a header that is a Python dict literal, then the elements.
//!
//! Source: "NEP 1, A simple file format for NumPy arrays", versions 1.0 to 3.0. Of the literals
//! that Python knows only what NumPy writes is read, in one pass and without recursion, so that no
//! header can exhaust the stack.

use std::io::Read;

use voxtune_types::Voxel;

use crate::contents::Contents;
use crate::error::{InFile, excerpt};
use crate::scalar::{Endian, Scalar};
use crate::{CloudError, Points};

/// Scans have fewer numbers a point: more columns are features, or the array is transposed.
const MOST_COLUMNS: u64 = 64;

/// Rows that look like the numbers of a point, where there are more columns than these.
const FEWEST_POINTS: u64 = 8;

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longer headers describe records of many fields, which hold no points.
const LONGEST_HEADER_BYTES: usize = 4096;

pub(crate) fn read(file: InFile<'_>, bytes: &[u8]) -> Result<Contents, CloudError> {
    read_stream(file, bytes, bytes.len() as u64)
}

/// Reads an array from a stream that claims `stream_bytes` bytes. The claim is compared with the
/// header, and memory is only taken for what really comes.
pub(crate) fn read_stream(
    file: InFile<'_>,
    mut stream: impl Read,
    stream_bytes: u64,
) -> Result<Contents, CloudError> {
    let (header, header_bytes) = read_header(file, &mut stream)?;
    let expected_bytes = header.data_bytes(file)?;
    let array = || format!("{} bytes of elements of shape {:?}", expected_bytes, header.shape);
    let claimed_bytes = stream_bytes.saturating_sub(header_bytes);
    if claimed_bytes != expected_bytes {
        return Err(file.malformed(array(), format!("{claimed_bytes} bytes")));
    }
    let mut data = Vec::new();
    stream
        .take(expected_bytes + 1)
        .read_to_end(&mut data)
        .map_err(|error| file.malformed(array(), error.to_string()))?;
    if data.len() as u64 != expected_bytes {
        return Err(file.malformed(array(), format!("{} bytes", data.len())));
    }
    if header.scalar.is_float() { header.points(&data) } else { header.voxels(file, &data) }
}

fn read_header(file: InFile<'_>, stream: &mut impl Read) -> Result<(Header, u64), CloudError> {
    let mut take = |count: usize, what: &str| {
        let mut bytes = Vec::new();
        let ended = stream.by_ref().take(count as u64).read_to_end(&mut bytes);
        ended.map_err(|error| file.malformed(what, error.to_string()))?;
        if bytes.len() < count {
            return Err(file.too_short(format!("{what} of {count} bytes"), bytes.len()));
        }
        Ok(bytes)
    };
    let start = take(8, "a NumPy magic and version")?;
    if !start.starts_with(MAGIC) {
        return Err(file.malformed("the NumPy magic `\\x93NUMPY`", excerpt(&start)));
    }
    let length_bytes = match start[6] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(file.malformed("NumPy format 1, 2 or 3", format!("format {other}"))),
    };
    let length = take(length_bytes, "a header length")?
        .iter()
        .rfold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > LONGEST_HEADER_BYTES {
        return Err(file.malformed(
            format!("a header of at most {LONGEST_HEADER_BYTES} bytes"),
            format!("a header of {length} bytes"),
        ));
    }
    let text = take(length, "a header")?;
    Ok((Header::parse(file, &text)?, (8 + length_bytes + length) as u64))
}

struct Header {
    scalar: Scalar,
    endian: Endian,
    fortran_order: bool,
    shape: [u64; 2],
}

impl Header {
    fn parse(file: InFile<'_>, text: &[u8]) -> Result<Self, CloudError> {
        let malformed = |expected: &str| file.malformed(expected, excerpt(text));
        let text = std::str::from_utf8(text).map_err(|_| malformed("a header in UTF-8"))?;
        let mut rest = Literal(text.trim());
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        rest.eat('{').ok_or_else(|| malformed("a Python dict literal as header"))?;
        while rest.eat('}').is_none() {
            let key = rest.string().ok_or_else(|| malformed("a quoted key in the header"))?;
            rest.eat(':').ok_or_else(|| malformed("`:` after a key of the header"))?;
            let value = rest.0;
            let not = |expected| file.malformed(expected, excerpt(value.as_bytes()));
            match key {
                "descr" => {
                    descr = Some(rest.string().ok_or_else(|| not("a plain number type"))?);
                }
                "fortran_order" => {
                    fortran_order = Some(rest.boolean().ok_or_else(|| not("True or False"))?);
                }
                "shape" => {
                    shape = Some(rest.tuple().ok_or_else(|| not("a shape of integers"))?);
                }
                _ => return Err(malformed("the keys descr, fortran_order and shape")),
            }
            if rest.eat(',').is_none() && !rest.0.starts_with('}') {
                return Err(malformed("`,` or `}` after a value of the header"));
            }
        }
        let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
            return Err(malformed("the keys descr, fortran_order and shape"));
        };
        let (scalar, endian) = number_type(descr).ok_or_else(|| {
            file.malformed(
                "elements of float32, float64 or an integer type",
                excerpt(descr.as_bytes()),
            )
        })?;
        let shape: [u64; 2] = shape[..].try_into().map_err(|_| {
            file.malformed("an array of shape [N, 3 or more]", format!("{shape:?}"))
        })?;
        if (3..=FEWEST_POINTS).contains(&shape[0]) && shape[1] > FEWEST_POINTS {
            let expected = "an array of shape [N, 3 or more], a point a row";
            let found = format!("{shape:?}, which looks transposed: save its transpose, array.T");
            return Err(file.malformed(expected, found));
        }
        let columns = if scalar.is_float() { 3..=MOST_COLUMNS } else { 3..=4 };
        if !columns.contains(&shape[1]) {
            let expected = if shape[1] > MOST_COLUMNS {
                "an array of shape [N, 3 to 64], of which x, y, z are the first columns"
            } else if scalar.is_float() {
                "an array of shape [N, 3 or more]"
            } else {
                "an array of voxels of shape [N, 3] (x, y, z) or [N, 4] (batch, x, y, z)"
            };
            return Err(file.malformed(expected, format!("{shape:?}")));
        }
        Ok(Self { scalar, endian, fortran_order, shape })
    }

    fn data_bytes(&self, file: InFile<'_>) -> Result<u64, CloudError> {
        let elements = self.shape[0].checked_mul(self.shape[1]);
        elements
            .and_then(|elements| elements.checked_mul(self.scalar.bytes() as u64))
            .ok_or_else(|| file.malformed("a shape that fits memory", format!("{:?}", self.shape)))
    }

    /// The bytes of an element; the data has been checked to hold the whole shape.
    fn element<'a>(&self, data: &'a [u8], row: usize, column: usize) -> &'a [u8] {
        let [rows, columns] = self.shape.map(|edge| edge as usize);
        let index = if self.fortran_order { column * rows + row } else { row * columns + column };
        &data[index * self.scalar.bytes()..]
    }

    fn points(&self, data: &[u8]) -> Result<Contents, CloudError> {
        let rows = self.shape[0] as usize;
        let mut points = Points::of_types([Some(self.scalar)], rows);
        for row in 0..rows {
            points
                .push([0, 1, 2].map(|column| {
                    self.scalar.to_f64(self.element(data, row, column), self.endian)
                }));
        }
        Ok(Contents::Points(points))
    }

    fn voxels(&self, file: InFile<'_>, data: &[u8]) -> Result<Contents, CloudError> {
        let [rows, columns] = self.shape.map(|edge| edge as usize);
        let voxel = |row: usize| {
            // Without a batch column the batch is 0.
            let mut numbers = [0; 4];
            for column in 0..columns {
                let element = self.element(data, row, column);
                let number = self.scalar.to_i64(element, self.endian);
                let number = number.and_then(|number| i32::try_from(number).ok());
                numbers[4 - columns + column] = number.ok_or_else(|| {
                    file.malformed(
                        "32-bit voxel coordinates",
                        format!("a larger number in row {row}, column {column}"),
                    )
                })?;
            }
            let [batch, x, y, z] = numbers;
            if batch < 0 {
                return Err(file.malformed("batch indices from 0", format!("{batch} in row {row}")));
            }
            Ok(Voxel::new(batch, x, y, z))
        };
        (0..rows).map(voxel).collect::<Result<_, _>>().map(Contents::Voxels)
    }
}

/// The type of NumPy's type string, such as `<f4`.
fn number_type(descr: &str) -> Option<(Scalar, Endian)> {
    let (order, name) = descr.split_at_checked(1)?;
    let scalar = match name {
        "i1" => Scalar::I8,
        "u1" => Scalar::U8,
        "i2" => Scalar::I16,
        "u2" => Scalar::U16,
        "i4" => Scalar::I32,
        "u4" => Scalar::U32,
        "i8" => Scalar::I64,
        "u8" => Scalar::U64,
        "f4" => Scalar::F32,
        "f8" => Scalar::F64,
        _ => return None,
    };
    match order {
        "<" => Some((scalar, Endian::Little)),
        ">" => Some((scalar, Endian::Big)),
        "|" if scalar.bytes() == 1 => Some((scalar, Endian::Little)),
        _ => None,
    }
}

/// What is left of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest.trim_start();
        taken
    }

    fn eat(&mut self, mark: char) -> Option<()> {
        self.0.starts_with(mark).then(|| _ = self.advance(mark.len_utf8()))
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = self.0.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let end = self.0[1..].find(quote)?;
        let quoted = self.advance(end + 2);
        Some(&quoted[1..=end])
    }

    fn boolean(&mut self) -> Option<bool> {
        for (text, value) in [("True", true), ("False", false)] {
            if self.0.starts_with(text) {
                self.advance(text.len());
                return Some(value);
            }
        }
        None
    }

    fn tuple(&mut self) -> Option<Vec<u64>> {
        self.eat('(')?;
        let mut numbers = Vec::new();
        while self.eat(')').is_none() {
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            numbers.push(self.advance(digits).parse().ok()?);
            // Python 2 wrote long integers with a suffix.
            _ = self.eat('L');
            if self.eat(',').is_none() && !self.0.starts_with(')') {
                return None;
            }
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scans::{message_as, npy, npy_points, npy_voxels, points_as, read_as};

    #[test]
    fn points_of_every_layout_are_read() {
        let xyz = vec![[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]];
        let rows = [1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.5, 9.0];
        let columns = [1.0, 4.0, 2.0, 5.0, 3.0, 6.5, 9.0, 9.0];
        let bytes = |numbers: &[f32], convert: fn(f32) -> Vec<u8>| {
            numbers.iter().flat_map(|&number| convert(number)).collect::<Vec<u8>>()
        };
        let little = bytes(&rows, |n| n.to_le_bytes().to_vec());
        let cases = [
            npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", &little),
            npy(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 4L)}", &little),
            npy(3, "{\"shape\":(2,4),\"fortran_order\":False,\"descr\":\"<f4\"}\n", &little),
            npy(
                1,
                "{'descr': '>f8', 'fortran_order': True, 'shape': (2, 4), }    \n",
                &bytes(&columns, |n| f64::from(n).to_be_bytes().to_vec()),
            ),
        ];
        for case in &cases {
            assert_eq!(points_as("scan.npy", case).xyz, xyz);
        }
    }

    #[test]
    fn f14_a_transposed_array_is_refused_and_told() {
        let shaped = |descr: &str, rows: usize, columns: usize| {
            let header = format!(
                "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns})}}"
            );
            read_as("a.npy", &npy(1, &header, &vec![0; rows * columns * 4]))
        };
        for descr in ["<f4", "<i4"] {
            for (rows, columns) in [(3, 50), (4, 50_000), (3, 9), (6, 65)] {
                let message = shaped(descr, rows, columns).unwrap_err().to_string();
                assert!(message.contains("transposed"), "{message}");
            }
        }
        for (rows, columns) in [(3, 3), (3, 4), (4, 8), (2, 50), (9, 64), (50, 3), (50, 9)] {
            assert!(shaped("<f4", rows, columns).is_ok(), "{rows}, {columns}");
        }
        let message = shaped("<f4", 50, 65).unwrap_err().to_string();
        assert!(message.contains("[N, 3 to 64]") && message.contains("[50, 65]"), "{message}");
    }

    #[test]
    fn integers_are_voxels() {
        let with_batch = npy_voxels(&[[0, 5, -6, 7], [1, 0, 0, 0]]);
        let expected = vec![Voxel::new(0, 5, -6, 7), Voxel::new(1, 0, 0, 0)];
        assert_eq!(read_as("v.npy", &with_batch).unwrap(), Contents::Voxels(expected));
        let unbatched =
            npy(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3)}", &[7, 8, 9]);
        let expected = vec![Voxel::new(0, 7, 8, 9)];
        assert_eq!(read_as("v.npy", &unbatched).unwrap(), Contents::Voxels(expected));
    }

    #[test]
    fn headers_that_contradict_the_file_are_named() {
        let message = |header: &str| message_as("a.npy", &npy(1, header, &[0; 24]));
        let shaped = |descr: &str, shape: &str| {
            message(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"))
        };
        insta::assert_snapshot!(shaped("'<f4'", "(3, 3)"), @"a.npy: expected 36 bytes of elements of shape [3, 3], found 24 bytes");
        insta::assert_snapshot!(shaped("'<f4'", "(1, 3)"), @"a.npy: expected 12 bytes of elements of shape [1, 3], found 24 bytes");
        insta::assert_snapshot!(shaped("'<f4'", "(4611686018427387904, 4)"), @"a.npy: expected a shape that fits memory, found [4611686018427387904, 4]");
        insta::assert_snapshot!(shaped("'<f4'", "(99999999999999999999, 4)"), @"a.npy: expected a shape of integers, found `(99999999999999999999, 4)}`");
        insta::assert_snapshot!(shaped("'<f4'", "(6,)"), @"a.npy: expected an array of shape [N, 3 or more], found [6]");
        insta::assert_snapshot!(shaped("'<f4'", "(3, 2)"), @"a.npy: expected an array of shape [N, 3 or more], found [3, 2]");
        insta::assert_snapshot!(shaped("'<i4'", "(1, 6)"), @"a.npy: expected an array of voxels of shape [N, 3] (x, y, z) or [N, 4] (batch, x, y, z), found [1, 6]");
        insta::assert_snapshot!(shaped("'|O'", "(3, 3)"), @"a.npy: expected elements of float32, float64 or an integer type, found `|O`");
        insta::assert_snapshot!(shaped("[('x', '<f4')]", "(6,)"), @"a.npy: expected a plain number type, found `[('x', '<f4')], 'fortran_order': False, ...`");
        insta::assert_snapshot!(message("{'descr': '<f4', 'shape': (2, 3)}"), @"a.npy: expected the keys descr, fortran_order and shape, found `{'descr': '<f4', 'shape': (2, 3)}`");
        insta::assert_snapshot!(message("{'descr' '<f4'}"), @"a.npy: expected `:` after a key of the header, found `{'descr' '<f4'}`");
        insta::assert_snapshot!(message(&"(".repeat(60_000)), @"a.npy: expected a header of at most 4096 bytes, found a header of 60000 bytes");
        insta::assert_snapshot!(message_as("a.npy", b"ply\nformat ascii 1.0"), @r"a.npy: expected the NumPy magic `\x93NUMPY`, found `ply\nform`");
        insta::assert_snapshot!(message_as("a.npy", b"\x93NUMPY\x09\0 "), @"a.npy: expected NumPy format 1, 2 or 3, found format 9");
        insta::assert_snapshot!(message_as("a.npy", b"\x93NUM"), @"a.npy: expected a NumPy magic and version of 8 bytes, found 4 bytes");
        let mut long = npy_points(&[[0.0; 3]]);
        long.push(0);
        insta::assert_snapshot!(message_as("a.npy", &long), @"a.npy: expected 12 bytes of elements of shape [1, 3], found 13 bytes");
        insta::assert_snapshot!(message_as("a.npy", &npy_voxels(&[[-1, 0, 0, 0]])), @"a.npy: expected batch indices from 0, found -1 in row 0");
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3)}";
        let far = npy(1, header, &[255, 255, 255, 255, 1, 0, 0, 0].repeat(3));
        insta::assert_snapshot!(message_as("a.npy", &far), @"a.npy: expected 32-bit voxel coordinates, found a larger number in row 0, column 0");
    }
}
