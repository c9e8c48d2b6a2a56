//! The samples of a cloud.

use super::PointsError;

/// Which sample each point of a cloud belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointBatches {
    of_point: Vec<i32>,
    samples: usize,
    /// Where the samples begin, and where the last ends; or the first point that is out of order.
    begins: Result<Vec<i32>, usize>,
}

impl PointBatches {
    /// Most points of a cloud: rows are numbered by 30 bits.
    pub const MAX_POINTS: usize = (1 << 30) - 1;
    /// Most samples of a cloud.
    pub const MAX_SAMPLES: usize = 1 << 20;

    /// Takes the batch number of each point, in any order.
    ///
    /// # Errors
    /// If a number is negative or [`Self::MAX_SAMPLES`] or more, or there are too many points.
    pub fn new(of_point: Vec<i32>) -> Result<Self, PointsError> {
        check_points(of_point.len())?;
        let is_sample = |batch: i32| usize::try_from(batch).is_ok_and(|b| b < Self::MAX_SAMPLES);
        if let Some(point) = of_point.iter().position(|&batch| !is_sample(batch)) {
            return Err(PointsError::Batch { point, found: of_point[point] });
        }
        let samples = of_point.iter().max().map_or(0, |&last| last as usize + 1);
        let late = of_point.windows(2).position(|pair| pair[0] > pair[1]);
        let begins = match late {
            Some(before) => Err(before + 1),
            None => {
                let mut counts = vec![0; samples];
                of_point.iter().for_each(|&batch| counts[batch as usize] += 1);
                Ok(begins_of(counts))
            }
        };
        Ok(Self { of_point, samples, begins })
    }

    /// Samples of so many points each, one behind the other.
    ///
    /// # Errors
    /// If there are too many samples or points.
    pub fn joined(points: &[usize]) -> Result<Self, PointsError> {
        let (found, samples) = (points.len(), points.len());
        if found > Self::MAX_SAMPLES {
            return Err(PointsError::TooManySamples { found });
        }
        check_points(points.iter().fold(0, |all, &own| all.saturating_add(own)))?;
        let of_point =
            (0..).zip(points).flat_map(|(sample, &own)| std::iter::repeat_n(sample, own));
        let begins = Ok(begins_of(points.iter().map(|&own| own as i32)));
        Ok(Self { of_point: of_point.collect(), samples, begins })
    }

    /// Number of points.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.of_point.len()
    }

    /// Whether there are no points.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.of_point.is_empty()
    }

    /// Number of samples: one more than the largest batch number, or as many as were joined.
    #[must_use]
    pub const fn samples(&self) -> usize {
        self.samples
    }

    /// The batch number of each point.
    #[must_use]
    pub fn of_point(&self) -> &[i32] {
        &self.of_point
    }

    /// Where the points of each sample begin, and where the last end.
    ///
    /// # Errors
    /// [`PointsError::Mixed`] if points are not in the order of their batch numbers.
    pub fn begins(&self) -> Result<&[i32], PointsError> {
        let mixed = |&point: &usize| PointsError::Mixed { point, batch: self.of_point[point] };
        self.begins.as_deref().map_err(mixed)
    }
}

fn begins_of(counts: impl IntoIterator<Item = i32>) -> Vec<i32> {
    let ends = counts.into_iter().scan(0, |end, own| {
        *end += own;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Refuses more points than can be numbered.
pub(super) const fn check_points(found: usize) -> Result<(), PointsError> {
    if found > PointBatches::MAX_POINTS {
        return Err(PointsError::TooManyPoints { found });
    }
    Ok(())
}
