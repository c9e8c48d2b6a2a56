//! NumPy's `.npy`: a header that is a Python dict literal, then the elements.
//!
//! Source: "NEP 1, A simple file format for NumPy arrays", versions 1.0 to 3.0. `npyz` reads both,
//! once a header is known to be one of plain numbers. It parses Python without a limit of depth,
//! makes room for as long a header as a file claims, and multiplies a shape without looking.

use std::io::Read;

use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar};
use voxtune_types::Voxel;

use crate::contents::Contents;
use crate::error::{InFile, excerpt};
use crate::{CloudError, Points};

/// Scans have fewer numbers per point: more columns are features, or the array is transposed.
const MOST_COLUMNS: u64 = 64;

/// Rows that look like the numbers of a point, where there are more columns than these.
const FEWEST_POINTS: u64 = 8;

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longer headers describe records of many fields, which hold no points.
const LONGEST_HEADER_BYTES: usize = 4096;

/// A product of numbers with so many digits in all fits 64 bits.
const MOST_DIGITS: usize = 19;

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
    let array = Array::of(file, &header)?;
    let expected_bytes = array.bytes(file)?;
    let promised = || format!("{expected_bytes} bytes of elements of shape {:?}", header.shape());
    let claimed_bytes = stream_bytes.saturating_sub(header_bytes);
    if claimed_bytes != expected_bytes {
        return Err(file.malformed(promised(), format!("{claimed_bytes} bytes")));
    }
    let mut data = Vec::new();
    stream
        .take(expected_bytes + 1)
        .read_to_end(&mut data)
        .map_err(|error| file.malformed(promised(), error.to_string()))?;
    if data.len() as u64 != expected_bytes {
        return Err(file.malformed(promised(), format!("{} bytes", data.len())));
    }
    match array.element {
        Element::Float4 => array.points::<f32>(&data),
        Element::Float8 => array.points::<f64>(&data),
        Element::Int1 => array.voxels::<i8>(&data),
        Element::Int2 => array.voxels::<i16>(&data),
        Element::Int4 => array.voxels::<i32>(&data),
        Element::Int8 => array.voxels::<i64>(&data),
        Element::Uint1 => array.voxels::<u8>(&data),
        Element::Uint2 => array.voxels::<u16>(&data),
        Element::Uint4 => array.voxels::<u32>(&data),
        Element::Uint8 => array.voxels::<u64>(&data),
    }
}

fn read_header(file: InFile<'_>, stream: &mut impl Read) -> Result<(NpyHeader, u64), CloudError> {
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
    let length_field = take(length_bytes, "a header length")?;
    let length = length_field.iter().rfold(0_usize, |all, &byte| all << 8 | usize::from(byte));
    if length > LONGEST_HEADER_BYTES {
        return Err(file.malformed(
            format!("a header of at most {LONGEST_HEADER_BYTES} bytes"),
            format!("a header of {length} bytes"),
        ));
    }
    let text = take(length, "a header")?;
    let plain = plain(file, &text)?;
    let whole = [&start, &length_field, plain.as_bytes()].concat();
    let header = NpyHeader::from_reader(&whole[..]).map_err(|_| {
        let expected = "a Python dict of descr (a number type), fortran_order and shape";
        file.malformed(expected, excerpt(&text))
    })?;
    Ok((header, whole.len() as u64))
}

/// The text of a header that holds a plain array, without the suffix of Python 2's long integers.
fn plain(file: InFile<'_>, bytes: &[u8]) -> Result<String, CloudError> {
    let malformed = |expected: &str| file.malformed(expected, excerpt(bytes));
    let text = str::from_utf8(bytes).map_err(|_| malformed("a header in UTF-8"))?;
    // The dict and the shape; a list describes records.
    if text.contains('[') || text.matches(['(', '{']).count() > 2 {
        return Err(malformed("a plain number type and a shape"));
    }
    let mut plain = String::with_capacity(text.len());
    let mut digits = 0;
    for part in text.split_inclusive(|byte: char| !byte.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|byte: char| !byte.is_ascii_alphanumeric());
        let number = word.strip_suffix('L').unwrap_or(word);
        if word.starts_with(|byte: char| byte.is_ascii_digit()) {
            if !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed("a shape of decimal integers"));
            }
            digits += number.len();
            plain.push_str(number);
            plain.extend(std::iter::repeat_n(' ', word.len() - number.len()));
            plain.push_str(&part[word.len()..]);
        } else {
            plain.push_str(part);
        }
    }
    if digits > MOST_DIGITS {
        let shape = text.find("shape").map_or(bytes, |at| &bytes[at..]);
        return Err(file.malformed("a shape that fits memory", excerpt(shape)));
    }
    Ok(plain)
}

/// The types of numbers that are read, by kind and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Float4,
    Float8,
    Int1,
    Int2,
    Int4,
    Int8,
    Uint1,
    Uint2,
    Uint4,
    Uint8,
}

impl Element {
    fn of(dtype: &DType) -> Option<(Self, u64)> {
        let DType::Plain(plain) = dtype else { return None };
        let element = match (plain.type_char(), plain.size_field()) {
            (TypeChar::Float, 4) => Self::Float4,
            (TypeChar::Float, 8) => Self::Float8,
            (TypeChar::Int, 1) => Self::Int1,
            (TypeChar::Int, 2) => Self::Int2,
            (TypeChar::Int, 4) => Self::Int4,
            (TypeChar::Int, 8) => Self::Int8,
            (TypeChar::Uint, 1) => Self::Uint1,
            (TypeChar::Uint, 2) => Self::Uint2,
            (TypeChar::Uint, 4) => Self::Uint4,
            (TypeChar::Uint, 8) => Self::Uint8,
            _ => return None,
        };
        Some((element, plain.size_field()))
    }

    const fn is_float(self) -> bool {
        matches!(self, Self::Float4 | Self::Float8)
    }
}

/// An array of points or voxels.
struct Array<'a> {
    file: InFile<'a>,
    header: &'a NpyHeader,
    element: Element,
    element_bytes: u64,
    /// Rows and columns.
    shape: [u64; 2],
}

impl<'a> Array<'a> {
    fn of(file: InFile<'a>, header: &'a NpyHeader) -> Result<Self, CloudError> {
        let (element, element_bytes) = Element::of(&header.dtype()).ok_or_else(|| {
            let found = header.dtype().descr();
            let expected = "elements of float32, float64 or an integer type";
            file.malformed(expected, excerpt(found.trim_matches('\'').as_bytes()))
        })?;
        let shape: [u64; 2] = header.shape().try_into().map_err(|_| {
            file.malformed("an array of shape [N, 3 or more]", format!("{:?}", header.shape()))
        })?;
        if (3..=FEWEST_POINTS).contains(&shape[0]) && shape[1] > FEWEST_POINTS {
            let expected = "an array of shape [N, 3 or more], one point per row";
            let found = format!("{shape:?}, which looks transposed: save its transpose, array.T");
            return Err(file.malformed(expected, found));
        }
        let columns = if element.is_float() { 3..=MOST_COLUMNS } else { 3..=4 };
        if !columns.contains(&shape[1]) {
            let expected = if shape[1] > MOST_COLUMNS {
                "an array of shape [N, 3 to 64], of which x, y, z are the first columns"
            } else if element.is_float() {
                "an array of shape [N, 3 or more]"
            } else {
                "an array of voxels of shape [N, 3] (x, y, z) or [N, 4] (batch, x, y, z)"
            };
            return Err(file.malformed(expected, format!("{shape:?}")));
        }
        Ok(Self { file, header, element, element_bytes, shape })
    }

    fn bytes(&self, file: InFile<'_>) -> Result<u64, CloudError> {
        let elements = self.shape[0].checked_mul(self.shape[1]);
        elements
            .and_then(|elements| elements.checked_mul(self.element_bytes))
            .ok_or_else(|| file.malformed("a shape that fits memory", format!("{:?}", self.shape)))
    }

    /// The elements with their rows and columns; the data has been checked to hold all of them.
    fn elements<T: Deserialize>(
        &self,
        data: &[u8],
    ) -> Result<impl Iterator<Item = Result<(usize, usize, T), CloudError>>, CloudError> {
        let (file, [rows, columns]) = (self.file, self.shape.map(|edge| edge as usize));
        let malformed = move |why: String| {
            file.malformed(format!("elements of shape [{rows}, {columns}]"), why)
        };
        let elements = NpyFile::with_header(self.header.clone(), data).data::<T>();
        let elements = elements.map_err(|error| malformed(error.to_string()))?;
        let is_fortran = self.header.order() == Order::Fortran;
        Ok(elements.enumerate().map(move |(index, element)| {
            let element = element.map_err(|error| malformed(error.to_string()))?;
            let (row, column) = if is_fortran {
                (index % rows, index / rows)
            } else {
                (index / columns, index % columns)
            };
            Ok((row, column, element))
        }))
    }

    fn points<T: Deserialize + Into<f64>>(&self, data: &[u8]) -> Result<Contents, CloudError> {
        let mut xyz = vec![[0.0; 3]; self.shape[0] as usize];
        for element in self.elements::<T>(data)? {
            let (row, column, value) = element?;
            if let Some(coordinate) = xyz[row].get_mut(column) {
                *coordinate = value.into();
            }
        }
        let stored_as_float32 = self.element == Element::Float4;
        let mut points = Points { stored_as_float32, ..Points::default() };
        xyz.into_iter().for_each(|point| points.push(point));
        Ok(Contents::Points(points))
    }

    fn voxels<T: Deserialize>(&self, data: &[u8]) -> Result<Contents, CloudError>
    where
        i32: TryFrom<T>,
    {
        // Without a batch column the batch is 0.
        let mut rows = vec![[0; 4]; self.shape[0] as usize];
        let without_batch = 4 - self.shape[1] as usize;
        for element in self.elements::<T>(data)? {
            let (row, column, value) = element?;
            rows[row][without_batch + column] = i32::try_from(value).map_err(|_| {
                let found = format!("a larger number in row {row}, column {column}");
                self.file.malformed("32-bit voxel coordinates", found)
            })?;
        }
        let voxel = |(row, [batch, x, y, z]): (usize, [i32; 4])| {
            if batch < 0 {
                let found = format!("{batch} in row {row}");
                return Err(self.file.malformed("batch indices from 0", found));
            }
            Ok(Voxel::new(batch, x, y, z))
        };
        rows.into_iter().enumerate().map(voxel).collect::<Result<_, _>>().map(Contents::Voxels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{message_as, npy, npy_points, npy_voxels, points_as, read_as};

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
        insta::assert_snapshot!(shaped("'<f4'", "(4611686018427387904, 4)"), @"a.npy: expected a shape that fits memory, found `shape': (4611686018427387904, 4)}`");
        insta::assert_snapshot!(shaped("'<f4'", "(99999999999999999999, 4)"), @"a.npy: expected a shape that fits memory, found `shape': (99999999999999999999, 4)}`");
        insta::assert_snapshot!(shaped("'<f4'", "(6,)"), @"a.npy: expected an array of shape [N, 3 or more], found [6]");
        insta::assert_snapshot!(shaped("'<f4'", "(3, 2)"), @"a.npy: expected an array of shape [N, 3 or more], found [3, 2]");
        insta::assert_snapshot!(shaped("'<i4'", "(1, 6)"), @"a.npy: expected an array of voxels of shape [N, 3] (x, y, z) or [N, 4] (batch, x, y, z), found [1, 6]");
        insta::assert_snapshot!(shaped("'|O'", "(3, 3)"), @"a.npy: expected elements of float32, float64 or an integer type, found `|O`");
        insta::assert_snapshot!(shaped("[('x', '<f4')]", "(6,)"), @"a.npy: expected a plain number type and a shape, found `{'descr': [('x', '<f4')], 'fortran_order...`");
        insta::assert_snapshot!(message("{'descr': '<f4', 'shape': (2, 3)}"), @"a.npy: expected a Python dict of descr (a number type), fortran_order and shape, found `{'descr': '<f4', 'shape': (2, 3)}`");
        insta::assert_snapshot!(message("{'descr' '<f4'}"), @"a.npy: expected a Python dict of descr (a number type), fortran_order and shape, found `{'descr' '<f4'}`");
        for deep in ["(", "{", "[", "(1,{'a':"] {
            let text = message(&deep.repeat(4096 / deep.len()));
            assert!(text.contains("a plain number type and a shape"), "{text}");
        }
        for many in ["(4294967296, 4294967296, 3)", "(0xffffffffffffffff, 9)", "(1_0, 3)"] {
            let text = shaped("'<f4'", many);
            assert!(text.contains("expected a shape ") || text.contains("bytes of"), "{text}");
        }
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
