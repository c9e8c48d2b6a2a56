//! Which reader a scan file needs, and what it yields.

use std::path::Path;

use voxtune_types::Voxel;
use voxtune_types::text::without_mark;

use crate::bin_doubt::Rows;
use crate::contents::Contents;
use crate::error::{InFile, excerpt};
use crate::{CloudError, Columns, Points, bin, npy, npz, pcd, ply};

/// The points of a scan file.
///
/// | extension | contents |
/// |---|---|
/// | `.npy` | NumPy array `[N, 3 or more]` of float32 or float64: x, y, z, then what is ignored |
/// | `.npz` | NumPy archive: its only array, or the one named pc, points, xyz, coords or
/// indices_zyx, whose axes are z, y, x |
/// | `.bin` | KITTI: float32 x, y, z, intensity |
/// | `.pcd.bin` | nuScenes: float32 x, y, z, intensity, ring |
/// | `.ply` | ASCII or binary of both byte orders: x, y, z of the element `vertex` |
/// | `.pcd` | ASCII, binary or binary_compressed: fields x, y, z |
///
/// A file of another extension is recognised by its first bytes, unless it is a `.bin`, which has
/// no mark. Coordinates are as precise as the file has them. Integer arrays `[N, 3]` (x, y, z) or
/// `[N, 4]` (batch, x, y, z) hold voxels, for which [`crate::load_file`] is the exact way. Here
/// their x, y, z count as points.
///
/// # Errors
/// [`CloudError::Io`], [`CloudError::UnknownFormat`], [`CloudError::AmbiguousArray`], and
/// [`CloudError::Malformed`] where a file contradicts its format or ends before its header says.
/// Memory use is bounded by the length of the file, or of what a compressed one really unpacks to,
/// whatever the header says.
pub fn read_points(path: impl AsRef<Path>) -> Result<Points, CloudError> {
    read_points_in(path, None)
}

/// The points of a scan file, as [`read_points`] reads them, whose rows have so many columns if it
/// is a `.bin`. Without a count the file's name decides, unless its numbers contradict that.
///
/// # Errors
/// As [`read_points`].
pub fn read_points_in(
    path: impl AsRef<Path>,
    columns: Option<Columns>,
) -> Result<Points, CloudError> {
    match read_contents(path, columns)? {
        Contents::Points(points) => Ok(points),
        Contents::Voxels(voxels) => {
            let point = |voxel: Voxel| [voxel.x, voxel.y, voxel.z].map(f64::from);
            let xyz = voxels.into_iter().map(point).collect();
            Ok(Points { xyz, ..Points::default() })
        }
    }
}

/// What a scan file holds, points or voxels, as [`read_points_in`] and [`crate::load_file`] read
/// it. Voxels are in the order of the file and need not be distinct.
///
/// # Errors
/// As [`read_points`].
pub fn read_contents(
    path: impl AsRef<Path>,
    columns: Option<Columns>,
) -> Result<Contents, CloudError> {
    let path = path.as_ref();
    // A pipe or a device would never end.
    let bytes = voxtune_files::read(path)
        .map_err(|source| CloudError::Io { path: path.to_owned(), source })?;
    parse(InFile(path), &bytes, columns)
}

pub(crate) fn parse(
    file: InFile<'_>,
    bytes: &[u8],
    columns: Option<Columns>,
) -> Result<Contents, CloudError> {
    match Format::of(file, bytes)? {
        Format::Npy => npy::read(file, bytes),
        Format::Npz => npz::read(file, bytes),
        Format::Bin { usual } => {
            let rows = columns.map_or(Rows::Usual(usual), Rows::Told);
            bin::read(file, bytes, rows).map(Contents::Points)
        }
        Format::Ply => ply::read(file, bytes).map(Contents::Points),
        Format::Pcd => pcd::read(file, bytes).map(Contents::Points),
    }
}

enum Format {
    Npy,
    Npz,
    Bin { usual: Columns },
    Ply,
    Pcd,
}

impl Format {
    fn of(file: InFile<'_>, bytes: &[u8]) -> Result<Self, CloudError> {
        let name = file.0.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if name.ends_with(".bin") {
            if let Some(format) = Self::of_contents(bytes) {
                let found = format!("a {} file: name it so", format.extension());
                return Err(file.malformed("rows of float32 in a .bin file", found));
            }
            let is_nuscenes = name.ends_with(".pcd.bin");
            let usual = if is_nuscenes { Columns::NUSCENES } else { Columns::KITTI };
            return Ok(Self::Bin { usual });
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        match extension {
            "npy" => Ok(Self::Npy),
            "npz" => Ok(Self::Npz),
            "ply" => Ok(Self::Ply),
            "pcd" => Ok(Self::Pcd),
            _ => {
                let text = without_mark(bytes).map_err(|_| file.utf16())?;
                Self::of_contents(text).ok_or_else(|| CloudError::UnknownFormat {
                    path: file.0.to_owned(),
                    found: format!(
                        "a file that starts with {}",
                        excerpt(&bytes[..bytes.len().min(16)])
                    ),
                })
            }
        }
    }

    const fn extension(&self) -> &'static str {
        match self {
            Self::Npy => ".npy",
            Self::Npz => ".npz",
            Self::Bin { .. } => ".bin",
            Self::Ply => ".ply",
            Self::Pcd => ".pcd",
        }
    }

    fn of_contents(bytes: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        if starts(npy::MAGIC) {
            Some(Self::Npy)
        } else if starts(b"PK\x03\x04") {
            Some(Self::Npz)
        } else if starts(b"ply\n") || starts(b"ply\r") {
            Some(Self::Ply)
        } else if starts(b"# .PCD") || starts(b"VERSION ") {
            Some(Self::Pcd)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_file_without_a_known_extension_is_known_by_its_contents() {
        let points = vec![[1.0, 2.0, 3.0], [-4.0, 5.5, 6.0]];
        let xyz = points.iter().map(|point: &[f32; 3]| point.map(f64::from)).collect();
        let expected = Contents::Points(Points { xyz, dropped: 0, stored_as_float32: true });
        for (name, bytes) in fixtures::one_of_each_format(&points) {
            let marked = !name.ends_with(".bin");
            let read = fixtures::read_as("scan.dat", &bytes);
            assert_eq!(read.ok(), marked.then(|| expected.clone()), "{name}");
            let upper = name.to_ascii_uppercase();
            assert_eq!(fixtures::read_as(&upper, &bytes).unwrap(), expected, "{upper}");
        }
    }

    #[test]
    fn f14_a_bin_file_of_another_format_is_told_from_rows() {
        for (name, bytes) in fixtures::one_of_each_format(&[[1.0, 2.0, 3.0]]) {
            if !name.ends_with(".bin") {
                let message = fixtures::message_as("a.bin", &bytes);
                let extension = &name[name.rfind('.').unwrap()..];
                assert!(message.contains(&format!("found a {extension} file")), "{message}");
            }
        }
    }

    #[test]
    fn points_that_are_not_finite_are_dropped_and_counted() {
        let finite = [1.0, 2.0, 3.0];
        let points = vec![[f32::NAN, 0.0, 0.0], finite, [0.0, f32::INFINITY, 0.0]];
        for (name, bytes) in fixtures::one_of_each_format(&points) {
            let xyz = vec![finite.map(f64::from)];
            let expected = Points { xyz, dropped: 2, stored_as_float32: true };
            assert_eq!(fixtures::points_as(&name, &bytes), expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| {
            let text = read_points(path).unwrap_err().to_string();
            text.replace(&*folder.path().to_string_lossy(), "FOLDER")
        };
        insta::assert_snapshot!(message(&folder.path().join("none.ply")), @"cannot read FOLDER/none.ply: No such file or directory (os error 2)");
        insta::assert_snapshot!(message(folder.path()), @"cannot read FOLDER: expected a regular file, found a folder");
        let unknown = folder.path().join("scan.las");
        std::fs::write(&unknown, "LASF, a format of its own").unwrap();
        insta::assert_snapshot!(message(&unknown), @"FOLDER/scan.las: expected a .npy, .npz, .bin, .ply or .pcd file, found a file that starts with `LASF, a format o`");
    }

    #[test]
    fn voxels_count_as_points_where_points_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("voxels.npy");
        std::fs::write(&path, fixtures::npy_voxels(&[[1, -2, 3, 4]])).unwrap();
        assert_eq!(read_points(&path).unwrap().xyz, [[-2.0, 3.0, 4.0]]);
    }
}
