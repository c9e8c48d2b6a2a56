//! A dense tensor of the cells that voxels lie in.

use voxtune_types::Voxel;

use super::error::OpError;
use super::groups::RowGroups;
use super::number::{Number, by_dtype, check_len, for_each_row, matrix, matrix_mut};
use crate::chunks::for_each_chunk;
use crate::elements::{Elements, ElementsMut};

/// A dense grid: samples of `shape` cells each, from coordinate 0 on.
///
/// Its tensor is `(batches · channels, cells)`: batch, channel, x, y, z, the last one fastest,
/// which other libraries call NCDHW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseGrid {
    /// Samples.
    pub batches: usize,
    /// Cells along x, y and z.
    pub shape: [usize; 3],
}

impl DenseGrid {
    /// Cells of a sample; `None` where that is no number.
    #[must_use]
    pub fn cells(&self) -> Option<usize> {
        let [x, y, z] = self.shape;
        x.checked_mul(y)?.checked_mul(z)
    }

    /// Elements of a dense tensor; none where they are no number.
    fn check(&self, dense: usize, channels: usize) -> Result<(), OpError> {
        let [x, y, z] = self.shape.map(|cells| cells as u128);
        let lines = (self.batches as u128).saturating_mul(channels as u128);
        let cells = x.saturating_mul(y).saturating_mul(z);
        let expected = lines.saturating_mul(cells);
        let operand = "the dense tensor";
        if dense as u128 == expected {
            return Ok(());
        }
        Err(OpError::WrongLength { operand, expected, found: dense })
    }

    /// The sample of a voxel and its cell in it; `None` if the voxel lies outside.
    fn place(&self, voxel: Voxel) -> Option<(usize, usize)> {
        let inside = |at: i32, limit: usize| usize::try_from(at).ok().filter(|at| *at < limit);
        let [width, height, depth] = self.shape;
        let batch = inside(voxel.batch, self.batches)?;
        let (x, y) = (inside(voxel.x, width)?, inside(voxel.y, height)?);
        Some((batch, (x * height + y) * depth + inside(voxel.z, depth)?))
    }

    /// Refuses voxels outside.
    ///
    /// # Errors
    /// If there is one, the first.
    pub fn check_inside(&self, voxels: &[Voxel]) -> Result<(), OpError> {
        self.places(voxels).map(|_| ())
    }

    fn places(&self, voxels: &[Voxel]) -> Result<Vec<(usize, usize)>, OpError> {
        let place = |(row, &voxel): (usize, &Voxel)| {
            let Self { batches, shape } = *self;
            self.place(voxel).ok_or(OpError::Outside { row, voxel, batches, shape })
        };
        voxels.iter().enumerate().map(place).collect()
    }

    /// The dense tensor of these rows, zeros where no voxel is. Of two rows in one cell the later
    /// one is taken.
    ///
    /// # Shapes
    /// `x`: `(voxels, channels)`. `dense`: `(batches · channels, cells)`.
    ///
    /// # Errors
    /// If a voxel lies outside, or lengths or types differ from that.
    pub fn to_dense(
        &self,
        x: Elements<'_>,
        channels: usize,
        voxels: &[Voxel],
        dense: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(dense.dtype(), to_dense(self, x, channels, voxels, dense))
    }

    /// The rows of a dense tensor's cells in which the voxels lie: the gradient of
    /// [`Self::to_dense`], whose own it is.
    ///
    /// # Shapes
    /// `dense`: `(batches · channels, cells)`. `x`: `(voxels, channels)`.
    ///
    /// # Errors
    /// If a voxel lies outside, or lengths or types differ from that.
    pub fn from_dense(
        &self,
        dense: Elements<'_>,
        channels: usize,
        voxels: &[Voxel],
        x: ElementsMut<'_>,
    ) -> Result<(), OpError> {
        by_dtype!(x.dtype(), from_dense(self, dense, channels, voxels, x))
    }
}

fn to_dense<T: Number>(
    grid: &DenseGrid,
    x: Elements<'_>,
    channels: usize,
    voxels: &[Voxel],
    dense: ElementsMut<'_>,
) -> Result<(), OpError> {
    let len = dense.len();
    grid.check(len, channels)?;
    let x = matrix::<T>("x", x, voxels.len(), channels)?;
    let dense = matrix_mut::<T>("the dense tensor", dense, len, 1)?;
    let places = grid.places(voxels)?;
    for_each_chunk(dense, 1 << 14, &|_, elements| elements.fill(T::default()));
    if len == 0 {
        return Ok(());
    }
    // A task has all cells of a sample's channel, so that none writes where another one does.
    let batches = places.iter().map(|(batch, _)| *batch as i32).collect();
    let samples = RowGroups::new(batches, grid.batches)?;
    let cells = len / (grid.batches * channels);
    for_each_chunk(dense, cells, &|line, dense| {
        let (batch, channel) = (line / channels, line % channels);
        let rows = samples.starts()[batch] as usize..samples.starts()[batch + 1] as usize;
        for &row in &samples.order()[rows] {
            dense[places[row as usize].1] = x[row as usize * channels + channel];
        }
    });
    Ok(())
}

fn from_dense<T: Number>(
    grid: &DenseGrid,
    dense: Elements<'_>,
    channels: usize,
    voxels: &[Voxel],
    x: ElementsMut<'_>,
) -> Result<(), OpError> {
    let len = dense.len();
    grid.check(len, channels)?;
    check_len("x", x.len(), voxels.len(), channels)?;
    let dense = matrix::<T>("the dense tensor", dense, len, 1)?;
    let x = matrix_mut::<T>("x", x, voxels.len(), channels)?;
    let places = grid.places(voxels)?;
    let cells = len.checked_div(grid.batches * channels).unwrap_or(0);
    for_each_row(x, channels, |row, out| {
        let (batch, cell) = places[row];
        for (channel, out) in out.iter_mut().enumerate() {
            *out = dense[(batch * channels + channel) * cells + cell];
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::ops::testing::{noise, zeros};

    const GRID: DenseGrid = DenseGrid { batches: 2, shape: [3, 4, 5] };

    #[test]
    fn cells_have_the_rows_of_their_voxels() {
        let voxels: Vec<Voxel> = (0..120)
            .filter(|place| place % 7 != 0 && place % 3 != 1)
            .map(|place| Voxel::new(place / 60, place / 20 % 3, place / 5 % 4, place % 5))
            .rev()
            .collect();
        for dtype in DType::ALL {
            let channels = 3;
            let x = noise(dtype, voxels.len() * channels, 2);
            let mut dense = noise(dtype, 120 * channels, 3);
            GRID.to_dense(x.as_elements(), channels, &voxels, dense.as_elements_mut()).unwrap();
            let (values, found) = (x.to_f32(), dense.to_f32());
            let mut expected = vec![0.0; 120 * channels];
            for (row, voxel) in voxels.iter().enumerate() {
                for channel in 0..channels {
                    let place = [
                        (voxel.batch, 0),
                        (channel as i32, 3),
                        (voxel.x, 3),
                        (voxel.y, 4),
                        (voxel.z, 5),
                    ]
                    .iter()
                    .fold(0, |place, &(at, extent)| place * extent + at);
                    expected[place as usize] = values[row * channels + channel];
                }
            }
            assert_eq!(found, expected);
            let mut back = zeros(dtype, x.len());
            GRID.from_dense(dense.as_elements(), channels, &voxels, back.as_elements_mut())
                .unwrap();
            assert!(back == x);
        }
    }

    #[test]
    fn voxels_outside_are_named() {
        let x = zeros(DType::Float32, 2);
        for outside in [
            Voxel::new(2, 0, 0, 0),
            Voxel::new(-1, 0, 0, 0),
            Voxel::new(0, 3, 0, 0),
            Voxel::new(0, 0, -1, 0),
            Voxel::new(0, 0, 0, 5),
        ] {
            let voxels = [Voxel::default(), outside];
            let mut dense = zeros(DType::Float32, 120);
            let error = GRID
                .to_dense(x.as_elements(), 1, &voxels, dense.as_elements_mut())
                .unwrap_err()
                .to_string();
            assert!(error.contains("row 1") && error.contains(&outside.to_string()), "{error}");
        }
        let huge = DenseGrid { batches: usize::MAX, shape: [usize::MAX; 3] };
        assert!(huge.cells().is_none());
        let mut dense = zeros(DType::Float32, 1);
        assert!(huge.to_dense(x.as_elements(), 1, &[], dense.as_elements_mut()).is_err());
    }

    #[test]
    fn nothing_becomes_nothing() {
        let (empty, mut dense) = (zeros(DType::Float16, 0), noise(DType::Float16, 120, 1));
        GRID.to_dense(empty.as_elements(), 1, &[], dense.as_elements_mut()).unwrap();
        assert!(dense == zeros(DType::Float16, 120));
        let flat = DenseGrid { batches: 1, shape: [0, 4, 5] };
        let mut none = zeros(DType::Float16, 0);
        flat.to_dense(empty.as_elements(), 3, &[], none.as_elements_mut()).unwrap();
        flat.from_dense(empty.as_elements(), 0, &[], none.as_elements_mut()).unwrap();
    }
}
