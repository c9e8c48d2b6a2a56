//! Layers whose channels are in groups, against one that is dense, with zeros between the groups.

use proptest::prelude::*;
use voxtune_types::{DType, Geometry, KernelSize, Voxel};

use super::conv::Conv;
use super::kinds::{ConvKind, Inverse, Sparse, Submanifold, Transposed};
use super::{BatchNorm, Module, Sequential, SparseTensor, WeightLayout};
use crate::noise::value;
use crate::{Activation, Device, Epilogue, Noise, Tensor, Tuner, Voxels};

/// Channels, and groups that they divide into.
#[derive(Clone, Copy, Debug)]
struct Channels {
    own_in: usize,
    own_out: usize,
    groups: usize,
}

impl Channels {
    const fn c_in(self) -> usize {
        self.own_in * self.groups
    }

    const fn c_out(self) -> usize {
        self.own_out * self.groups
    }

    /// Weights `(c_out, volume, c_in / groups)` as `(c_out, volume, c_in)`, in which each output
    /// reads the inputs of its own group alone.
    fn dense(self, volume: usize, grouped: &[f32]) -> Vec<f32> {
        let mut dense = vec![0.0; self.c_out() * volume * self.c_in()];
        for o in 0..self.c_out() {
            for k in 0..volume {
                for i in 0..self.own_in {
                    let input = o / self.own_out * self.own_in + i;
                    dense[(o * volume + k) * self.c_in() + input] =
                        grouped[(o * volume + k) * self.own_in + i];
                }
            }
        }
        dense
    }

    /// Of gradients `(c_out, volume, c_in)` what is of weights: the reverse of [`Self::dense`].
    fn grouped(self, volume: usize, dense: &[f32]) -> Vec<f32> {
        let place = |(o, k, i)| {
            let input = o / self.own_out * self.own_in + i;
            dense[(o * volume + k) * self.c_in() + input]
        };
        let all = (0..self.c_out()).flat_map(move |o| {
            (0..volume).flat_map(move |k| (0..self.own_in).map(move |i| (o, k, i)))
        });
        all.map(place).collect()
    }
}

fn noise(device: &Device, rows: usize, channels: usize, seed: u64) -> Tensor {
    let values = numbers(rows * channels, seed);
    Tensor::from_f32(device, DType::Float32, rows, channels, &values).unwrap()
}

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    (0..len as u64).map(|index| value(Noise::Uniform, seed, index)).collect()
}

fn assert_near(what: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (expected, found) in expected.iter().zip(found) {
        assert!((expected - found).abs() <= 3e-6 * largest, "{what}: {expected} and {found}");
    }
}

/// Outputs, plain and finished, and every gradient.
fn assert_is_dense<K: ConvKind>(inputs: &Voxels, channels: Channels, kernel: [u32; 3], step: u32) {
    let device = inputs.device();
    let (c_in, c_out) = (channels.c_in(), channels.c_out());
    let volume = kernel.iter().product::<u32>() as usize;
    let weights = numbers(c_out * volume * channels.own_in, 1);
    let bias = numbers(c_out, 2);
    let begun = |groups: usize, weights: &[f32]| {
        let builder = Conv::<K>::builder(c_in as u32, c_out as u32).kernel(kernel);
        let builder = builder.groups(groups as u32).weights(WeightLayout::Krsc, weights);
        let builder = builder.bias(&bias).tuner(Tuner::empty());
        if step == 1 { builder } else { builder.stride(step) }.build(device).unwrap()
    };
    let grouped = begun(channels.groups, &weights);
    let dense = begun(1, &channels.dense(volume, &weights));
    assert_eq!(
        (grouped.groups(), grouped.operation().groups as usize),
        (channels.groups, channels.groups)
    );
    assert_eq!(grouped.weights(WeightLayout::Krsc).unwrap(), weights);

    let input = SparseTensor::new(inputs.clone(), noise(device, inputs.len(), c_in, 3)).unwrap();
    let [expected, found] = [&dense, &grouped].map(|layer| layer.forward(&input).unwrap());
    assert!(expected.voxels().is_same(found.voxels()));
    let values = |tensor: &SparseTensor| tensor.features().to_f32().unwrap();
    assert_near("forward", &values(&expected), &values(&found));

    let rows = expected.voxels().len();
    let residual = noise(device, rows, c_out, 4);
    let epilogue = Epilogue::new().with_scale(device, &numbers(c_out, 5)).unwrap();
    let epilogue = epilogue.with_relu().with_residual(&residual);
    let [expected, found] =
        [&dense, &grouped].map(|layer| values(&layer.forward_with(&input, &epilogue).unwrap()));
    assert_near("finished", &expected, &found);

    let gradient = noise(device, rows, c_out, 6);
    let [of_dense, of_grouped] =
        [&dense, &grouped].map(|layer| layer.backward(&input, &gradient).unwrap());
    let [expected, found] = [&of_dense, &of_grouped].map(|one| one.input.to_f32().unwrap());
    assert_near("dgrad", &expected, &found);
    let of_weights =
        |layer: &Conv<K>, gradient| layer.weight_gradient(WeightLayout::Krsc, gradient).unwrap();
    let expected = channels.grouped(volume, &of_weights(&dense, &of_dense.weights));
    assert_near("wgrad", &expected, &of_weights(&grouped, &of_grouped.weights));

    let mut changed = grouped.clone();
    let others = numbers(weights.len(), 7);
    changed.set_weights(WeightLayout::Krsc, &others).unwrap();
    assert_eq!(changed.weights(WeightLayout::Krsc).unwrap(), others);
    let expected = begun(1, &channels.dense(volume, &others)).forward(&input).unwrap();
    assert_near("other weights", &values(&expected), &values(&changed.forward(&input).unwrap()));
}

fn cells() -> Vec<Voxel> {
    (0..200).map(|i| Voxel::new(i % 2, i / 60, i / 7 % 9, i % 7)).collect()
}

#[test]
fn each_kind_of_layer_has_groups() {
    let device = Device::cpu_with_threads(2).unwrap();
    let fine = Voxels::new(&device, cells()).unwrap();
    let kernel = KernelSize::try_from([2, 2, 2]).unwrap();
    let coarse = fine.outputs_of(&Geometry::strided(kernel, [2; 3])).unwrap().0;
    for (own_in, own_out, groups) in [(1, 1, 6), (1, 3, 4), (2, 1, 4), (3, 2, 2)] {
        let channels = Channels { own_in, own_out, groups };
        assert_is_dense::<Submanifold>(&fine, channels, [3; 3], 1);
        assert_is_dense::<Sparse>(&fine, channels, [3, 2, 3], 2);
        assert_is_dense::<Inverse>(&coarse, channels, [2; 3], 2);
        assert_is_dense::<Transposed>(&fine, channels, [2, 1, 2], 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn groups_are_a_dense_layer_with_zeros(
        own_in in 1_usize..6,
        own_out in 1_usize..6,
        groups in 2_usize..7,
        extent in prop::sample::select(vec![[1, 3, 1], [3, 1, 3], [3, 3, 3]]),
    ) {
        let device = Device::cpu_with_threads(1).unwrap();
        let inputs = Voxels::new(&device, cells()).unwrap();
        assert_is_dense::<Submanifold>(&inputs, Channels { own_in, own_out, groups }, extent, 1);
    }
}

#[test]
fn a_depthwise_stage_is_fused() {
    let device = Device::cpu_with_threads(1).unwrap();
    let inputs = Voxels::new(&device, cells()).unwrap();
    let norm = || {
        let ones = [1.0; 8];
        BatchNorm::new(&device, &numbers(8, 1), &numbers(8, 2), &numbers(8, 3), &ones, 1e-3)
            .unwrap()
    };
    let stage = || {
        let depthwise = Conv::<Submanifold>::builder(8, 8).groups(8).bias(&numbers(8, 4));
        let depthwise = depthwise.tuner(Tuner::empty()).build(&device).unwrap();
        Sequential::new().then(depthwise).then(norm()).then(Activation::Relu)
    };
    let (plain, mut fused) = (stage(), stage());
    assert_eq!(fused.fuse().unwrap().len(), 2);
    let input = SparseTensor::new(inputs.clone(), noise(&device, inputs.len(), 8, 5)).unwrap();
    let [expected, found] =
        [&plain, &fused].map(|stage| stage.forward(&input).unwrap().features().to_f32().unwrap());
    assert_near("fused", &expected, &found);
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let device = Device::cpu_with_threads(1).unwrap();
    for (c_in, c_out, groups) in [(6, 4, 4), (4, 6, 4), (4, 4, 0), (4, 4, 8)] {
        let refused = Conv::<Submanifold>::builder(c_in, c_out).groups(groups).build(&device);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(&format!("into {groups} groups")), "{text}");
    }
}
