//! A planned cloud as another process is told of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use voxtune_pointcloud::{Columns, Crop, FileOptions};

use crate::inputs::planned_cloud::{FileCloud, PlannedCloud};

/// A planned cloud by name. The process that gets it generates the cloud, or reads the file again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudReference {
    /// Made by a generator of this name.
    Generated {
        /// The generator's name.
        generator: String,
        /// How many voxels there are.
        voxels: usize,
    },
    /// Read from a file.
    File {
        /// Where it is. A path need not be Unicode.
        path: OsString,
        /// The bits of the cell's edge: JSON knows no infinities, which a crop may have.
        cell_size: u32,
        /// The bits of the crop's bounds, likewise.
        crop: Option<[[u64; 3]; 2]>,
        /// Numbers in a row of a `.bin` file.
        columns: Option<usize>,
        /// The grid that its voxels lie in, where layers end with it.
        grid: Option<[u32; 3]>,
        /// How many voxels it had when the plan was made.
        voxels: usize,
    },
}

impl From<&PlannedCloud> for CloudReference {
    fn from(cloud: &PlannedCloud) -> Self {
        match cloud {
            &PlannedCloud::Generated { generator, voxels } => {
                Self::Generated { generator: generator.as_str().to_owned(), voxels }
            }
            PlannedCloud::File(file) => {
                let FileOptions { cell_size, crop, columns } = file.options();
                Self::File {
                    path: file.path().clone().into_os_string(),
                    cell_size: cell_size.to_bits(),
                    crop: crop.map(|crop| [crop.min.map(f64::to_bits), crop.max.map(f64::to_bits)]),
                    columns: columns.map(Columns::get),
                    grid: file.grid(),
                    voxels: file.voxels(),
                }
            }
        }
    }
}

impl CloudReference {
    /// The cloud. Looks for a file among those that were read before, and adds it to them.
    ///
    /// # Errors
    /// If a file cannot be read, or has another number of voxels than it had.
    pub(crate) fn read(
        &self,
        files: &mut Vec<(Self, Arc<FileCloud>)>,
    ) -> Result<PlannedCloud, String> {
        let (path, cell_size, crop, columns, grid, voxels) = match self {
            Self::Generated { generator, voxels } => {
                let generator = generator.parse().map_err(|error| format!("{error}"))?;
                return Ok(PlannedCloud::Generated { generator, voxels: *voxels });
            }
            Self::File { path, cell_size, crop, columns, grid, voxels } => {
                (path, *cell_size, crop, columns, *grid, *voxels)
            }
        };
        if let Some((_, file)) = files.iter().find(|(read, _)| read == self) {
            return Ok(PlannedCloud::File(Arc::clone(file)));
        }
        let floats = |bits: [u64; 3]| bits.map(f64::from_bits);
        let crop = crop.map(|[min, max]| Crop { min: floats(min), max: floats(max) });
        let columns = columns.map(Columns::new).transpose().map_err(|error| error.to_string())?;
        let options = FileOptions { cell_size: f32::from_bits(cell_size), crop, columns };
        let file =
            FileCloud::load(PathBuf::from(path), options).map_err(|error| error.to_string())?;
        if file.voxels() != voxels {
            return Err(format!(
                "{}: it had {voxels} voxels when the run began and has {} now: leave it alone \
                 meanwhile",
                file.path().display(),
                file.voxels()
            ));
        }
        let file = Arc::new(file.within(grid));
        files.push((self.clone(), Arc::clone(&file)));
        Ok(PlannedCloud::File(file))
    }
}
