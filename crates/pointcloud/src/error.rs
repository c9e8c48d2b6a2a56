//! What can be wrong with a request for a cloud or with a scan file.

use std::io;
use std::path::{Path, PathBuf};

use voxtune_types::Voxel;

use crate::limits::{MAX_COLUMNS, MAX_VOXELS, MIN_COLUMNS};

/// Why there is no cloud.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudError {
    /// A cloud of no voxels was asked for.
    #[error("a cloud needs at least 1 voxel, 0 were asked for")]
    NoVoxels,
    /// More voxels were asked for than a generated cloud may hold.
    #[error("a generated cloud holds at most {MAX_VOXELS} voxels, {requested} were asked for")]
    TooManyVoxels {
        /// The count asked for.
        requested: usize,
    },
    /// A batch of no samples was asked for.
    #[error("a batch needs at least 1 sample, 0 were asked for")]
    NoBatch,
    /// A name that no generator has.
    #[error("`{name}` is not a generator: expected uniform, surface or thick")]
    UnknownGenerator {
        /// The name.
        name: String,
    },
    /// An empty text where a generator or a path belongs.
    #[error("an empty text names no cloud: expected uniform, surface or the path of a scan file")]
    EmptySource,
    /// A text that is no crop box.
    #[error(
        "`{text}` is not a crop: {reason}; expected x0,y0,z0,x1,y1,z1 with each lower bound below its upper one"
    )]
    MalformedCrop {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused to read a file.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the name nor the first bytes of a file tell a known format.
    #[error("{}: expected a .npy, .npz, .bin, .ply or .pcd file, found {found}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its extension or first bytes.
        found: String,
    },
    /// The bytes of a file contradict its format or its own header.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the format or the header promises.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// An archive of several arrays, none or several of which have a name that means points.
    #[error(
        "{}: expected one array, or exactly one named pc, points, xyz, coords or indices_zyx, found {}",
        path.display(),
        if names.is_empty() { "no array".to_owned() } else { names.join(", ") }
    )]
    AmbiguousArray {
        /// The archive.
        path: PathBuf,
        /// The names of its arrays.
        names: Vec<String>,
    },
    /// A count of columns that no `.bin` scan has.
    #[error(
        "a row of a .bin scan has {} to {} float32 numbers, found `{found}`",
        MIN_COLUMNS,
        MAX_COLUMNS
    )]
    BadColumns {
        /// The count, or a text that is none.
        found: String,
    },
    /// A cell size that is not a positive number.
    #[error("a cell size must be finite and above 0, found {cell_size}")]
    BadCellSize {
        /// The cell size.
        cell_size: f32,
    },
    /// A point whose cell no 32-bit coordinate can name.
    #[error(
        "point {index} ({}, {}, {}) has no 32-bit cell at a cell size of {cell_size}: \
         use a larger cell size or a crop", shortest(point[0]), shortest(point[1]), shortest(point[2])
    )]
    CellOutOfRange {
        /// Its place among the points given, from 0.
        index: usize,
        /// The point, in the units of the scan.
        point: [f64; 3],
        /// The cell size, in the same units.
        cell_size: f32,
    },
    /// Points of a file that make no cloud.
    #[error("{}: {source}", path.display())]
    InScan {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: Box<Self>,
    },
    /// A file that names a voxel twice.
    #[error(
        "{}: expected distinct voxels, found batch {}, ({}, {}, {}) more than once",
        path.display(), voxel.batch, voxel.x, voxel.y, voxel.z
    )]
    DuplicateVoxel {
        /// The file.
        path: PathBuf,
        /// The voxel.
        voxel: Voxel,
    },
    /// A crop for a file that holds voxel coordinates, which have no length unit.
    #[error(
        "{}: a crop applies to points, but this file holds integer voxel coordinates: leave it out",
        path.display()
    )]
    CropOfVoxels {
        /// The file.
        path: PathBuf,
    },
    /// No finite point of the file lies in the crop.
    #[error(
        "{}: expected at least 1 point, found none of {points} finite points within the crop \
         ({dropped} others are not finite)", path.display()
    )]
    EmptyCloud {
        /// The file.
        path: PathBuf,
        /// Its finite points.
        points: usize,
        /// Its points with a NaN or an infinity.
        dropped: usize,
    },
}

/// Errors of one file.
#[derive(Clone, Copy)]
pub(crate) struct InFile<'a>(pub(crate) &'a Path);

impl InFile<'_> {
    /// The bytes contradict the format.
    pub(crate) fn malformed(
        self,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> CloudError {
        CloudError::Malformed {
            path: self.0.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// A text of two bytes a character.
    pub(crate) fn utf16(self) -> CloudError {
        self.malformed("ASCII or UTF-8 text", "UTF-16: save the file as UTF-8")
    }

    /// A header promises more bytes than the file has.
    pub(crate) fn too_short(self, what: impl Into<String>, found_bytes: usize) -> CloudError {
        self.malformed(what, format!("{found_bytes} bytes"))
    }
}

/// The fewest digits that tell a number from others of its type, which is f32 if that holds it.
fn shortest(number: f64) -> String {
    let single = number as f32;
    if f64::from(single) == number { single.to_string() } else { number.to_string() }
}

/// Text of a file for an error message: short and printable, whatever the file holds.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 40;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let dots = if bytes.len() > SHOWN_BYTES { "..." } else { "" };
    let quotes_as_they_are = shown.escape_ascii().to_string().replace("\\'", "'");
    format!("`{quotes_as_they_are}{dots}`")
}
