//! Layers against sums over their definition, which knows no kernel map: every fine cell, every
//! coarse cell and every offset is looked at.
//!
//! Voxels come in any order, samples mixed, some of them empty. Kernels are even or odd, and
//! stride, padding, dilation and shape are of each axis.

use std::collections::BTreeMap;

use proptest::prelude::*;
use voxtune::ops::Reduction;
use voxtune::{
    AvgPool3d, Conv, ConvGradients, ConvKind, DType, Device, GlobalPool, Inverse, LayerKind,
    MaxPool3d, Sparse, SparseTensor, Submanifold, Tensor, Transposed, Voxel, Voxels, WeightLayout,
};

type Cell = (i32, [i64; 3]);

/// A layer in numbers.
#[derive(Clone, Copy, Debug)]
struct Case {
    kernel: [u32; 3],
    stride: [u32; 3],
    padding: [u32; 3],
    dilation: [u32; 3],
    output_padding: [u32; 3],
    groups: u32,
    own_in: u32,
    own_out: u32,
    dtype: DType,
    shape: Option<[u32; 3]>,
}

fn axes(values: std::ops::Range<u32>) -> impl Strategy<Value = [u32; 3]> {
    prop::array::uniform3(values)
}

fn cases() -> impl Strategy<Value = (Case, Vec<Cell>)> {
    let shape = prop::option::of(axes(1..8));
    let windows = (axes(1..5), axes(1..4), axes(0..4), axes(1..4), axes(0..2));
    let channels = (1_u32..4, 1_u32..4, 1_u32..4);
    let dtype = prop::sample::select(DType::ALL.to_vec());
    (windows, channels, dtype, shape).prop_flat_map(|(windows, channels, dtype, shape)| {
        let (kernel, stride, padding, dilation, output_padding) = windows;
        let (groups, own_in, own_out) = channels;
        let case = Case {
            kernel,
            stride,
            padding,
            dilation,
            output_padding,
            groups,
            own_in,
            own_out,
            dtype,
            shape,
        };
        let ends = shape.unwrap_or([7; 3]).map(i64::from);
        let low = if shape.is_some() { 0 } else { -4 };
        let cell = (0..3_i32, low..ends[0], low..ends[1], low..ends[2]);
        let cells = prop::collection::btree_map(cell, 0_u64.., 0..24);
        // In the order of random numbers, and no sample 1.
        let cells = cells.prop_map(|cells| {
            let mut all: Vec<_> = cells
                .into_iter()
                .map(|((batch, x, y, z), order)| (order, (batch * 2, [x, y, z])))
                .collect();
            all.sort_unstable();
            all.into_iter().map(|(_, cell)| cell).collect()
        });
        (Just(case), cells)
    })
}

impl Case {
    fn volume(&self) -> usize {
        self.kernel.iter().product::<u32>() as usize
    }

    /// The offsets, x slowest.
    fn offsets(&self) -> Vec<[i64; 3]> {
        let [x, y, z] = self.kernel.map(i64::from);
        let plane = |i| (0..y).flat_map(move |j| (0..z).map(move |k| [i, j, k]));
        (0..x).flat_map(plane).collect()
    }

    /// The fine cell of a coarse one at an offset.
    fn fine(&self, coarse: [i64; 3], offset: [i64; 3], kind: LayerKind) -> [i64; 3] {
        std::array::from_fn(|axis| {
            let [stride, padding, dilation, extent] =
                [self.stride, self.padding, self.dilation, self.kernel]
                    .map(|values| i64::from(values[axis]));
            match kind {
                LayerKind::Submanifold => coarse[axis] + (offset[axis] - extent / 2) * dilation,
                _ => coarse[axis] * stride - padding + offset[axis] * dilation,
            }
        })
    }

    /// Where outputs end: dense convolution's own formula.
    fn output_shape(&self, kind: LayerKind) -> Option<[i64; 3]> {
        let shape = self.shape?;
        Some(std::array::from_fn(|axis| {
            let [size, stride, padding, dilation, extent, more] =
                [shape, self.stride, self.padding, self.dilation, self.kernel, self.output_padding]
                    .map(|values| i64::from(values[axis]));
            match kind {
                LayerKind::Submanifold => size,
                LayerKind::Sparse => {
                    let room = size + 2 * padding - dilation * (extent - 1) - 1;
                    if room < 0 { 0 } else { room / stride + 1 }
                }
                // spconv's, which leaves the dilation out.
                _ => ((size - 1) * stride - 2 * padding + extent + more).max(0),
            }
        }))
    }

    /// Which input and which output meet at which offset, and the outputs.
    fn meetings(&self, kind: LayerKind, inputs: &[Cell]) -> (Vec<Cell>, Vec<(usize, Cell, Cell)>) {
        let shape = self.output_shape(kind);
        let inside = |cell: [i64; 3]| {
            let exists = cell.iter().all(|&at| i32::try_from(at).is_ok());
            let within =
                |shape: [i64; 3]| (0..3).all(|axis| (0..shape[axis]).contains(&cell[axis]));
            exists && shape.is_none_or(within)
        };
        let mut met = Vec::new();
        for (number, &offset) in self.offsets().iter().enumerate() {
            for &(batch, cell) in inputs {
                if kind == LayerKind::Transposed {
                    let fine = self.fine(cell, offset, kind);
                    if inside(fine) {
                        met.push((number, (batch, cell), (batch, fine)));
                    }
                    continue;
                }
                // Every coarse cell that could have this one in its window.
                let reach = 24;
                let near = |at: i64, axis: usize| {
                    let stride = if kind == LayerKind::Submanifold { 1 } else { self.stride[axis] };
                    let middle = at.div_euclid(i64::from(stride));
                    middle - reach..=middle + reach
                };
                // The axes part: each has its own coordinate or none.
                let found: [Option<i64>; 3] = std::array::from_fn(|axis| {
                    near(cell[axis], axis).find(|&c| {
                        let mut coarse = [0; 3];
                        coarse[axis] = c;
                        self.fine(coarse, offset, kind)[axis] == cell[axis]
                    })
                });
                let [Some(x), Some(y), Some(z)] = found else { continue };
                let coarse = [x, y, z];
                let is_there = kind != LayerKind::Submanifold || inputs.contains(&(batch, coarse));
                if inside(coarse) && is_there {
                    met.push((number, (batch, cell), (batch, coarse)));
                }
            }
        }
        let mut outputs: Vec<Cell> = match kind {
            LayerKind::Submanifold => inputs.to_vec(),
            _ => met.iter().map(|(.., output)| *output).collect(),
        };
        outputs.sort_unstable();
        outputs.dedup();
        (outputs, met)
    }
}

fn value(seed: u64, index: usize) -> f32 {
    // Eighths, which every storage type holds, and sums of few of them.
    let bits = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(seed as u32);
    ((bits >> 40) % 17) as f32 / 8.0 - 1.0
}

fn values(seed: u64, len: usize) -> Vec<f32> {
    (0..len).map(|index| value(seed, index)).collect()
}

fn device() -> Device {
    Device::cpu_with_threads(2).unwrap()
}

fn input(case: &Case, cells: &[Cell], channels: u32) -> SparseTensor {
    let device = device();
    let voxels: Vec<Voxel> = cells
        .iter()
        .map(|&(batch, [x, y, z])| Voxel::new(batch, x as i32, y as i32, z as i32))
        .collect();
    let voxels = match case.shape {
        None => Voxels::new(&device, voxels).unwrap(),
        Some(shape) => Voxels::within(&device, shape, voxels).unwrap(),
    };
    let features = values(1, cells.len() * channels as usize);
    let features =
        Tensor::from_f32(&device, case.dtype, cells.len(), channels as usize, &features).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

fn cells_of(voxels: &Voxels) -> Vec<Cell> {
    let cell = |cell: &Voxel| (cell.batch, [cell.x, cell.y, cell.z].map(i64::from));
    voxels.cells().unwrap().iter().map(cell).collect()
}

/// Samples in any order, of which some have no voxels, and one that is alone.
#[test]
fn samples_are_pooled_whichever_order_they_come_in() {
    let device = device();
    let batches = [4, 0, 4, 2, 0, 4];
    let cells = batches.iter().zip(0..).map(|(&batch, x)| Voxel::new(batch, x, 0, 0)).collect();
    let voxels = Voxels::new(&device, cells).unwrap();
    let features =
        Tensor::from_rows(&device, &[[1.0], [-2.0], [3.0], [-4.0], [-6.0], [5.0]]).unwrap();
    let input = SparseTensor::new(voxels, features).unwrap();
    let gradient = Tensor::from_rows(&device, &[[1.0], [2.0], [4.0], [8.0], [16.0]]).unwrap();
    for (reduction, pooled, back) in [
        (Reduction::Sum, [-8.0, 0.0, -4.0, 0.0, 9.0], [16.0, 1.0, 16.0, 4.0, 1.0, 16.0]),
        (
            Reduction::Mean,
            [-4.0, 0.0, -4.0, 0.0, 3.0],
            [16.0 / 3.0, 0.5, 16.0 / 3.0, 4.0, 0.5, 16.0 / 3.0],
        ),
        (Reduction::Max, [-2.0, 0.0, -4.0, 0.0, 5.0], [0.0, 1.0, 0.0, 4.0, 0.0, 16.0]),
    ] {
        let pool = GlobalPool::new(reduction);
        let output = pool.forward(&input, 5).unwrap();
        assert_eq!(output.to_f32().unwrap(), pooled, "{reduction:?}");
        let found = pool.backward(&input, &output, &gradient).unwrap();
        assert_eq!(found.to_f32().unwrap(), back, "{reduction:?}");
        let refused = pool.forward(&input, 4).unwrap_err().to_string();
        assert!(refused.contains('4'), "{refused}");
    }
}

/// Compares a convolution over these cells, forward and backward.
fn check_conv<K: ConvKind>(case: &Case, layer: &Conv<K>, input: &SparseTensor) {
    let inputs = cells_of(input.voxels());
    let (outputs, met) = case.meetings(K::KIND, &inputs);
    check_products(case, layer, input, &outputs, &met);
}

fn check_products<K: ConvKind>(
    case: &Case,
    layer: &Conv<K>,
    input: &SparseTensor,
    outputs: &[Cell],
    met: &[(usize, Cell, Cell)],
) {
    let inputs = cells_of(input.voxels());
    let (c_in, c_out) = (case.groups * case.own_in, case.groups * case.own_out);
    let (c_in, c_out) = (c_in as usize, c_out as usize);
    let (own_in, own_out) = (case.own_in as usize, case.own_out as usize);
    let output = layer.forward(input).unwrap();
    let found_cells = cells_of(output.voxels());
    let mut sorted = found_cells.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, *outputs, "outputs of {case:?}");
    let row_of_input: BTreeMap<Cell, usize> = inputs.iter().copied().zip(0..).collect();
    let row_of_output: BTreeMap<Cell, usize> = found_cells.iter().copied().zip(0..).collect();

    let x = values(1, inputs.len() * c_in);
    let w = values(2, case.volume() * own_in * c_out);
    let g = values(3, found_cells.len() * c_out);
    let mut y = vec![0.0_f64; found_cells.len() * c_out];
    let mut dx = vec![0.0_f64; x.len()];
    let mut dw = vec![0.0_f64; w.len()];
    for (offset, from, to) in met {
        let (from, to) = (row_of_input[from], row_of_output[to]);
        for out in 0..c_out {
            for own in 0..own_in {
                let at = (offset * own_in + own) * c_out + out;
                let channel = out / own_out * own_in + own;
                let (i, o) = (from * c_in + channel, to * c_out + out);
                y[o] += f64::from(x[i]) * f64::from(w[at]);
                dx[i] += f64::from(g[o]) * f64::from(w[at]);
                dw[at] += f64::from(x[i]) * f64::from(g[o]);
            }
        }
    }
    let device = device();
    let gradient = Tensor::from_f32(&device, case.dtype, found_cells.len(), c_out, &g).unwrap();
    let ConvGradients { input: found_dx, weights: found_dw, .. } =
        layer.backward(input, &gradient).unwrap();
    assert_near(case, "output", output.features(), &y);
    assert_near(case, "input's gradient", &found_dx, &dx);
    assert_near(case, "weights' gradient", &found_dw, &dw);
}

fn assert_near(case: &Case, what: &str, found: &Tensor, expected: &[f64]) {
    let tolerance = match found.dtype() {
        DType::Float32 => 1e-6,
        DType::Float16 => 1e-3,
        _ => 8e-3,
    };
    let found = found.to_f32().unwrap();
    assert_eq!(found.len(), expected.len(), "{what} of {case:?}");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        let bound = tolerance * expected.abs().max(1.0);
        assert!(error <= bound, "{what} {index}: {found}, expected {expected}, of {case:?}");
    }
}

fn built<K: ConvKind>(case: &Case) -> Conv<K> {
    let w = values(2, case.volume() * case.own_in as usize * (case.groups * case.own_out) as usize);
    let builder = Conv::<K>::builder(case.groups * case.own_in, case.groups * case.own_out)
        .kernel(case.kernel)
        .padding(case.padding)
        .dilation(case.dilation)
        .groups(case.groups)
        .dtype(case.dtype)
        .weights(WeightLayout::Rsck, &w);
    let builder = match K::KIND {
        LayerKind::Submanifold => builder,
        LayerKind::Transposed => builder.stride(case.stride).output_padding(case.output_padding),
        _ => builder.stride(case.stride),
    };
    builder.build(&device()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn strided_layers_are_their_definition((case, cells) in cases()) {
        let input = input(&case, &cells, case.groups * case.own_in);
        check_conv(&case, &built::<Sparse>(&case), &input);
    }

    #[test]
    fn submanifold_layers_are_their_definition((case, cells) in cases()) {
        let case = Case { kernel: case.kernel.map(|extent| extent | 1), ..case };
        let input = input(&case, &cells, case.groups * case.own_in);
        check_conv(&case, &built::<Submanifold>(&case), &input);
    }

    #[test]
    fn transposed_layers_are_their_definition((case, cells) in cases()) {
        let input = input(&case, &cells, case.groups * case.own_in);
        check_conv(&case, &built::<Transposed>(&case), &input);
    }

    /// What has no 32-bit coordinates does not exist, at either end of any axis.
    #[test]
    fn clouds_at_the_ends_of_32_bits_have_what_exists(
        (case, cells) in cases(),
        ends in prop::array::uniform3(prop::sample::select(vec![
            0,
            i64::from(i32::MAX) - 6,
            i64::from(i32::MIN) + 4,
        ])),
    ) {
        let case = Case { shape: None, ..case };
        let moved = |(batch, cell): Cell| (batch, std::array::from_fn(|axis| cell[axis] + ends[axis]));
        let cells: Vec<Cell> = cells.into_iter().map(moved).collect();
        let input = input(&case, &cells, case.groups * case.own_in);
        check_conv(&case, &built::<Sparse>(&case), &input);
        check_conv(&case, &built::<Transposed>(&case), &input);
        let odd = Case { kernel: case.kernel.map(|extent| extent | 1), ..case };
        check_conv(&odd, &built::<Submanifold>(&odd), &input);
    }

    /// Back along the pairs of the strided layer, whatever padding and dilation the inverse one was
    /// given, and over a level that may be empty.
    #[test]
    fn inverse_layers_undo_strided_ones((case, cells) in cases()) {
        let inputs = input(&case, &cells, 2);
        let narrow = Case { groups: 1, own_in: 2, own_out: case.groups * case.own_in, ..case };
        let coarse = built::<Sparse>(&narrow).forward(&inputs).unwrap();
        let (_, met) = case.meetings(LayerKind::Sparse, &cells);
        let back: Vec<_> = met.iter().map(|&(offset, fine, coarse)| (offset, coarse, fine)).collect();
        let given = Case { padding: [0; 3], dilation: [1; 3], ..case };
        let layer = built::<Inverse>(&given);
        let rows = coarse.voxels().len();
        let channels = (case.groups * case.own_in) as usize;
        let features = values(1, rows * channels);
        let features = Tensor::from_f32(&device(), case.dtype, rows, channels, &features).unwrap();
        let coarse = SparseTensor::new(coarse.voxels().clone(), features).unwrap();
        let mut fine = cells.clone();
        fine.sort_unstable();
        check_products(&case, &layer, &coarse, &fine, &back);
    }

    /// Means over the voxels that are there and not over the window, largest values with and
    /// without spconv's zero. Windows may be larger than the shape, and may meet nothing.
    #[test]
    fn pools_are_their_definition((case, cells) in cases()) {
        let channels = 2;
        let input = input(&case, &cells, channels as u32);
        let (_, met) = case.meetings(LayerKind::Sparse, &cells);
        let x = values(1, cells.len() * channels);
        let row_of_input: BTreeMap<Cell, usize> = cells.iter().copied().zip(0..).collect();
        let max = || {
            let begun = MaxPool3d::builder(case.kernel).stride(case.stride);
            begun.padding(case.padding).dilation(case.dilation)
        };
        let average = AvgPool3d::builder(case.kernel).stride(case.stride);
        let average = average.padding(case.padding).dilation(case.dilation).build().unwrap();
        let (plain, clamped) = (max().build().unwrap(), max().clamped_at_zero().build().unwrap());
        let outputs = [
            plain.forward(&input).unwrap(),
            clamped.forward(&input).unwrap(),
            average.forward(&input).unwrap(),
        ];
        let found_cells = cells_of(outputs[0].voxels());
        let g = values(3, found_cells.len() * channels);
        let gradient =
            Tensor::from_f32(&device(), case.dtype, found_cells.len(), channels, &g).unwrap();
        let gradients = [
            plain.backward(&input, &outputs[0], &gradient).unwrap(),
            clamped.backward(&input, &outputs[1], &gradient).unwrap(),
            average.backward(&input, &outputs[2], &gradient).unwrap(),
        ];
        let mut y = [(); 3].map(|()| vec![0.0_f64; found_cells.len() * channels]);
        let mut dx = [(); 3].map(|()| vec![0.0_f64; x.len()]);
        for (row, cell) in found_cells.iter().enumerate() {
            let rows: Vec<usize> = met
                .iter()
                .filter(|(.., output)| output == cell)
                .map(|(_, from, _)| row_of_input[from])
                .collect();
            prop_assert!(!rows.is_empty(), "an output that meets nothing, of {:?}", case);
            for channel in 0..channels {
                let of = |row: &usize| f64::from(x[row * channels + channel]);
                let largest = rows.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
                let at = row * channels + channel;
                y[0][at] = largest;
                y[1][at] = largest.max(0.0);
                y[2][at] = rows.iter().map(of).sum::<f64>() / rows.len() as f64;
                for from in &rows {
                    let i = from * channels + channel;
                    let gradient = f64::from(g[at]);
                    for (largest, dx) in [y[0][at], y[1][at]].into_iter().zip(&mut dx) {
                        dx[i] += if of(from) == largest { gradient } else { 0.0 };
                    }
                    dx[2][i] += gradient / rows.len() as f64;
                }
            }
        }
        for ((output, y), (gradient, dx)) in outputs.iter().zip(&y).zip(gradients.iter().zip(&dx)) {
            assert_near(&case, "pooled", output.features(), y);
            assert_near(&case, "pool's gradient", gradient, dx);
        }
    }
}
