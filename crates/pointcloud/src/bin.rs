//! Scans without a header: rows of little-endian float32, of which the first three are x, y, z.

use crate::error::InFile;
use crate::scalar::{Endian, Scalar};
use crate::{CloudError, Points};

/// KITTI's velodyne scans: x, y, z, intensity.
pub(crate) const KITTI_COLUMNS: usize = 4;

/// nuScenes' LIDAR_TOP sweeps: x, y, z, intensity, ring.
pub(crate) const NUSCENES_COLUMNS: usize = 5;

pub(crate) fn read(file: InFile<'_>, bytes: &[u8], columns: usize) -> Result<Points, CloudError> {
    let row_bytes = columns * Scalar::F32.bytes();
    let rows = bytes.chunks_exact(row_bytes);
    let remainder = rows.remainder().len();
    if remainder != 0 {
        return Err(file.malformed(
            format!("rows of {columns} float32, {row_bytes} bytes each"),
            format!("{} bytes, which leaves a remainder of {remainder}", bytes.len()),
        ));
    }
    let mut points = Points::default();
    points.xyz.reserve_exact(rows.len());
    for row in rows {
        points.push([0, 4, 8].map(|start| Scalar::F32.to_f32(&row[start..], Endian::Little)));
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use crate::scans::{message_as, points_as};

    #[test]
    fn columns_depend_on_the_name() {
        let bytes: Vec<u8> = (0..20_u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
        let kitti = points_as("000000.bin", &bytes).xyz;
        assert_eq!(kitti.len(), 5);
        assert_eq!(kitti[1], [4.0, 5.0, 6.0]);
        let nuscenes = points_as("n015__LIDAR_TOP__1.pcd.bin", &bytes).xyz;
        assert_eq!(nuscenes.len(), 4);
        assert_eq!(nuscenes[1], [5.0, 6.0, 7.0]);
    }

    #[test]
    fn a_remainder_is_named() {
        insta::assert_snapshot!(message_as("a.bin", &[0; 35]), @"a.bin: expected rows of 4 float32, 16 bytes each, found 35 bytes, which leaves a remainder of 3");
        insta::assert_snapshot!(message_as("a.pcd.bin", &[0; 36]), @"a.pcd.bin: expected rows of 5 float32, 20 bytes each, found 36 bytes, which leaves a remainder of 16");
    }
}
