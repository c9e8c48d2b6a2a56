//! spconv's benchmark network, and TRELLIS.2's block.

use voxtune::Device;
use voxtune_models::{Checkpoint, LoadOptions, SpconvBench, TrellisBlock};

use crate::LIMIT;
use crate::dense::{Grid, Weights};
use crate::libraries::Order;
use crate::random::{Random, input, norm, plain, worst};

/// Convolutions by level, and their tensors as a list of modules.
fn bench(random: &mut Random, widths: &[usize], order: Order) -> (Vec<Weights>, Checkpoint) {
    let (mut convs, mut checkpoint, mut c_in) = (Vec::new(), Checkpoint::new(), 3);
    for (level, width) in widths.iter().enumerate() {
        for place in 0..2 {
            let conv = plain(random, 3, c_in, *width, false);
            let (shape, values) = order.of(&conv);
            checkpoint.insert(format!("net.{}.weight", 3 * level + place), &shape, values).unwrap();
            convs.push(conv);
            c_in = *width;
        }
    }
    (convs, checkpoint)
}

fn expected(convs: &[Weights], mut grid: Grid) -> Grid {
    for (place, conv) in convs.iter().enumerate() {
        if place > 0 && place % 2 == 0 {
            grid = grid.max_pool();
        }
        grid = grid.submanifold(conv);
    }
    grid
}

#[test]
fn spconvs_benchmark_network_is_right() {
    let device = Device::cpu_with_threads(1).unwrap();
    for (seed, widths, order) in [
        (1, vec![4, 6, 5], Order::Spconv2),
        (2, vec![4], Order::Spconv2),
        (3, vec![2, 9], Order::Spconv1),
    ] {
        let mut random = Random::new(seed);
        let (convs, checkpoint) = bench(&mut random, &widths, order);
        let network =
            SpconvBench::from_checkpoint(&device, &checkpoint, &LoadOptions::new()).unwrap();
        let grid = random.grid(2, [9, 8, 11], 3);
        let output = network.forward(&input(&device, &grid, &mut random)).unwrap();
        let error = worst(&output, &expected(&convs, grid));
        assert!(error < LIMIT, "{error}");
    }
}

#[test]
fn a_list_that_lacks_a_module_is_no_network() {
    let device = Device::cpu_with_threads(1).unwrap();
    let whole = bench(&mut Random::new(1), &[3, 4, 5], Order::Spconv2).1;
    for place in [0, 1, 3, 4, 6, 7] {
        let mut checkpoint = whole.clone();
        let name = format!("net.{place}.weight");
        assert!(checkpoint.remove(&name));
        let error = SpconvBench::from_checkpoint(&device, &checkpoint, &LoadOptions::new());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("net."), "{text}");
    }
}

/// A block's tensors behind a prefix; and what it makes of a grid.
pub(crate) fn trellis(
    random: &mut Random,
    channels: usize,
    wide: usize,
    prefix: &str,
) -> (Checkpoint, impl Fn(&Grid) -> Grid + use<>) {
    let conv = plain(random, 3, channels, channels, true);
    let norm = norm(random, channels);
    let widen = plain(random, 1, channels, wide, true);
    let narrow = plain(random, 1, wide, channels, true);
    let mut checkpoint = Checkpoint::new();
    let mut add = |name: &str, shape: &[usize], values: &[f32]| {
        checkpoint.insert(format!("{prefix}{name}"), shape, values.to_vec()).unwrap();
    };
    let (shape, values) = Order::Spconv2.of(&conv);
    add("conv.weight", &shape, &values);
    add("conv.bias", &[channels], conv.bias.as_ref().unwrap());
    add("norm.weight", &[channels], &norm.numbers[0]);
    add("norm.bias", &[channels], &norm.numbers[1]);
    for (name, linear) in [("mlp.0", &widen), ("mlp.2", &narrow)] {
        let (rows, columns) = (linear.c_out, linear.c_in);
        let turned: Vec<f32> =
            (0..rows * columns).map(|i| linear.values[i % columns * rows + i / columns]).collect();
        add(&format!("{name}.weight"), &[rows, columns], &turned);
        add(&format!("{name}.bias"), &[rows], linear.bias.as_ref().unwrap());
    }
    let forward = move |x: &Grid| {
        let h = x.submanifold(&conv).layer_norm(&norm, 1e-6);
        h.submanifold(&widen).silu().submanifold(&narrow).add(x)
    };
    (checkpoint, forward)
}

#[test]
fn a_block_of_trellis_is_right() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(8);
    let (checkpoint, forward) = trellis(&mut random, 6, 24, "blocks.1.0.");
    let network = TrellisBlock::from_checkpoint(&device, &checkpoint, &LoadOptions::new()).unwrap();
    let grid = random.grid(2, [5, 6, 7], 6);
    let output = network.forward(&input(&device, &grid, &mut random)).unwrap();
    let error = worst(&output, &forward(&grid));
    assert!(error < LIMIT, "{error}");
}

#[test]
fn of_many_blocks_the_prefix_names_one() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut random = Random::new(9);
    let (mut both, _) = trellis(&mut random, 4, 8, "blocks.0.0.");
    let (second, forward) = trellis(&mut random, 5, 15, "blocks.1.0.");
    for name in second.names() {
        let (shape, values) = second.get(name).unwrap();
        both.insert(name, shape, values.to_vec()).unwrap();
    }
    let error = TrellisBlock::from_checkpoint(&device, &both, &LoadOptions::new()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("blocks.0.0.") && text.contains("LoadOptions::prefix"), "{text}");
    let options = LoadOptions::new().prefix("blocks.1.0.");
    let network = TrellisBlock::from_checkpoint(&device, &both, &options).unwrap();
    let grid = random.grid(1, [4, 4, 4], 5);
    let output = network.forward(&input(&device, &grid, &mut random)).unwrap();
    assert!(worst(&output, &forward(&grid)) < LIMIT);
}
