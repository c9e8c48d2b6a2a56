//! Channels of several tensors side by side, and apart again.

use super::error::OpError;
use super::number::{Number, by_dtype, check_len, for_each_row, matrix, matrix_mut, row_of};
use crate::elements::{Elements, ElementsMut};

/// Copies the channels of each part, one part after the other, into the rows of `whole`.
///
/// # Shapes
/// Each part: its elements and its channels, `(rows, channels)`. `whole`: `(rows, sum of
/// channels)`.
///
/// # Errors
/// If lengths or types differ from that.
pub fn concat(
    parts: &[(Elements<'_>, usize)],
    rows: usize,
    whole: ElementsMut<'_>,
) -> Result<(), OpError> {
    by_dtype!(whole.dtype(), concat_typed(parts, rows, whole))
}

/// Copies the channels of `whole` into the parts: [`concat()`] undone, and its gradient.
///
/// # Shapes
/// As those of [`concat()`].
///
/// # Errors
/// If lengths or types differ from that.
pub fn split(
    whole: Elements<'_>,
    rows: usize,
    parts: Vec<(ElementsMut<'_>, usize)>,
) -> Result<(), OpError> {
    by_dtype!(whole.dtype(), split_typed(whole, rows, parts))
}

/// Columns of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The first of them.
    pub first: usize,
    /// How many they are.
    pub width: usize,
    /// Columns of the matrix.
    pub of: usize,
}

/// Copies some columns of `whole` into a matrix of their own.
///
/// # Shapes
/// `whole`: `(rows, columns.of)`. `part`: `(rows, columns.width)`.
///
/// # Errors
/// If lengths or types differ from that, or there are not so many columns.
pub fn take(
    whole: Elements<'_>,
    rows: usize,
    columns: Columns,
    part: ElementsMut<'_>,
) -> Result<(), OpError> {
    by_dtype!(part.dtype(), take_typed(whole, rows, columns, part))
}

/// Copies a matrix into some columns of `whole`, and leaves the others as they are.
///
/// # Shapes
/// As those of [`take`].
///
/// # Errors
/// If lengths or types differ from that, or there are not so many columns.
pub fn put(
    part: Elements<'_>,
    rows: usize,
    columns: Columns,
    whole: ElementsMut<'_>,
) -> Result<(), OpError> {
    by_dtype!(whole.dtype(), put_typed(part, rows, columns, whole))
}

impl Columns {
    fn range(self) -> Result<std::ops::Range<usize>, OpError> {
        let Self { first, width, of } = self;
        let found = first.saturating_add(width);
        if found > of {
            let (operand, expected) = ("a row with these columns", found as u128);
            return Err(OpError::WrongLength { operand, expected, found: of });
        }
        Ok(first..found)
    }
}

fn take_typed<T: Number>(
    whole: Elements<'_>,
    rows: usize,
    columns: Columns,
    part: ElementsMut<'_>,
) -> Result<(), OpError> {
    let (range, Columns { width, of, .. }) = (columns.range()?, columns);
    let whole = matrix::<T>("the whole", whole, rows, of)?;
    for_each_row(matrix_mut::<T>("a part", part, rows, width)?, width, |row, out| {
        out.copy_from_slice(&row_of(whole, row, of)[range.clone()]);
    });
    Ok(())
}

fn put_typed<T: Number>(
    part: Elements<'_>,
    rows: usize,
    columns: Columns,
    whole: ElementsMut<'_>,
) -> Result<(), OpError> {
    let (range, Columns { width, of, .. }) = (columns.range()?, columns);
    let part = matrix::<T>("a part", part, rows, width)?;
    for_each_row(matrix_mut::<T>("the whole", whole, rows, of)?, of, |row, out| {
        out[range.clone()].copy_from_slice(row_of(part, row, width));
    });
    Ok(())
}

fn concat_typed<T: Number>(
    parts: &[(Elements<'_>, usize)],
    rows: usize,
    whole: ElementsMut<'_>,
) -> Result<(), OpError> {
    let width: usize = parts.iter().map(|(_, channels)| channels).sum();
    let typed: Vec<(&[T], usize)> = parts
        .iter()
        .map(|&(part, channels)| Ok((matrix::<T>("a part", part, rows, channels)?, channels)))
        .collect::<Result<_, OpError>>()?;
    for_each_row(matrix_mut::<T>("the whole", whole, rows, width)?, width, |row, mut out| {
        for &(part, channels) in &typed {
            let (own, rest) = out.split_at_mut(channels);
            own.copy_from_slice(row_of(part, row, channels));
            out = rest;
        }
    });
    Ok(())
}

fn split_typed<T: Number>(
    whole: Elements<'_>,
    rows: usize,
    parts: Vec<(ElementsMut<'_>, usize)>,
) -> Result<(), OpError> {
    let width: usize = parts.iter().map(|(_, channels)| channels).sum();
    let whole = matrix::<T>("the whole", whole, rows, width)?;
    for (part, channels) in &parts {
        check_len("a part", part.len(), rows, *channels)?;
        let (expected, found) = (T::DTYPE, part.dtype());
        if found != expected {
            return Err(OpError::WrongDType { operand: "a part", expected, found });
        }
    }
    let mut first = 0;
    for (part, channels) in parts {
        let part = matrix_mut::<T>("a part", part, rows, channels)?;
        for_each_row(part, channels, |row, out| {
            out.copy_from_slice(&row_of(whole, row, width)[first..first + channels]);
        });
        first += channels;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::testing::{noise, zeros};

    proptest! {
        #[test]
        fn split_undoes_concat(rows in 0_usize..50, widths in prop::collection::vec(0_usize..9, 0..5)) {
            for dtype in DType::ALL {
                let parts: Vec<HostBuffer> =
                    widths.iter().enumerate().map(|(part, w)| noise(dtype, rows * w, part as u64)).collect();
                let width: usize = widths.iter().sum();
                let mut whole = zeros(dtype, rows * width);
                let given: Vec<_> =
                    parts.iter().zip(&widths).map(|(part, w)| (part.as_elements(), *w)).collect();
                concat(&given, rows, whole.as_elements_mut()).unwrap();
                let values = whole.to_f32();
                for row in 0..rows {
                    let expected: Vec<f32> = parts.iter().zip(&widths)
                        .flat_map(|(part, w)| part.to_f32()[row * w..(row + 1) * w].to_vec()).collect();
                    prop_assert_eq!(&values[row * width..(row + 1) * width], &expected[..]);
                }
                let mut back: Vec<HostBuffer> = widths.iter().map(|w| zeros(dtype, rows * w)).collect();
                let targets = back.iter_mut().zip(&widths).map(|(part, w)| (part.as_elements_mut(), *w));
                split(whole.as_elements(), rows, targets.collect()).unwrap();
                prop_assert!(back == parts);
                let (mut again, mut first) = (noise(dtype, rows * width, 99), 0);
                for (part, &w) in parts.iter().zip(&widths) {
                    let columns = Columns { first, width: w, of: width };
                    put(part.as_elements(), rows, columns, again.as_elements_mut()).unwrap();
                    let mut taken = zeros(dtype, rows * w);
                    take(whole.as_elements(), rows, columns, taken.as_elements_mut()).unwrap();
                    prop_assert!(taken == *part);
                    first += w;
                }
                prop_assert!(again == whole);
            }
        }
    }
}
