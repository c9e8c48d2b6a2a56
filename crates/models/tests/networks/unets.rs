//! U-Nets of any widths, from every naming and order.

use proptest::prelude::*;
use voxtune::Device;
use voxtune_models::{Kind, LoadOptions, MinkUNet, Model, SpUNet, WeightOrder};

use crate::LIMIT;
use crate::libraries::{Library, Order};
use crate::random::{Random, UnetShape, input, worst};

fn shapes(epsilon: f64, least: usize) -> impl Strategy<Value = UnetShape> {
    let level = ([1..7_usize, 1..7, 1..7, 1..7], [1..3_usize, 1..3]);
    (
        1..6_usize,
        prop_oneof![Just(3_usize), Just(5)],
        1..7_usize,
        prop::collection::vec(level, least..5),
        prop::option::of(1..9_usize),
    )
        .prop_map(move |(c_in, stem_kernel, stem_width, levels, classes)| UnetShape {
            c_in,
            stem_kernel,
            stems: 1,
            stem_width,
            levels,
            classes,
            epsilon,
        })
}

fn assert_right<K: Kind>(
    shape: &UnetShape,
    (library, order, prefix): (Library, Order, &str),
    options: &LoadOptions,
    seed: u64,
) {
    let mut random = Random::new(seed);
    let device = Device::cpu_with_threads(1).unwrap();
    let net = shape.net(&mut random);
    let checkpoint = library.write(&net, order, prefix);
    let mut model = Model::<K>::from_checkpoint(&device, &checkpoint, options).unwrap();
    let grid = random.grid(2, [9, 12, 17], shape.c_in);
    let expected = net.unet(&grid);
    let input = input(&device, &grid, &mut random);
    let output = model.forward(&input).unwrap();
    assert!(output.voxels().is_same(input.voxels()));
    let error = worst(&output, &expected);
    assert!(error < LIMIT, "{error}");
    model.fuse().unwrap();
    let error = worst(&model.forward(&input).unwrap(), &expected);
    assert!(error < LIMIT, "fused: {error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn pointcepts_unet_is_right(
        shape in shapes(1e-3, 1),
        is_old in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let order = if is_old { Order::Spconv1 } else { Order::Spconv2 };
        let reading = (Library::Pointcept, order, "module.backbone.");
        assert_right::<voxtune_models::PointceptSpUNet>(&shape, reading, &LoadOptions::new(), seed);
    }

    #[test]
    fn minkowskis_unet_is_right(shape in shapes(1e-5, 4), seed in any::<u64>()) {
        let reading = (Library::Minkowski, Order::Minkowski, "model.backbone.");
        assert_right::<voxtune_models::MinkowskiUNet>(&shape, reading, &LoadOptions::new(), seed);
    }

    #[test]
    fn torchsparses_unet_is_right(mut shape in shapes(1e-5, 4), seed in any::<u64>()) {
        (shape.stem_kernel, shape.stems, shape.classes) = (3, 2, None);
        let reading = (Library::Torchsparse, Order::Torchsparse, "");
        assert_right::<voxtune_models::MinkowskiUNet>(&shape, reading, &LoadOptions::new(), seed);
    }
}

fn shape(levels: usize) -> UnetShape {
    UnetShape {
        c_in: 4,
        stem_kernel: 5,
        stems: 1,
        stem_width: 5,
        levels: vec![([5, 6, 4, 3], [1, 2]); levels],
        classes: Some(7),
        epsilon: 1e-3,
    }
}

#[test]
fn lists_of_modules_are_networks_too() {
    let reading = (Library::Lists, Order::Spconv2, "");
    assert_right::<voxtune_models::PointceptSpUNet>(&shape(4), reading, &LoadOptions::new(), 5);
}

/// Normalisations within weights and biases, as for deployment.
#[test]
fn folded_networks_are_networks_too() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(12);
    let net = shape(4).net(&mut random);
    let grid = random.grid(1, [8, 9, 10], 4);
    let expected = net.unet(&grid);
    let input = input(&device, &grid, &mut random);
    for library in [Library::Lists, Library::Pointcept] {
        let checkpoint = library.write(&net.folded(), Order::Spconv2, "");
        let network = SpUNet::from_checkpoint(&device, &checkpoint, &LoadOptions::new()).unwrap();
        let error = worst(&network.forward(&input).unwrap(), &expected);
        assert!(error < LIMIT, "{library:?}: {error}");
    }
}

/// One network in every order, under names that say nothing about it: the same outputs.
#[test]
fn every_order_gives_the_same_network() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(11);
    let net = shape(2).net(&mut random);
    let grid = random.grid(1, [8, 9, 10], 4);
    let input = input(&device, &grid, &mut random);
    let outputs = Order::ALL.map(|order| {
        let checkpoint = Library::Pointcept.write(&net, order, "");
        let asked = match order {
            // Which of two the even kernels are in, neither names nor shapes say.
            Order::Minkowski => LoadOptions::new().order(WeightOrder::Minkowski),
            Order::Torchsparse => LoadOptions::new().order(WeightOrder::Torchsparse),
            Order::Spconv1 | Order::Spconv2 => LoadOptions::new(),
        };
        let network = SpUNet::from_checkpoint(&device, &checkpoint, &asked).unwrap();
        network.forward(&input).unwrap().features().to_f32().unwrap()
    });
    assert!(outputs.iter().all(|one| *one == outputs[0] && one.iter().any(|value| *value != 0.0)));
    let file = Library::Pointcept.write(&net, Order::Minkowski, "");
    let error = SpUNet::from_checkpoint(&device, &file, &LoadOptions::new()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Minkowski") && text.contains("Torchsparse"), "{text}");
    assert!(text.contains("LoadOptions::order"), "{text}");
}

/// MinkowskiEngine's names with spconv's weights, as a conversion writes them.
#[test]
fn names_of_one_library_may_have_the_order_of_another() {
    for order in [Order::Spconv1, Order::Spconv2] {
        let reading = (Library::Minkowski, order, "");
        let shape = UnetShape { epsilon: 1e-5, ..shape(4) };
        assert_right::<voxtune_models::MinkowskiUNet>(&shape, reading, &LoadOptions::new(), 6);
    }
    let options = LoadOptions::new().epsilon(1e-3);
    let reading = (Library::Minkowski, Order::Minkowski, "");
    assert_right::<voxtune_models::MinkowskiUNet>(&shape(4), reading, &options, 7);
    let device = Device::cpu_with_threads(1).unwrap();
    let net = shape(4).net(&mut Random::new(1));
    let checkpoint = Library::Torchsparse.write(
        &UnetShape { classes: None, ..shape(4) }.net(&mut Random::new(1)),
        Order::Torchsparse,
        "",
    );
    assert!(net.convs.contains_key("head"));
    MinkUNet::from_checkpoint(&device, &checkpoint, &LoadOptions::new()).unwrap();
}
