//! Random networks, and random voxels for them.

use voxtune::{DType, Device, SparseTensor, Tensor, Voxel, Voxels};

use crate::dense::{Grid, Net, Norm, Weights};

/// Numbers that repeat.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1)
    }

    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }

    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.below(1 << 20) as f32 / (1 << 20) as f32
    }

    fn row(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.between(low, high)).collect()
    }

    fn weights(&mut self, kernel: [usize; 3], c_in: usize, c_out: usize, bias: bool) -> Weights {
        let volume: usize = kernel.iter().product();
        let bound = (3.0 / (volume * c_in) as f32).sqrt();
        let values = self.row(volume * c_in * c_out, -bound, bound);
        let bias = bias.then(|| self.row(c_out, -0.3, 0.3));
        Weights { kernel, c_in, c_out, values, bias }
    }

    fn norm(&mut self, width: usize) -> Norm {
        let numbers = [(0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.3, 2.0)];
        Norm { numbers: numbers.map(|(low, high)| self.row(width, low, high)) }
    }

    /// Voxels of a grid, its corners among them, and features.
    pub(crate) fn grid(&mut self, samples: usize, shape: [usize; 3], channels: usize) -> Grid {
        let mut grid = Grid::empty(samples, shape, channels);
        let [nx, ny, nz] = shape;
        for cell in 0..grid.occupied.len() {
            grid.occupied[cell] = self.below(4) == 0;
        }
        for sample in 0..samples {
            for corner in 0..8 {
                let place = [corner & 1, corner >> 1 & 1, corner >> 2];
                let ends = [nx - 1, ny - 1, nz - 1];
                let place = std::array::from_fn(|axis| place[axis] * ends[axis]);
                let cell = grid.cell(sample, place);
                grid.occupied[cell] = true;
            }
        }
        self.fill(&mut grid);
        grid
    }

    pub(crate) fn fill(&mut self, grid: &mut Grid) {
        for cell in (0..grid.occupied.len()).filter(|cell| grid.occupied[*cell]) {
            for channel in 0..grid.channels {
                grid.values[cell * grid.channels + channel] = f64::from(self.between(-1.0, 1.0));
            }
        }
    }
}

/// What a random encoder is like.
#[derive(Clone, Debug)]
pub(crate) struct EncoderShape {
    pub(crate) c_in: usize,
    /// Of each level, and of the last layer.
    pub(crate) widths: [usize; 5],
    pub(crate) blocks: [usize; 4],
    pub(crate) is_residual: bool,
    pub(crate) block_bias: bool,
    /// The axis of the height.
    pub(crate) height: usize,
}

impl EncoderShape {
    pub(crate) fn net(&self, random: &mut Random) -> Net {
        let mut net = Net { epsilon: 1e-3, ..Net::default() };
        let mut channels = self.c_in;
        let stage = |net: &mut Net, random: &mut Random, name: &str, kernel, c_in, c_out, bias| {
            net.convs.insert(name.to_owned(), random.weights(kernel, c_in, c_out, bias));
            net.norms.insert(name.to_owned(), random.norm(c_out));
        };
        stage(&mut net, random, "stem", [3; 3], channels, self.widths[0], false);
        channels = self.widths[0];
        for level in 1..=4 {
            let width = self.widths[level - 1];
            if level > 1 {
                stage(&mut net, random, &format!("down{level}"), [3; 3], channels, width, false);
                channels = width;
            }
            for block in 0..self.blocks[level - 1] {
                let name = format!("level{level}.{block}");
                if self.is_residual {
                    for part in 1..=2 {
                        let name = format!("{name}.{part}");
                        stage(&mut net, random, &name, [3; 3], width, width, self.block_bias);
                    }
                } else {
                    stage(&mut net, random, &name, [3; 3], width, width, false);
                }
            }
        }
        let mut kernel = [1; 3];
        kernel[self.height] = 3;
        stage(&mut net, random, "out", kernel, channels, self.widths[4], false);
        net
    }
}

/// What a random U-Net is like.
#[derive(Clone, Debug)]
pub(crate) struct UnetShape {
    pub(crate) c_in: usize,
    pub(crate) stem_kernel: usize,
    pub(crate) stems: usize,
    pub(crate) stem_width: usize,
    /// Of each level: the strided layer's width, that of the encoder's blocks, that of the layer
    /// back, that of the decoder's blocks; and blocks of encoder and decoder.
    pub(crate) levels: Vec<([usize; 4], [usize; 2])>,
    pub(crate) classes: Option<usize>,
    pub(crate) epsilon: f64,
}

impl UnetShape {
    pub(crate) fn net(&self, random: &mut Random) -> Net {
        let mut net = Net { epsilon: self.epsilon, ..Net::default() };
        let stage = |net: &mut Net, random: &mut Random, name: &str, kernel, c_in, c_out| {
            net.convs.insert(name.to_owned(), random.weights(kernel, c_in, c_out, false));
            net.norms.insert(name.to_owned(), random.norm(c_out));
        };
        let blocks =
            |net: &mut Net, random: &mut Random, name: &str, mut c_in: usize, c_out, count| {
                for block in 0..count {
                    let of = |part: &str| format!("{name}.{block}.{part}");
                    stage(net, random, &of("1"), [3; 3], c_in, c_out);
                    stage(net, random, &of("2"), [3; 3], c_out, c_out);
                    if c_in != c_out {
                        stage(net, random, &of("p"), [1; 3], c_in, c_out);
                    }
                    c_in = c_out;
                }
            };
        let width = self.stem_width;
        stage(&mut net, random, "stem", [self.stem_kernel; 3], self.c_in, width);
        for number in 1..self.stems {
            let name = format!("stem.{}", number - 1);
            stage(&mut net, random, &name, [self.stem_kernel; 3], width, width);
        }
        let (mut channels, mut skipped) = (width, Vec::new());
        for (level, ([down, encoder, ..], [count, _])) in self.levels.iter().enumerate() {
            skipped.push(channels);
            stage(&mut net, random, &format!("down{level}"), [2; 3], channels, *down);
            blocks(&mut net, random, &format!("enc{level}"), *down, *encoder, *count);
            channels = *encoder;
        }
        for (level, ([.., up, decoder], [_, count])) in self.levels.iter().enumerate().rev() {
            stage(&mut net, random, &format!("up{level}"), [2; 3], channels, *up);
            let joined = up + skipped[level];
            blocks(&mut net, random, &format!("dec{level}"), joined, *decoder, *count);
            channels = *decoder;
        }
        if let Some(classes) = self.classes {
            net.convs.insert("head".to_owned(), random.weights([1; 3], channels, classes, true));
        }
        net
    }
}

/// One convolution without a normalisation.
pub(crate) fn plain(
    random: &mut Random,
    kernel: usize,
    c_in: usize,
    c_out: usize,
    bias: bool,
) -> Weights {
    random.weights([kernel; 3], c_in, c_out, bias)
}

/// A normalisation's numbers.
pub(crate) fn norm(random: &mut Random, width: usize) -> Norm {
    random.norm(width)
}

/// A grid's voxels, in no order, as a network takes them.
pub(crate) fn input(device: &Device, grid: &Grid, random: &mut Random) -> SparseTensor {
    let shape = grid.shape.map(|extent| extent as u32);
    let (cells, rows) = voxels(grid, random);
    let voxels = Voxels::within(device, shape, cells).unwrap();
    let rows: Vec<f32> =
        rows.iter().flat_map(|cell| grid.row(*cell)).map(|one| *one as f32).collect();
    let features =
        Tensor::from_f32(device, DType::Float32, voxels.len(), grid.channels, &rows).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

fn voxels(grid: &Grid, random: &mut Random) -> (Vec<Voxel>, Vec<usize>) {
    let [nx, ny, nz] = grid.shape;
    let mut cells: Vec<usize> =
        (0..grid.occupied.len()).filter(|cell| grid.occupied[*cell]).collect();
    for last in (1..cells.len()).rev() {
        cells.swap(last, random.below(last + 1));
    }
    let voxel = |cell: &usize| {
        let [b, x, y, z] =
            [cell / (nx * ny * nz), cell / (ny * nz) % nx, cell / nz % ny, cell % nz];
        Voxel::new(b as i32, x as i32, y as i32, z as i32)
    };
    (cells.iter().map(voxel).collect(), cells)
}

/// The largest error of a network's output over its largest expected element; voxels must be the
/// same.
pub(crate) fn worst(found: &SparseTensor, expected: &Grid) -> f64 {
    let shape = found.voxels().shape().unwrap().map(|extent| extent as usize);
    assert_eq!(shape, expected.shape);
    assert_eq!(found.features().channels(), expected.channels);
    let (rows, mut seen) =
        (found.features().to_f32().unwrap(), vec![false; expected.occupied.len()]);
    let largest = expected.values.iter().fold(1e-30_f64, |most, value| most.max(value.abs()));
    let mut worst = 0.0_f64;
    for (row, voxel) in found.voxels().cells().unwrap().iter().enumerate() {
        let place = [voxel.x, voxel.y, voxel.z].map(|one| one as usize);
        let cell = expected.cell(voxel.batch as usize, place);
        seen[cell] = true;
        let found = &rows[row * expected.channels..(row + 1) * expected.channels];
        for (found, expected) in found.iter().zip(expected.row(cell)) {
            let error = (f64::from(*found) - expected).abs();
            worst = if error.is_nan() { f64::INFINITY } else { worst.max(error) };
        }
    }
    assert_eq!(seen, expected.occupied, "the voxels of the output");
    worst / largest
}
