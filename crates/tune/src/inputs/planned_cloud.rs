//! A cloud of known size, before it is made: a generator's or a file's.

use std::path::PathBuf;
use std::sync::Arc;

use voxtune::Device;
use voxtune_pointcloud::{
    CloudError, FileOptions, Generator, Scan, ScanWarning, Source, load_scan,
};
use voxtune_types::Voxel;

use crate::inputs::generated_cells::{CloudRequest, GeneratedCells};

/// A cloud of known size.
#[derive(Clone, Debug)]
pub enum PlannedCloud {
    /// Made for the configuration.
    Generated {
        /// How its voxels lie.
        generator: Generator,
        /// How many there are.
        voxels: usize,
    },
    /// Read from a file when the plan was made.
    File(Arc<FileCloud>),
}

impl PlannedCloud {
    /// Voxels that are there already, under a name of the caller's.
    #[must_use]
    pub fn given(label: &str, cells: Vec<Voxel>) -> Self {
        Self::File(Arc::new(FileCloud::given(label, cells)))
    }

    /// The permanent text that evidence is stored under.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Generated { generator, .. } => generator.as_str(),
            Self::File(file) => &file.label,
        }
    }

    /// Number of voxels.
    #[must_use]
    pub fn voxels(&self) -> usize {
        match self {
            Self::Generated { voxels, .. } => *voxels,
            Self::File(file) => file.cells.len(),
        }
    }

    /// The voxels, in samples as the seed gives them; a file's are what they are.
    ///
    /// # Errors
    /// If the generator refuses the count.
    pub fn cells(
        &self,
        device: &Device,
        held: &mut GeneratedCells,
        (batch_size, seed): (usize, u64),
    ) -> Result<Vec<Voxel>, CloudError> {
        match *self {
            Self::Generated { generator, voxels } => {
                let request = CloudRequest { generator, voxels, batch_size, seed };
                held.of(device, request).map(<[Voxel]>::to_vec)
            }
            Self::File(ref file) => Ok(file.cells.clone()),
        }
    }

    /// Cells along x, y and z, where those that layers make end; `None` if nowhere.
    #[must_use]
    pub fn grid(&self) -> Option<[u32; 3]> {
        match self {
            Self::Generated { .. } => None,
            Self::File(file) => file.grid(),
        }
    }

    /// So many voxels that lie in the same way, of one sample: a generated cloud, or a contiguous
    /// part of a file's. A file gives [no more than it has](Self::sample_rows).
    ///
    /// # Errors
    /// If the generator refuses the count.
    pub fn sample(
        &self,
        device: &Device,
        held: &mut GeneratedCells,
        rows: usize,
        seed: u64,
    ) -> Result<Vec<Voxel>, CloudError> {
        let rows = self.sample_rows(rows);
        match *self {
            Self::Generated { generator, .. } => {
                let request = CloudRequest { generator, voxels: rows, batch_size: 1, seed };
                held.of(device, request).map(<[Voxel]>::to_vec)
            }
            Self::File(ref file) => {
                let start = (file.cells.len() - rows) / 2;
                Ok(file.cells[start..start + rows].to_vec())
            }
        }
    }

    /// How many voxels a [sample](Self::sample) of so many has. A generated cloud has as many as
    /// are wanted, however few are measured. What is verified on one voxel would hold for no larger
    /// cloud.
    #[must_use]
    pub fn sample_rows(&self, wanted: usize) -> usize {
        match self {
            Self::Generated { .. } => wanted,
            Self::File(file) => wanted.min(file.cells.len()),
        }
    }

    /// Mean pairs per row to expect of a kernel of this volume, before there is a kernel map. The
    /// occupancy of uniform clouds is 15 %; surfaces fill a third of a small neighbourhood.
    #[must_use]
    pub fn expected_pairs_per_row(&self, kernel_volume: usize) -> f64 {
        let others = kernel_volume.saturating_sub(1) as f64;
        match self {
            Self::Generated { generator: Generator::Uniform, .. } => others.mul_add(0.15, 1.0),
            Self::Generated { generator: Generator::Thick, .. } => others.mul_add(0.56, 1.0),
            _ => others.mul_add(0.33, 1.0),
        }
    }

    /// Samples in the batch.
    #[must_use]
    pub fn batches(&self, batch_size: usize) -> u32 {
        let batches = match self {
            Self::Generated { voxels, .. } => batch_size.min(*voxels),
            Self::File(file) => file
                .cells
                .iter()
                .map(|cell| cell.batch)
                .max()
                .map_or(1, |last| usize::try_from(last).map_or(1, |last| last + 1)),
        };
        u32::try_from(batches).unwrap_or(u32::MAX)
    }

    /// Whether two clouds have the same voxels for the same batch size and seed.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Generated { generator, voxels },
                Self::Generated { generator: other_generator, voxels: other_voxels },
            ) => generator == other_generator && voxels == other_voxels,
            (Self::File(file), Self::File(other)) => Arc::ptr_eq(file, other),
            _ => false,
        }
    }
}

/// The voxels of a file.
#[derive(Debug)]
pub struct FileCloud {
    label: String,
    path: PathBuf,
    options: FileOptions,
    cells: Vec<Voxel>,
    grid: Option<[u32; 3]>,
    warnings: Vec<ScanWarning>,
}

impl FileCloud {
    pub(crate) fn load(path: PathBuf, options: FileOptions) -> Result<Self, CloudError> {
        let Scan { voxels, warnings, .. } = load_scan(&path, &options)?;
        let label = Source::File(path.clone()).label();
        Ok(Self { label, path, options, cells: voxels, grid: None, warnings })
    }

    /// The same voxels within a grid of so many cells along x, y and z, from 0 up.
    pub(crate) fn within(self, grid: Option<[u32; 3]>) -> Self {
        Self { grid, ..self }
    }

    pub(crate) fn given(label: &str, cells: Vec<Voxel>) -> Self {
        let (path, options) = (PathBuf::new(), FileOptions::default());
        Self { label: label.to_owned(), path, options, cells, grid: None, warnings: Vec::new() }
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// What is doubtful about the file.
    pub(crate) fn warnings(&self) -> &[ScanWarning] {
        &self.warnings
    }

    pub(crate) const fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) const fn options(&self) -> FileOptions {
        self.options
    }

    pub(crate) const fn grid(&self) -> Option<[u32; 3]> {
        self.grid
    }

    pub(crate) const fn voxels(&self) -> usize {
        self.cells.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdicts are asked for once, whichever size comes first.
    #[test]
    fn a_small_cloud_is_verified_on_a_large_one() {
        let small = PlannedCloud::Generated { generator: Generator::Uniform, voxels: 1 };
        let (device, held) = (Device::cpu_with_threads(1).unwrap(), &mut GeneratedCells::default());
        assert_eq!(small.sample(&device, held, 600, 0).unwrap().len(), 600);
        let cells = small.sample(&device, held, 40, 0).unwrap();
        let file = PlannedCloud::given("scan", cells);
        assert_eq!((file.sample_rows(600), file.sample_rows(7)), (40, 7));
        assert_eq!(file.sample(&device, held, 600, 0).unwrap().len(), 40);
    }
}
