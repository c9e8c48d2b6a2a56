//! The functions on the host: shapes of results, and what is refused.

use voxtune_types::{DType, KernelSize, Voxel};

use super::*;
use crate::{Device, Tensor, Voxels};

fn device() -> Device {
    Device::cpu_with_threads(2).unwrap()
}

fn tensor(device: &Device, dtype: DType, rows: usize, channels: usize, values: &[f32]) -> Tensor {
    Tensor::from_f32(device, dtype, rows, channels, values).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32().unwrap()
}

#[test]
fn channels_are_scaled_added_joined_and_split() {
    let device = device();
    for dtype in DType::ALL {
        let x = tensor(&device, dtype, 2, 2, &[1.0, -2.0, 3.0, 4.0]);
        let scale = tensor(&device, DType::Float32, 1, 2, &[2.0, 1.0]);
        let shift = tensor(&device, DType::Float32, 1, 2, &[-3.0, 1.0]);
        let activation = Activation::Relu;
        let of = Affine { scale: Some(&scale), shift: Some(&shift), activation };
        let y = affine(&device, of, &x).unwrap();
        assert_eq!(values(&y), [0.0, 0.0, 3.0, 5.0]);
        assert_eq!(values(&affine_backward(&device, of, &x, &x).unwrap()), [0.0, 0.0, 6.0, 4.0]);
        let sum = add(&device, &x, &y, activation).unwrap();
        assert_eq!(values(&sum), [1.0, 0.0, 6.0, 9.0]);
        let grad = add_backward(&device, &x, &y, activation, &y).unwrap();
        assert_eq!(values(&grad), [0.0, 0.0, 3.0, 5.0]);
        let narrow = tensor(&device, dtype, 2, 1, &[7.0, 8.0]);
        let whole = concat(&device, &[&x, &narrow]).unwrap();
        assert_eq!(values(&whole), [1.0, -2.0, 7.0, 3.0, 4.0, 8.0]);
        let parts = split(&device, &whole, &[2, 0, 1]).unwrap();
        assert_eq!((values(&parts[0]), values(&parts[2])), (values(&x), values(&narrow)));
        assert_eq!((parts[1].rows(), parts[1].channels()), (2, 0));
        let wide = cast(&device, &whole, DType::Float32).unwrap();
        assert_eq!((wide.dtype(), values(&wide)), (DType::Float32, values(&whole)));
        assert_eq!(values(&column_sums(&device, &x).unwrap()), [4.0, 2.0]);
    }
    assert_eq!(concat(&device, &[]).unwrap().channels(), 0);
}

#[test]
fn normalisations_have_gradients() {
    let device = device();
    let x = tensor(&device, DType::Float32, 2, 2, &[1.0, -2.0, 3.0, 4.0]);
    let (mean, variance) = column_statistics(&device, &x).unwrap();
    assert_eq!((values(&mean), values(&variance)), (vec![2.0, 1.0], vec![1.0, 9.0]));
    let beta = tensor(&device, DType::Float32, 1, 2, &[0.5, 0.0]);
    let norm = BatchNorm {
        mean: &mean,
        variance: &variance,
        epsilon: 0.0,
        gamma: None,
        beta: Some(&beta),
    };
    let y = batch_norm(&device, norm, Activation::Relu, &x).unwrap();
    assert_eq!(values(&y), [0.0, 0.0, 1.5, 1.0]);
    let gradients = batch_norm_backward(&device, norm, &x, &x).unwrap();
    assert_eq!(values(&gradients.beta), [4.0, 2.0]);
    assert_eq!(values(&gradients.gamma), [2.0, 6.0]);
    assert_eq!(values(&gradients.x), [0.0; 4]);
    let norm = LayerNorm { epsilon: 0.0, gamma: None, beta: Some(&beta) };
    assert_eq!(values(&layer_norm(&device, norm, &x).unwrap()), [1.5, -1.0, -0.5, 1.0]);
    assert_eq!(values(&layer_norm_backward(&device, norm, &x, &x).unwrap().beta), [4.0, 2.0]);
}

#[test]
fn rows_are_pooled() {
    let device = device();
    let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1), Voxel::new(1, 5, 5, 5)];
    let voxels = Voxels::new(&device, cells.clone()).unwrap();
    let map = voxels.kernel_map(KernelSize::submanifold(3).unwrap()).unwrap();
    let x = tensor(&device, DType::Float16, 3, 1, &[-1.0, -3.0, 2.0]);
    let run = |pooling| {
        let y = pool(&device, &map, pooling, &x).unwrap();
        let grad = pool_backward(&device, &map, pooling, &x, &y, &x).unwrap();
        (values(&y), values(&grad))
    };
    assert_eq!(run(Pooling::Max), (vec![-1.0, -1.0, 2.0], vec![-4.0, 0.0, 2.0]));
    assert_eq!(run(Pooling::MaxAtLeastZero), (vec![0.0, 0.0, 2.0], vec![0.0, 0.0, 2.0]));
    assert_eq!(run(Pooling::Average), (vec![-2.0, -2.0, 2.0], vec![-2.0, -2.0, 2.0]));
    let samples = RowGroups::of_batches(&device, &cells, 3).unwrap();
    let run = |reduction| {
        let y = samples.reduce(&device, reduction, &x).unwrap();
        let grad = samples.reduce_backward(&device, reduction, &x, &y, &y).unwrap();
        (values(&y), values(&grad))
    };
    assert_eq!(run(Reduction::Sum), (vec![-4.0, 2.0, 0.0], vec![-4.0, -4.0, 2.0]));
    assert_eq!(run(Reduction::Mean), (vec![-2.0, 2.0, 0.0], vec![-1.0, -1.0, 2.0]));
    assert_eq!(run(Reduction::Max), (vec![-1.0, 2.0, 0.0], vec![-1.0, 0.0, 2.0]));
    let index = RowGroups::new(&device, vec![2, -1, 2, 0], 3).unwrap();
    assert_eq!(values(&index.spread(&device, &x).unwrap()), [2.0, 0.0, 2.0, -1.0]);
    assert_eq!((index.rows(), index.groups()), (4, 3));
}

#[test]
fn dense_tensors_have_the_rows_in_their_cells() {
    let device = device();
    let cells = [Voxel::new(1, 0, 0, 1), Voxel::new(0, 0, 1, 0)];
    let voxels = Voxels::within(&device, [1, 2, 2], cells.to_vec()).unwrap();
    let dense = DenseCells::new(&voxels, 2).unwrap();
    let x = tensor(&device, DType::BFloat16, 2, 2, &[1.0, 2.0, 3.0, 4.0]);
    let whole = dense.to_dense(&device, &x).unwrap();
    assert_eq!((whole.rows(), whole.channels()), (4, 4));
    let expected = [0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0];
    assert_eq!(values(&whole), expected);
    assert_eq!(values(&dense.from_dense(&device, &whole).unwrap()), values(&x));
    let outside = DenseCells::new(&voxels, 1).unwrap_err().to_string();
    assert!(outside.contains("row 0"), "{outside}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = device();
    let x = tensor(&device, DType::Float16, 2, 3, &[0.0; 6]);
    let refused = |error: Result<Tensor, ConvError>| error.unwrap_err().to_string();
    let short = tensor(&device, DType::Float32, 1, 2, &[0.0; 2]);
    let of = Affine { scale: Some(&short), ..Affine::default() };
    assert!(refused(affine(&device, of, &x)).contains("scale: expected 3 channels, found 2"));
    let half = tensor(&device, DType::Float16, 1, 3, &[0.0; 3]);
    let of = Affine { shift: Some(&half), ..Affine::default() };
    assert!(refused(affine(&device, of, &x)).contains("shift: expected float32"));
    let other = tensor(&device, DType::Float16, 3, 3, &[0.0; 9]);
    assert!(refused(add(&device, &x, &other, Activation::Relu)).contains("expected 2 rows"));
    assert!(refused(concat(&device, &[&x, &other])).contains("part: expected 2 rows"));
    assert!(split(&device, &x, &[1, 1]).is_err());
    let index = RowGroups::new(&device, vec![0, 1], 2).unwrap();
    assert!(refused(index.spread(&device, &other)).contains("expected 2 rows"));
    assert!(RowGroups::new(&device, vec![5], 2).is_err());
    let negative = [Voxel::new(-1, 0, 0, 0)];
    assert!(RowGroups::of_batches(&device, &negative, 2).is_err());
}
