//! Scan files made in memory: for tests only.

use std::io::{Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::contents::Contents;
use crate::error::InFile;
use crate::read::parse;
use crate::{CloudError, Columns, Points, lzf};

pub(crate) fn read_as(name: &str, bytes: &[u8]) -> Result<Contents, CloudError> {
    parse(InFile(Path::new(name)), bytes, None)
}

pub(crate) fn points_as(name: &str, bytes: &[u8]) -> Points {
    match read_as(name, bytes) {
        Ok(Contents::Points(points)) => points,
        other => panic!("{name}: {other:?}"),
    }
}

pub(crate) fn points_in_columns(name: &str, bytes: &[u8], columns: usize) -> Points {
    let columns = Some(Columns::new(columns).unwrap());
    match parse(InFile(Path::new(name)), bytes, columns) {
        Ok(Contents::Points(points)) => points,
        other => panic!("{name}: {other:?}"),
    }
}

pub(crate) fn message_as(name: &str, bytes: &[u8]) -> String {
    read_as(name, bytes).unwrap_err().to_string()
}

/// A `.npy` file of a format version with this header and this data.
pub(crate) fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u32).to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [&b"\x93NUMPY"[..], &[version, 0], length, header.as_bytes(), data].concat()
}

pub(crate) fn npy_points(points: &[[f32; 3]]) -> Vec<u8> {
    let shape = format!("({}, 3)", points.len());
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    npy(1, &header, &rows(points, 0))
}

/// Rows of batch, x, y, z.
pub(crate) fn npy_voxels(voxels: &[[i32; 4]]) -> Vec<u8> {
    let shape = format!("({}, 4)", voxels.len());
    let header = format!("{{'descr': '<i4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let data: Vec<u8> = voxels.as_flattened().iter().flat_map(|n| n.to_le_bytes()).collect();
    npy(1, &header, &data)
}

pub(crate) fn npz(entries: &[(&str, &[u8])], packed: bool) -> Vec<u8> {
    let method = if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let options = SimpleFileOptions::default().compression_method(method);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A name and the bytes of a file of every format and encoding, all with these points.
pub(crate) fn one_of_each_format(points: &[[f32; 3]]) -> Vec<(String, Vec<u8>)> {
    let npy = npy_points(points);
    let mut files = vec![
        ("a.npz".to_owned(), npz(&[("pc.npy", &npy)], false)),
        ("b.npz".to_owned(), npz(&[("pc.npy", &npy)], true)),
        ("a.npy".to_owned(), npy),
        ("a.bin".to_owned(), rows(points, 1)),
        ("a.pcd.bin".to_owned(), rows(points, 2)),
    ];
    let text: String = points.iter().map(|[x, y, z]| format!("{x} {y} {z}\n")).collect();
    let little = rows(points, 0);
    let big: Vec<u8> = points.as_flattened().iter().flat_map(|n| n.to_be_bytes()).collect();
    let ply: [(&str, &[u8]); 3] = [
        ("ascii", text.as_bytes()),
        ("binary_little_endian", &little),
        ("binary_big_endian", &big),
    ];
    for (format, data) in ply {
        let header = format!(
            "ply\nformat {format} 1.0\nelement vertex {}\nproperty float x\nproperty float y\n\
             property float z\nend_header\n",
            points.len()
        );
        files.push((format!("{format}.ply"), [header.as_bytes(), data].concat()));
    }
    let column = |axis: usize| points.iter().flat_map(move |point| point[axis].to_le_bytes());
    let columns: Vec<u8> = (0..3).flat_map(column).collect();
    let packed = lzf::tests::pack(&columns);
    let sizes = [packed.len(), columns.len()].map(|size| (size as u32).to_le_bytes()).concat();
    let compressed = [sizes, packed].concat();
    let pcd: [(&str, &[u8]); 3] =
        [("ascii", text.as_bytes()), ("binary", &little), ("binary_compressed", &compressed)];
    for (format, data) in pcd {
        let header = format!(
            "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\n\
             WIDTH {0}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {0}\nDATA {format}\n",
            points.len()
        );
        files.push((format!("{format}.pcd"), [header.as_bytes(), data].concat()));
    }
    files
}

/// Little-endian rows of x, y, z and some further columns.
fn rows(points: &[[f32; 3]], further: usize) -> Vec<u8> {
    let row = |point: &[f32; 3]| {
        let numbers = point.iter().copied().chain(std::iter::repeat_n(0.5, further));
        numbers.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()
    };
    points.iter().flat_map(row).collect()
}
