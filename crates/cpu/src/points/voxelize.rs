//! Voxels of points on the host.

use rayon::prelude::*;
use voxtune_types::Voxel;

use super::batches::check_points;
use super::{PointBatches, PointsError, VoxelGrid};
use crate::ops::RowGroups;

/// Which points a voxel's mean is of, and how many voxels there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Voxelization {
    /// The mean of all points of a voxel; every voxel with a point is there.
    Dynamic,
    /// The mean of a voxel's first points: spconv's `PointToVoxel` with the mean of OpenPCDet's
    /// `MeanVFE`.
    Hard {
        /// Most points that a mean is of. Later points of a voxel change nothing, and still belong
        /// to it.
        max_points: usize,
        /// Most voxels of each sample, `None` for any number. Kept are those whose first points
        /// come first; the others are dropped with all their points, and later points of kept ones
        /// are not.
        max_voxels: Option<usize>,
    },
}

impl Voxelization {
    /// Most points that a mean is of.
    ///
    /// # Errors
    /// [`PointsError::NoPoints`] if that is none.
    pub const fn max_points(self) -> Result<usize, PointsError> {
        match self {
            Self::Dynamic => Ok(usize::MAX),
            Self::Hard { max_points: 0, .. } => Err(PointsError::NoPoints),
            Self::Hard { max_points, .. } => Ok(max_points),
        }
    }

    /// Most voxels of a sample, `None` for any number.
    #[must_use]
    pub const fn max_voxels(self) -> Option<usize> {
        match self {
            Self::Dynamic => None,
            Self::Hard { max_voxels, .. } => max_voxels,
        }
    }
}

/// Points in host memory.
#[derive(Clone, Copy, Debug)]
pub struct Points<'a> {
    /// `(points, columns)`, row-major: x, y, z and further columns.
    pub values: &'a [f32],
    /// Columns, at least 3.
    pub columns: usize,
    /// The sample of each point; without, all are of batch 0.
    pub batches: Option<&'a PointBatches>,
}

impl Points<'_> {
    /// Number of points.
    fn rows(&self) -> Result<usize, PointsError> {
        let Self { values, columns, batches } = *self;
        if columns < 3 {
            return Err(PointsError::Columns { found: columns });
        }
        let (rows, found) = (values.len() / columns, values.len());
        if !found.is_multiple_of(columns) {
            let expected = rows * columns;
            return Err(PointsError::Length { what: "numbers of points", expected, found });
        }
        check_points(rows)?;
        match batches {
            Some(batches) if batches.len() != rows => {
                let (what, found) = ("batch numbers of points", batches.len());
                Err(PointsError::Length { what, expected: rows, found })
            }
            _ => Ok(rows),
        }
    }

    fn row(&self, point: usize) -> &[f32] {
        &self.values[point * self.columns..][..self.columns]
    }

    fn batch(&self, point: usize) -> i32 {
        self.batches.map_or(0, |batches| batches.of_point()[point])
    }
}

/// Voxels of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Voxelized {
    /// The voxels, in the order of their first points.
    pub voxels: Vec<Voxel>,
    /// `(voxels, columns)`: the mean of each voxel's points.
    pub means: Vec<f32>,
    /// The voxel of each point, and the points of each voxel.
    pub groups: RowGroups,
}

/// The points of a voxel: its first one, and where they lie among all that are sorted.
struct Cell {
    first: u32,
    begin: usize,
    end: usize,
}

/// Makes voxels of points. A point outside the grid, and one with a column that is no finite
/// number, is in no voxel. Runs on rayon's current pool.
///
/// # Errors
/// If the grid has no cells or too many, lengths do not fit, or samples are mixed where their
/// voxels are limited.
pub fn voxelize(
    points: Points<'_>,
    grid: &VoxelGrid,
    voxelization: Voxelization,
) -> Result<Voxelized, PointsError> {
    let (rows, cells) = (points.rows()?, grid.cells()?);
    let (max_points, max_voxels) = (voxelization.max_points()?, voxelization.max_voxels());
    check_cells(points.batches, cells)?;
    if let Some(batches) = points.batches.filter(|_| max_voxels.is_some()) {
        batches.begins()?;
    }

    let [_, y_cells, z_cells] = cells.map(u64::from);
    let key = |point: u32| {
        let row = points.row(point as usize);
        let cell = grid.cell_of(cells, row)?.map(u64::from);
        let batch = points.batch(point as usize) as u64;
        let column = (batch * u64::from(cells[0]) + cell[0]) * y_cells + cell[1];
        let finite = row[3..].iter().all(|value| value.is_finite());
        finite.then_some((column * z_cells + cell[2], point))
    };
    let mut keyed: Vec<(u64, u32)> = (0..rows as u32).into_par_iter().filter_map(key).collect();
    keyed.par_sort_unstable();
    let mut end = 0;
    let runs = keyed.chunk_by(|one, other| one.0 == other.0).map(|run| {
        let begin = end;
        end += run.len();
        Cell { first: run[0].1, begin, end }
    });
    let mut found: Vec<Cell> = runs.collect();
    found.par_sort_unstable_by_key(|cell| cell.first);
    if let Some(most) = max_voxels {
        let (mut sample, mut kept) = (-1, 0);
        found.retain(|cell| {
            let own = points.batch(cell.first as usize);
            kept = if own == sample { kept + 1 } else { 1 };
            sample = own;
            kept <= most
        });
    }

    let mut voxel_of_point = vec![-1; rows];
    for (voxel, cell) in (0..).zip(&found) {
        for &(_, point) in &keyed[cell.begin..cell.end] {
            voxel_of_point[point as usize] = voxel;
        }
    }
    let place = |cell: &Cell| {
        let row = points.row(cell.first as usize);
        let at = grid.cell_of(cells, row).expect("a point in a cell lies in it");
        let [x, y, z] = grid.ordered(at.map(|along| along as i32));
        Voxel::new(points.batch(cell.first as usize), x, y, z)
    };
    let voxels = found.par_iter().map(place).collect();
    let mut means = vec![0.0; found.len() * points.columns];
    means.par_chunks_mut(points.columns).zip(&found).for_each(|(means, cell)| {
        let own = &keyed[cell.begin..cell.end];
        let own = &own[..own.len().min(max_points)];
        for (column, mean) in means.iter_mut().enumerate() {
            let values = own.iter().map(|&(_, at)| f64::from(points.row(at as usize)[column]));
            *mean = (values.sum::<f64>() / own.len() as f64) as f32;
        }
    });
    let groups = RowGroups::new(voxel_of_point, found.len())?;
    Ok(Voxelized { voxels, means, groups })
}

/// Refuses more cells than can be numbered.
fn check_cells(batches: Option<&PointBatches>, cells: [u32; 3]) -> Result<(), PointsError> {
    let samples = batches.map_or(1, PointBatches::samples);
    let all = cells.iter().fold(samples as u128, |all, &along| all * u128::from(along));
    if all >= 1 << 63 {
        return Err(PointsError::TooManyCells { samples, cells });
    }
    Ok(())
}
