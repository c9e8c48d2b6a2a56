//! Kernels of more offsets than a device's maps hold, cut into slices along x.
//!
//! A slice is a layer of its own between the same voxels. The sum of the slices' outputs is the
//! layer's, and their weight gradients follow each other in the layer's. Sums are rounded to the
//! storage type behind each slice.

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize, LayerKind, Operation};

use crate::{ConvError, Device, Tensor};

/// Consecutive offsets along x.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// The first of them.
    first: u8,
    /// In the forward direction.
    pub(super) operation: Operation,
    pub(super) weights: Arc<Tensor>,
}

impl Slice {
    /// Where the rows of the slice meet, of those of the whole layer.
    pub(super) fn of(&self, whole: &Geometry) -> Geometry {
        let [x, y, z] = whole.padding;
        let begun = i16::from(self.first) * i16::from(whole.dilation[0]);
        let Operation { kind, kernel, .. } = self.operation;
        Geometry { kind, kernel, padding: [x - begun, y, z], ..*whole }
    }

    /// The first row of its weights among the layer's.
    pub(super) fn first_row(&self) -> usize {
        let [_, y, z] = self.operation.kernel.extents().map(usize::from);
        let (own_in, _) = self.operation.group_channels();
        usize::from(self.first) * y * z * own_in as usize
    }
}

/// The slices of a layer with these weights, `(volume, c_in / groups, c_out)`; none if its map can
/// be had.
///
/// # Errors
/// If the device cannot hold the weights.
pub(super) fn slices(
    device: &Device,
    most_offsets: usize,
    operation: &Operation,
    weights: &[f32],
) -> Result<Arc<[Slice]>, ConvError> {
    let Operation { kernel, kind, c_out, dtype, .. } = *operation;
    let [extent, y, z] = kernel.extents();
    let plane = usize::from(y) * usize::from(z);
    let deep = most_offsets / plane;
    if kernel.volume() <= most_offsets || deep == 0 {
        return Ok(Arc::from([]));
    }
    // Whichever voxels they are, they are given; which side is the coarse one stays.
    let kind = if kind.is_upsampling() { LayerKind::Transposed } else { LayerKind::Given };
    let (own_in, _) = operation.group_channels();
    let (own_in, c_out) = (own_in as usize, c_out as usize);
    let slice = |first: u8| {
        let extents = [(extent - first).min(deep as u8), y, z];
        let kernel = KernelSize::try_from(extents).expect("parts of a kernel's extents");
        let operation = Operation { kernel, kind, ..*operation };
        let (begin, rows) = (usize::from(first) * plane * own_in, kernel.volume() * own_in);
        let own = &weights[begin * c_out..(begin + rows) * c_out];
        let weights = Arc::new(Tensor::from_f32(device, dtype, rows, c_out, own)?);
        Ok(Slice { first, operation, weights })
    };
    (0..extent).step_by(deep).map(slice).collect()
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, Voxel};

    use super::super::conv::Conv;
    use super::super::kinds::{ConvKind, Inverse, Sparse, Submanifold, Transposed};
    use super::super::sparse_tensor::SparseTensor;
    use super::*;
    use crate::noise::value;
    use crate::{Epilogue, Noise, Tuner, Voxels};

    /// Layers in slices of at most so many offsets, as on a device whose maps hold no more, give
    /// what whole ones do. That holds of outputs with an epilogue and of all gradients.
    fn assert_slices_add_up<K: ConvKind>(
        inputs: &Voxels,
        kernel: [u32; 3],
        stride: u32,
        most: usize,
    ) {
        for (c_in, groups) in [(3, 1), (4, 4), (6, 2)] {
            assert_slices_of_groups_add_up::<K>(inputs, kernel, stride, most, (c_in, groups));
        }
    }

    fn assert_slices_of_groups_add_up<K: ConvKind>(
        inputs: &Voxels,
        kernel: [u32; 3],
        stride: u32,
        most: usize,
        (c_in, groups): (u32, u32),
    ) {
        let device = inputs.device();
        let begun = || {
            let builder = Conv::<K>::builder(c_in, 4).kernel(kernel).dilation([2, 1, 1]);
            let builder = builder.groups(groups);
            let builder = builder.padding([3, 0, 1]).bias(&[0.5, -1.0, 0.0, 2.0]);
            let builder = builder.tuner(Tuner::empty());
            if stride == 1 { builder } else { builder.stride(stride) }
        };
        let whole = begun().build(device).unwrap();
        let mut sliced = begun();
        sliced.most_offsets = Some(most);
        let sliced = sliced.build(device).unwrap();
        assert!(sliced.slices.len() > 1 && whole.slices.is_empty());
        let noise = |rows: usize, channels: usize, seed| {
            let values: Vec<f32> = (0..(rows * channels) as u64)
                .map(|index| value(Noise::Uniform, seed, index))
                .collect();
            Tensor::from_f32(device, DType::Float32, rows, channels, &values).unwrap()
        };
        let input =
            SparseTensor::new(inputs.clone(), noise(inputs.len(), c_in as usize, 1)).unwrap();
        let (expected, found) = (whole.forward(&input).unwrap(), sliced.forward(&input).unwrap());
        assert!(expected.voxels().is_same(found.voxels()));
        let rows = expected.voxels().len();
        let residual = noise(rows, 4, 3);
        let epilogue = Epilogue::new().with_scale(device, &[2.0, 1.0, -1.0, 0.5]).unwrap();
        let epilogue = epilogue.with_relu().with_residual(&residual);
        let finished = |layer: &Conv<K>| layer.forward_with(&input, &epilogue).unwrap();
        let gradient = noise(rows, 4, 2);
        let [of_whole, of_slices] =
            [&whole, &sliced].map(|layer| layer.backward(&input, &gradient).unwrap());
        let pairs = [
            (expected.features(), found.features()),
            (finished(&whole).features(), finished(&sliced).features()),
            (&of_whole.input, &of_slices.input),
            (&of_whole.weights, &of_slices.weights),
        ]
        .map(|(expected, found)| (expected.to_f32().unwrap(), found.to_f32().unwrap()));
        for (expected, found) in pairs {
            assert_eq!(expected.len(), found.len());
            let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            for (expected, found) in expected.iter().zip(&found) {
                assert!((expected - found).abs() <= 3e-6 * largest, "{expected} and {found}");
            }
        }
    }

    #[test]
    fn slices_of_a_kernel_add_up() {
        let device = Device::cpu_with_threads(2).unwrap();
        let cells = (0..300).map(|i| Voxel::new(i % 2, i / 60, i / 7 % 9, i % 7)).collect();
        let fine = Voxels::new(&device, cells).unwrap();
        assert_slices_add_up::<Submanifold>(&fine, [7, 3, 3], 1, 20);
        assert_slices_add_up::<Submanifold>(&fine, [3, 3, 3], 1, 9);
        assert_slices_add_up::<Sparse>(&fine, [5, 2, 3], 2, 13);
        assert_slices_add_up::<Transposed>(&fine, [4, 2, 2], 2, 4);
        let down = Geometry {
            padding: [1, 0, 2],
            dilation: [2, 1, 1],
            ..Geometry::strided(KernelSize::try_from([3, 2, 2]).unwrap(), [2; 3])
        };
        let coarse = fine.outputs_of(&down).unwrap().0;
        assert_slices_add_up::<Inverse>(&coarse, [3, 2, 2], 2, 4);
    }
}
