//! Voxels of points against their definition.

use std::collections::HashMap;

use proptest::prelude::*;
use voxtune_types::Voxel;

use super::*;

/// One that no cell of the grid is cut by: its ends are numbers that float32 and float64 both have.
const GRID: VoxelGrid = VoxelGrid::new([-1.0, 0.5, -2.0], [1.0, 2.0, 2.0], [0.25, 0.5, 1.0]);

/// By definition, in float64: the voxels, their points in order, and the voxel of each point.
fn expected(
    points: Points<'_>,
    grid: &VoxelGrid,
    voxelization: Voxelization,
) -> (Vec<Voxel>, Vec<Vec<usize>>, Vec<i32>) {
    let mut rows: HashMap<Voxel, Option<usize>> = HashMap::new();
    let mut of_sample: HashMap<i32, usize> = HashMap::new();
    let (mut voxels, mut members, mut index) = (Vec::new(), Vec::new(), Vec::new());
    for (point, row) in points.values.chunks_exact(points.columns).enumerate() {
        let place = |axis: usize| {
            let [low, high, size, at] =
                [grid.range_min[axis], grid.range_max[axis], grid.voxel_size[axis], row[axis]]
                    .map(f64::from);
            (at >= low && at < high).then(|| ((at - low) / size).floor() as i32)
        };
        let finite = row.iter().all(|value| value.is_finite());
        let batch = points.batches.map_or(0, |batches| batches.of_point()[point]);
        let (Some(x), Some(y), Some(z), true) = (place(0), place(1), place(2), finite) else {
            index.push(-1);
            continue;
        };
        let voxel = match grid.order {
            AxisOrder::Xyz => Voxel::new(batch, x, y, z),
            AxisOrder::Zyx => Voxel::new(batch, z, y, x),
        };
        let row = *rows.entry(voxel).or_insert_with(|| {
            let kept = of_sample.entry(batch).or_default();
            *kept += 1;
            let fits = voxelization.max_voxels().is_none_or(|most| *kept <= most);
            fits.then(|| {
                voxels.push(voxel);
                members.push(Vec::new());
                voxels.len() - 1
            })
        });
        index.push(row.map_or(-1, |row| row as i32));
        if let Some(row) = row {
            members[row].push(point);
        }
    }
    (voxels, members, index)
}

fn check(points: Points<'_>, grid: &VoxelGrid, voxelization: Voxelization) {
    let found = voxelize(points, grid, voxelization).unwrap();
    let (voxels, members, index) = expected(points, grid, voxelization);
    assert_eq!(found.voxels, voxels);
    assert_eq!(found.groups.group_of_row(), index);
    assert_eq!(found.groups.groups(), voxels.len());
    assert_eq!(found.means.len(), voxels.len() * points.columns);
    let most = voxelization.max_points().unwrap();
    for (means, members) in found.means.chunks(points.columns).zip(members) {
        let members = &members[..members.len().min(most)];
        for (column, mean) in means.iter().enumerate() {
            let value = |&point: &usize| f64::from(points.values[point * points.columns + column]);
            let sum: f64 = members.iter().map(value).sum();
            let expected = sum / members.len() as f64;
            let error = (f64::from(*mean) - expected).abs();
            assert!(error <= 1e-6 * expected.abs().max(1e-3), "{mean} for {expected}");
        }
    }
    let [x, y, z] = grid.shape().unwrap().map(|size| size as i32);
    assert!(found.voxels.iter().all(|cell| {
        cell.x >= 0 && cell.x < x && cell.y >= 0 && cell.y < y && cell.z >= 0 && cell.z < z
    }));
}

/// Places on the borders of cells and of the grid, beside them, far away, and no numbers.
fn place() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => (-20..20_i32).prop_map(|eighths| eighths as f32 / 8.0),
        8 => (-2_000..2_000_i32).prop_map(|parts| parts as f32 / 1024.0),
        1 => prop::sample::select(vec![
            f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, 1e30,
        ]),
    ]
}

fn voxelization() -> impl Strategy<Value = Voxelization> {
    let hard = (1..6_usize, prop::option::of(0..12_usize));
    let hard =
        hard.prop_map(|(max_points, max_voxels)| Voxelization::Hard { max_points, max_voxels });
    prop_oneof![Just(Voxelization::Dynamic), hard]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn voxels_are_those_of_the_definition(
        columns in 3..=7_usize,
        values in prop::collection::vec(place(), 0..900),
        batches in prop::option::of(prop::collection::vec(0..4_i32, 300)),
        sorted: bool,
        zyx: bool,
        voxelization in voxelization(),
    ) {
        let rows = values.len() / columns;
        let batches = batches.map(|mut batches| {
            batches.truncate(rows);
            if sorted || voxelization.max_voxels().is_some() {
                batches.sort_unstable();
            }
            PointBatches::new(batches).unwrap()
        });
        let (values, batches) = (&values[..rows * columns], batches.as_ref());
        let points = Points { values, columns, batches };
        let order = if zyx { AxisOrder::Zyx } else { AxisOrder::Xyz };
        check(points, &GRID.with_order(order).with_spare_cells([0, 0, 1]), voxelization);
    }
}

#[test]
fn a_grid_has_the_cells_of_known_networks() {
    // OpenPCDet's VoxelNeXt and CenterPoint on Waymo, SECOND on KITTI, CenterPoint on nuScenes.
    for (low, high, size, cells) in [
        ([-75.2, -75.2, -2.0], [75.2, 75.2, 4.0], [0.1, 0.1, 0.15], [1504, 1504, 40]),
        ([0.0, -40.0, -3.0], [70.4, 40.0, 1.0], [0.05, 0.05, 0.1], [1408, 1600, 40]),
        ([-51.2, -51.2, -5.0], [51.2, 51.2, 3.0], [0.1, 0.1, 0.2], [1024, 1024, 40]),
        ([-54.0, -54.0, -5.0], [54.0, 54.0, 3.0], [0.075, 0.075, 0.2], [1440, 1440, 40]),
    ] {
        let grid = VoxelGrid::new(low, high, size);
        let [x, y, z] = cells;
        assert_eq!(grid.cells(), Ok(cells));
        assert_eq!(grid.shape(), Ok(cells));
        let networks = grid.with_order(AxisOrder::Zyx).with_spare_cells([0, 0, 1]);
        assert_eq!((networks.cells(), networks.shape()), (Ok(cells), Ok([z + 1, y, x])));
    }
}

#[test]
fn grids_without_cells_are_refused() {
    let error = |low, high, size| {
        VoxelGrid::new([0.0, low, 0.0], [1.0, high, 1.0], [1.0, size, 1.0]).shape().unwrap_err()
    };
    for (low, high, size) in [
        (0.0, 1.0, 0.0),
        (0.0, 1.0, -1.0),
        (1.0, 0.0, -1.0),
        (1.0, 0.0, 1.0),
        (0.0, 0.4, 1.0),
        (0.0, 1.0, 1e-9),
        (f32::NAN, 1.0, 1.0),
        (f32::NEG_INFINITY, 1.0, 1.0),
        (0.0, f32::INFINITY, f32::INFINITY),
        (0.0, 1.0, f32::NAN),
    ] {
        let error = error(low, high, size);
        assert!(matches!(error, PointsError::Grid { axis: 'y', .. }), "{error}");
    }
}

#[test]
fn caps_drop_what_comes_late() {
    // Cells along x: 0, 1, 0, 2, 1, 0.
    let values: Vec<f32> =
        [0.0, 1.0, 0.5, 2.0, 1.5, 0.25].into_iter().flat_map(|x| [x, 0.0, 0.0]).collect();
    let grid = VoxelGrid::new([0.0; 3], [3.0, 1.0, 1.0], [1.0; 3]);
    let points = Points { values: &values, columns: 3, batches: None };
    let hard = Voxelization::Hard { max_points: 2, max_voxels: Some(2) };
    let found = voxelize(points, &grid, hard).unwrap();
    assert_eq!(found.voxels, [Voxel::new(0, 0, 0, 0), Voxel::new(0, 1, 0, 0)]);
    // The third point of the first voxel belongs to it, and its mean is of two.
    assert_eq!(found.groups.group_of_row(), [0, 1, 0, -1, 1, 0]);
    assert_eq!(found.means, [0.25, 0.0, 0.0, 1.25, 0.0, 0.0]);
    // Each sample has its own two.
    let batches = PointBatches::joined(&[1, 0, 3, 2]).unwrap();
    assert_eq!((batches.samples(), batches.begins()), (4, Ok(&[0, 1, 1, 4, 6][..])));
    let points = Points { batches: Some(&batches), ..points };
    let found = voxelize(points, &grid, hard).unwrap();
    assert_eq!(found.groups.group_of_row(), [0, 1, 2, -1, 3, 4]);
    assert_eq!(found.voxels[1], Voxel::new(2, 1, 0, 0));
}

#[test]
fn long_clouds_and_full_voxels() {
    let at = |point: usize, salt: usize| (point.wrapping_mul(2_654_435_761) >> salt) % 1_000;
    let values: Vec<f32> = (0..100_000)
        .flat_map(|point| match point % 3 {
            // One cell has a third of the points.
            0 => [0.0, 0.6, 0.0, point as f32],
            _ => [7, 11, 13, 17].map(|salt| at(point, salt) as f32 / 256.0 - 1.5),
        })
        .collect();
    let points = Points { values: &values, columns: 4, batches: None };
    check(points, &GRID, Voxelization::Dynamic);
    check(points, &GRID, Voxelization::Hard { max_points: 10, max_voxels: Some(50) });
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |values: &[f32], columns, batches, grid: &VoxelGrid, voxelization| {
        voxelize(Points { values, columns, batches }, grid, voxelization).unwrap_err().to_string()
    };
    let hard = |max_points, max_voxels| Voxelization::Hard { max_points, max_voxels };
    let dynamic = Voxelization::Dynamic;
    assert!(refused(&[0.0; 4], 2, None, &GRID, dynamic).contains("2 columns"));
    assert!(refused(&[0.0; 4], 3, None, &GRID, dynamic).contains("expected 3, found 4"));
    assert!(refused(&[0.0; 3], 3, None, &GRID, hard(0, None)).contains("at least 1"));
    let mixed = PointBatches::new(vec![0, 2, 1]).unwrap();
    assert!(refused(&[0.0; 6], 3, Some(&mixed), &GRID, dynamic).contains("expected 2, found 3"));
    let error = refused(&[0.0; 9], 3, Some(&mixed), &GRID, hard(1, Some(1)));
    assert!(error.contains("point 2, of batch 1"), "{error}");
    let huge = VoxelGrid::new([0.0; 3], [16_777_216.0; 3], [1.0; 3]);
    assert!(refused(&[0.0; 3], 3, None, &huge, dynamic).contains("2^63"));
    assert!(PointBatches::new(vec![0, -1]).unwrap_err().to_string().contains("point 1"));
    assert!(PointBatches::new(vec![1 << 20]).is_err());
}
