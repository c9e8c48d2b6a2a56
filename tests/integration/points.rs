//! Voxels of points: a CUDA device against the host.

use voxtune::ops::Reduction;
use voxtune::{
    AxisOrder, Device, PointCloud, PointVoxels, SubmConv3d, VoxelGrid, Voxelization, WeightLayout,
};

use crate::needs::open_gpu;

const VOXELIZATIONS: [Voxelization; 5] = [
    Voxelization::Dynamic,
    Voxelization::Hard { max_points: 10, max_voxels: None },
    Voxelization::Hard { max_points: 2, max_voxels: Some(700) },
    Voxelization::Hard { max_points: 1, max_voxels: Some(0) },
    Voxelization::Hard { max_points: usize::MAX, max_voxels: Some(usize::MAX) },
];

/// About as many cells as there are points in the longest cloud, of which a fifth lie outside.
const GRID: VoxelGrid = VoxelGrid::new([-8.0, -8.0, -2.0], [8.0, 8.0, 2.0], [0.2, 0.2, 0.15]);

/// Numbers from -1 to 1 that look like chance.
fn chance(index: usize, salt: u64) -> f32 {
    let mut state = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(77);
    state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (state >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn cloud(rows: usize, columns: usize, salt: u64) -> Vec<f32> {
    let reach = |column| if column < 2 { 8.5 } else { 2.2 };
    let value = |index| reach(index % columns) * chance(index, salt);
    (0..rows * columns).map(value).collect()
}

fn voxelize(
    device: &Device,
    (values, columns): (&[f32], usize),
    batches: Option<&[i32]>,
    grid: &VoxelGrid,
    voxelization: Voxelization,
) -> PointVoxels {
    let cloud = PointCloud::from_f32(device, columns, values).unwrap();
    let cloud = match batches {
        Some(batches) => cloud.with_batches(batches.to_vec()).unwrap(),
        None => cloud,
    };
    cloud.voxelize(grid, voxelization).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Voxels, counts and indices are equal, means nearly so, and the GPU repeats itself to the bit.
fn agree(
    what: &str,
    points: (&[f32], usize),
    batches: Option<&[i32]>,
    grid: &VoxelGrid,
    voxelization: Voxelization,
) {
    let run = |device: &Device| voxelize(device, points, batches, grid, voxelization);
    let (host, gpu) = (Device::cpu().unwrap(), open_gpu().unwrap());
    let (expected, found, again) = (run(&host), run(&gpu), run(&gpu));
    let parts = |voxels: &PointVoxels| {
        let tensor = voxels.tensor();
        let cells = tensor.voxels().cells().unwrap().to_vec();
        let index = voxels.voxel_of_point().unwrap();
        (cells, tensor.voxels().shape(), index, voxels.counts().unwrap())
    };
    let what = format!("{what}, {} values, {voxelization:?}", points.0.len());
    assert!(parts(&expected) == parts(&found), "{what}");
    assert!(parts(&found) == parts(&again), "{what} does not repeat");
    let means = |voxels: &PointVoxels| voxels.tensor().features().to_f32().unwrap();
    let (expected, found, again) = (means(&expected), means(&found), means(&again));
    assert!(bits(&found) == bits(&again), "{what} does not repeat");
    assert_eq!(expected.len(), found.len(), "{what}");
    for (place, (expected, found)) in expected.into_iter().zip(found).enumerate() {
        // Sums of numbers up to 8.5 may cancel.
        let error = (expected - found).abs() / expected.abs().max(1e-2);
        assert!(error <= 1e-6, "{what}, element {place}: expected {expected}, found {found}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn voxels_agree_on_a_gpu() {
    for (rows, columns) in [
        (0, 4),
        (1, 3),
        (2, 5),
        (31, 4),
        (255, 3),
        (256, 4),
        (2_049, 6),
        (70_000, 7),
        (200_000, 5),
        (3_000, 40),
    ] {
        let values = cloud(rows, columns, 3);
        for voxelization in VOXELIZATIONS {
            agree("chance", (&values, columns), None, &GRID, voxelization);
        }
        let grid = GRID.with_order(AxisOrder::Zyx).with_spare_cells([0, 0, 1]);
        agree("z, y, x", (&values, columns), None, &grid, VOXELIZATIONS[1]);
        let outside: Vec<f32> = values.iter().map(|value| value.abs() + 20.0).collect();
        agree("outside", (&outside, columns), None, &GRID, VOXELIZATIONS[0]);
    }
    // Some thousand points in a cell, and cells of one sort of digit alone.
    let coarse = VoxelGrid { voxel_size: [4.0; 3], ..GRID };
    for voxelization in VOXELIZATIONS {
        agree("few cells", (&cloud(200_000, 5, 4), 5), None, &coarse, voxelization);
    }
}

/// Points on and beside the borders of cells and of the grid, and those that are no numbers.
#[test]
#[ignore = "needs a GPU"]
fn borders_agree_on_a_gpu() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, -0.0, 1e-40];
    let mut values = Vec::new();
    for step in -2..90 {
        let border = -8.0 + 0.2 * step as f32;
        for x in [border, border.next_up(), border.next_down()] {
            values.extend([x, -x, x / 4.0, step as f32]);
        }
    }
    for (place, one) in odd.into_iter().enumerate() {
        for column in 0..4 {
            let mut point = [0.1, 0.2, 0.3, place as f32];
            point[column] = one;
            values.extend(point);
        }
    }
    for voxelization in VOXELIZATIONS {
        agree("borders", (&values, 4), None, &GRID, voxelization);
        let unit = VoxelGrid::new([-1.0, 0.0, -0.5], [1.0, 0.7, 0.5], [0.1, 0.1, 1.0]);
        agree("borders", (&values, 4), None, &unit, voxelization);
    }
}

#[test]
#[ignore = "needs a GPU"]
fn samples_agree_on_a_gpu() {
    let values = cloud(60_000, 4, 5);
    let sorted: Vec<i32> = (0..60_000).map(|point| [0, 0, 1, 4, 4, 5][point / 10_000]).collect();
    for voxelization in VOXELIZATIONS {
        agree("samples", (&values, 4), Some(&sorted), &GRID, voxelization);
        // As many samples as a single block scans, and more.
        let many: Vec<i32> = (0..60_000).map(|point| point / 20).collect();
        agree("many samples", (&values, 4), Some(&many), &GRID, voxelization);
    }
    let mixed: Vec<i32> = (0..60_000).map(|point| point * 7 % 5).collect();
    for voxelization in &VOXELIZATIONS[..2] {
        agree("mixed samples", (&values, 4), Some(&mixed), &GRID, *voxelization);
    }
    // Joined on the device.
    let run = |device: &Device| {
        let clouds = [(700, 1), (0, 2), (20_000, 3)]
            .map(|(rows, salt)| PointCloud::from_f32(device, 5, &cloud(rows, 5, salt)).unwrap());
        let all = PointCloud::join(&clouds).unwrap();
        let found = all.voxelize(&GRID, VOXELIZATIONS[2]).unwrap();
        let cells = found.tensor().voxels().cells().unwrap().to_vec();
        (all.points().to_f32().unwrap(), cells, found.voxel_of_point().unwrap())
    };
    assert!(run(&Device::cpu().unwrap()) == run(&open_gpu().unwrap()));
}

/// One cell has most points, as those that fill up a tensor of a fixed length.
#[test]
#[ignore = "needs a GPU"]
fn full_voxels_agree_on_a_gpu() {
    for every in [3, 1_000_000] {
        let value = |index: usize| match index / 4 % every {
            0 => chance(index, 1) * 8.0,
            _ => [0.05, 0.05, 0.05, chance(index, 2)][index % 4],
        };
        let values: Vec<f32> = (0..4 * 200_000).map(value).collect();
        for voxelization in VOXELIZATIONS {
            agree("a full voxel", (&values, 4), None, &GRID, voxelization);
        }
    }
}

/// By the groups that kernels have made, in one piece and in several.
#[test]
#[ignore = "needs a GPU"]
fn features_go_there_and_back_on_a_gpu() {
    let (host, gpu) = (Device::cpu().unwrap(), open_gpu().unwrap());
    for (size, negative) in [(0.2, false), (2.0, true), (16.0, true)] {
        let mut values = cloud(100_000, 4, 6);
        // A maximum of negative numbers shows what is taken for 0.
        values
            .iter_mut()
            .skip(3)
            .step_by(4)
            .for_each(|w| *w = if negative { -w.abs() - 1.0 } else { *w });
        let grid = VoxelGrid { voxel_size: [size, size, size.min(4.0)], ..GRID };
        let run = |device: &Device| {
            let cloud = PointCloud::from_f32(device, 4, &values).unwrap();
            let found = cloud.voxelize(&grid, Voxelization::Dynamic).unwrap();
            let means = found.tensor().features();
            let mut all = vec![found.to_points(means).unwrap()];
            for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
                let (groups, x) = (found.groups(), cloud.points());
                let y = groups.reduce(device, reduction, x).unwrap();
                all.push(groups.reduce_backward(device, reduction, x, &y, means).unwrap());
                all.push(y);
            }
            all.into_iter().map(|tensor| tensor.to_f32().unwrap()).collect::<Vec<_>>()
        };
        for (part, (expected, found)) in run(&host).into_iter().zip(run(&gpu)).enumerate() {
            assert_eq!(expected.len(), found.len());
            let scale = expected.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
            for (expected, found) in expected.into_iter().zip(found) {
                assert!((expected - found).abs() <= 1e-5 * scale, "part {part} at {size}");
            }
        }
    }
}

/// Small integers, whose sums are exact.
#[test]
#[ignore = "needs a GPU"]
fn layers_take_voxels_of_points_on_a_gpu() {
    let run = |device: &Device| {
        let mut values = cloud(5_000, 4, 7);
        values.iter_mut().skip(3).step_by(4).for_each(|value| *value = value.round());
        let cloud = PointCloud::from_f32(device, 4, &values).unwrap();
        let hard = Voxelization::Hard { max_points: 1, max_voxels: Some(3_000) };
        let found = cloud.voxelize(&GRID.with_order(AxisOrder::Zyx), hard).unwrap();
        // Of a voxel's x, y, z and w, w alone.
        let weights: Vec<f32> = (0..27 * 4 * 8)
            .map(|index| if index / 8 % 4 == 3 { (index % 3) as f32 } else { 0.0 })
            .collect();
        let layer = SubmConv3d::builder(4, 8)
            .dtype(voxtune::DType::Float32)
            .weights(WeightLayout::Rsck, &weights)
            .build(device)
            .unwrap();
        let output = layer.forward(found.tensor()).unwrap();
        let of_points = found.to_points(output.features()).unwrap();
        (output.features().to_f32().unwrap(), of_points.to_f32().unwrap())
    };
    assert!(run(&Device::cpu().unwrap()) == run(&open_gpu().unwrap()));
}
