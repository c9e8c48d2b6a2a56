//! Encoders of LiDAR detectors of any widths, from every naming and order.

use proptest::prelude::*;
use voxtune::{Device, Module};
use voxtune_models::{
    BevFusionEncoder, CenterPointBackbone, Encoder, LoadOptions, Model, SecondBackbone,
};

use crate::LIMIT;
use crate::dense::Grid;
use crate::libraries::{Library, Order};
use crate::random::{EncoderShape, Random, input, worst};

fn shapes(is_residual: bool, height: usize) -> impl Strategy<Value = EncoderShape> {
    let widths = [1..9_usize, 1..9, 1..9, 1..9, 1..9];
    (1..7_usize, widths, [1..4_usize, 1..3, 1..3, 1..4], any::<bool>()).prop_map(
        move |(c_in, widths, blocks, block_bias)| EncoderShape {
            c_in,
            widths,
            blocks,
            is_residual,
            block_bias: block_bias && is_residual,
            height,
        },
    )
}

/// Written, read, run, fused and run again.
fn assert_right<K: Encoder>(
    shape: &EncoderShape,
    (library, order, prefix): (Library, Order, &str),
    extents: [usize; 3],
    seed: u64,
) {
    let mut random = Random::new(seed);
    let device = Device::cpu_with_threads(1).unwrap();
    let net = shape.net(&mut random);
    let checkpoint = library.write(&net, order, prefix);
    let mut model = Model::<K>::from_checkpoint(&device, &checkpoint, &LoadOptions::new()).unwrap();
    assert_eq!(model.channels() as usize, shape.widths[4]);
    let grid = random.grid(2, extents, shape.c_in);
    let expected = net.encoder(&grid, shape.height);
    let input = input(&device, &grid, &mut random);
    let error = worst(&model.forward(&input).unwrap(), &expected);
    assert!(error < LIMIT, "{error}");
    let view = model.forward_bev(&input, 2).unwrap().to_f32().unwrap();
    assert_view(&view, &expected, shape.height);
    assert!(!model.fuse().unwrap().is_empty());
    let error = worst(&Module::forward(&model, &input).unwrap(), &expected);
    assert!(error < LIMIT, "fused: {error}");
}

/// `(samples, channels · heights, …)`, the other axes in their order.
fn assert_view(view: &[f32], expected: &Grid, height: usize) {
    let [nx, ny, nz] = expected.shape;
    let largest = expected.values.iter().fold(1e-30_f64, |most, value| most.max(value.abs()));
    assert_eq!(view.len(), expected.values.len());
    let mut at = view.iter();
    for sample in 0..expected.samples {
        for channel in 0..expected.channels {
            let order: Vec<[usize; 3]> = match height {
                0 => (0..nx * ny * nz).map(|i| [i / (ny * nz), i / nz % ny, i % nz]).collect(),
                _ => (0..nx * ny * nz).map(|i| [i / ny % nx, i % ny, i / (nx * ny)]).collect(),
            };
            for place in order {
                let value = expected.row(expected.cell(sample, place))[channel];
                let found = f64::from(*at.next().unwrap());
                assert!(
                    (found - value).abs() < LIMIT * largest,
                    "{found} and {value} at {place:?}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn centerpoints_backbone_is_right(
        shape in shapes(true, 0),
        library in 0..3_usize,
        is_old in any::<bool>(),
        extents in [17..22_usize, 9..14, 8..13],
        seed in any::<u64>(),
    ) {
        let library = [Library::OpenPcDet, Library::CenterPoint, Library::Mmdet3d][library];
        let order = if is_old { Order::Spconv1 } else { Order::Spconv2 };
        let reading = (library, order, "module.backbone_3d.");
        assert_right::<voxtune_models::CenterPoint>(&shape, reading, extents, seed);
    }

    #[test]
    fn seconds_backbone_is_right(
        shape in shapes(false, 0),
        is_open in any::<bool>(),
        is_old in any::<bool>(),
        extents in [17..22_usize, 9..14, 8..13],
        seed in any::<u64>(),
    ) {
        let library = if is_open { Library::OpenPcDet } else { Library::Mmdet3d };
        let order = if is_old { Order::Spconv1 } else { Order::Spconv2 };
        let reading = (library, order, "state_dict.middle_encoder.");
        assert_right::<voxtune_models::Second>(&shape, reading, extents, seed);
    }

    #[test]
    fn bevfusions_encoder_is_right(
        shape in shapes(true, 2),
        is_old in any::<bool>(),
        extents in [9..14_usize, 8..13, 17..22],
        seed in any::<u64>(),
    ) {
        let order = if is_old { Order::Spconv1 } else { Order::Spconv2 };
        let reading = (Library::Mmdet3d, order, "encoders.lidar.backbone.");
        assert_right::<voxtune_models::BevFusion>(&shape, reading, extents, seed);
    }
}

/// The networks of a benchmark are lists of modules, of as many blocks as their authors have.
#[test]
fn lists_of_modules_are_networks_too() {
    let shape = |is_residual| EncoderShape {
        c_in: 5,
        widths: [4, 6, 3, 8, 5],
        blocks: if is_residual { [2; 4] } else { [1, 2, 2, 2] },
        is_residual,
        block_bias: is_residual,
        height: 0,
    };
    let reading = (Library::Lists, Order::Spconv2, "");
    assert_right::<voxtune_models::CenterPoint>(&shape(true), reading, [19, 9, 10], 3);
    assert_right::<voxtune_models::Second>(&shape(false), reading, [19, 9, 10], 4);
}

/// Normalisations within weights and biases, as for deployment.
#[test]
fn folded_networks_are_networks_too() {
    let device = Device::cpu_with_threads(1).unwrap();
    let shape = EncoderShape {
        c_in: 5,
        widths: [4, 6, 3, 8, 5],
        blocks: [2; 4],
        is_residual: true,
        block_bias: true,
        height: 0,
    };
    let mut random = Random::new(13);
    let net = shape.net(&mut random);
    let grid = random.grid(1, [19, 9, 10], 5);
    let expected = net.encoder(&grid, 0);
    let input = input(&device, &grid, &mut random);
    for library in [Library::Lists, Library::OpenPcDet, Library::CenterPoint] {
        let checkpoint = library.write(&net.folded(), Order::Spconv1, "");
        let network =
            CenterPointBackbone::from_checkpoint(&device, &checkpoint, &LoadOptions::new());
        let error = worst(&network.unwrap().forward(&input).unwrap(), &expected);
        assert!(error < LIMIT, "{library:?}: {error}");
    }
}

/// Each name is one network's: no other makes something of it.
#[test]
fn no_network_is_made_of_anothers_tensors() {
    let device = Device::cpu_with_threads(1).unwrap();
    let shape = |is_residual, height| EncoderShape {
        c_in: 4,
        widths: [4; 5],
        blocks: [2; 4],
        is_residual,
        block_bias: false,
        height,
    };
    let net = |is_residual, height| shape(is_residual, height).net(&mut Random::new(1));
    let options = LoadOptions::new();
    for library in [Library::OpenPcDet, Library::Mmdet3d] {
        let residual = library.write(&net(true, 0), Order::Spconv2, "");
        let plain = library.write(&net(false, 0), Order::Spconv2, "");
        CenterPointBackbone::from_checkpoint(&device, &residual, &options).unwrap();
        SecondBackbone::from_checkpoint(&device, &plain, &options).unwrap();
        assert!(CenterPointBackbone::from_checkpoint(&device, &plain, &options).is_err());
        assert!(SecondBackbone::from_checkpoint(&device, &residual, &options).is_err());
        assert!(BevFusionEncoder::from_checkpoint(&device, &residual, &options).is_err());
    }
    let turned = Library::Mmdet3d.write(&net(true, 2), Order::Spconv2, "");
    BevFusionEncoder::from_checkpoint(&device, &turned, &options).unwrap();
    assert!(CenterPointBackbone::from_checkpoint(&device, &turned, &options).is_err());
}
