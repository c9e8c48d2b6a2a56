//! Convolution in float64, to compare against.
//!
//! Written from the definition alone and apart from the fast kernels, so that both are unlikely to
//! share a fault. Multi-threaded, and slow all the same.
//!
//! Channels in groups: `w` has the `c_in / groups` inputs of each output channel's own group.

use voxtune_types::{DType, Direction, Operation};

use crate::algorithm::check_shapes;
use crate::chunks::for_each_chunk;
use crate::epilogue::Epilogue;
use crate::error::RunError;
use crate::kernel_map::{KernelMap, Pair};

/// Output rows a task owns.
const TASK_ROWS: usize = 128;

/// Features times weights: `y[o] += x[i] · w[offset]` for each pair.
///
/// # Shapes
/// `features` is `(n_in, c_in)`, `weights` `(volume, c_in / groups, c_out)`, the result `(n_out,
/// c_out)`.
///
/// # Errors
/// If a slice or the map does not fit the operation.
pub fn forward(
    op: &Operation,
    map: &KernelMap,
    features: &[f64],
    weights: &[f64],
) -> Result<Vec<f64>, RunError> {
    check(op, Direction::Forward, map, features, weights)?;
    let Channels { c_in, c_out, own_in, own_out } = Channels::of(op);
    let mut out = vec![0.0; map.n_out() * c_out];
    for_each_chunk(&mut out, (TASK_ROWS * c_out).max(1), &|task, rows| {
        let first_row = task * TASK_ROWS;
        let n_rows = rows.len() / c_out;
        for offset in 0..map.kernel_volume() {
            for pair in between(map.pair_list(offset), first_row, n_rows) {
                let row = &mut rows[(pair.out_row as usize - first_row) * c_out..][..c_out];
                let features = &features[pair.in_row as usize * c_in..][..c_in];
                for channel in 0..own_in {
                    let w = &weights[(offset * own_in + channel) * c_out..][..c_out];
                    for (group, row) in row.chunks_mut(own_out).enumerate() {
                        let x = features[group * own_in + channel];
                        for (y, w) in row.iter_mut().zip(&w[group * own_out..]) {
                            *y += x * w;
                        }
                    }
                }
            }
        }
    });
    Ok(out)
}

/// The epilogue on the result of [`forward`], in place.
///
/// # Errors
/// If a part does not fit the operation.
pub fn finish(op: &Operation, out: &mut [f64], epilogue: &Epilogue<'_>) -> Result<(), RunError> {
    let channels = op.c_out as usize;
    epilogue.check(op, out.len().checked_div(channels).unwrap_or(0))?;
    let residual = epilogue.residual.map(|elements| elements.to_f64());
    for (index, value) in out.iter_mut().enumerate() {
        let part = |of: Option<&[f32]>| of.map(|values| f64::from(values[index % channels]));
        let added = residual.as_ref().map_or(0.0, |values| values[index]);
        let sum = *value * part(epilogue.scale).unwrap_or(1.0) + part(epilogue.bias).unwrap_or(0.0);
        *value = sum + added;
        if epilogue.relu && *value < 0.0 {
            *value = 0.0;
        }
    }
    Ok(())
}

/// Gradient of the features: `dx[i] += g[o] · w[offset]ᵀ` for each pair.
///
/// # Shapes
/// `grad_out` is `(n_out, c_out)`, `weights` `(volume, c_in / groups, c_out)`, the result `(n_in,
/// c_in)`.
///
/// # Errors
/// If a slice or the map does not fit the operation.
pub fn dgrad(
    op: &Operation,
    map: &KernelMap,
    grad_out: &[f64],
    weights: &[f64],
) -> Result<Vec<f64>, RunError> {
    check(op, Direction::Dgrad, map, grad_out, weights)?;
    let Channels { c_in, c_out, own_in, own_out } = Channels::of(op);
    // Whatever meets each input row, straight from the lists.
    let mut met: Vec<Vec<(usize, usize)>> = vec![Vec::new(); map.n_in()];
    for offset in 0..map.kernel_volume() {
        for pair in map.pair_list(offset) {
            met[pair.in_row as usize].push((offset, pair.out_row as usize));
        }
    }
    let mut out = vec![0.0; map.n_in() * c_in];
    for_each_chunk(&mut out, c_in.max(1), &|in_row, row| {
        for &(offset, out_row) in &met[in_row] {
            let g = &grad_out[out_row * c_out..][..c_out];
            for (channel, dx) in row.iter_mut().enumerate() {
                let first = channel / own_in * own_out;
                let w = &weights[(offset * own_in + channel % own_in) * c_out + first..][..own_out];
                *dx += g[first..].iter().zip(w).map(|(g, w)| g * w).sum::<f64>();
            }
        }
    });
    Ok(out)
}

/// Gradient of the weights: `dw[offset] += x[i]ᵀ · g[o]` for each pair.
///
/// # Shapes
/// `features` is `(n_in, c_in)`, `grad_out` `(n_out, c_out)`, the result
/// `(volume, c_in / groups, c_out)`.
///
/// # Errors
/// If a slice or the map does not fit the operation.
pub fn wgrad(
    op: &Operation,
    map: &KernelMap,
    features: &[f64],
    grad_out: &[f64],
) -> Result<Vec<f64>, RunError> {
    check(op, Direction::Wgrad, map, features, grad_out)?;
    let Channels { c_in, c_out, own_in, own_out } = Channels::of(op);
    let mut out = vec![0.0; map.kernel_volume() * own_in * c_out];
    for_each_chunk(&mut out, (own_in * c_out).max(1), &|offset, dw| {
        for pair in map.pair_list(offset) {
            let x = &features[pair.in_row as usize * c_in..][..c_in];
            let g = &grad_out[pair.out_row as usize * c_out..][..c_out];
            for (channel, row) in dw.chunks_mut(c_out).enumerate() {
                for (group, row) in row.chunks_mut(own_out).enumerate() {
                    let x = x[group * own_in + channel];
                    for (dw, g) in row.iter_mut().zip(&g[group * own_out..]) {
                        *dw += x * g;
                    }
                }
            }
        }
    });
    Ok(out)
}

/// Channels of the layer's sides, and of a group's.
struct Channels {
    c_in: usize,
    c_out: usize,
    own_in: usize,
    own_out: usize,
}

impl Channels {
    fn of(op: &Operation) -> Self {
        let (own_in, own_out) = op.group_channels();
        let [c_in, c_out, own_in, own_out] =
            [op.c_in, op.c_out, own_in, own_out].map(|channels| channels as usize);
        Self { c_in, c_out, own_in, own_out: own_out.max(1) }
    }
}

/// The pairs of a sorted list whose output rows lie in a range.
fn between(list: &[Pair], first_row: usize, n_rows: usize) -> &[Pair] {
    let begin = list.partition_point(|pair| (pair.out_row as usize) < first_row);
    let end = list.partition_point(|pair| (pair.out_row as usize) < first_row + n_rows);
    &list[begin..end]
}

fn check(
    op: &Operation,
    direction: Direction,
    map: &KernelMap,
    a: &[f64],
    b: &[f64],
) -> Result<(), RunError> {
    // Storage types do not matter here: only lengths are compared.
    let op = Operation { dtype: DType::Float32, ..op.with_direction(direction) };
    check_shapes(&op, map, &[(DType::Float32, a.len()), (DType::Float32, b.len())])
}
