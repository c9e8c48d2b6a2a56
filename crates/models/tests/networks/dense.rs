//! Networks in float64 on dense grids, written without the library's layers, maps or layouts.

use std::collections::BTreeMap;

/// Features of every cell of a small grid, zeros where no voxel is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) samples: usize,
    pub(crate) shape: [usize; 3],
    pub(crate) channels: usize,
    pub(crate) occupied: Vec<bool>,
    /// By cell, then channel.
    pub(crate) values: Vec<f64>,
}

/// A convolution's weights as `(k0, k1, k2, c_in, c_out)`.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub(crate) kernel: [usize; 3],
    pub(crate) c_in: usize,
    pub(crate) c_out: usize,
    pub(crate) values: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Factor, term, mean and variance of each channel.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) numbers: [Vec<f32>; 4],
}

/// The parameters of a network by names that are nobody's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    pub(crate) convs: BTreeMap<String, Weights>,
    pub(crate) norms: BTreeMap<String, Norm>,
    pub(crate) epsilon: f64,
}

impl Grid {
    pub(crate) fn empty(samples: usize, shape: [usize; 3], channels: usize) -> Self {
        let cells = samples * shape.iter().product::<usize>();
        Self {
            samples,
            shape,
            channels,
            occupied: vec![false; cells],
            values: vec![0.0; cells * channels],
        }
    }

    pub(crate) fn cell(&self, sample: usize, [x, y, z]: [usize; 3]) -> usize {
        let [_, ny, nz] = self.shape;
        ((sample * self.shape[0] + x) * ny + y) * nz + z
    }

    pub(crate) fn row(&self, cell: usize) -> &[f64] {
        &self.values[cell * self.channels..(cell + 1) * self.channels]
    }

    fn cells(&self) -> impl Iterator<Item = (usize, [usize; 3])> + use<> {
        let (samples, [nx, ny, nz]) = (self.samples, self.shape);
        (0..samples).flat_map(move |sample| {
            (0..nx * ny * nz).map(move |i| (sample, [i / (ny * nz), i / nz % ny, i % nz]))
        })
    }

    /// The cell at a place, if it is within the grid.
    fn at(&self, sample: usize, place: [i64; 3]) -> Option<usize> {
        let inside =
            (0..3).all(|axis| place[axis] >= 0 && (place[axis] as usize) < self.shape[axis]);
        inside.then(|| self.cell(sample, place.map(|one| one as usize)))
    }

    fn map(&self, change: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        let mut to = Self { values: Vec::new(), ..self.clone() };
        for cell in 0..self.occupied.len() {
            let row = change(self.row(cell));
            to.channels = row.len();
            to.values
                .extend(row.iter().map(|value| if self.occupied[cell] { *value } else { 0.0 }));
        }
        to
    }

    pub(crate) fn relu(&self) -> Self {
        self.map(|row| row.iter().map(|value| value.max(0.0)).collect())
    }

    pub(crate) fn silu(&self) -> Self {
        self.map(|row| row.iter().map(|value| value / (1.0 + (-value).exp())).collect())
    }

    pub(crate) fn norm(&self, norm: &Norm, epsilon: f64) -> Self {
        let [gamma, beta, mean, variance] = &norm.numbers;
        self.map(|row| {
            let one = |(c, value): (usize, &f64)| {
                let scale = f64::from(gamma[c]) / (f64::from(variance[c]) + epsilon).sqrt();
                (value - f64::from(mean[c])) * scale + f64::from(beta[c])
            };
            row.iter().enumerate().map(one).collect()
        })
    }

    pub(crate) fn layer_norm(&self, norm: &Norm, epsilon: f64) -> Self {
        let [gamma, beta, ..] = &norm.numbers;
        self.map(|row| {
            let count = row.len() as f64;
            let mean = row.iter().sum::<f64>() / count;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            let one = |(c, value): (usize, &f64)| {
                (value - mean) / (variance + epsilon).sqrt() * f64::from(gamma[c])
                    + f64::from(beta[c])
            };
            row.iter().enumerate().map(one).collect()
        })
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        assert_eq!((&self.occupied, self.channels), (&other.occupied, other.channels));
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a + b).collect();
        Self { values, ..self.clone() }
    }

    pub(crate) fn concat(&self, other: &Self) -> Self {
        assert_eq!(self.occupied, other.occupied);
        let rows = (0..self.occupied.len())
            .flat_map(|cell| self.row(cell).iter().chain(other.row(cell)).copied());
        Self { channels: self.channels + other.channels, values: rows.collect(), ..self.clone() }
    }

    /// One product of a row with the weights of an offset, added to `to`.
    fn multiply(row: &[f64], weights: &Weights, offset: usize, to: &mut [f64]) {
        let Weights { c_in, c_out, values, .. } = weights;
        for (i, value) in row.iter().enumerate() {
            for (o, to) in to.iter_mut().enumerate() {
                *to += value * f64::from(values[(offset * c_in + i) * c_out + o]);
            }
        }
    }

    /// Offsets of a kernel in the order of its weights.
    fn offsets([k0, k1, k2]: [usize; 3]) -> impl Iterator<Item = (usize, [i64; 3])> {
        (0..k0 * k1 * k2)
            .map(move |r| (r, [r / (k1 * k2), r / k2 % k1, r % k2].map(|one| one as i64)))
    }

    fn with_bias(mut self, weights: &Weights) -> Self {
        assert_eq!(self.channels, weights.c_out);
        if let Some(bias) = &weights.bias {
            for cell in (0..self.occupied.len()).filter(|cell| self.occupied[*cell]) {
                for (channel, bias) in bias.iter().enumerate() {
                    self.values[cell * self.channels + channel] += f64::from(*bias);
                }
            }
        }
        self
    }

    /// Outputs where inputs are, windows centred.
    pub(crate) fn submanifold(&self, weights: &Weights) -> Self {
        assert_eq!(self.channels, weights.c_in);
        let mut to = Self::empty(self.samples, self.shape, weights.c_out);
        to.occupied.clone_from(&self.occupied);
        for (sample, place) in self.cells() {
            let cell = self.cell(sample, place);
            for (r, offset) in Self::offsets(weights.kernel).filter(|_| self.occupied[cell]) {
                let from = std::array::from_fn(|axis| {
                    place[axis] as i64 + offset[axis] - weights.kernel[axis] as i64 / 2
                });
                if let Some(from) = self.at(sample, from) {
                    let out = &mut to.values[cell * weights.c_out..(cell + 1) * weights.c_out];
                    Self::multiply(self.row(from), weights, r, out);
                }
            }
        }
        to.with_bias(weights)
    }

    /// The grid of a strided layer's outputs, each with the inputs that it reads and their offsets.
    fn windows(
        &self,
        kernel: [usize; 3],
        stride: [usize; 3],
        padding: [usize; 3],
    ) -> (Self, Vec<(usize, usize, usize)>) {
        let shape = std::array::from_fn(|axis| {
            let room = self.shape[axis] + 2 * padding[axis];
            if room < kernel[axis] { 0 } else { (room - kernel[axis]) / stride[axis] + 1 }
        });
        let mut to = Self::empty(self.samples, shape, 0);
        let mut pairs = Vec::new();
        for (sample, place) in to.cells() {
            let cell = to.cell(sample, place);
            for (r, offset) in Self::offsets(kernel) {
                let from = std::array::from_fn(|axis| {
                    (place[axis] * stride[axis]) as i64 - padding[axis] as i64 + offset[axis]
                });
                if let Some(from) = self.at(sample, from).filter(|from| self.occupied[*from]) {
                    to.occupied[cell] = true;
                    pairs.push((from, cell, r));
                }
            }
        }
        (to, pairs)
    }

    /// Outputs wherever a window holds an input, within the shape that follows.
    pub(crate) fn sparse(
        &self,
        weights: &Weights,
        stride: [usize; 3],
        padding: [usize; 3],
    ) -> Self {
        assert_eq!(self.channels, weights.c_in);
        let (to, pairs) = self.windows(weights.kernel, stride, padding);
        let mut to =
            Self { occupied: to.occupied, ..Self::empty(to.samples, to.shape, weights.c_out) };
        for (from, cell, r) in pairs {
            let out = &mut to.values[cell * weights.c_out..(cell + 1) * weights.c_out];
            Self::multiply(self.row(from), weights, r, out);
        }
        to.with_bias(weights)
    }

    /// Back from windows of 2×2×2 that do not overlap to the voxels of `fine`.
    pub(crate) fn inverse(&self, weights: &Weights, fine: &Self) -> Self {
        assert_eq!((self.channels, weights.kernel), (weights.c_in, [2; 3]));
        let (_, pairs) = fine.windows([2; 3], [2; 3], [0; 3]);
        let mut to = Self::empty(fine.samples, fine.shape, weights.c_out);
        to.occupied.clone_from(&fine.occupied);
        for (cell, from, r) in pairs {
            let out = &mut to.values[cell * weights.c_out..(cell + 1) * weights.c_out];
            Self::multiply(self.row(from), weights, r, out);
        }
        to.with_bias(weights)
    }

    /// The larger of 0 and the largest of a window of 2×2×2.
    pub(crate) fn max_pool(&self) -> Self {
        let (to, pairs) = self.windows([2; 3], [2; 3], [0; 3]);
        let mut to =
            Self { occupied: to.occupied, ..Self::empty(to.samples, to.shape, self.channels) };
        for (from, cell, _) in pairs {
            for channel in 0..self.channels {
                let out = &mut to.values[cell * self.channels + channel];
                *out = out.max(self.row(from)[channel]);
            }
        }
        to
    }
}

impl Net {
    /// The same network with its normalisations within weights and biases, but for those of
    /// shortcuts.
    pub(crate) fn folded(&self) -> Self {
        let mut net = self.clone();
        for (name, weights) in net.convs.iter_mut().filter(|(name, _)| !name.ends_with(".p")) {
            let Some(Norm { numbers: [gamma, beta, mean, variance] }) = net.norms.remove(name)
            else {
                continue;
            };
            let before = weights.bias.clone().unwrap_or_else(|| vec![0.0; weights.c_out]);
            let scale: Vec<f64> = gamma
                .iter()
                .zip(&variance)
                .map(|(gamma, variance)| {
                    f64::from(*gamma) / (f64::from(*variance) + self.epsilon).sqrt()
                })
                .collect();
            for (place, value) in weights.values.iter_mut().enumerate() {
                *value = (f64::from(*value) * scale[place % weights.c_out]) as f32;
            }
            let shifted = |o: usize| {
                (f64::from(before[o]) - f64::from(mean[o])) * scale[o] + f64::from(beta[o])
            };
            weights.bias = Some((0..weights.c_out).map(|o| shifted(o) as f32).collect());
        }
        net
    }

    fn normed(&self, x: &Grid, name: &str) -> Grid {
        self.norms.get(name).map_or_else(|| x.clone(), |norm| x.norm(norm, self.epsilon))
    }

    /// Submanifold convolution, normalisation, ReLU.
    pub(crate) fn stage(&self, x: &Grid, name: &str) -> Grid {
        self.normed(&x.submanifold(&self.convs[name]), name).relu()
    }

    /// Strided convolution, normalisation, ReLU.
    pub(crate) fn down(
        &self,
        x: &Grid,
        name: &str,
        stride: [usize; 3],
        padding: [usize; 3],
    ) -> Grid {
        self.normed(&x.sparse(&self.convs[name], stride, padding), name).relu()
    }

    pub(crate) fn block(&self, x: &Grid, name: &str) -> Grid {
        let [first, second, proj] = ["1", "2", "p"].map(|part| format!("{name}.{part}"));
        let y = self.stage(x, &first);
        let y = self.normed(&y.submanifold(&self.convs[&second]), &second);
        match self.convs.get(&proj) {
            None => y.add(x).relu(),
            Some(weights) => y.add(&self.normed(&x.submanifold(weights), &proj)).relu(),
        }
    }

    /// As many blocks or stages as there are.
    fn run(&self, mut x: Grid, name: &str) -> Grid {
        for number in 0.. {
            let one = format!("{name}.{number}");
            if self.convs.contains_key(&one) {
                x = self.stage(&x, &one);
            } else if self.convs.contains_key(&format!("{one}.1")) {
                x = self.block(&x, &one);
            } else {
                break;
            }
        }
        x
    }

    /// An encoder of four levels; `axis` is the height.
    pub(crate) fn encoder(&self, x: &Grid, axis: usize) -> Grid {
        let mut x = self.run(self.stage(x, "stem"), "level1");
        for level in 2..=4 {
            let mut padding = self.convs[&format!("down{level}")].kernel.map(|extent| extent / 2);
            if level == 4 {
                padding[axis] = 0;
            }
            x = self.down(&x, &format!("down{level}"), [2; 3], padding);
            x = self.run(x, &format!("level{level}"));
        }
        let mut stride = [1; 3];
        stride[axis] = 2;
        self.down(&x, "out", stride, [0; 3])
    }

    /// A U-Net: stems, levels from fine to coarse and back, a head.
    pub(crate) fn unet(&self, x: &Grid) -> Grid {
        let x = self.run(self.stage(x, "stem"), "stem");
        let y = self.below(&x, 0);
        self.convs.get("head").map_or_else(|| y.clone(), |head| y.submanifold(head))
    }

    fn below(&self, x: &Grid, level: usize) -> Grid {
        let down = format!("down{level}");
        if !self.convs.contains_key(&down) {
            return x.clone();
        }
        let y = self.run(self.down(x, &down, [2; 3], [0; 3]), &format!("enc{level}"));
        let y = self.below(&y, level + 1);
        let up = format!("up{level}");
        let y = self.normed(&y.inverse(&self.convs[&up], x), &up).relu();
        self.run(y.concat(x), &format!("dec{level}"))
    }
}
