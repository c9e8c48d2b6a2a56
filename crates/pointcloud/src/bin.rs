//! Scans without a header: rows of little-endian float32, of which the first three are x, y, z.

use crate::bin_doubt::{Rows, doubt, other_columns};
use crate::error::InFile;
use crate::scalar::Scalar;
use crate::{CloudError, Columns, Points};

pub(crate) fn read(file: InFile<'_>, bytes: &[u8], rows: Rows) -> Result<Points, CloudError> {
    let (Rows::Told(columns) | Rows::Usual(columns)) = rows;
    let row_bytes = columns.get() * Scalar::F32.bytes();
    let (whole, remainder) = (bytes.len() / row_bytes, bytes.len() % row_bytes);
    if remainder != 0 {
        return Err(file.malformed(
            format!("rows of {columns} float32, {row_bytes} bytes each"),
            format!(
                "{} bytes, which leaves a remainder of {remainder}{}",
                bytes.len(),
                remedy(bytes, columns)
            ),
        ));
    }
    if let Some(found) = doubt(bytes, rows) {
        let expected = format!("rows of {columns} float32, the first three x, y, z");
        return Err(file.malformed(expected, found));
    }
    let mut points = Points::of_types([Some(Scalar::F32)], whole);
    for row in bytes.chunks_exact(row_bytes) {
        points.push([0, 4, 8].map(|start| Scalar::F32.to_f64(&row[start..])));
    }
    Ok(points)
}

/// What to do about a file whose length does not fit.
fn remedy(bytes: &[u8], columns: Columns) -> String {
    match &other_columns(bytes, columns)[..] {
        [] => String::new(),
        others => {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            format!("; rows of {} would fit: name theirs with --columns", others.join(" or "))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{message_as, points_as, points_in_columns};

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
        insta::assert_snapshot!(message_as("a.pcd.bin", &[0; 36]), @"a.pcd.bin: expected rows of 5 float32, 20 bytes each, found 36 bytes, which leaves a remainder of 16; rows of 3 would fit: name theirs with --columns");
    }

    #[test]
    fn f14_columns_that_are_told_beat_the_name() {
        let bytes: Vec<u8> = (0..60_u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
        for name in ["000000.bin", "n015.pcd.bin"] {
            for columns in [3, 4, 5, 6] {
                let xyz = points_in_columns(name, &bytes, columns).xyz;
                assert_eq!(xyz.len(), 60 / columns, "{name}");
                assert_eq!(xyz[1][0], columns as f64, "{name}");
            }
        }
    }
}
