//! Rows that belong to groups: gathering, adding up, and pooling of whole samples.
//!
//! A tensor of `groups` rows and one of `rows` rows, of which each belongs to one group or to none.
//! Spreading gathers a group's row for each of its rows; reducing makes one row of each group's.
//! Each is the other's gradient where the reduction is a sum. So this is gathering by an index with
//! its scatter-add, and the global pooling of a batch.

use voxtune_types::Reduction;

use super::error::OpError;
use super::number::{Number, by_dtype, for_each_row, matrix, matrix_mut, row_of};
use crate::chunks::for_each_chunk;
use crate::elements::{Elements, ElementsMut};

/// Which group each row belongs to, and the rows of each group in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowGroups {
    group_of_row: Vec<i32>,
    starts: Vec<i32>,
    order: Vec<i32>,
    piece_starts: Vec<i32>,
    pieces: Vec<i32>,
}

impl RowGroups {
    /// Most rows of a group that are added up one after the other. Longer groups are cut into
    /// pieces of so many, whose results are added up in order. The GPU's kernels do the same.
    pub const PIECE: usize = 512;

    /// Takes the group of each row, -1 for none.
    ///
    /// # Errors
    /// If a row names a group that there is not, or 32-bit numbers cannot name all.
    pub fn new(group_of_row: Vec<i32>, groups: usize) -> Result<Self, OpError> {
        for (what, found) in [("rows", group_of_row.len()), ("groups", groups)] {
            if found >= i32::MAX as usize {
                return Err(OpError::TooMany { what, found });
            }
        }
        let mut counts = vec![0_i32; groups];
        for (row, &found) in group_of_row.iter().enumerate() {
            match usize::try_from(found) {
                Ok(group) if group < groups => counts[group] += 1,
                Err(_) if found == -1 => {}
                _ => return Err(OpError::NoSuchGroup { row, found, groups }),
            }
        }
        let (mut starts, mut piece_starts) = (vec![0], vec![0]);
        let mut pieces = Vec::new();
        let mut next = 0;
        for count in counts {
            pieces.extend((next..next + count).step_by(Self::PIECE));
            next += count;
            starts.push(next);
            piece_starts.push(pieces.len() as i32);
        }
        pieces.push(next);
        let mut order = vec![0; next as usize];
        let mut places = starts.clone();
        for (row, &group) in group_of_row.iter().enumerate() {
            if let Ok(group) = usize::try_from(group) {
                order[places[group] as usize] = row as i32;
                places[group] += 1;
            }
        }
        Ok(Self { group_of_row, starts, order, piece_starts, pieces })
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.group_of_row.len()
    }

    /// Number of groups.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.starts.len() - 1
    }

    /// The group of each row, -1 for none.
    #[must_use]
    pub fn group_of_row(&self) -> &[i32] {
        &self.group_of_row
    }

    /// Where each group begins in [`Self::order`], and where the last ends.
    #[must_use]
    pub fn starts(&self) -> &[i32] {
        &self.starts
    }

    /// The rows that belong to a group, by group, ascending within each.
    #[must_use]
    pub fn order(&self) -> &[i32] {
        &self.order
    }

    /// Where the pieces of each group begin in [`Self::pieces`], and where the last end.
    #[must_use]
    pub fn piece_starts(&self) -> &[i32] {
        &self.piece_starts
    }

    /// Where each piece begins in [`Self::order`], and where the last ends.
    #[must_use]
    pub fn pieces(&self) -> &[i32] {
        &self.pieces
    }

    /// The row of its group for each row, zeros for a row of none.
    ///
    /// # Shapes
    /// `x`: `(groups, channels)`. `y`: `(rows, channels)`.
    ///
    /// # Errors
    /// If lengths or types differ from that.
    pub fn spread(
        &self,
        x: Elements<'_>,
        channels: usize,
        y: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(y.dtype(), spread(self, x, channels, y))
    }

    /// One row of each group's.
    ///
    /// # Shapes
    /// `x`: `(rows, channels)`. `y`: `(groups, channels)`.
    ///
    /// # Errors
    /// If lengths or types differ from that.
    pub fn reduce(
        &self,
        reduction: Reduction,
        x: Elements<'_>,
        channels: usize,
        y: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(y.dtype(), reduce(self, reduction, x, channels, y))
    }

    /// The gradient for the rows that were reduced.
    ///
    /// # Shapes
    /// `x`, `grad_x`: `(rows, channels)`. `y`, `grad_y`: `(groups, channels)`; only a maximum reads
    /// `x` and `y`.
    ///
    /// # Errors
    /// If lengths or types differ from that.
    pub fn reduce_backward(
        &self,
        reduction: Reduction,
        (x, y): (Elements<'_>, Elements<'_>),
        grad_y: Elements<'_>,
        channels: usize,
        grad_x: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        match reduction {
            Reduction::Sum => self.spread(grad_y, channels, grad_x),
            Reduction::Mean => {
                by_dtype!(grad_x.dtype(), spread_mean(self, grad_y, channels, grad_x))
            }
            Reduction::Max => {
                by_dtype!(grad_x.dtype(), spread_max(self, x, y, grad_y, channels, grad_x))
            }
        }
    }

    fn count(&self, group: usize) -> f32 {
        (self.starts[group + 1] - self.starts[group]) as f32
    }
}

/// The larger; what is not a number wins.
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

fn spread<T: Number>(
    groups: &RowGroups,
    x: Elements<'_>,
    channels: usize,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    let x = matrix::<T>("x", x, groups.groups(), channels)?;
    for_each_row(matrix_mut::<T>("y", y, groups.rows(), channels)?, channels, |row, out| {
        match usize::try_from(groups.group_of_row[row]) {
            Ok(group) => out.copy_from_slice(row_of(x, group, channels)),
            Err(_) => out.fill(T::default()),
        }
    });
    Ok(())
}

fn spread_mean<T: Number>(
    groups: &RowGroups,
    grad_y: Elements<'_>,
    channels: usize,
    grad_x: ElementsMut<'_>,
) -> Result<(), OpError> {
    let grad_y = matrix::<T>("grad_y", grad_y, groups.groups(), channels)?;
    let grad_x = matrix_mut::<T>("grad_x", grad_x, groups.rows(), channels)?;
    for_each_row(grad_x, channels, |row, out| {
        let Ok(group) = usize::try_from(groups.group_of_row[row]) else {
            return out.fill(T::default());
        };
        for (out, grad) in out.iter_mut().zip(row_of(grad_y, group, channels)) {
            *out = T::store(grad.load() / groups.count(group));
        }
    });
    Ok(())
}

fn spread_max<T: Number>(
    groups: &RowGroups,
    x: Elements<'_>,
    y: Elements<'_>,
    grad_y: Elements<'_>,
    channels: usize,
    grad_x: ElementsMut<'_>,
) -> Result<(), OpError> {
    let x = matrix::<T>("x", x, groups.rows(), channels)?;
    let y = matrix::<T>("y", y, groups.groups(), channels)?;
    let grad_y = matrix::<T>("grad_y", grad_y, groups.groups(), channels)?;
    let grad_x = matrix_mut::<T>("grad_x", grad_x, groups.rows(), channels)?;
    for_each_row(grad_x, channels, |row, out| {
        let Ok(group) = usize::try_from(groups.group_of_row[row]) else {
            return out.fill(T::default());
        };
        let (x, y) = (row_of(x, row, channels), row_of(y, group, channels));
        let grad_y = row_of(grad_y, group, channels);
        for (channel, out) in out.iter_mut().enumerate() {
            *out = if x[channel] == y[channel] { grad_y[channel] } else { T::default() };
        }
    });
    Ok(())
}

fn reduce<T: Number>(
    groups: &RowGroups,
    reduction: Reduction,
    x: Elements<'_>,
    channels: usize,
    y: ElementsMut<'_>,
) -> Result<(), OpError> {
    let x = matrix::<T>("x", x, groups.rows(), channels)?;
    let y = matrix_mut::<T>("y", y, groups.groups(), channels)?;
    let (first, combine): (f32, fn(f32, f32) -> f32) = match reduction {
        Reduction::Sum | Reduction::Mean => (0.0, |a, b| a + b),
        Reduction::Max => (f32::NEG_INFINITY, larger),
    };
    let mut parts = vec![first; (groups.pieces.len() - 1) * channels];
    for_each_chunk(&mut parts, channels.max(1), &|piece, totals| {
        let places = groups.pieces[piece] as usize..groups.pieces[piece + 1] as usize;
        for &row in &groups.order[places] {
            for (total, x) in totals.iter_mut().zip(row_of(x, row as usize, channels)) {
                *total = combine(*total, x.load());
            }
        }
    });
    for_each_row(y, channels, |group, out| {
        let count = groups.count(group);
        let pieces = groups.piece_starts[group] as usize..groups.piece_starts[group + 1] as usize;
        for (channel, out) in out.iter_mut().enumerate() {
            let of_pieces = pieces.clone().map(|piece| parts[piece * channels + channel]);
            let total = of_pieces.fold(first, combine);
            *out = T::store(match reduction {
                _ if pieces.is_empty() => 0.0,
                Reduction::Mean => total / count,
                Reduction::Sum | Reduction::Max => total,
            });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::testing::{close, derivative, noise, zeros};

    const ALL: [Reduction; 3] = [Reduction::Sum, Reduction::Mean, Reduction::Max];

    fn run(
        groups: &RowGroups,
        reduction: Reduction,
        x: &HostBuffer,
        channels: usize,
    ) -> HostBuffer {
        let mut y = zeros(x.dtype(), groups.groups() * channels);
        groups.reduce(reduction, x.as_elements(), channels, y.as_elements_mut()).unwrap();
        y
    }

    fn expected(index: &[i32], groups: usize, reduction: Reduction, x: &[f64]) -> Vec<f64> {
        let channels = x.len().checked_div(index.len()).unwrap_or(3);
        let mut out = Vec::new();
        for group in 0..groups {
            for channel in 0..channels {
                let of_group: Vec<f64> = index
                    .iter()
                    .enumerate()
                    .filter(|(_, one)| **one == group as i32)
                    .map(|(row, _)| x[row * channels + channel])
                    .collect();
                let sum: f64 = of_group.iter().sum();
                out.push(match reduction {
                    _ if of_group.is_empty() => 0.0,
                    Reduction::Sum => sum,
                    Reduction::Mean => sum / of_group.len() as f64,
                    Reduction::Max => of_group.iter().fold(f64::MIN, |most, x| most.max(*x)),
                });
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn groups_are_reduced(index in prop::collection::vec(-1_i32..5, 0..60), seed: u64) {
            let groups = RowGroups::new(index.clone(), 5).unwrap();
            for dtype in DType::ALL {
                let x = noise(dtype, index.len() * 3, seed);
                for reduction in ALL {
                    close(&run(&groups, reduction, &x, 3), expected(&index, 5, reduction, &x.to_f64()));
                }
            }
        }
    }

    #[test]
    fn long_groups_are_cut_into_pieces() {
        let index: Vec<i32> = (0..5_000).map(|row| if row % 7 == 0 { 1 } else { 0 }).collect();
        let groups = RowGroups::new(index.clone(), 3).unwrap();
        assert_eq!(groups.pieces().len() - 1, 4_285_usize.div_ceil(512) + 715_usize.div_ceil(512));
        let x = noise(DType::Float32, 5_000 * 3, 1);
        for reduction in ALL {
            let expected = expected(&index, 3, reduction, &x.to_f64());
            close(&run(&groups, reduction, &x, 3), expected);
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let groups = RowGroups::new(vec![1, 0, -1, 1, 3, 1, 0], 4).unwrap();
        let (x, grad_y) = (noise(DType::Float32, 14, 1), noise(DType::Float32, 8, 2));
        for reduction in ALL {
            let y = run(&groups, reduction, &x, 2);
            let mut grad_x = HostBuffer::from_f32(DType::Float32, &[9.0; 14]);
            let both = (x.as_elements(), y.as_elements());
            groups
                .reduce_backward(reduction, both, grad_y.as_elements(), 2, grad_x.as_elements_mut())
                .unwrap();
            derivative(&x, &grad_y, &grad_x, |x| run(&groups, reduction, x, 2));
        }
        let x = noise(DType::Float32, 8, 3);
        let grad_y = noise(DType::Float32, 14, 4);
        let grad_x = run(&groups, Reduction::Sum, &grad_y, 2);
        derivative(&x, &grad_y, &grad_x, |x| {
            let mut y = zeros(DType::Float32, 14);
            groups.spread(x.as_elements(), 2, y.as_elements_mut()).unwrap();
            y
        });
    }

    #[test]
    fn groups_that_there_are_not_are_named() {
        let error = RowGroups::new(vec![0, 2], 2).unwrap_err().to_string();
        assert!(error.contains("row 1 names group 2"), "{error}");
        assert!(RowGroups::new(vec![-2], 2).is_err());
        let none = RowGroups::new(Vec::new(), 0).unwrap();
        assert_eq!((none.rows(), none.groups(), none.pieces()), (0, 0, &[0][..]));
    }
}
