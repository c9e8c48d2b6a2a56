//! Files as other programs write them: far from the origin, in other encodings, with other line
//! ends.

use std::path::PathBuf;

use tempfile::TempDir;
use voxtune_pointcloud::{FileOptions, load_file, read_points};
use voxtune_types::Voxel;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn voxels(&self, name: &str, bytes: &[u8]) -> Result<Vec<Voxel>, String> {
        load_file(self.file(name, bytes), &FileOptions::default()).map_err(|e| e.to_string())
    }
}

/// A grid of 20 by 20 by 3 points of 0.1, each coordinate as its text says: at the centres of
/// cells, or on the borders between them.
fn grid(x0: i64, y0: i64, last_digit: u8) -> Vec<[String; 3]> {
    let text = |base: i64, step: i64| format!("{}.{}{last_digit}", base + step / 10, step % 10);
    let mut rows = Vec::new();
    for (x, y) in (0..20).flat_map(|x| (0..20).map(move |y| (x, y))) {
        rows.extend((0..3).map(|z| [text(x0, x), text(y0, y), text(0, z)]));
    }
    rows
}

fn ply(format: &str, kind: &str, rows: usize, data: &[u8]) -> Vec<u8> {
    let header = format!(
        "ply\nformat {format} 1.0\nelement vertex {rows}\nproperty {kind} x\nproperty {kind} y\n\
         property {kind} z\nend_header\n"
    );
    [header.as_bytes(), data].concat()
}

fn pcd(encoding: &str, size: usize, rows: usize, data: &[u8]) -> Vec<u8> {
    let header = format!(
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z\nSIZE {size} {size} {size}\nTYPE F F F\nCOUNT 1 1 1\n\
         WIDTH {rows}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {rows}\nDATA {encoding}\n"
    );
    [header.as_bytes(), data].concat()
}

fn npy(kind: &str, rows: usize, columns: usize, data: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

fn npz(array: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("points.npy", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::Write::write_all(&mut archive, array).unwrap();
    archive.finish().unwrap().into_inner()
}

fn text(rows: &[[String; 3]]) -> Vec<u8> {
    rows.iter().map(|row| row.join(" ") + "\n").collect::<String>().into_bytes()
}

fn numbers(rows: &[[String; 3]]) -> impl Iterator<Item = f64> {
    rows.as_flattened().iter().map(|word| word.parse::<f64>().unwrap())
}

/// The rows in every format that keeps float64.
fn float64_files(rows: &[[String; 3]]) -> Vec<(&'static str, Vec<u8>)> {
    let text = text(rows);
    let little: Vec<u8> = numbers(rows).flat_map(f64::to_le_bytes).collect();
    let big: Vec<u8> = numbers(rows).flat_map(f64::to_be_bytes).collect();
    let array = npy("<f8", rows.len(), 3, &little);
    vec![
        ("ascii.ply", ply("ascii", "double", rows.len(), &text)),
        ("ascii_float.ply", ply("ascii", "float", rows.len(), &text)),
        ("little.ply", ply("binary_little_endian", "double", rows.len(), &little)),
        ("big.ply", ply("binary_big_endian", "double", rows.len(), &big)),
        ("ascii.pcd", pcd("ascii", 8, rows.len(), &text)),
        ("ascii_float.pcd", pcd("ascii", 4, rows.len(), &text)),
        ("binary.pcd", pcd("binary", 8, rows.len(), &little)),
        ("a.npz", npz(&array)),
        ("a.npy", array),
        ("big.npy", npy(">f8", rows.len(), 3, &big)),
    ]
}

#[test]
fn f03_float64_coordinates_keep_their_cells() {
    let folder = Folder::new();
    // The origin, a site with coordinates of its own, UTM, and web mercator.
    for (x, y) in [(0, 0), (12_345, 6_789), (388_096, 3_948_996), (15_550_408, 4_257_980)] {
        // A border that float32 holds badly is as good as none near the origin, as in NumPy.
        let digits = if x == 0 { 5..=5 } else { 0..=9 };
        for digit in digits.step_by(5) {
            for (name, bytes) in float64_files(&grid(x, y, digit)) {
                let cloud = folder.voxels(name, &bytes).unwrap();
                assert_eq!(cloud.len(), 1200, "{name} at {x}, {y}, {digit}");
                assert_eq!(cloud[1199], Voxel::new(0, 19, 19, 2), "{name} at {x}, {y}, {digit}");
            }
        }
    }
}

#[test]
fn f03_a_crop_cuts_float64_coordinates() {
    let folder = Folder::new();
    let crop = "388096.05,3948996.45,0,388096.95,3948997.55,0.15".parse().unwrap();
    let options = FileOptions { crop: Some(crop), ..FileOptions::default() };
    for (name, bytes) in float64_files(&grid(388_096, 3_948_996, 0)) {
        let cloud = load_file(folder.file(name, &bytes), &options).unwrap();
        assert_eq!(cloud.len(), 9 * 11 * 2, "{name}");
    }
}

/// What float32 files give is what it was, cell by cell: NumPy's division of float32.
#[test]
fn f03_float32_files_keep_the_cells_that_they_had() {
    let folder = Folder::new();
    for (x, y) in [(0, 0), (80, -75), (1_000, 70), (388_096, 3_948_996)] {
        let rows: Vec<[f32; 3]> = grid(x, y, 0)
            .iter()
            .map(|row| [0, 1, 2].map(|axis| row[axis].parse::<f32>().unwrap()))
            .collect();
        let mut expected: Vec<[i32; 3]> =
            rows.iter().map(|row| row.map(|value| (value / 0.1_f32).floor() as i32)).collect();
        let least = [0, 1, 2].map(|axis| expected.iter().map(|cell| cell[axis]).min().unwrap());
        expected.sort_unstable();
        expected.dedup();
        let expected: Vec<Voxel> = expected
            .iter()
            .map(|cell| Voxel::new(0, cell[0] - least[0], cell[1] - least[1], cell[2] - least[2]))
            .collect();
        let data: Vec<u8> = rows.as_flattened().iter().flat_map(|n| n.to_le_bytes()).collect();
        let with_intensity: Vec<u8> = rows
            .iter()
            .flat_map(|&[x, y, z]| [x, y, z, 0.5].map(f32::to_le_bytes).concat())
            .collect();
        for (name, bytes) in [
            ("a.npy", npy("<f4", rows.len(), 3, &data)),
            ("a.npz", npz(&npy("<f4", rows.len(), 3, &data))),
            ("a.ply", ply("binary_little_endian", "float", rows.len(), &data)),
            ("a.pcd", pcd("binary", 4, rows.len(), &data)),
            ("a.bin", with_intensity),
        ] {
            assert!(folder.voxels(name, &bytes).unwrap() == expected, "{name} at {x}, {y}");
        }
    }
}

const LATIN1: [&[u8]; 4] =
    [b"cr\xe9\xe9 \xe0 l'\xe9t\xe9", b"\xff\xfe\x00\x85", b"\xa0\r\x80 x", b""];

#[test]
fn f10_bytes_that_nobody_reads_may_be_any() {
    let folder = Folder::new();
    let expected = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 10, 10, 10)];
    for any in LATIN1 {
        let any_name: Vec<u8> =
            any.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
        for (format, data) in [
            ("ascii", b"0 0 0 7\n1 1 1 8\n".to_vec()),
            (
                "binary_little_endian",
                [0.0_f32, 0.0, 0.0, 7.0, 1.0, 1.0, 1.0, 8.0].map(f32::to_le_bytes).concat(),
            ),
        ] {
            let header = [
                b"ply\nformat ",
                format.as_bytes(),
                b" 1.0\ncomment ",
                any,
                b"\nobj_info ",
                any,
                b"\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n\
                  property float scalar_",
                &any_name,
                b"\nelement ext_",
                &any_name,
                b" 0\nproperty list uchar int indices_",
                &any_name,
                b"\nend_header\n",
            ]
            .concat();
            let file = [header, data].concat();
            assert_eq!(folder.voxels("a.ply", &file), Ok(expected.clone()), "{format} {any:?}");
        }
        let file = [
            b"# .PCD v0.7 - Point Cloud Data\n# ",
            any,
            b"\nVERSION ",
            any,
            b"\nFIELDS x y z f_",
            &any_name,
            b"\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 2\nHEIGHT 1\nVIEWPOINT ",
            any,
            b"\nPOINTS 2\nDATA ascii\n0 0 0 ",
            b"n\xe9ant\n1 1 1 7\n",
        ]
        .concat();
        assert_eq!(folder.voxels("a.pcd", &file), Ok(expected.clone()), "{any:?}");
    }
}

const PLY: &str = "ply\nformat ascii 1.0\ncomment any\nelement vertex 2\nproperty float x\n\
                   property float y\nproperty float z\nend_header\n0 0 0\n1 1 1\n";
const PCD: &str = "# .PCD v0.7\nVERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2\n\
                   HEIGHT 1\nPOINTS 2\nDATA ascii\n0 0 0\n1 1 1\n";

#[test]
fn f11_marks_and_line_ends_do_not_matter() {
    let folder = Folder::new();
    let expected = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 10, 10, 10)];
    for (name, text) in [("a.ply", PLY), ("a.pcd", PCD), ("ply.dat", PLY), ("pcd.dat", PCD)] {
        for end in ["\n", "\r\n", "\r"] {
            for mark in ["", "\u{feff}"] {
                let file = format!("{mark}{}", text.replace('\n', end));
                let cloud = folder.voxels(name, file.as_bytes());
                assert_eq!(cloud, Ok(expected.clone()), "{name} {end:?} {mark:?}");
            }
        }
    }
}

/// The first byte of the data looks like an end of line here, and is none.
#[test]
fn f11_binary_data_begin_where_the_line_ends() {
    let folder = Folder::new();
    let first = f32::from_le_bytes(*b"\n\r\n?");
    let data: Vec<u8> =
        [[first; 3], [-2.0; 3]].as_flattened().iter().flat_map(|n| n.to_le_bytes()).collect();
    for (name, file) in [
        ("a.ply", ply("binary_little_endian", "float", 2, &[])),
        ("a.pcd", pcd("binary", 4, 2, &[])),
    ] {
        let header = String::from_utf8(file).unwrap();
        for end in ["\n", "\r\n", "\r"] {
            let file = [header.replace('\n', end).as_bytes(), &data].concat();
            let points = read_points(folder.file(name, &file)).unwrap();
            assert_eq!(points.xyz[0].map(|value| value as f32), [first; 3], "{name} {end:?}");
        }
    }
}

#[test]
fn f11_utf16_text_is_called_by_its_name() {
    let folder = Folder::new();
    for (name, text) in [("a.ply", PLY), ("a.pcd", PCD), ("a.dat", PLY), ("b.dat", PCD)] {
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            for bytes in [little, big] {
                let error = folder.voxels(name, &bytes).unwrap_err();
                assert!(error.contains("UTF-16") && error.contains("UTF-8"), "{name}: {error}");
            }
        }
    }
}

#[test]
fn f19_msvc_nan_is_a_missing_point() {
    let folder = Folder::new();
    for word in [
        "nan",
        "-nan",
        "inf",
        "-Infinity",
        "nan(ind)",
        "-nan(ind)",
        "-nan(snan)",
        "nan(0x7fffff)",
        "1.#QNAN",
        "1.#QNAN0",
        "-1.#IND",
        "-1.#IND00",
        "1.#INF",
        "-1.#INF",
        "1.#INF00",
        "1.#SNAN",
        "+1.#INF",
        "1.#J",
        "-1.#J",
        "1.#R",
    ] {
        let data = format!("0 0 0\n1 {word} 2\n{word} {word} {word}\n0.5 0.5 0.5\n");
        for (name, file) in [
            ("a.ply", ply("ascii", "float", 4, data.as_bytes())),
            ("a.pcd", pcd("ascii", 4, 4, data.as_bytes())),
        ] {
            let points = read_points(folder.file(name, &file)).map_err(|e| e.to_string());
            let points = points.unwrap_or_else(|error| panic!("{name}, {word}: {error}"));
            assert_eq!((points.xyz.len(), points.dropped), (2, 2), "{name}: {word}");
        }
    }
    for word in
        ["1.#", "1.#X Y", "#INF", "nano", "nan(", "2.#INF", "1,5", "0x1p3", "--1", "1.#ENDE"]
    {
        let data = format!("{word} 0 0\n");
        let error = folder.voxels("a.ply", &ply("ascii", "float", 1, data.as_bytes())).unwrap_err();
        assert!(error.contains("a number"), "{word}: {error}");
    }
}
