//! Every algorithm in every direction, on every kind of vector instruction that there is here.

mod bad_input;
mod exact;
mod finished;
mod grouped;
mod parity;
mod pools;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use voxtune_types::{DType, Direction, KernelSize, Operation, Product, Voxel};

use crate::algorithm::{Algorithm, Operands, algorithms};
use crate::elements::HostBuffer;
use crate::epilogue::Epilogue;
use crate::kernel_map::{KernelMap, Pair};
use crate::reference;
use crate::simd::Simd;

fn kernel(extent: u32) -> KernelSize {
    KernelSize::submanifold(extent).unwrap()
}

fn op(direction: Direction, dtype: DType, c_in: u32, c_out: u32) -> Operation {
    Operation::submanifold(direction, dtype, c_in, c_out, kernel(3))
}

/// A solid block of voxels with holes: rows of every number of neighbours up to 27.
fn cloud(rows: usize) -> Vec<Voxel> {
    let cells = (0..).map(|index: i32| Voxel::new(0, index / 36, index / 6 % 6, index % 6));
    cells.filter(|cell| (cell.x / 3 + cell.z / 4) % 2 == 0 || cell.y % 3 == 0).take(rows).collect()
}

fn map_of(voxels: &[Voxel]) -> KernelMap {
    KernelMap::submanifold(voxels, kernel(3)).unwrap()
}

/// A map as a strided layer has it: more input rows than output rows, no symmetry.
fn strided_map(n_in: u32, n_out: u32) -> KernelMap {
    let list = |offset: u32| {
        let meets = |out_row: u32| !(out_row * 7 + offset).is_multiple_of(3);
        let pair = |out_row: u32| Pair { in_row: (out_row * 2 + offset) % n_in, out_row };
        (0..n_out.min(n_in / 2)).filter(|&row| meets(row)).map(pair).collect()
    };
    KernelMap::from_pairs(n_in as usize, n_out as usize, (0..27).map(list).collect()).unwrap()
}

/// Lengths of `a`, `b` and `out`.
fn lens(op: &Operation, map: &KernelMap) -> [usize; 3] {
    let (input, output) = (map.n_in() * op.c_in as usize, map.n_out() * op.c_out as usize);
    match op.direction.product() {
        Product::Forward => [input, op.weight_len(), output],
        Product::Dgrad => [output, op.weight_len(), input],
        Product::Wgrad => [input, output, op.weight_len()],
    }
}

fn out_dtype(op: &Operation) -> DType {
    if op.direction == Direction::Wgrad { DType::Float32 } else { op.dtype }
}

/// A buffer of which no value may survive.
fn poisoned(dtype: DType, len: usize) -> HostBuffer {
    HostBuffer::from_f32(dtype, &vec![f32::NAN; len])
}

/// Inputs of a layer, rounded to its storage type.
struct Inputs {
    a: HostBuffer,
    b: HostBuffer,
}

impl Inputs {
    fn random(op: &Operation, map: &KernelMap, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let [a, b, _] = lens(op, map);
        let mut values =
            |len| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (a, b) = (values(a), values(b));
        Self { a: HostBuffer::from_f32(op.dtype, &a), b: HostBuffer::from_f32(op.dtype, &b) }
    }

    /// Integers so small that every sum is exact in every storage type.
    fn integers(op: &Operation, map: &KernelMap, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let [a, b, _] = lens(op, map);
        let mut values = |len| -> Vec<f32> {
            (0..len).map(|_| [-1.0, 0.0, 0.0, 1.0][rng.random_range(0..4)]).collect()
        };
        let (a, b) = (values(a), values(b));
        Self { a: HostBuffer::from_f32(op.dtype, &a), b: HostBuffer::from_f32(op.dtype, &b) }
    }

    fn reference(&self, op: &Operation, map: &KernelMap) -> Vec<f64> {
        let (a, b) = (self.a.to_f64(), self.b.to_f64());
        match op.direction.product() {
            Product::Forward => reference::forward(op, map, &a, &b),
            Product::Dgrad => reference::dgrad(op, map, &a, &b),
            Product::Wgrad => reference::wgrad(op, map, &a, &b),
        }
        .unwrap()
    }

    fn run(
        &self,
        algorithm: &Algorithm,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
    ) -> HostBuffer {
        self.run_finished(algorithm, simd, op, map, Epilogue::default())
    }

    fn run_finished(
        &self,
        algorithm: &Algorithm,
        simd: Simd,
        op: &Operation,
        map: &KernelMap,
        epilogue: Epilogue<'_>,
    ) -> HostBuffer {
        let mut out = poisoned(out_dtype(op), lens(op, map)[2]);
        let (a, b) = (self.a.as_elements(), self.b.as_elements());
        let operands = Operands { a, b, out: out.as_elements_mut(), epilogue };
        algorithm.run_with(simd, op, map, operands).unwrap();
        out
    }
}

/// Every algorithm that applies, on every path that this processor has.
fn candidates(op: &Operation) -> impl Iterator<Item = (&'static Algorithm, Simd)> {
    let applicable = algorithms().iter().filter(|algorithm| algorithm.applies(op));
    let applicable: Vec<&Algorithm> = applicable.collect();
    Simd::supported().into_iter().flat_map(move |simd| {
        applicable.clone().into_iter().map(move |algorithm| (algorithm, simd))
    })
}

/// Largest difference from the reference, over the larger of the element and the root mean square.
fn worst_error(found: &HostBuffer, expected: &[f64]) -> f64 {
    let found = found.to_f64();
    assert_eq!(found.len(), expected.len());
    let squares: f64 = expected.iter().map(|value| value * value).sum();
    let rms = (squares / expected.len().max(1) as f64).sqrt();
    found.iter().zip(expected).fold(0.0, |worst, (found, expected)| {
        let scale = expected.abs().max(rms);
        let error = (found - expected).abs() / if scale > 0.0 { scale } else { 1.0 };
        // A NaN must not pass for a small error.
        if error > worst || error.is_nan() { error } else { worst }
    })
}
