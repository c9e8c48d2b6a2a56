//! Clouds of no voxel and of one, levels that come out empty, batches, other storage types.

use voxtune::{DType, Device, SparseTensor, Tensor, Voxels};
use voxtune_models::{CenterPointBackbone, LoadOptions, SpUNet};

use crate::LIMIT;
use crate::dense::Grid;
use crate::libraries::{Library, Order};
use crate::random::{EncoderShape, Random, UnetShape, input, worst};

fn encoder() -> EncoderShape {
    EncoderShape {
        c_in: 3,
        widths: [4, 5, 6, 7, 8],
        blocks: [1; 4],
        is_residual: true,
        block_bias: true,
        height: 0,
    }
}

fn unet() -> UnetShape {
    UnetShape {
        c_in: 3,
        stem_kernel: 3,
        stems: 1,
        stem_width: 4,
        levels: vec![([4, 5, 4, 6], [1, 1]); 3],
        classes: Some(5),
        epsilon: 1e-3,
    }
}

/// A grid with these places of one sample occupied.
fn grid(random: &mut Random, samples: usize, shape: [usize; 3], places: &[[usize; 3]]) -> Grid {
    let mut grid = Grid::empty(samples, shape, 3);
    for place in places {
        let cell = grid.cell(samples - 1, *place);
        grid.occupied[cell] = true;
    }
    random.fill(&mut grid);
    grid
}

#[test]
fn few_voxels_anywhere_are_right() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(21);
    let (encoder, unet) = (encoder().net(&mut random), unet().net(&mut random));
    let options = LoadOptions::new();
    let file = Library::OpenPcDet.write(&encoder, Order::Spconv2, "");
    let backbone = CenterPointBackbone::from_checkpoint(&device, &file, &options).unwrap();
    let file = Library::Pointcept.write(&unet, Order::Spconv2, "");
    let network = SpUNet::from_checkpoint(&device, &file, &options).unwrap();
    let shape = [17, 12, 13];
    for places in [
        &[][..],
        &[[0, 0, 0]],
        &[[16, 11, 12]],
        &[[8, 5, 6]],
        // Its level comes out empty: 16 becomes 8, 4, and then reaches no window within 1.
        &[[16, 0, 12], [15, 1, 11]],
        &[[0, 11, 0], [16, 0, 0], [3, 3, 3]],
    ] {
        // The first sample of two is empty.
        let grid = grid(&mut random, 2, shape, places);
        let input = input(&device, &grid, &mut random);
        let error = worst(&backbone.forward(&input).unwrap(), &encoder.encoder(&grid, 0));
        assert!(error < LIMIT, "{places:?}: {error}");
        let view = backbone.forward_bev(&input, 2).unwrap();
        assert_eq!(view.rows(), 2 * 8);
        let error = worst(&network.forward(&input).unwrap(), &unet.unet(&grid));
        assert!(error < LIMIT, "{places:?}: {error}");
    }
}

/// A grid so flat that nothing is left of its height.
#[test]
fn a_level_without_any_cell_is_empty() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(22);
    let net = encoder().net(&mut random);
    let file = Library::OpenPcDet.write(&net, Order::Spconv2, "");
    let backbone =
        CenterPointBackbone::from_checkpoint(&device, &file, &LoadOptions::new()).unwrap();
    let grid = grid(&mut random, 1, [4, 9, 9], &[[0, 0, 0], [3, 8, 8]]);
    let output = backbone.forward(&input(&device, &grid, &mut random)).unwrap();
    assert!(output.voxels().is_empty());
    assert_eq!(net.encoder(&grid, 0).shape[0], 0);
}

/// Half the bits: near what float32 gives.
#[test]
fn storage_may_have_sixteen_bits() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(23);
    let net = unet().net(&mut random);
    let file = Library::Pointcept.write(&net, Order::Spconv2, "");
    let grid = random.grid(1, [8, 9, 10], 3);
    let single = input(&device, &grid, &mut random);
    for (dtype, limit) in [(DType::Float16, 5e-3), (DType::BFloat16, 4e-2)] {
        let options = LoadOptions::new().dtype(dtype);
        let mut network = SpUNet::from_checkpoint(&device, &file, &options).unwrap();
        network.fuse().unwrap();
        let error =
            worst(&network.forward(&single.cast(dtype).unwrap()).unwrap(), &net.unet(&grid));
        assert!(error < limit, "{dtype}: {error}");
        assert!(network.forward(&single).is_err());
    }
}

#[test]
fn inputs_of_other_channels_are_errors() {
    let device = Device::cpu_with_threads(1).unwrap();
    let file = Library::Pointcept.write(&unet().net(&mut Random::new(1)), Order::Spconv2, "");
    let network = SpUNet::from_checkpoint(&device, &file, &LoadOptions::new()).unwrap();
    let voxels = Voxels::new(&device, vec![voxtune::Voxel::new(0, 1, 2, 3)]).unwrap();
    let features = Tensor::from_rows(&device, &[[1.0; 4]]).unwrap();
    let input = SparseTensor::new(voxels, features).unwrap();
    let text = network.forward(&input).unwrap_err().to_string();
    assert!(text.contains("expected 3 channels, found 4"), "{text}");
}
