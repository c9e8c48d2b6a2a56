//! Checkpoints that are not a network's, or can be read in several ways.

use voxtune::Device;
use voxtune_models::{
    CenterPointBackbone, Checkpoint, LoadOptions, MinkUNet, ModelError, SpUNet, WeightOrder,
};

use crate::LIMIT;
use crate::libraries::{Library, Order};
use crate::random::{EncoderShape, Random, UnetShape, input, worst};

const PREFIX: &str = "backbone_3d.";

fn encoder(widths: [usize; 5], c_in: usize) -> EncoderShape {
    EncoderShape {
        c_in,
        widths,
        blocks: [1, 2, 1, 1],
        is_residual: true,
        block_bias: true,
        height: 0,
    }
}

fn unet(width: usize) -> UnetShape {
    UnetShape {
        c_in: width,
        stem_kernel: 3,
        stems: 1,
        stem_width: width,
        levels: vec![([width; 4], [1, 1]); 4],
        classes: Some(width),
        epsilon: 1e-5,
    }
}

fn file() -> Checkpoint {
    let net = encoder([4, 5, 6, 7, 8], 3).net(&mut Random::new(1));
    Library::OpenPcDet.write(&net, Order::Spconv2, PREFIX)
}

fn read(checkpoint: &Checkpoint) -> Result<CenterPointBackbone, ModelError> {
    let device = Device::cpu_with_threads(1).unwrap();
    CenterPointBackbone::from_checkpoint(&device, checkpoint, &LoadOptions::new())
}

/// The error of a checkpoint that has been changed.
fn error_of(change: impl FnOnce(&mut Checkpoint)) -> String {
    let mut checkpoint = file();
    change(&mut checkpoint);
    read(&checkpoint).unwrap_err().to_string()
}

fn reshape(checkpoint: &mut Checkpoint, name: &str, shape: &[usize]) {
    checkpoint.insert(name, shape, vec![0.0; shape.iter().product()]).unwrap();
}

fn rename(checkpoint: &mut Checkpoint, from: &str, to: &str) {
    let (shape, values) = checkpoint.get(from).unwrap();
    let (shape, values) = (shape.to_vec(), values.to_vec());
    checkpoint.insert(to, &shape, values).unwrap();
    assert!(checkpoint.remove(from));
}

#[test]
fn errors_name_tensors_and_shapes() {
    let of = |name: &str| format!("{PREFIX}{name}");
    let texts = [
        ("missing weights", error_of(|file| assert!(file.remove(&of("conv2.0.0.weight"))))),
        ("missing bias", error_of(|file| assert!(file.remove(&of("conv2.2.conv1.bias"))))),
        ("missing variance", error_of(|file| assert!(file.remove(&of("conv1.0.bn2.running_var"))))),
        (
            "missing first weights",
            error_of(|file| assert!(file.remove(&of("conv_input.0.weight")))),
        ),
        (
            "other extents",
            error_of(|file| reshape(file, &of("conv2.1.conv1.weight"), &[5, 3, 3, 5, 5])),
        ),
        (
            "another order",
            error_of(|file| reshape(file, &of("conv2.0.0.weight"), &[3, 3, 3, 4, 5])),
        ),
        ("channels", error_of(|file| reshape(file, &of("conv4.0.0.weight"), &[7, 3, 3, 3, 5]))),
        ("a vector", error_of(|file| reshape(file, &of("conv3.0.1.bias"), &[7]))),
        ("extra", error_of(|file| reshape(file, &of("conv5.0.0.weight"), &[7, 3, 3, 3, 7]))),
        (
            "another name",
            error_of(|file| rename(file, &of("conv_out.0.weight"), &of("conv_out.2.weight"))),
        ),
        (
            "an unknown parameter",
            error_of(|file| rename(file, &of("conv1.0.bn1.weight"), &of("conv1.0.bn1.gamma"))),
        ),
        (
            "a gap",
            error_of(|file| {
                let block: Vec<String> = file
                    .names()
                    .filter_map(|name| Some(name.strip_prefix(&of("conv2.1."))?.to_owned()))
                    .collect();
                for part in block {
                    rename(file, &of(&format!("conv2.1.{part}")), &of(&format!("conv2.4.{part}")));
                }
            }),
        ),
        (
            "another network",
            error_of(|file| {
                *file = Library::Minkowski.write(
                    &unet(2).net(&mut Random::new(2)),
                    Order::Minkowski,
                    "",
                );
            }),
        ),
        ("no such prefix", {
            let device = Device::cpu_with_threads(1).unwrap();
            let options = LoadOptions::new().prefix("ema.backbone_3d");
            let read = CenterPointBackbone::from_checkpoint(&device, &file(), &options);
            read.unwrap_err().to_string()
        }),
        ("no tensors", error_of(|file| *file = Checkpoint::new())),
        (
            "two networks",
            error_of(|file| {
                for name in self::file().names() {
                    let (shape, values) =
                        (file.get(name).unwrap().0.to_vec(), file.get(name).unwrap().1.to_vec());
                    file.insert(format!("ema.{name}"), &shape, values).unwrap();
                }
            }),
        ),
    ];
    let all: Vec<String> = texts.iter().map(|(what, text)| format!("# {what}\n{text}\n")).collect();
    insta::assert_snapshot!(all.join("\n"));
}

/// Whatever one tensor is missing, renamed or of another shape: an error that names it.
#[test]
fn no_tensor_can_go_missing_or_change() {
    let net =
        UnetShape { levels: vec![([5, 6, 7, 4], [2, 2]); 2], ..unet(3) }.net(&mut Random::new(3));
    let device = Device::cpu_with_threads(1).unwrap();
    let options = LoadOptions::new();
    let unet_file = Library::Pointcept.write(&net, Order::Spconv1, "");
    let read_unet = |file: &Checkpoint| SpUNet::from_checkpoint(&device, file, &options).map(drop);
    let read_encoder = |file: &Checkpoint| read(file).map(drop);
    type Read<'a> = &'a dyn Fn(&Checkpoint) -> Result<(), ModelError>;
    for (whole, read) in [(file(), &read_encoder as Read<'_>), (unet_file, &read_unet as Read<'_>)]
    {
        read(&whole).unwrap();
        let names: Vec<String> = whole.names().map(str::to_owned).collect();
        for name in names.iter().filter(|name| !name.ends_with("num_batches_tracked")) {
            // A network may end without a head, or its head without a bias.
            let may_go = name.starts_with("final");
            let mut less = whole.clone();
            assert!(less.remove(name));
            match read(&less) {
                Ok(()) => assert!(may_go, "{name}"),
                Err(error) => assert!(error.to_string().contains(name.as_str()), "{name}: {error}"),
            }
            let mut other = whole.clone();
            rename(&mut other, name, &format!("{name}s"));
            let text = read(&other).unwrap_err().to_string();
            assert!(text.contains(&format!("{name}s")), "{name}: {text}");
            let mut wider = whole.clone();
            let mut shape = whole.get(name).unwrap().0.to_vec();
            *shape.last_mut().unwrap() += 1;
            reshape(&mut wider, name, &shape);
            match read(&wider) {
                // Input channels are whatever the first weights have.
                Ok(()) => assert_eq!(name, "backbone_3d.conv_input.0.weight"),
                // A head's weights and its bias are two against each other.
                Err(error) => {
                    let named = if may_go { "final." } else { name.as_str() };
                    assert!(error.to_string().contains(named), "{name}: {error}");
                }
            }
        }
    }
}

/// As many channels as extents, everywhere: shapes do not tell the orders of spconv apart.
#[test]
fn what_cannot_be_decided_is_asked() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(4);
    let net = encoder([3; 5], 3).net(&mut random);
    let grid = random.grid(1, [18, 9, 9], 3);
    let expected = net.encoder(&grid, 0);
    let input = input(&device, &grid, &mut random);
    for (order, asked) in
        [(Order::Spconv1, WeightOrder::Spconv1), (Order::Spconv2, WeightOrder::Spconv2)]
    {
        // The last kernel tells: it is 3×1×1, of another shape in each order.
        let file = Library::OpenPcDet.write(&net, order, "");
        let network = CenterPointBackbone::from_checkpoint(&device, &file, &LoadOptions::new());
        let error = worst(&network.unwrap().forward(&input).unwrap(), &expected);
        assert!(error < LIMIT, "{error}");

        let options = LoadOptions::new().order(asked);
        let network = CenterPointBackbone::from_checkpoint(&device, &file, &options).unwrap();
        assert!(worst(&network.forward(&input).unwrap(), &expected) < LIMIT);
    }
    // Two layers of three channels, and nothing beside them: nothing tells.
    let mut file = Checkpoint::new();
    for place in [0, 1] {
        file.insert(format!("net.{place}.weight"), &[3; 5], vec![0.5; 243]).unwrap();
    }
    let read = |options| voxtune_models::SpconvBench::from_checkpoint(&device, &file, &options);
    insta::assert_snapshot!(read(LoadOptions::new()).unwrap_err());
    for order in [WeightOrder::Spconv1, WeightOrder::Spconv2] {
        assert_eq!(read(LoadOptions::new().order(order)).unwrap().channels(), 3);
    }
}

/// Channels that are numbers of offsets, 27 and 8, in MinkowskiEngine's order; extents, 3, in
/// spconv's, where kernels of 2×2×2 tell.
#[test]
fn channels_like_extents_are_not_guessed_wrongly() {
    let device = Device::cpu_with_threads(1).unwrap();
    for (width, order) in
        [(27, Order::Minkowski), (8, Order::Minkowski), (3, Order::Spconv1), (3, Order::Spconv2)]
    {
        let mut random = Random::new(width as u64);
        let net = unet(width).net(&mut random);
        let file = Library::Minkowski.write(&net, order, "");
        let network = MinkUNet::from_checkpoint(&device, &file, &LoadOptions::new()).unwrap();
        let grid = random.grid(1, [5, 6, 7], width);
        let output = network.forward(&input(&device, &grid, &mut random)).unwrap();
        let error = worst(&output, &net.unet(&grid));
        assert!(error < LIMIT, "{width} {order:?}: {error}");
    }
}

/// A variance below zero, told by the name of its module.
#[test]
fn numbers_that_no_layer_has_are_told() {
    let text = error_of(|file| {
        let name = format!("{PREFIX}conv3.0.1.running_var");
        file.insert(name, &[6], vec![1.0, 1.0, -1.0, 1.0, 1.0, 1.0]).unwrap();
    });
    assert!(text.contains("conv3.0.1.weight") && text.contains("channel 2"), "{text}");
}

/// Blocks that have lost all of their normalisations are not folded: the stages still have theirs.
#[test]
fn half_a_network_is_not_folded() {
    let text = error_of(|file| {
        let norms: Vec<String> =
            file.names().filter(|name| name.contains(".bn")).map(str::to_owned).collect();
        assert!(norms.iter().all(|name| file.remove(name)));
    });
    assert!(text.contains("missing: backbone_3d.conv1.0.bn1.weight"), "{text}");
    // The other way round: stages are folded, and blocks have normalisations.
    let whole = encoder([4, 5, 6, 7, 8], 3).net(&mut Random::new(1));
    let mut net = whole.folded();
    net.norms.extend(whole.norms.into_iter().filter(|(name, _)| name.starts_with("level")));
    let text = read(&Library::OpenPcDet.write(&net, Order::Spconv2, PREFIX)).unwrap_err();
    assert!(text.to_string().contains("missing: backbone_3d.conv_input.1.weight"), "{text}");
}

/// Names with numbers that nobody counts to.
#[test]
fn names_with_huge_numbers_are_told() {
    for name in
        ["conv2.4294967295.conv1.weight", "conv4294967295.0.0.weight", "conv2.99999.conv1.bias"]
    {
        let text = error_of(|file| reshape(file, &format!("{PREFIX}{name}"), &[1]));
        assert!(text.contains(name), "{text}");
    }
    let device = Device::cpu_with_threads(1).unwrap();
    let shape = EncoderShape { height: 2, ..encoder([4; 5], 3) };
    let mut file = Library::Mmdet3d.write(&shape.net(&mut Random::new(5)), Order::Spconv2, "");
    let name = "encoder_layers.encoder_layer4294967295.0.0.weight";
    reshape(&mut file, name, &[1]);
    let read = voxtune_models::BevFusionEncoder::from_checkpoint;
    let text = read(&device, &file, &LoadOptions::new()).unwrap_err().to_string();
    assert!(text.contains(name), "{text}");
}

/// Extents without values that no sum of channels holds, and names that would steer a terminal.
#[test]
fn malformed_files_are_told() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut file = Library::Pointcept.write(&unet(3).net(&mut Random::new(6)), Order::Spconv2, "");
    let huge: Vec<String> =
        file.names().filter(|name| name.contains(".1.")).map(str::to_owned).collect();
    for name in &huge {
        reshape(&mut file, name, &[0, u32::MAX as usize]);
    }
    reshape(&mut file, "down.\u{1b}[2J.0.weight", &[1]);
    let read = SpUNet::from_checkpoint(&device, &file, &LoadOptions::new());
    let text = read.unwrap_err().to_string();
    assert!(text.contains("more") && !text.contains('\u{1b}'), "{text}");
    let text = error_of(|file| reshape(file, &format!("{PREFIX}\u{1b}[2J.weight"), &[1]));
    assert!(text.contains("\\u{1b}[2J"), "{text}");
}

/// Weights that were stored as integers are no weights.
#[test]
fn other_types_are_told() {
    use safetensors::{Dtype, SafeTensors, tensor::TensorView};
    let bytes = file().to_safetensors().unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let counts = [1_u8; 4];
    let views = whole.iter().map(|(name, view)| match name {
        "backbone_3d.conv1.0.bn1.weight" => {
            (name, TensorView::new(Dtype::I8, vec![4], &counts).unwrap())
        }
        _ => (name, view),
    });
    let bytes = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    let text = read(&Checkpoint::from_safetensors(&bytes).unwrap()).unwrap_err().to_string();
    assert!(text.contains("conv1.0.bn1.weight") && text.contains("I8"), "{text}");
}
