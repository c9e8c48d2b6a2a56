//! From points to the cells that they occupy.

use rayon::prelude::*;
use voxtune_types::Voxel;

use crate::{CloudError, Crop};

/// The cells that points occupy, each once, in batch 0.
///
/// The cell of a point is `floor(p / cell_size)`, divided and rounded in f32 as NumPy does for
/// arrays of float32; the least coordinate of each axis becomes 0. Without a point (inside the
/// crop) the cloud is empty.
///
/// # Shapes
/// `[points, 3]` to at most as many voxels, sorted by x, y, z.
///
/// # Units
/// `cell_size` and `crop` in the units of the points, metres in the usual scans.
///
/// # Errors
/// [`CloudError::BadCellSize`]; [`CloudError::CellOutOfRange`] for a point of the crop whose cell
/// is no `i32`, a NaN or an infinity among them, or too far from the least one to be shifted.
pub fn voxelize(
    points: &[[f32; 3]],
    cell_size: f32,
    crop: Option<Crop>,
) -> Result<Vec<Voxel>, CloudError> {
    if !(cell_size.is_finite() && cell_size > 0.0) {
        return Err(CloudError::BadCellSize { cell_size });
    }
    let inside = |point: [f32; 3]| crop.is_none_or(|crop| crop.contains(point));
    let mut cells = Vec::with_capacity(points.len());
    for (index, &point) in points.iter().enumerate() {
        if inside(point) {
            let cell = cell_of(point, cell_size);
            cells.push(cell.ok_or(CloudError::CellOutOfRange { index, point, cell_size })?);
        }
    }
    let least = cells.iter().fold([i32::MAX; 3], |least, cell| {
        [least[0].min(cell[0]), least[1].min(cell[1]), least[2].min(cell[2])]
    });
    let fits = |cell: [i32; 3]| (0..3).all(|axis| cell[axis].checked_sub(least[axis]).is_some());
    if !cells.iter().all(|&cell| fits(cell)) {
        let (index, &point) = points
            .iter()
            .enumerate()
            .filter(|(_, point)| inside(**point))
            .zip(&cells)
            .find_map(|(point, &cell)| (!fits(cell)).then_some(point))
            .expect("a cell that does not fit has its point");
        return Err(CloudError::CellOutOfRange { index, point, cell_size });
    }
    cells.par_sort_unstable();
    cells.dedup();
    let shift = |[x, y, z]: [i32; 3]| Voxel::new(0, x - least[0], y - least[1], z - least[2]);
    Ok(cells.into_iter().map(shift).collect())
}

fn cell_of(point: [f32; 3], cell_size: f32) -> Option<[i32; 3]> {
    // The largest f32 below 2^31 is 2^31 - 128, so the bounds are exact and exclude NaN.
    const LIMIT: f32 = 2_147_483_648.0;
    let cell = point.map(|coordinate| (coordinate / cell_size).floor());
    let fits = cell.iter().all(|coordinate| (-LIMIT..LIMIT).contains(coordinate));
    fits.then(|| cell.map(|coordinate| coordinate as i32))
}

/// Moves the voxels of one sample so that the least coordinate of each axis is 0.
pub(crate) fn shift_to_zero(sample: &mut [Voxel]) {
    let least = sample.iter().fold([i32::MAX; 3], |least, voxel| {
        [least[0].min(voxel.x), least[1].min(voxel.y), least[2].min(voxel.z)]
    });
    for voxel in sample {
        voxel.x -= least[0];
        voxel.y -= least[1];
        voxel.z -= least[2];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coordinates(cloud: &[Voxel]) -> Vec<[i32; 3]> {
        cloud.iter().map(|voxel| [voxel.x, voxel.y, voxel.z]).collect()
    }

    #[test]
    fn cells_are_floored_shifted_distinct_and_sorted() {
        let points = [[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0], [0.09, 0.01, 0.05], [0.1, 0.2, -0.3]];
        let cloud = voxelize(&points, 0.1, None).unwrap();
        assert_eq!(coordinates(&cloud), [[0, 0, 3], [1, 0, 3], [2, 2, 0]]);
    }

    /// In f64 arithmetic these points lie just below the cells 7, 9 and 14.
    #[test]
    fn division_is_that_of_float32() {
        let cloud = voxelize(&[[0.0; 3], [0.7, 0.9, 1.4]], 0.1, None).unwrap();
        assert_eq!(coordinates(&cloud), [[0, 0, 0], [7, 9, 14]]);
    }

    #[test]
    fn a_crop_keeps_its_lower_bound_only() {
        let crop = Crop { min: [0.0; 3], max: [1.0; 3] };
        let points = [[0.0; 3], [1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [-0.1, 0.5, 0.5]];
        let cloud = voxelize(&points, 0.25, Some(crop)).unwrap();
        assert_eq!(coordinates(&cloud), [[0, 0, 0], [2, 2, 2]]);
        let nothing = Crop { min: [5.0; 3], max: [6.0; 3] };
        assert_eq!(voxelize(&points, 0.25, Some(nothing)).unwrap(), []);
    }

    #[test]
    fn what_has_no_cell_is_named() {
        let message = |points: &[[f32; 3]], cell_size| {
            voxelize(points, cell_size, None).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message(&[], 0.0), @"a cell size must be finite and above 0, found 0");
        insta::assert_snapshot!(message(&[], -1.0), @"a cell size must be finite and above 0, found -1");
        insta::assert_snapshot!(message(&[], f32::NAN), @"a cell size must be finite and above 0, found NaN");
        insta::assert_snapshot!(message(&[[0.0; 3], [1e9, 0.0, 0.0]], 0.1), @"point 1 (1000000000, 0, 0) has no 32-bit cell at a cell size of 0.1: use a larger cell size or a crop");
        insta::assert_snapshot!(message(&[[0.0, f32::NAN, 0.0]], 0.1), @"point 0 (0, NaN, 0) has no 32-bit cell at a cell size of 0.1: use a larger cell size or a crop");
        insta::assert_snapshot!(message(&[[-2e9, 0.0, 0.0], [2e9, 0.0, 0.0]], 1.0), @"point 1 (2000000000, 0, 0) has no 32-bit cell at a cell size of 1: use a larger cell size or a crop");
    }

    #[test]
    fn a_crop_saves_the_points_inside_from_those_without_a_cell() {
        let crop = Some(Crop { min: [-1.0; 3], max: [1.0; 3] });
        assert_eq!(voxelize(&[[0.0; 3], [1e30, 0.0, 0.0]], 0.1, crop).unwrap().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

        #[test]
        fn every_point_has_its_cell_and_no_cell_is_without_a_point(
            points in prop::collection::vec(prop::array::uniform3(-50.0_f32..50.0), 1..200),
            cell_size in 0.05_f32..5.0,
        ) {
            let cloud = voxelize(&points, cell_size, None).unwrap();
            let cell = |point: &[f32; 3]| point.map(|p| (p / cell_size).floor() as i32);
            let mut expected: Vec<[i32; 3]> = points.iter().map(cell).collect();
            let least = expected.iter().copied().reduce(|a, b| {
                [a[0].min(b[0]), a[1].min(b[1]), a[2].min(b[2])]
            }).unwrap();
            for cell in &mut expected {
                for axis in 0..3 {
                    cell[axis] -= least[axis];
                }
            }
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(coordinates(&cloud), expected);
        }
    }
}
