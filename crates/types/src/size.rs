//! Sizes of dense matrices in memory.

use crate::DType;

/// A matrix that no allocation can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rows} rows of {channels} channels in {dtype} take more bytes than an allocation can have \
     ({max}): look for a count that has wrapped, or split the rows",
    max = isize::MAX
)]
pub struct TooLarge {
    /// Storage type.
    pub dtype: DType,
    /// Rows asked for.
    pub rows: usize,
    /// Channels asked for.
    pub channels: usize,
}

/// Elements of a dense matrix. Every length of a tensor comes from here, so that none wraps, and
/// their bytes do not either.
///
/// # Errors
/// If the matrix takes more than [`isize::MAX`] bytes, which no allocation has.
pub const fn matrix_len(dtype: DType, rows: usize, channels: usize) -> Result<usize, TooLarge> {
    if let Some(len) = rows.checked_mul(channels)
        && let Some(len_bytes) = len.checked_mul(dtype.bytes())
        && len_bytes <= isize::MAX as usize
    {
        return Ok(len);
    }
    Err(TooLarge { dtype, rows, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_matrix_has_the_bytes_of_the_largest_allocation() {
        let most = isize::MAX as usize;
        assert_eq!(matrix_len(DType::Float16, most / 2, 1), Ok(most / 2));
        assert!(matrix_len(DType::Float16, most / 2 + 1, 1).is_err());
        assert_eq!(matrix_len(DType::Float32, 1, most / 4), Ok(most / 4));
        assert!(matrix_len(DType::Float32, 1, most / 4 + 1).is_err());
        assert_eq!(matrix_len(DType::Float32, usize::MAX, 0), Ok(0));
    }

    /// Products of counts around every power of two: those that overflow, and those next to them.
    #[test]
    fn n07_no_length_wraps() {
        let around =
            |power: u32| [-1, 0, 1].map(|step| (1_usize << power).wrapping_add_signed(step));
        let counts: Vec<usize> = (0..usize::BITS).flat_map(around).chain([usize::MAX]).collect();
        for dtype in DType::ALL {
            for (rows, channels) in
                counts.iter().flat_map(|one| counts.iter().map(move |two| (one, two)))
            {
                let len = *rows as u128 * *channels as u128;
                let bytes = len.saturating_mul(dtype.bytes() as u128);
                let expected =
                    (bytes <= isize::MAX as u128).then_some(rows.wrapping_mul(*channels));
                assert_eq!(matrix_len(dtype, *rows, *channels).ok(), expected, "{rows} {channels}");
            }
        }
    }
}
