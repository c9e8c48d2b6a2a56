//! Clouds on the host: what they are made of, and what is refused.

use voxtune_types::{DType, Voxel};

use super::*;
use crate::{Device, Tensor};

fn device() -> Device {
    Device::cpu_with_threads(2).unwrap()
}

const GRID: VoxelGrid = VoxelGrid::new([0.0; 3], [4.0, 3.0, 2.0], [1.0; 3]);

#[test]
fn samples_are_joined() {
    let device = device();
    let one = PointCloud::from_rows(&device, &[[0.5; 4], [0.25, 0.5, 0.75, 3.0]]).unwrap();
    let none = PointCloud::from_f32(&device, 4, &[]).unwrap();
    let other = PointCloud::from_rows(&device, &[[9.0; 4], [3.0, 2.0, 1.0, 8.0]]).unwrap();
    let all = PointCloud::join(&[one.clone(), none.clone(), other]).unwrap();
    assert_eq!((all.len(), all.columns(), all.batches()), (4, 4, Some(&[0, 0, 2, 2][..])));
    let found = all.voxelize(&GRID.with_order(AxisOrder::Zyx), Voxelization::Dynamic).unwrap();
    let tensor = found.tensor();
    assert_eq!(tensor.voxels().shape(), Some([2, 3, 4]));
    let cells = [Voxel::new(0, 0, 0, 0), Voxel::new(2, 1, 2, 3)];
    assert_eq!(tensor.voxels().cells().unwrap(), cells);
    let means = [0.375, 0.5, 0.625, 1.75, 3.0, 2.0, 1.0, 8.0];
    assert_eq!(tensor.features().to_f32().unwrap(), means);
    assert_eq!(found.voxel_of_point().unwrap(), [0, 0, -1, 1]);
    assert_eq!(found.counts().unwrap(), [2, 1]);
    let back = found.to_points(tensor.features()).unwrap().to_f32().unwrap();
    assert_eq!((&back[..4], &back[8..12]), (&means[..4], &[0.0; 4][..]));

    let hard = Voxelization::Hard { max_points: 1, max_voxels: None };
    let found = one.with_batches(vec![5, 5]).unwrap().voxelize(&GRID, hard).unwrap();
    assert_eq!((found.counts().unwrap(), found.groups().sizes().unwrap()), (vec![1], vec![2]));
    let tensor = found.into_tensor();
    assert_eq!(tensor.voxels().cells().unwrap(), [Voxel::new(5, 0, 0, 0)]);
    assert_eq!(tensor.features().to_f32().unwrap(), [0.5; 4]);

    let found = none.voxelize(&GRID, hard).unwrap();
    assert!(found.tensor().voxels().is_empty() && found.voxel_of_point().unwrap().is_empty());
    assert_eq!(found.tensor().features().channels(), 4);
}

#[test]
fn what_is_no_cloud_is_refused() {
    let device = device();
    let text = |result: Result<PointCloud, crate::ConvError>| result.unwrap_err().to_string();
    assert!(text(PointCloud::from_rows(&device, &[[1.0; 2]])).contains("2 columns"));
    assert!(text(PointCloud::from_f32(&device, 0, &[])).contains("0 columns"));
    assert!(text(PointCloud::from_f32(&device, 3, &[0.0; 4])).contains("expected 3"));
    let half = Tensor::zeros(&device, DType::Float16, 2, 4).unwrap();
    assert!(text(PointCloud::new(&device, half)).contains("expected float32"));
    let cloud = PointCloud::from_rows(&device, &[[1.0; 3]; 2]).unwrap();
    let wide = PointCloud::from_rows(&device, &[[1.0; 4]; 2]).unwrap();
    assert!(text(cloud.with_batches(vec![0])).contains("expected 2, found 1"));
    assert!(text(cloud.with_batches(vec![0, -7])).contains("batch -7"));
    assert!(text(PointCloud::join(&[cloud.clone(), wide])).contains("expected 3 channels"));
    assert!(text(PointCloud::join(&[])).contains("samples"));
    let mixed = cloud.with_batches(vec![1, 0]).unwrap();
    assert!(mixed.voxelize(&GRID, Voxelization::Dynamic).is_ok());
    let hard = Voxelization::Hard { max_points: 1, max_voxels: Some(1) };
    let error = mixed.voxelize(&GRID, hard).unwrap_err().to_string();
    assert!(error.contains("point 1, of batch 0"), "{error}");
}
