//! Maximum and average over the rows that a kernel map gathers.

use std::ops::Range;

use voxtune_types::Pooling;

use super::error::OpError;
use super::groups::larger;
use super::number::{Number, by_dtype, matrix, matrix_mut, row_of};
use crate::chunks::for_each_chunk;
use crate::elements::{Elements, ElementsMut};
use crate::kernel_map::{KernelMap, MapView, Pair, SEGMENT_ROWS};

/// One output row of those that a map gathers.
///
/// # Shapes
/// `x`: `(n_in, channels)`. `y`: `(n_out, channels)`.
///
/// # Errors
/// If lengths or types differ from that.
pub fn pool(
    map: &KernelMap,
    pooling: Pooling,
    x: Elements<'_>,
    channels: usize,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    by_dtype!(y.dtype(), pool_typed(map, pooling, x, channels, y))
}

/// The gradient for the rows that were pooled.
///
/// # Shapes
/// `x`, `grad_x`: `(n_in, channels)`. `y`, `grad_y`: `(n_out, channels)`; only maxima read `x` and
/// `y`.
///
/// # Errors
/// If lengths or types differ from that.
pub fn pool_backward(
    map: &KernelMap,
    pooling: Pooling,
    both: (Elements<'_>, Elements<'_>),
    grad_y: Elements<'_>,
    channels: usize,
    grad_x: ElementsMut<'_>,
) -> Result<(), OpError> {
    match pooling {
        Pooling::Max | Pooling::MaxAtLeastZero => {
            by_dtype!(grad_x.dtype(), max_backward(map, both, grad_y, channels, grad_x))
        }
        Pooling::Average | Pooling::AverageAsSpconv => {
            let divides = pooling == Pooling::Average;
            by_dtype!(grad_x.dtype(), average_backward(map, divides, grad_y, channels, grad_x))
        }
    }
}

/// Hands each segment of result rows, with its pairs by offset, to a task. `meet` combines the
/// pairs with totals; `finish` makes a row of them and of how many it met.
fn by_segments<T: Number>(
    view: MapView<'_>,
    channels: usize,
    first: f32,
    out: &mut [T],
    meet: impl Fn(Pair, &mut [f32]) + Sync,
    finish: impl Fn(u32, &[f32], &mut [T]) + Sync,
) {
    if channels == 0 {
        return;
    }
    for_each_chunk(out, SEGMENT_ROWS * channels, &|segment, out| {
        let begin = segment * SEGMENT_ROWS;
        let rows: Range<usize> = begin..begin + out.len() / channels;
        let mut totals = vec![first; out.len()];
        let mut counts = vec![0_u32; rows.len()];
        for offset in 0..view.kernel_volume() {
            for &pair in view.block(offset, rows.clone()) {
                let row = pair.out_row as usize - begin;
                meet(pair, &mut totals[row * channels..(row + 1) * channels]);
                counts[row] += 1;
            }
        }
        let lines = totals.chunks_exact(channels).zip(out.chunks_exact_mut(channels));
        for (count, (totals, out)) in counts.into_iter().zip(lines) {
            finish(count, totals, out);
        }
    });
}

fn pool_typed<T: Number>(
    map: &KernelMap,
    pooling: Pooling,
    x: Elements<'_>,
    channels: usize,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    let x = matrix::<T>("x", x, map.n_in(), channels)?;
    let y = matrix_mut::<T>("y", y, map.n_out(), channels)?;
    let (first, combine): (f32, fn(f32, f32) -> f32) = match pooling {
        Pooling::Max => (f32::NEG_INFINITY, larger),
        Pooling::MaxAtLeastZero => (0.0, larger),
        Pooling::Average | Pooling::AverageAsSpconv => (0.0, |a, b| a + b),
    };
    let meet = |pair: Pair, totals: &mut [f32]| {
        for (total, x) in totals.iter_mut().zip(row_of(x, pair.in_row as usize, channels)) {
            *total = combine(*total, x.load());
        }
    };
    by_segments(map.view(), channels, first, y, meet, |count, totals, out| {
        for (out, &total) in out.iter_mut().zip(totals) {
            *out = T::store(match pooling {
                _ if count == 0 => 0.0,
                Pooling::Max | Pooling::MaxAtLeastZero => total,
                Pooling::Average | Pooling::AverageAsSpconv => total * (1.0 / count as f32),
            });
        }
    });
    Ok(())
}

fn max_backward<T: Number>(
    map: &KernelMap,
    (x, y): (Elements<'_>, Elements<'_>),
    grad_y: Elements<'_>,
    channels: usize,
    grad_x: ElementsMut<'_>,
) -> Result<(), OpError> {
    let x = matrix::<T>("x", x, map.n_in(), channels)?;
    let y = matrix::<T>("y", y, map.n_out(), channels)?;
    let grad_y = matrix::<T>("grad_y", grad_y, map.n_out(), channels)?;
    let grad_x = matrix_mut::<T>("grad_x", grad_x, map.n_in(), channels)?;
    // Seen from the inputs, each of whose rows meets some output rows.
    let meet = |pair: Pair, totals: &mut [f32]| {
        let x = row_of(x, pair.out_row as usize, channels);
        let y = row_of(y, pair.in_row as usize, channels);
        let grad_y = row_of(grad_y, pair.in_row as usize, channels);
        for (channel, total) in totals.iter_mut().enumerate() {
            if x[channel] == y[channel] {
                *total += grad_y[channel].load();
            }
        }
    };
    by_segments(map.transposed(), channels, 0.0, grad_x, meet, |_, totals, out| {
        for (out, &total) in out.iter_mut().zip(totals) {
            *out = T::store(total);
        }
    });
    Ok(())
}

fn average_backward<T: Number>(
    map: &KernelMap,
    divides: bool,
    grad_y: Elements<'_>,
    channels: usize,
    grad_x: ElementsMut<'_>,
) -> Result<(), OpError> {
    let grad_y = matrix::<T>("grad_y", grad_y, map.n_out(), channels)?;
    let grad_x = matrix_mut::<T>("grad_x", grad_x, map.n_in(), channels)?;
    let mut counts = vec![0_u32; map.n_out()];
    for pair in (0..map.kernel_volume()).flat_map(|offset| map.pair_list(offset)) {
        counts[pair.out_row as usize] += 1;
    }
    let meet = |pair: Pair, totals: &mut [f32]| {
        let count = counts[pair.in_row as usize] as f32;
        let weight = if divides { 1.0 / count } else { count };
        for (total, grad) in totals.iter_mut().zip(row_of(grad_y, pair.in_row as usize, channels)) {
            *total += grad.load() * weight;
        }
    };
    by_segments(map.transposed(), channels, 0.0, grad_x, meet, |_, totals, out| {
        for (out, &total) in out.iter_mut().zip(totals) {
            *out = T::store(total);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, Geometry, KernelSize, Voxel};

    use super::*;
    use crate::elements::HostBuffer;
    use crate::kernel_map::layer_outputs;
    use crate::ops::testing::{close, derivative, noise, zeros};

    const ALL: [Pooling; 3] = [Pooling::Max, Pooling::MaxAtLeastZero, Pooling::Average];

    fn maps(voxels: i32) -> [KernelMap; 2] {
        let cells: Vec<Voxel> = (0..voxels)
            .map(|at| Voxel::new(at % 2, at / 2 % 11, at * 7 % 13, at / 5 % 17))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let small = KernelSize::try_from([2, 2, 2]).unwrap();
        let down = Geometry::strided(small, [2; 3]);
        let outputs = layer_outputs(&cells, &down, None).unwrap();
        [
            KernelMap::submanifold(&cells, KernelSize::submanifold(3).unwrap()).unwrap(),
            KernelMap::between(&cells, &outputs, &down).unwrap(),
        ]
    }

    fn run(map: &KernelMap, pooling: Pooling, x: &HostBuffer, channels: usize) -> HostBuffer {
        let mut y = zeros(x.dtype(), map.n_out() * channels);
        pool(map, pooling, x.as_elements(), channels, y.as_elements_mut()).unwrap();
        y
    }

    #[test]
    fn rows_are_those_of_the_pairs() {
        for map in maps(3_000) {
            for (dtype, channels) in
                [(DType::Float16, 1), (DType::BFloat16, 3), (DType::Float32, 5)]
            {
                let x = noise(dtype, map.n_in() * channels, 4);
                let values = x.to_f64();
                let mut met = vec![Vec::new(); map.n_out() * channels];
                for pair in (0..map.kernel_volume()).flat_map(|offset| map.pair_list(offset)) {
                    for channel in 0..channels {
                        met[pair.out_row as usize * channels + channel]
                            .push(values[pair.in_row as usize * channels + channel]);
                    }
                }
                for pooling in ALL {
                    let expected = met.iter().map(|met| match pooling {
                        Pooling::Max => met.iter().fold(f64::MIN, |most, x| most.max(*x)),
                        Pooling::MaxAtLeastZero => {
                            met.iter().fold(0.0, |most: f64, x| most.max(*x))
                        }
                        Pooling::Average | Pooling::AverageAsSpconv => {
                            met.iter().sum::<f64>() / met.len() as f64
                        }
                    });
                    close(&run(&map, pooling, &x, channels), expected);
                }
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for map in maps(30) {
            let x = noise(DType::Float32, map.n_in() * 2, 1);
            let grad_y = noise(DType::Float32, map.n_out() * 2, 2);
            for pooling in ALL {
                let y = run(&map, pooling, &x, 2);
                let mut grad_x = zeros(DType::Float32, x.len());
                let both = (x.as_elements(), y.as_elements());
                let (grad_y_elements, to) = (grad_y.as_elements(), grad_x.as_elements_mut());
                pool_backward(&map, pooling, both, grad_y_elements, 2, to).unwrap();
                derivative(&x, &grad_y, &grad_x, |x| run(&map, pooling, x, 2));
            }
        }
    }

    #[test]
    fn rows_that_meet_nothing_are_zeros_and_ties_share() {
        let pair = |in_row, out_row| Pair { in_row, out_row };
        let map = KernelMap::from_pairs(2, 2, vec![vec![pair(0, 0)], vec![pair(1, 0)]]).unwrap();
        let x = HostBuffer::from_f32(DType::Float32, &[-3.0, -3.0]);
        let grad_y = HostBuffer::from_f32(DType::Float32, &[5.0, 7.0]);
        for (pooling, out, grad) in [
            (Pooling::Max, -3.0, [5.0, 5.0]),
            (Pooling::MaxAtLeastZero, 0.0, [0.0, 0.0]),
            (Pooling::Average, -3.0, [2.5, 2.5]),
        ] {
            let y = run(&map, pooling, &x, 1);
            assert_eq!(y.to_f32(), [out, 0.0]);
            let mut grad_x = zeros(DType::Float32, 2);
            let both = (x.as_elements(), y.as_elements());
            pool_backward(&map, pooling, both, grad_y.as_elements(), 1, grad_x.as_elements_mut())
                .unwrap();
            assert_eq!(grad_x.to_f32(), grad, "{pooling:?}");
        }
        let nan = HostBuffer::from_f32(DType::Float16, &[f32::NAN, 1.0]);
        assert!(run(&map, Pooling::Max, &nan, 1).to_f32()[0].is_nan());
    }
}
