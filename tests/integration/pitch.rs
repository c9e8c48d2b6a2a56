//! Rows that lie apart. Operations and layers over columns of a tensor give what they give over a
//! copy of them, to the bit, and leave the other columns as they are.

use voxtune::cuda::ForeignMemory;
use voxtune::ops::{
    self, Activation, Affine, BatchNorm, DenseCells, LayerNorm, Pooling, Reduction, RowGroups,
};
use voxtune::{
    ConvError, DType, Device, Epilogue, KernelSize, Noise, SparseTensor, SubmConv3d, Tensor,
    TensorColumns, Voxel, Voxels, WeightLayout,
};
use voxtune_pointcloud::{Generator, generate};

use crate::needs::open_gpu;

#[test]
fn operations_over_columns_on_the_host() {
    operations(&Device::cpu().unwrap());
}

#[test]
fn layers_over_columns_on_the_host() {
    layers(&Device::cpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn operations_over_columns_on_a_gpu() {
    operations(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn layers_over_columns_on_a_gpu() {
    layers(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn values_go_to_columns_and_back_on_a_gpu() {
    values(&open_gpu().unwrap());
}

const ROWS: usize = 1_537;

/// Columns before and behind the part: rows at multiples of 16 bytes, and anywhere.
const AROUND: [(usize, usize); 4] = [(8, 16), (0, 8), (1, 2), (5, 0)];

const POOLINGS: [Pooling; 4] =
    [Pooling::Max, Pooling::MaxAtLeastZero, Pooling::Average, Pooling::AverageAsSpconv];

/// Channels of the part: one element, an odd number, packs, and more than a warp.
const CHANNELS: [usize; 4] = [1, 3, 16, 136];

/// A tensor, and which of its columns are the part.
struct Whole {
    tensor: Tensor,
    first: usize,
    channels: usize,
}

impl Whole {
    fn new(
        device: &Device,
        dtype: DType,
        channels: usize,
        around: (usize, usize),
        seed: u64,
    ) -> Self {
        let of = around.0 + channels + around.1;
        let tensor = Tensor::noise(device, dtype, ROWS, of, Noise::Uniform, seed).unwrap();
        Self { tensor, first: around.0, channels }
    }

    fn part(&self) -> TensorColumns<'_> {
        self.tensor.columns(self.first..self.first + self.channels).unwrap()
    }

    fn others(&self) -> [Vec<u32>; 2] {
        let right = self.first + self.channels..self.tensor.channels();
        [0..self.first, right].map(|columns| bits(&self.tensor.columns(columns).unwrap()))
    }

    /// Writes the part, and finds the other columns as they were.
    fn write(&mut self, write: impl FnOnce(&mut Tensor) -> Result<(), ConvError>) -> Vec<u32> {
        let columns = self.first..self.first + self.channels;
        let before = self.others();
        self.tensor.write_columns(columns, write).unwrap();
        assert!(before == self.others(), "columns beside the part have changed");
        bits(&self.part())
    }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_f32().unwrap().iter().map(|value| value.to_bits()).collect()
}

fn row(device: &Device, channels: usize, seed: u64) -> Tensor {
    Tensor::noise(device, DType::Float32, 1, channels, Noise::Uniform, seed).unwrap()
}

/// Numbers that a variance can be.
fn positive(device: &Device, channels: usize) -> Tensor {
    Tensor::from_fn(device, DType::Float32, 1, channels, |c| 0.5 + (c % 7) as f32).unwrap()
}

fn operations(device: &Device) {
    let cells = generate(Generator::Surface, ROWS, 1, 3).unwrap();
    let extent = |of: fn(&Voxel) -> i32| cells.iter().map(of).max().unwrap() as u32 + 1;
    let shape = [extent(|cell| cell.x), extent(|cell| cell.y), extent(|cell| cell.z)];
    let voxels = Voxels::within(device, shape, cells).unwrap();
    let map = voxels.kernel_map(KernelSize::cubic(3).unwrap()).unwrap();
    let groups = (0..ROWS).map(|row| (row % 41) as i32 - 1).collect();
    let groups = RowGroups::new(device, groups, 40).unwrap();
    let grid = DenseCells::new(&voxels, 1).unwrap();
    for dtype in DType::ALL {
        for channels in CHANNELS {
            for around in AROUND {
                let wholes: [Whole; 3] =
                    [1, 2, 3].map(|seed| Whole::new(device, dtype, channels, around, seed));
                let what = format!("{dtype}, {channels} columns between {around:?}");
                let views = wholes.each_ref().map(Whole::part);
                let copies = views.each_ref().map(|view| Tensor::contiguous(view, device).unwrap());
                let run = |[x, y, z]: [&Tensor; 3]| {
                    results(device, [x, y, z], &groups)
                        .into_iter()
                        .chain(POOLINGS.into_iter().flat_map(|pooling| {
                            let pooled = ops::pool(device, &map, pooling, x).unwrap();
                            let back = ops::pool_backward(device, &map, pooling, x, y, z).unwrap();
                            [pooled, back]
                        }))
                        .chain((channels < 16).then(|| grid.to_dense(device, x).unwrap()))
                        .map(|tensor| bits(&tensor))
                        .collect::<Vec<_>>()
                };
                let (found, expected) =
                    (run(views.each_ref().map(|view| &**view)), run(copies.each_ref()));
                assert_eq!(found.len(), expected.len());
                for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert!(found == expected, "{what}: result {place} differs");
                }
                let [x, y, _] = copies.each_ref();
                written(device, [x, y], around, &what);
            }
        }
    }
}

/// What operations make of three tensors, each in a tensor of its own.
fn results(device: &Device, [x, y, grad]: [&Tensor; 3], groups: &RowGroups) -> Vec<Tensor> {
    let channels = x.channels();
    let (mean, variance) = ops::column_statistics(device, x).unwrap();
    let (gamma, beta) = (row(device, channels, 8), row(device, channels, 9));
    let of = |activation| Affine { scale: Some(&gamma), shift: Some(&beta), activation };
    let batch = BatchNorm {
        mean: &mean,
        variance: &variance,
        epsilon: 1e-3,
        gamma: Some(&gamma),
        beta: Some(&beta),
    };
    let layer = LayerNorm { epsilon: 1e-3, gamma: Some(&gamma), beta: Some(&beta) };
    let mut all = Vec::new();
    for activation in [Activation::Identity, Activation::Relu, Activation::Gelu] {
        let alone = Affine { activation, ..Affine::default() };
        all.push(ops::affine(device, of(activation), x).unwrap());
        all.push(ops::affine(device, alone, x).unwrap());
        all.push(ops::affine_backward(device, of(activation), x, grad).unwrap());
        all.push(ops::add(device, x, y, activation).unwrap());
        all.push(ops::add_backward(device, x, y, activation, grad).unwrap());
        all.push(ops::batch_norm(device, batch, activation, x).unwrap());
    }
    for gradients in [
        ops::batch_norm_backward(device, batch, x, grad).unwrap(),
        ops::layer_norm_backward(device, layer, x, grad).unwrap(),
    ] {
        all.extend([gradients.x, gradients.gamma, gradients.beta]);
    }
    all.push(ops::layer_norm(device, layer, x).unwrap());
    all.push(ops::column_sums(device, x).unwrap());
    all.extend(DType::ALL.map(|dtype| ops::cast(device, x, dtype).unwrap()));
    all.push(ops::concat(device, &[x, y, grad]).unwrap());
    all.extend(ops::split(device, x, &[channels / 2, channels - channels / 2]).unwrap());
    for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
        let y = groups.reduce(device, reduction, x).unwrap();
        all.push(groups.reduce_backward(device, reduction, x, &y, &y).unwrap());
        all.push(groups.spread(device, &y).unwrap());
        all.push(y);
    }
    all.extend([mean, variance]);
    all
}

/// What operations write to columns is what they write to a tensor of its own.
fn written(device: &Device, [x, y]: [&Tensor; 2], around: (usize, usize), what: &str) {
    type Write<'a> = &'a dyn Fn(&mut Tensor) -> Result<(), ConvError>;
    let channels = x.channels();
    let (mean, variance) = (row(device, channels, 4), positive(device, channels));
    let batch =
        BatchNorm { mean: &mean, variance: &variance, epsilon: 0.0, gamma: None, beta: None };
    let layer = LayerNorm { epsilon: 1e-3, gamma: None, beta: None };
    let relu = Affine { activation: Activation::Relu, ..Affine::default() };
    let parts = x.channels() / 2;
    let halves = [x.columns(0..parts).unwrap(), x.columns(parts..channels).unwrap()];
    let writes: [(&str, Write<'_>); 6] = [
        ("affine", &|out| ops::affine_into(device, relu, x, out)),
        ("add", &|out| ops::add_into(device, x, y, Activation::Silu, out)),
        ("batch norm", &|out| ops::batch_norm_into(device, batch, Activation::Identity, x, out)),
        ("layer norm", &|out| ops::layer_norm_into(device, layer, x, out)),
        ("concat", &|out| {
            let [left, right]: [&Tensor; 2] = [&halves[0], &halves[1]];
            ops::concat_into(device, &[left, right], out)
        }),
        ("noise", &|out| out.fill_noise(device, Noise::Uniform, 77)),
    ];
    for (name, write) in writes {
        let mut own = Tensor::zeros(device, x.dtype(), ROWS, channels).unwrap();
        write(&mut own).unwrap();
        let found = Whole::new(device, x.dtype(), channels, around, 6).write(write);
        assert!(found == bits(&own), "{what}: {name} differs");
    }
}

/// A convolution from columns into columns, with columns for a residual, and its gradients.
fn layers(device: &Device) {
    let voxels = generate(Generator::Surface, ROWS, 1, 3).unwrap();
    let voxels = Voxels::new(device, voxels).unwrap();
    for (dtype, c_in, c_out) in
        [(DType::Float16, 32, 16), (DType::BFloat16, 64, 64), (DType::Float32, 7, 12)]
    {
        let weights = (0..27 * c_in * c_out).map(|at| ((at * 37) % 17) as f32 / 64.0 - 0.125);
        let weights: Vec<f32> = weights.collect();
        let layer = SubmConv3d::builder(c_in as u32, c_out as u32)
            .dtype(dtype)
            .weights(WeightLayout::Rsck, &weights);
        let layer = layer.build(device).unwrap();
        for around in AROUND {
            let what = format!("{dtype} {c_in} to {c_out} between {around:?}");
            let whole = |channels, seed| Whole::new(device, dtype, channels, around, seed);
            let (x, residual, grad) = (whole(c_in, 1), whole(c_out, 2), whole(c_out, 3));
            let over = |features| SparseTensor::new(voxels.clone(), features).unwrap();
            let apart = SparseTensor::new(voxels.clone(), x.tensor.contiguous(device).unwrap());
            let apart = apart.unwrap().columns(x.first..x.first + c_in).unwrap();
            let copy = over(x.part().contiguous(device).unwrap());
            let (residual, grad) = (residual.part(), grad.part());
            let copies = [&residual, &grad].map(|view| view.contiguous(device).unwrap());
            let epilogue = Epilogue::new().with_relu();
            let (of_columns, of_copy) =
                (epilogue.with_residual(&residual), epilogue.with_residual(&copies[0]));
            let mut own = Tensor::zeros(device, dtype, ROWS, c_out).unwrap();
            layer.forward_into_with(&copy, &of_copy, &mut own).unwrap();
            let found =
                whole(c_out, 4).write(|out| layer.forward_into_with(&apart, &of_columns, out));
            assert!(found == bits(&own), "{what}: the output differs");
            let found = layer.backward(&apart, &grad).unwrap();
            let expected = layer.backward(&copy, &copies[1]).unwrap();
            assert!(bits(&found.input) == bits(&expected.input), "{what}: dgrad differs");
            assert!(bits(&found.weights) == bits(&expected.weights), "{what}: wgrad differs");
        }
    }
}

fn values(device: &Device) {
    for dtype in DType::ALL {
        for around in AROUND {
            let mut whole = Whole::new(device, dtype, 3, around, 1);
            let numbers: Vec<f32> = (0..ROWS * 3).map(|at| (at % 251) as f32).collect();
            let found = whole.write(|part| part.write_f32(&numbers));
            assert!(found.iter().zip(&numbers).all(|(bits, value)| *bits == value.to_bits()));
            let poisoned = whole.write(|part| part.poison(device));
            assert!(poisoned.iter().all(|bits| f32::from_bits(*bits).is_nan()));
        }
    }
}

#[expect(unsafe_code, reason = "memory of a tensor is taken for another library's")]
#[test]
#[ignore = "needs a GPU"]
fn rows_of_others_have_a_pitch_on_a_gpu() {
    let device = open_gpu().unwrap();
    let whole = Whole::new(&device, DType::Float32, 16, (4, 12), 5);
    let address = whole.tensor.device_address().unwrap() + 4 * 4;
    let take = |len: usize, pitch| {
        // SAFETY: the elements lie in the whole tensor, which outlives what is made of them, and
        // which nothing writes to.
        let memory = unsafe { ForeignMemory::borrowed(address, len * 4) };
        Tensor::from_foreign(&device, memory, DType::Float32, ROWS, 16, pitch)
    };
    let len = (ROWS - 1) * 32 + 16;
    let part = take(len, 32).unwrap();
    assert_eq!((part.pitch(), part.channels(), part.rows()), (32, 16, ROWS));
    assert!(bits(&part) == bits(&whole.part()));
    let sum = |x: &Tensor| bits(&ops::column_sums(&device, x).unwrap());
    assert!(sum(&part) == sum(&whole.part()));
    assert!(take(len - 1, 32).unwrap_err().to_string().contains("foreign memory"));
    assert!(take(len, 15).unwrap_err().to_string().contains("pitch of 15"));
    device.synchronize().unwrap();
}
