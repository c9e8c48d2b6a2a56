//! NumPy's `.npz`: a zip archive of `.npy` files.

use std::io::Cursor;

use zip::ZipArchive;

use crate::CloudError;
use crate::contents::Contents;
use crate::error::{InFile, excerpt};
use crate::npy;

/// Names that mean points or voxels, where an archive holds several arrays.
const NAMES: [&str; 5] = ["pc", "points", "xyz", "coords", REVERSED];

/// The name of voxels whose axes are z, y, x, as detectors have them.
const REVERSED: &str = "indices_zyx";

/// Deflate never packs better than 1032 to 1 (RFC 1951: 258 bytes in a code of 1 bit for the length
/// and 1 bit for the distance).
const DEFLATE_RATIO: u64 = 1032;

pub(crate) fn read(file: InFile<'_>, bytes: &[u8]) -> Result<Contents, CloudError> {
    let broken = |error: zip::result::ZipError| {
        let start = excerpt(&bytes[..bytes.len().min(8)]);
        file.malformed("a zip archive of NumPy arrays", format!("{start}...: {error}"))
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let (index, name) = choose(file, &archive)?;
    let array = archive.by_index(index).map_err(broken)?;
    let (packed_bytes, unpacked_bytes) = (array.compressed_size(), array.size());
    let possible = packed_bytes <= bytes.len() as u64
        && unpacked_bytes <= packed_bytes.saturating_mul(DEFLATE_RATIO);
    if !possible {
        return Err(file.malformed(
            format!("{unpacked_bytes} bytes unpacked from {packed_bytes}"),
            format!("an archive of {} bytes", bytes.len()),
        ));
    }
    let mut contents = npy::read_stream(file, array, unpacked_bytes)?;
    if name == REVERSED {
        contents.reverse_axes();
    }
    Ok(contents)
}

/// The entry that holds the points, and its name.
fn choose(
    file: InFile<'_>,
    archive: &ZipArchive<Cursor<&[u8]>>,
) -> Result<(usize, String), CloudError> {
    let array_name = |index| {
        let entry = archive.name_for_index(index)?.ok()?;
        Some((index, entry.strip_suffix(".npy")?.to_owned()))
    };
    let arrays: Vec<(usize, String)> = (0..archive.len()).filter_map(array_name).collect();
    let mut named = arrays.iter().filter(|(_, name)| NAMES.contains(&&name[..]));
    match (&arrays[..], named.next(), named.next()) {
        ([found], _, _) | (_, Some(found), None) => Ok(found.clone()),
        _ => Err(CloudError::AmbiguousArray {
            path: file.0.to_owned(),
            names: arrays.into_iter().map(|(_, name)| name).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::Voxel;

    use crate::contents::Contents;
    use crate::fixtures::{message_as, npy_points, npy_voxels, npz, points_as, read_as};

    #[test]
    fn the_only_array_or_the_one_with_a_telling_name_is_read() {
        let (points, other) = (npy_points(&[[1.0, 2.0, 3.0]]), npy_points(&[[0.0; 3]; 2]));
        for packed in [false, true] {
            let only = npz(&[("arr_0.npy", &points), ("readme.txt", b"none")], packed);
            assert_eq!(points_as("a.npz", &only).xyz, [[1.0, 2.0, 3.0]]);
            for name in super::NAMES.into_iter().filter(|name| *name != super::REVERSED) {
                let entries = [("a.npy", &other[..]), (&format!("{name}.npy"), &points)];
                let named = npz(&entries, packed);
                assert_eq!(points_as("a.npz", &named).xyz, [[1.0, 2.0, 3.0]], "{name}");
            }
        }
    }

    #[test]
    fn voxels_of_z_y_x_are_turned() {
        let (voxels, features) = (npy_voxels(&[[2, 3, 4, 5]]), npy_points(&[[0.0; 3]]));
        let archive = npz(&[("features.npy", &features), ("indices_zyx.npy", &voxels)], true);
        let voxels = Contents::Voxels(vec![Voxel::new(2, 5, 4, 3)]);
        assert_eq!(read_as("a.npz", &archive).unwrap(), voxels);
        let floats = npz(&[("indices_zyx.npy", &npy_points(&[[1.0, 2.0, 3.0]]))], false);
        assert_eq!(points_as("a.npz", &floats).xyz, [[3.0, 2.0, 1.0]]);
    }

    #[test]
    fn archives_that_say_too_little_or_too_much_are_named() {
        let points = npy_points(&[[1.0, 2.0, 3.0]]);
        let message = |entries: &[(&str, &[u8])]| message_as("a.npz", &npz(entries, true));
        insta::assert_snapshot!(message(&[("a.npy", &points), ("b.npy", &points)]), @"a.npz: expected one array, or exactly one named pc, points, xyz, coords or indices_zyx, found a, b");
        insta::assert_snapshot!(message(&[("pc.npy", &points), ("xyz.npy", &points)]), @"a.npz: expected one array, or exactly one named pc, points, xyz, coords or indices_zyx, found pc, xyz");
        insta::assert_snapshot!(message(&[("readme.txt", b"none")]), @"a.npz: expected one array, or exactly one named pc, points, xyz, coords or indices_zyx, found no array");
        insta::assert_snapshot!(message(&[("a.npy", b"no array")]), @r"a.npz: expected the NumPy magic `\x93NUMPY`, found `no array`");
        insta::assert_snapshot!(message_as("a.npz", b"no archive"), @"a.npz: expected a zip archive of NumPy arrays, found `no archi`...: invalid Zip archive: Could not find EOCD");
    }

    #[test]
    fn damage_is_found_by_the_checksum() {
        let points = npy_points(&[[1.0, 2.0, 3.0]; 4]);
        let mut archive = npz(&[("pc.npy", &points)], false);
        let start = archive.windows(points.len()).position(|bytes| bytes == points).unwrap();
        archive[start + points.len() - 6] ^= 1;
        insta::assert_snapshot!(message_as("a.npz", &archive), @"a.npz: expected 48 bytes of elements of shape [4, 3], found Invalid checksum");
    }
}
