//! Networks that are trained, written and read again.

use voxtune::train::{LossScale, Optimizer, cross_entropy};
use voxtune::{DType, Device, Module, Tape};
use voxtune_models::{
    CenterPointBackbone, Checkpoint, LoadOptions, MinkUNet, ModelError, SpUNet, TrellisBlock,
};

use crate::dense::Grid;
use crate::libraries::{Library, Order};
use crate::others::trellis;
use crate::random::{EncoderShape, Random, UnetShape, input};

fn unet() -> UnetShape {
    UnetShape {
        c_in: 3,
        stem_kernel: 3,
        stems: 1,
        stem_width: 4,
        levels: vec![([4, 5, 4, 6], [1, 1]); 2],
        classes: Some(4),
        epsilon: 1e-3,
    }
}

/// A class that a voxel's own features tell, learnt in float16 with a factor on the loss.
#[test]
fn a_network_learns_and_is_read_again() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(31);
    let file = Library::Pointcept.write(&unet().net(&mut random), Order::Spconv2, "module.");
    let options = LoadOptions::new().dtype(DType::Float16);
    let mut network = SpUNet::from_checkpoint(&device, &file, &options).unwrap();
    let grid = random.grid(2, [6, 7, 8], 3);
    let single = input(&device, &grid, &mut random);
    let rows = single.features().to_f32().unwrap();
    let label = |row: &[f32]| Some(u32::from(row[0] > 0.0) + 2 * u32::from(row[1] > 0.0));
    let labels: Vec<Option<u32>> = rows.chunks(3).map(label).collect();
    let half = single.cast(DType::Float16).unwrap();
    let (mut optimizer, mut scale) = (Optimizer::adam_w(0.02), LossScale::from(1e6, 100));
    let (mut tape, mut losses, mut skipped) = (Tape::new(), Vec::new(), 0);
    for _ in 0..40 {
        let output = network.forward_on_tape(&half, &mut tape).unwrap();
        let (loss, gradient) =
            cross_entropy(&device, output.features(), &labels, scale.factor()).unwrap();
        let mut gradients = tape.backward(&network, &gradient).unwrap();
        if scale.unscale(&mut gradients).unwrap() {
            optimizer.step(&mut network, &gradients).unwrap();
        } else {
            skipped += 1;
        }
        losses.push(loss);
    }
    assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
    assert!(skipped < 20, "{skipped} steps");

    let bytes = network.to_checkpoint(Some(&optimizer)).unwrap().to_safetensors().unwrap();
    let written = Checkpoint::from_safetensors(&bytes).unwrap();
    let names = |one: &Checkpoint| -> Vec<String> {
        let counts = |name: &&str| !name.ends_with("num_batches_tracked");
        one.names().filter(counts).map(str::to_owned).collect()
    };
    assert_eq!(names(&written), names(&file));
    let again = SpUNet::from_checkpoint(&device, &written, &options).unwrap();
    let of = |network: &SpUNet| network.forward(&half).unwrap().features().to_f32().unwrap();
    assert!(of(&again) == of(&network));
    // Running statistics have followed.
    let statistics = "module.conv_input.1.running_mean";
    assert_ne!(written.get(statistics), file.get(statistics));
    // In 32 bits the file is more exact than the layers of 16 bits were.
    let exact = SpUNet::from_checkpoint(&device, &written, &LoadOptions::new()).unwrap();
    assert!(exact.to_checkpoint(None).unwrap() != network.to_checkpoint(None).unwrap());
}

/// Nothing, and one voxel: steps that change nothing, or little, and no number that is none.
#[test]
fn steps_over_few_voxels_are_steps() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(33);
    let file = Library::Pointcept.write(&unet().net(&mut random), Order::Spconv2, "");
    let mut network = SpUNet::from_checkpoint(&device, &file, &LoadOptions::new()).unwrap();
    let mut optimizer = Optimizer::sgd(0.1).momentum(0.9);
    for places in [&[][..], &[[2, 3, 4]]] {
        let mut grid = Grid::empty(1, [6, 7, 8], 3);
        for place in places {
            let cell = grid.cell(0, *place);
            grid.occupied[cell] = true;
        }
        random.fill(&mut grid);
        let (input, mut tape) = (input(&device, &grid, &mut random), Tape::new());
        let output = network.forward_on_tape(&input, &mut tape).unwrap();
        let labels = vec![Some(1); places.len()];
        let (_, gradient) = cross_entropy(&device, output.features(), &labels, 1.0).unwrap();
        let gradients = tape.backward(&network, &gradient).unwrap();
        assert!(gradients.are_finite().unwrap());
        optimizer.step(&mut network, &gradients).unwrap();
        let after = network.forward(&input).unwrap().features().to_f32().unwrap();
        assert!(after.iter().all(|value| value.is_finite()));
    }
}

/// Names and weights of MinkowskiEngine's, and linear layers, are read again, too.
#[test]
fn every_kind_is_written_and_read_again() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(34);
    let four = UnetShape { levels: vec![([4, 5, 4, 6], [1, 1]); 4], ..unet() };
    let file = Library::Minkowski.write(&four.net(&mut random), Order::Minkowski, "model.");
    let options = LoadOptions::new();
    let network = MinkUNet::from_checkpoint(&device, &file, &options).unwrap();
    let written = network.to_checkpoint(None).unwrap();
    let again = MinkUNet::from_checkpoint(&device, &written, &options).unwrap();
    let input = input(&device, &random.grid(1, [6, 7, 8], 3), &mut random);
    let [first, second] = [&network, &again].map(|one| one.forward(&input).unwrap());
    assert!(first.features().to_f32().unwrap() == second.features().to_f32().unwrap());

    let (file, _) = trellis(&mut random, 5, 15, "blocks.1.0.");
    let block = TrellisBlock::from_checkpoint(&device, &file, &options).unwrap();
    let written = block.to_checkpoint(None).unwrap();
    for name in file.names().filter(|name| !name.ends_with("conv.weight")) {
        assert_eq!(written.get(name), file.get(name), "{name}");
    }
    TrellisBlock::from_checkpoint(&device, &written, &options).unwrap();
}

/// What is read is what is written, in whichever order it was.
#[test]
fn untrained_networks_are_written_as_they_were_read() {
    let device = Device::cpu_with_threads(1).unwrap();
    let shape = EncoderShape {
        c_in: 3,
        widths: [4, 5, 6, 7, 8],
        blocks: [1, 2, 1, 1],
        is_residual: true,
        block_bias: true,
        height: 0,
    };
    let net = shape.net(&mut Random::new(32));
    let old = Library::CenterPoint.write(&net, Order::Spconv1, "backbone.");
    for order in [Order::Spconv1, Order::Spconv2] {
        let file = Library::CenterPoint.write(&net, order, "backbone.");
        let mut network =
            CenterPointBackbone::from_checkpoint(&device, &file, &LoadOptions::new()).unwrap();
        let written = network.to_checkpoint(None).unwrap();
        for name in written.names() {
            assert_eq!(written.get(name), old.get(name), "{name}");
        }
        network.fuse().unwrap();
        assert!(matches!(network.to_checkpoint(None), Err(ModelError::Fused)));
    }
}
