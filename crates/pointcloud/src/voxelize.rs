//! From points to the cells that they occupy.

use rayon::prelude::*;
use voxtune_types::Voxel;

use crate::precision::Extents;
use crate::{CloudError, Crop};

/// The cells that points occupy, each once, in batch 0.
///
/// The cell of a point is `floor(p / cell_size)`, divided and rounded in f32 as NumPy does for
/// arrays of float32. The least coordinate of each axis becomes 0. Without a point (inside the
/// crop) the cloud is empty.
///
/// An axis is divided in f64 instead, from its least coordinate, where f32 holds its coordinates
/// badly. So it does where some are not f32 numbers, and the step of f32 at the largest is more
/// than a 1024th of a cell. So points keep their cells far from the origin. There a coordinate
/// within a 65536th of a cell below a border lies on the border, and the cell size is the decimal
/// number that prints as `cell_size`. Bounds of the crop are rounded to f32 on an axis of f32
/// numbers alone.
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
pub fn voxelize<T: Copy + Into<f64>>(
    points: &[[T; 3]],
    cell_size: f32,
    crop: Option<Crop>,
) -> Result<Vec<Voxel>, CloudError> {
    if !(cell_size.is_finite() && cell_size > 0.0) {
        return Err(CloudError::BadCellSize { cell_size });
    }
    let all = || points.iter().map(|point| point.map(Into::into));
    let float32 = float32_axes(all());
    let crop = crop.map(|crop| crop.rounded(float32));
    let inside = |point: [f64; 3]| crop.is_none_or(|crop| crop.contains(point));
    let kept = || all().enumerate().filter(|&(_, point)| inside(point));
    let extents = Extents::of(kept().map(|(_, point)| point));
    let divisions = [0, 1, 2].map(|axis| {
        if float32[axis] || !extents.is_coarse(axis, cell_size, EXACT_STEPS_OF_A_CELL) {
            Division::Float32 { cell_size }
        } else {
            Division::Float64 { least: extents.least[axis], cell_size: decimal(cell_size) }
        }
    });
    let out_of_range = |(index, point)| CloudError::CellOutOfRange { index, point, cell_size };
    let mut cells = Vec::with_capacity(points.len());
    for (index, point) in kept() {
        let [x, y, z] = [0, 1, 2].map(|axis| divisions[axis].cell(point[axis]));
        let (Some(x), Some(y), Some(z)) = (x, y, z) else {
            return Err(out_of_range((index, point)));
        };
        cells.push([x, y, z]);
    }
    let least = cells.iter().fold([i32::MAX; 3], |least, cell| {
        [least[0].min(cell[0]), least[1].min(cell[1]), least[2].min(cell[2])]
    });
    let fits = |cell: [i32; 3]| (0..3).all(|axis| cell[axis].checked_sub(least[axis]).is_some());
    if let Some((far, _)) = kept().zip(&cells).find(|(_, cell)| !fits(**cell)) {
        return Err(out_of_range(far));
    }
    cells.par_sort_unstable();
    cells.dedup();
    let shift = |[x, y, z]: [i32; 3]| Voxel::new(0, x - least[0], y - least[1], z - least[2]);
    Ok(cells.into_iter().map(shift).collect())
}

/// Steps of f32 in a cell from which on f32 divides coordinates that it does not hold.
///
/// With the usual cells of 0.1 it does so up to 1024, further than the scans of one place reach.
const EXACT_STEPS_OF_A_CELL: f64 = 1024.0;

/// How the cell of a coordinate is found.
#[derive(Clone, Copy)]
enum Division {
    Float32 { cell_size: f32 },
    Float64 { least: f64, cell_size: f64 },
}

impl Division {
    /// The cell, if 32 bits hold it.
    fn cell(self, coordinate: f64) -> Option<i32> {
        // The largest f32 below 2^31 is 2^31 - 128, so the bounds are exact and exclude NaN.
        const LIMIT: f64 = 2_147_483_648.0;
        /// Part of a cell by which f64 may miss a border: 2^-16.
        const MISSED: f64 = 1.0 / 65_536.0;
        let cell = match self {
            Self::Float32 { cell_size } => f64::from((coordinate as f32 / cell_size).floor()),
            Self::Float64 { least, cell_size } => {
                ((coordinate - least) / cell_size + MISSED).floor()
            }
        };
        (-LIMIT..LIMIT).contains(&cell).then_some(cell as i32)
    }
}

/// The axes on which f32 holds every coordinate.
fn float32_axes(points: impl Iterator<Item = [f64; 3]>) -> [bool; 3] {
    let is_float32 = |value: f64| value.is_nan() || f64::from(value as f32) == value;
    points.fold([true; 3], |all, point| [0, 1, 2].map(|axis| all[axis] && is_float32(point[axis])))
}

/// The f64 that prints like an f32: what 0.1 in a text means.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
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

    /// Cells of any size in any place: float64 holds them all, and so no cell is lost.
    #[test]
    fn f03_a_grid_of_float64_keeps_its_cells_anywhere() {
        for origin in [12_000.0, -70_000.0, 388_096.3, 3_948_996.7, -15_550_408.05, 1e8] {
            for cell_size in [0.05_f32, 0.1, 0.3] {
                let at = |cell: u32| {
                    let text = format!("{:.6}", origin + f64::from(cell) * decimal(cell_size));
                    text.parse::<f64>().unwrap()
                };
                let points: Vec<[f64; 3]> =
                    (0..500).map(|cell| [at(cell), -at(cell), 0.0]).collect();
                let cloud = voxelize(&points, cell_size, None).unwrap();
                let expected: Vec<[i32; 3]> = (0..500).map(|cell| [cell, 499 - cell, 0]).collect();
                assert!(coordinates(&cloud) == expected, "{origin}, {cell_size}");
            }
        }
    }

    /// A bound that float32 does not hold, as 0.1, is where float32 has it.
    #[test]
    fn f03_points_of_float32_stay_on_the_bounds_of_a_crop() {
        let crop: Crop = "0.1,-1,-1,0.7,1,1".parse().unwrap();
        let points = [[0.1_f32, 0.0, 0.0], [0.7, 0.0, 0.0], [0.4, 0.0, 0.0]];
        assert_eq!(voxelize(&points, 0.1, Some(crop)).unwrap().len(), 2);
        let points = points.map(|point| point.map(decimal));
        assert_eq!(voxelize(&points, 0.1, Some(crop)).unwrap().len(), 2);
        let far: Crop = "388096.31,-1,-1,388096.33,1,1".parse().unwrap();
        let points = [[388_096.312_5, 0.0, 0.0], [388_096.3, 0.0, 0.0], [388_096.33, 0.0, 0.0]];
        assert_eq!(voxelize(&points, 0.1, Some(far)).unwrap().len(), 1);
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
