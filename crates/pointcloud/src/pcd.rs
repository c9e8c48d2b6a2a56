//! The data of a `.pcd` file: its fields x, y, z, whatever else there is.
//!
//! Binary numbers are little-endian: the format leaves the order to the machine that wrote the
//! file, and those are.

use crate::error::{InFile, excerpt};
use crate::lzf;
use crate::pcd_header::{Encoding, Field, Header};
use crate::scalar::Scalar;
use crate::{CloudError, Points, number};

pub(crate) fn read(file: InFile<'_>, bytes: &[u8]) -> Result<Points, CloudError> {
    let header = Header::parse(file, bytes)?;
    let axes = axes(file, &header.fields)?;
    match header.encoding {
        Encoding::Ascii => read_ascii(file, &header, axes),
        Encoding::Binary => read_binary(file, &header, axes),
        Encoding::BinaryCompressed => read_compressed(file, &header, axes),
    }
}

/// The places of x, y, z among the fields.
fn axes(file: InFile<'_>, fields: &[Field]) -> Result<[usize; 3], CloudError> {
    let mut places = [0; 3];
    for (place, axis) in places.iter_mut().zip(["x", "y", "z"]) {
        let found = fields.iter().position(|field| field.name == axis && field.count == 1);
        *place = found.ok_or_else(|| {
            let names: Vec<&str> = fields.iter().map(|field| &field.name[..]).collect();
            file.malformed(
                format!("a field `{axis}` of one number"),
                excerpt(names.join(" ").as_bytes()),
            )
        })?;
    }
    Ok(places)
}

/// The sum of a quantity over fields, times the points: checked, because a header may say anything.
fn product(
    file: InFile<'_>,
    header: &Header<'_>,
    mut quantities: impl Iterator<Item = u64>,
) -> Result<u64, CloudError> {
    let sum = quantities.try_fold(0_u64, u64::checked_add);
    sum.and_then(|sum| sum.checked_mul(header.points)).ok_or_else(|| {
        file.malformed("points that fit memory", format!("{} large points", header.points))
    })
}

fn too_short(file: InFile<'_>, header: &Header<'_>, least_bytes: u64) -> CloudError {
    let expected = format!("{} points in at least {least_bytes} bytes", header.points);
    file.too_short(expected, header.data.len())
}

fn read_binary(
    file: InFile<'_>,
    header: &Header<'_>,
    axes: [usize; 3],
) -> Result<Points, CloudError> {
    let bytes = product(file, header, header.fields.iter().map(|field| field.bytes))?;
    if bytes > header.data.len() as u64 {
        return Err(too_short(file, header, bytes));
    }
    // Less than a point is the padding or the line end of some writer.
    let more = header.data.len() as u64 - bytes;
    if header.points > 0 && more >= bytes / header.points {
        let expected = format!("{} points in {bytes} bytes", header.points);
        return Err(file.malformed(expected, format!("{more} bytes more")));
    }
    let data = &header.data[..bytes as usize];
    let start =
        |place: usize| header.fields[..place].iter().map(|field| field.bytes as usize).sum();
    let columns = axes.map(|place| Column {
        scalar: header.fields[place].scalar,
        start: start(place),
        stride: bytes.checked_div(header.points).unwrap_or(0) as usize,
    });
    Ok(gather(data, header.points as usize, columns))
}

fn read_compressed(
    file: InFile<'_>,
    header: &Header<'_>,
    axes: [usize; 3],
) -> Result<Points, CloudError> {
    let (sizes, packed) = header
        .data
        .split_at_checked(8)
        .ok_or_else(|| file.too_short("8 bytes of compressed and full size", header.data.len()))?;
    let size = |place: usize| -> usize {
        sizes[4 * place..][..4].iter().rfold(0, |size, &byte| size << 8 | usize::from(byte))
    };
    let (packed_bytes, unpacked_bytes) = (size(0), size(1));
    let packed = packed
        .get(..packed_bytes)
        .ok_or_else(|| file.too_short(format!("{packed_bytes} compressed bytes"), packed.len()))?;
    // The Point Cloud Library leaves padding out of compressed files; other writers keep it.
    let all = product(file, header, header.fields.iter().map(|field| field.bytes))?;
    let kept = header.fields.iter().filter(|field| !field.is_padding());
    let unpadded = product(file, header, kept.map(|field| field.bytes))?;
    let padded = unpacked_bytes as u64 == all;
    if !padded && unpacked_bytes as u64 != unpadded {
        let expected = format!("{} points in {unpadded} bytes", header.points);
        return Err(file.malformed(expected, format!("a full size of {unpacked_bytes} bytes")));
    }
    let data = lzf::unpack(packed, unpacked_bytes)
        .map_err(|found| file.malformed(format!("{unpacked_bytes} unpacked bytes"), found))?;
    // Fields follow each other whole, each with the numbers of all points.
    let points = header.points as usize;
    let start = |place: usize| {
        let before = header.fields[..place].iter();
        let stored = before.filter(|field| padded || !field.is_padding());
        stored.map(|field| field.bytes as usize * points).sum()
    };
    let columns = axes.map(|place| Column {
        scalar: header.fields[place].scalar,
        start: start(place),
        stride: header.fields[place].bytes as usize,
    });
    Ok(gather(&data, points, columns))
}

/// Where the numbers of a field lie.
struct Column {
    scalar: Option<Scalar>,
    start: usize,
    stride: usize,
}

/// The points of data that have been checked to hold all columns.
fn gather(data: &[u8], points: usize, columns: [Column; 3]) -> Points {
    let mut found = Points::of_types(columns.iter().map(|column| column.scalar), points);
    for point in 0..points {
        found.push([0, 1, 2].map(|axis| {
            let Column { scalar, start, stride } = columns[axis];
            // Only padding has no type, and no axis is padding.
            scalar.map_or(f64::NAN, |scalar| scalar.to_f64(&data[start + point * stride..]))
        }));
    }
    found
}

fn read_ascii(
    file: InFile<'_>,
    header: &Header<'_>,
    axes: [usize; 3],
) -> Result<Points, CloudError> {
    let numbers = product(file, header, header.fields.iter().map(|field| field.count))?;
    // A number takes a digit and a space at least.
    let least_bytes = numbers.saturating_mul(2).saturating_sub(1);
    if least_bytes > header.data.len() as u64 {
        return Err(too_short(file, header, least_bytes));
    }
    let start = |place: usize| header.fields[..place].iter().map(|field| field.count).sum();
    let columns: [u64; 3] = axes.map(start);
    let row_numbers: u64 = header.fields.iter().map(|field| field.count).sum();
    let mut words = header.data.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let types = axes.map(|place| header.fields[place].scalar);
    let mut points = Points::of_types(types, header.points as usize);
    for row in 0..header.points {
        let mut point = [0.0; 3];
        for column in 0..row_numbers {
            let word = words.next().ok_or_else(|| {
                let expected = format!("{} points of {row_numbers} numbers", header.points);
                file.malformed(expected, format!("the end of the file in point {row}"))
            })?;
            if let Some(axis) = columns.iter().position(|&axis| axis == column) {
                let number = number::parse(word);
                point[axis] =
                    number.ok_or_else(|| file.malformed(number::expected(word), excerpt(word)))?;
            }
        }
        points.push(point);
    }
    match words.next() {
        None => Ok(points),
        Some(word) => {
            let expected = format!("the end of the file after {} points", header.points);
            Err(file.malformed(expected, excerpt(word)))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{message_as, points_as};
    use crate::lzf;

    const HEADER: &str = "# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS intensity z _ y normal x
SIZE 1 4 3 8 4 2
TYPE U F U F F I
COUNT 1 1 1 1 2 1
WIDTH 2
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 2
DATA ";
    const XYZ: [[f64; 3]; 2] = [[7.0, 2.5, -3.25], [-8.0, 0.1, 4.0]];
    const ASCII: &str = "200 -3.25 0 2.5 1 1 7\r\n200 4 0 0.1 nan 1 -8\n";

    fn file(encoding: &str, data: &[u8]) -> Vec<u8> {
        [HEADER.as_bytes(), encoding.as_bytes(), b"\n", data].concat()
    }

    /// The fields of a point, one after the other.
    fn fields([x, y, z]: [f64; 3]) -> [Vec<u8>; 6] {
        [
            vec![200],
            (z as f32).to_le_bytes().to_vec(),
            vec![0; 3],
            y.to_le_bytes().to_vec(),
            vec![1; 8],
            (x as i16).to_le_bytes().to_vec(),
        ]
    }

    fn binary() -> Vec<u8> {
        XYZ.iter().flat_map(|&point| fields(point).concat()).collect()
    }

    fn compressed(padded: bool) -> Vec<u8> {
        let points = XYZ.map(fields);
        let kept = (0..6).filter(|&field| padded || field != 2);
        let full: Vec<u8> =
            kept.flat_map(|f| points.iter().flat_map(move |p| p[f].clone())).collect();
        let packed = lzf::tests::pack(&full);
        let sizes = [packed.len(), full.len()].map(|size| (size as u32).to_le_bytes());
        [sizes.concat(), packed].concat()
    }

    #[test]
    fn every_encoding_gives_the_same_points() {
        assert_eq!(points_as("a.pcd", &file("ascii", ASCII.as_bytes())).xyz, XYZ);
        assert_eq!(points_as("a.pcd", &file("binary", &binary())).xyz, XYZ);
        for padded in [false, true] {
            let data = compressed(padded);
            assert_eq!(points_as("a.pcd", &file("binary_compressed", &data)).xyz, XYZ, "{padded}");
        }
    }

    #[test]
    fn old_headers_without_counts_are_read() {
        let header =
            "VERSION .5\nCOLUMNS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n1 2 3";
        assert_eq!(points_as("a.pcd", header.as_bytes()).xyz, [[1.0, 2.0, 3.0]]);
    }

    #[test]
    fn points_that_the_header_does_not_count_are_named() {
        let twice = |data: &[u8]| [data, data].concat();
        let message = message_as("a.pcd", &file("binary", &twice(&binary())));
        assert!(message.contains("2 points in 52 bytes, found 52 bytes more"), "{message}");
        let message = message_as("a.pcd", &file("ascii", &twice(ASCII.as_bytes())));
        assert!(message.contains("the end of the file after 2 points"), "{message}");
        let padded = [binary(), b"\r\n".to_vec()].concat();
        assert_eq!(points_as("a.pcd", &file("binary", &padded)).xyz, XYZ);
    }

    #[test]
    fn files_that_contradict_themselves_are_named() {
        let message = |from: &str, to: &str, encoding: &str, data: &[u8]| {
            assert!(HEADER.contains(from));
            let header = HEADER.replacen(from, to, 1) + encoding + "\n";
            message_as("a.pcd", &[header.as_bytes(), data].concat())
        };
        let many = "POINTS 4000000000";
        let (data, packed, ascii) = (binary(), compressed(false), ASCII.as_bytes());
        insta::assert_snapshot!(message_as("a.pcd", b"ply\n"), @"a.pcd: expected a PCD header line: VERSION, FIELDS, SIZE, TYPE, COUNT, WIDTH, HEIGHT, VIEWPOINT, POINTS or DATA ascii|binary|binary_compressed, found `ply`");
        insta::assert_snapshot!(message_as("a.pcd", b"# .PCD v0.7\nFIELDS x"), @"a.pcd: expected a PCD header with a line `DATA`, found `FIELDS x`");
        insta::assert_snapshot!(message("POINTS 2", "POINTS 3", "binary", &data), @"a.pcd: expected WIDTH times HEIGHT, 2, as POINTS, found 3");
        insta::assert_snapshot!(message("WIDTH 2", "WIDTH 18446744073709551615", "binary", &data), @"a.pcd: expected WIDTH times HEIGHT, 18446744073709551615, as POINTS, found 2");
        insta::assert_snapshot!(message("HEIGHT 1", "HEIGHT 18446744073709551615", "binary", &data), @"a.pcd: expected WIDTH times HEIGHT points, found 2 times 18446744073709551615");
        let unsized_header = |encoding, data: &[u8]| {
            let header = HEADER.replace("WIDTH 2\nHEIGHT 1\n", "").replace("POINTS 2", many);
            message_as("a.pcd", &[header.as_bytes(), encoding, b"\n", data].concat())
        };
        insta::assert_snapshot!(unsized_header(b"binary", &data), @"a.pcd: expected 4000000000 points in at least 104000000000 bytes, found 52 bytes");
        insta::assert_snapshot!(unsized_header(b"ascii", ascii), @"a.pcd: expected 4000000000 points in at least 55999999999 bytes, found 44 bytes");
        insta::assert_snapshot!(unsized_header(b"binary_compressed", &packed), @"a.pcd: expected 4000000000 points in 92000000000 bytes, found a full size of 46 bytes");
        insta::assert_snapshot!(message("COUNT 1", "COUNT 18446744073709551615", "ascii", ascii), @"a.pcd: expected points that fit memory, found 2 large points");
        insta::assert_snapshot!(message("SIZE 1", "SIZE 3", "binary", &data), @"a.pcd: expected a number type and a count for the field `intensity`, found SIZE 3, TYPE U, COUNT 1");
        insta::assert_snapshot!(message("SIZE 1 4", "SIZE 1", "binary", &data), @"a.pcd: expected 6 entries in SIZE, as in FIELDS, found 5");
        insta::assert_snapshot!(message("normal x", "normal u", "binary", &data), @"a.pcd: expected a field `x` of one number, found `intensity z _ y normal u`");
        insta::assert_snapshot!(message("TYPE", "KIND", "binary", &data), @"a.pcd: expected a PCD header line: VERSION, FIELDS, SIZE, TYPE, COUNT, WIDTH, HEIGHT, VIEWPOINT, POINTS or DATA ascii|binary|binary_compressed, found `KIND U F U F F I`");
        insta::assert_snapshot!(message("TYPE", "TYPE", "zipped", &data), @"a.pcd: expected a PCD header line: VERSION, FIELDS, SIZE, TYPE, COUNT, WIDTH, HEIGHT, VIEWPOINT, POINTS or DATA ascii|binary|binary_compressed, found `DATA zipped`");
        insta::assert_snapshot!(message("TYPE", "TYPE", "binary", &data[1..]), @"a.pcd: expected 2 points in at least 52 bytes, found 51 bytes");
        insta::assert_snapshot!(message("TYPE", "TYPE", "ascii", b"1 2 3 4 5 6 7 8 9 10 11 12 13   "), @"a.pcd: expected 2 points of 7 numbers, found the end of the file in point 1");
        insta::assert_snapshot!(message("TYPE", "TYPE", "ascii", b"1 z 3 4 5 6 7 8 9 10 11 12 13 14"), @"a.pcd: expected a number, found `z`");
        insta::assert_snapshot!(message("TYPE", "TYPE", "binary_compressed", &packed[..7]), @"a.pcd: expected 8 bytes of compressed and full size, found 7 bytes");
        insta::assert_snapshot!(message("TYPE", "TYPE", "binary_compressed", &packed[..20]), @"a.pcd: expected 33 compressed bytes, found 12 bytes");
    }
}
