//! Sums, means and variances of channels over rows.

use super::error::OpError;
use super::number::{Number, by_dtype, check_len, matrix, row_of};
use crate::chunks::for_each_chunk;
use crate::elements::Elements;

/// Adds up what `add_row` adds to `width` totals for each row: rows in order within parts of a
/// fixed length, then the parts in order.
pub(super) fn column_totals(
    rows: usize,
    width: usize,
    add_row: impl Fn(usize, &mut [f64]) + Sync,
) -> Vec<f64> {
    /// Rows of a part.
    const PART: usize = 2048;
    let mut totals = vec![0.0; width];
    if width == 0 {
        return totals;
    }
    let mut parts = vec![0.0; rows.div_ceil(PART) * width];
    for_each_chunk(&mut parts, width, &|part, totals| {
        for row in part * PART..rows.min((part + 1) * PART) {
            add_row(row, totals);
        }
    });
    for part in parts.chunks_exact(width) {
        for (total, part) in totals.iter_mut().zip(part) {
            *total += part;
        }
    }
    totals
}

/// The sum of each channel over the rows: the gradient of a bias.
///
/// # Shapes
/// `x`: `(rows, channels)`. `sums`: `(channels)`.
///
/// # Errors
/// If lengths differ from that.
pub fn column_sums(
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    sums: &mut [f32],
) -> Result<(), OpError> {
    by_dtype!(x.dtype(), sums_typed(x, rows, channels, sums))
}

fn sums_typed<T: Number>(
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    sums: &mut [f32],
) -> Result<(), OpError> {
    check_len("the sums", sums.len(), 1, channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    for (sum, total) in sums.iter_mut().zip(totals(x, rows, channels)) {
        *sum = total as f32;
    }
    Ok(())
}

fn totals<T: Number>(x: &[T], rows: usize, channels: usize) -> Vec<f64> {
    column_totals(rows, channels, |row, totals| {
        for (total, x) in totals.iter_mut().zip(row_of(x, row, channels)) {
            *total += f64::from(x.load());
        }
    })
}

/// The mean and the biased variance of each channel over the rows, as batch normalisation takes
/// them in training. Squares are those of the differences from the mean, so nothing cancels. Of no
/// rows both are 0.
///
/// # Shapes
/// `x`: `(rows, channels)`. `mean`, `variance`: `(channels)`.
///
/// # Errors
/// If lengths differ from that.
pub fn column_statistics(
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<(), OpError> {
    by_dtype!(x.dtype(), statistics_typed(x, rows, channels, mean, variance))
}

fn statistics_typed<T: Number>(
    x: Elements<'_>,
    rows: usize,
    channels: usize,
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<(), OpError> {
    check_len("the mean", mean.len(), 1, channels)?;
    check_len("the variance", variance.len(), 1, channels)?;
    let x = matrix::<T>("x", x, rows, channels)?;
    let count = rows.max(1) as f64;
    let means: Vec<f64> = totals(x, rows, channels).iter().map(|total| total / count).collect();
    let squares = column_totals(rows, channels, |row, totals| {
        for ((total, mean), x) in totals.iter_mut().zip(&means).zip(row_of(x, row, channels)) {
            let difference = f64::from(x.load()) - mean;
            *total += difference * difference;
        }
    });
    for (channel, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
        *mean = means[channel] as f32;
        *variance = (squares[channel] / count) as f32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::testing::{close, noise};

    #[test]
    fn sums_and_statistics_are_those_of_float64() {
        for dtype in DType::ALL {
            for (rows, channels) in [(0, 3), (1, 5), (10_001, 7), (3, 130)] {
                let x = noise(dtype, rows * channels, 8);
                let (mut sums, mut mean) = (vec![9.0; channels], vec![9.0; channels]);
                let mut variance = vec![9.0; channels];
                column_sums(x.as_elements(), rows, channels, &mut sums).unwrap();
                column_statistics(x.as_elements(), rows, channels, &mut mean, &mut variance)
                    .unwrap();
                let values = x.to_f64();
                let column = |channel: usize| (0..rows).map(move |row| row * channels + channel);
                let sum = |c: usize| column(c).map(|place| values[place]).sum::<f64>();
                let count = rows.max(1) as f64;
                let square = |c: usize| {
                    column(c).map(|at| (values[at] - sum(c) / count).powi(2)).sum::<f64>()
                };
                let float32 = |values: &[f32]| HostBuffer::from_f32(DType::Float32, values);
                close(&float32(&sums), (0..channels).map(sum));
                close(&float32(&mean), (0..channels).map(|c| sum(c) / count));
                close(&float32(&variance), (0..channels).map(|c| square(c) / count));
            }
        }
    }

    #[test]
    fn a_large_mean_leaves_the_variance_as_it_is() {
        let values: Vec<f32> = (0..4_000).map(|row| 4096.0 + (row % 2) as f32).collect();
        let x = HostBuffer::from_f32(DType::Float32, &values);
        let (mut mean, mut variance) = ([0.0], [0.0]);
        column_statistics(x.as_elements(), 4_000, 1, &mut mean, &mut variance).unwrap();
        assert_eq!((mean, variance), ([4096.5], [0.25]));
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let x = noise(DType::Float32, 30_000 * 5, 1);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut sums = [0.0; 5];
            pool.install(|| column_sums(x.as_elements(), 30_000, 5, &mut sums)).unwrap();
            sums.map(f32::to_bits)
        };
        assert_eq!(run(1), run(3));
    }
}
