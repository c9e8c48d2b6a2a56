//! The clouds that a command line names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use voxtune_types::Voxel;

use crate::read::{Contents, read};
use crate::{CloudError, Crop, Generator, voxelize};

/// Where the voxels of a measurement come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A generator, which makes a cloud of any count.
    Generated(Generator),
    /// A scan file, which has the count that it has.
    File(PathBuf),
}

impl Source {
    /// The name in evidence: the generator's, or the file's without folder and extension.
    ///
    /// A file called like a generator keeps its extension, so that nobody takes the one for the
    /// other.
    #[must_use]
    pub fn label(&self) -> String {
        let path = match self {
            Self::Generated(generator) => return generator.as_str().to_owned(),
            Self::File(path) => path,
        };
        let text = |part: &OsStr| part.to_string_lossy().into_owned();
        let whole = path.file_name().unwrap_or(path.as_os_str());
        let stem = text(path.file_stem().unwrap_or(whole));
        if stem.parse::<Generator>().is_ok() { text(whole) } else { stem }
    }
}

impl TryFrom<&OsStr> for Source {
    type Error = CloudError;

    /// Reads the name of a generator; any other text is a path, which need not be Unicode. A file called
    /// `uniform` is written `./uniform`.
    fn try_from(text: &OsStr) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Err(CloudError::EmptySource);
        }
        let generator = text.to_str().and_then(|text| text.parse().ok());
        Ok(generator.map_or_else(|| Self::File(text.into()), Self::Generated))
    }
}

impl FromStr for Source {
    type Err = CloudError;

    /// [`Self::try_from`] for texts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(OsStr::new(text))
    }
}

/// How the points of a file become voxels.
///
/// # Units
/// Those of the points, metres in the usual scans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileOptions {
    /// The edge of a cell.
    pub cell_size: f32,
    /// The part of the scan that is kept; all of it if there is none.
    pub crop: Option<Crop>,
}

impl Default for FileOptions {
    /// Cells of 0.1, which is 10 cm in the usual scans, and no crop.
    fn default() -> Self {
        Self { cell_size: 0.1, crop: None }
    }
}

/// The voxels of a scan file: at least one, distinct, sorted by batch, x, y, z.
///
/// Points, as [`crate::read_points`] reads them, are voxelised by the options; those that are not
/// finite are left out. Integer arrays of shape `[N, 3]` (x, y, z) or `[N, 4]` (batch, x, y, z)
/// hold voxels, whose coordinates are taken as they are; the cell size does not concern them.
///
/// # Errors
/// Those of [`crate::read_points`] and [`voxelize()`]; [`CloudError::EmptyCloud`];
/// [`CloudError::DuplicateVoxel`] and [`CloudError::CropOfVoxels`] for integer arrays.
pub fn load_file(path: impl AsRef<Path>, options: &FileOptions) -> Result<Vec<Voxel>, CloudError> {
    let path = path.as_ref();
    let empty = |points, dropped| CloudError::EmptyCloud { path: path.to_owned(), points, dropped };
    let cloud = match read(path)? {
        Contents::Points(points) => {
            let cloud = voxelize(&points.xyz, options.cell_size, options.crop);
            let cloud = cloud.map_err(|error| match error {
                CloudError::CellOutOfRange { .. } => {
                    CloudError::InScan { path: path.to_owned(), source: Box::new(error) }
                }
                // The options are at fault.
                other => other,
            })?;
            if cloud.is_empty() {
                return Err(empty(points.xyz.len(), points.dropped));
            }
            cloud
        }
        Contents::Voxels(_) if options.crop.is_some() => {
            return Err(CloudError::CropOfVoxels { path: path.to_owned() });
        }
        Contents::Voxels(mut voxels) => {
            voxels.sort_unstable();
            if let Some(pair) = voxels.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(CloudError::DuplicateVoxel { path: path.to_owned(), voxel: pair[0] });
            }
            if voxels.is_empty() {
                return Err(empty(0, 0));
            }
            voxels
        }
    };
    Ok(cloud)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scans;

    #[test]
    fn texts_name_generators_or_files() {
        let label = |text: &str| text.parse::<Source>().unwrap().label();
        assert_eq!("surface".parse::<Source>().unwrap(), Source::Generated(Generator::Surface));
        assert_eq!("./surface".parse::<Source>().unwrap(), Source::File("./surface".into()));
        assert_eq!(label("uniform"), "uniform");
        assert_eq!(label("surface"), "surface");
        assert_eq!(label("scans/street.npz"), "street");
        assert_eq!(label("n015.pcd.bin"), "n015.pcd");
        assert_eq!(label("scans/uniform.npy"), "uniform.npy");
        assert_eq!(label(".."), "..");
        insta::assert_snapshot!("".parse::<Source>().unwrap_err(), @"an empty text names no cloud: expected uniform, surface or the path of a scan file");
    }

    #[test]
    #[cfg(unix)]
    fn f19_a_path_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OsStr::from_bytes(b"a\xff.npy"));
        std::fs::write(&path, scans::npy_points(&[[1.0; 3]])).unwrap();
        let source = Source::try_from(path.as_os_str()).unwrap();
        assert_eq!(source, Source::File(path.clone()));
        assert_eq!(source.label(), "a\u{fffd}");
        assert_eq!(load_file(&path, &FileOptions::default()).unwrap().len(), 1);
    }

    /// What `load_file` makes of a file with these bytes; its path reads `FOLDER/name` in errors.
    fn load(name: &str, bytes: &[u8], options: &FileOptions) -> Result<Vec<Voxel>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        load_file(&path, options)
            .map_err(|error| error.to_string().replace(&*folder.path().to_string_lossy(), "FOLDER"))
    }

    #[test]
    fn points_are_voxelised_and_voxels_are_kept() {
        let cropped = FileOptions { cell_size: 0.5, crop: Some("0,0,0,9,9,9".parse().unwrap()) };
        let points = [[1.0, 1.0, 1.0], [2.0, 1.0, 1.1], [-1.0, 0.0, 0.0], [2.1, 1.2, 1.3]];
        for (name, bytes) in scans::one_of_each_format(&points) {
            let cloud = load(&name, &bytes, &cropped).unwrap();
            assert_eq!(cloud, [Voxel::new(0, 0, 0, 0), Voxel::new(0, 2, 0, 0)], "{name}");
        }
        let voxels = scans::npy_voxels(&[[1, 9, 9, 9], [0, 5, -6, 7]]);
        let cloud = load("v.npy", &voxels, &FileOptions::default()).unwrap();
        assert_eq!(cloud, [Voxel::new(0, 5, -6, 7), Voxel::new(1, 9, 9, 9)]);
    }

    #[test]
    fn clouds_without_voxels_and_with_doubtful_ones_are_refused() {
        let whole = FileOptions::default();
        let cropped = FileOptions { crop: Some("0,0,0,1,1,1".parse().unwrap()), ..whole };
        let points = scans::npy_points(&[[2.0; 3], [f32::NAN; 3]]);
        let twice = scans::npy_voxels(&[[0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3]]);
        let message =
            |bytes: &[u8], options: &FileOptions| load("a.npy", bytes, options).unwrap_err();
        insta::assert_snapshot!(message(&points, &cropped), @"FOLDER/a.npy: expected at least 1 point, found none of 1 finite points within the crop (1 others are not finite)");
        insta::assert_snapshot!(message(&scans::npy_points(&[]), &whole), @"FOLDER/a.npy: expected at least 1 point, found none of 0 finite points within the crop (0 others are not finite)");
        insta::assert_snapshot!(message(&scans::npy_voxels(&[]), &whole), @"FOLDER/a.npy: expected at least 1 point, found none of 0 finite points within the crop (0 others are not finite)");
        insta::assert_snapshot!(message(&twice, &whole), @"FOLDER/a.npy: expected distinct voxels, found batch 0, (1, 2, 3) more than once");
        insta::assert_snapshot!(message(&twice, &cropped), @"FOLDER/a.npy: a crop applies to points, but this file holds integer voxel coordinates: leave it out");
        insta::assert_snapshot!(message(&points, &FileOptions { cell_size: 0.0, crop: None }), @"a cell size must be finite and above 0, found 0");
        let far = scans::npy_points(&[[0.0; 3], [1e30, 1.0, 2.0]]);
        insta::assert_snapshot!(message(&far, &whole), @"FOLDER/a.npy: point 1 (1000000000000000000000000000000, 1, 2) has no 32-bit cell at a cell size of 0.1: use a larger cell size or a crop");
    }
}
