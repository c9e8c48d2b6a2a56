//! The clouds that a command line names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use voxtune_types::Voxel;

use crate::contents::Contents;
use crate::read::read_contents;
use crate::warning::coarse_axes;
use crate::{CloudError, Columns, Crop, Generator, Points, ScanWarning, voxelize};

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

    /// Reads the name of a generator; any other text is a path, which need not be Unicode. A file
    /// called `uniform` is written `./uniform`.
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
    /// Float32 numbers in a row of a `.bin` file. Without it the name decides, 4 (KITTI) or in
    /// `.pcd.bin` 5 (nuScenes), and a file whose numbers contradict that is refused.
    pub columns: Option<Columns>,
}

impl Default for FileOptions {
    /// Cells of 0.1, which is 10 cm in the usual scans, no crop, and columns by name.
    fn default() -> Self {
        Self { cell_size: 0.1, crop: None, columns: None }
    }
}

/// A scan file as voxels.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scan {
    /// At least one, distinct; sorted by batch, x, y, z, but for [`load_scan_in_order`].
    pub voxels: Vec<Voxel>,
    /// What is doubtful about them.
    pub warnings: Vec<ScanWarning>,
}

/// The voxels of a scan file: at least one, distinct, sorted by batch, x, y, z.
///
/// Points, as [`crate::read_points`] reads them, are voxelised by the options; those that are not
/// finite are left out. Integer arrays of shape `[N, 3]` (x, y, z) or `[N, 4]` (batch, x, y, z)
/// hold voxels, whose coordinates are taken as they are. The cell size does not concern them. What
/// [`load_scan`] finds doubtful goes to the log.
///
/// # Errors
/// Those of [`crate::read_points`] and [`voxelize()`]; [`CloudError::EmptyCloud`];
/// [`CloudError::DuplicateVoxel`] and [`CloudError::CropOfVoxels`] for integer arrays.
pub fn load_file(path: impl AsRef<Path>, options: &FileOptions) -> Result<Vec<Voxel>, CloudError> {
    let Scan { voxels, warnings } = load_scan(path, options)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(voxels)
}

/// The voxels of a scan file, as [`load_file`] has them, with what is doubtful about them.
///
/// # Errors
/// Those of [`load_file`].
pub fn load_scan(path: impl AsRef<Path>, options: &FileOptions) -> Result<Scan, CloudError> {
    let mut scan = load_scan_in_order(path, options)?;
    scan.voxels.sort_unstable();
    Ok(scan)
}

/// [`load_scan`] whose voxels are in the order of the file where it holds voxels, as the
/// voxelisation of a scan has made them. Those of points are sorted.
///
/// # Errors
/// Those of [`load_file`].
pub fn load_scan_in_order(
    path: impl AsRef<Path>,
    options: &FileOptions,
) -> Result<Scan, CloudError> {
    let path = path.as_ref();
    match read_contents(path, options.columns)? {
        Contents::Points(points) => scan_of_points(path, &points, options),
        Contents::Voxels(_) if options.crop.is_some() => {
            Err(CloudError::CropOfVoxels { path: path.to_owned() })
        }
        Contents::Voxels(voxels) => {
            let mut sorted = voxels.clone();
            sorted.sort_unstable();
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(CloudError::DuplicateVoxel { path: path.to_owned(), voxel: pair[0] });
            }
            if voxels.is_empty() {
                return Err(empty(path, 0, 0));
            }
            Ok(Scan { voxels, warnings: Vec::new() })
        }
    }
}

fn scan_of_points(path: &Path, points: &Points, options: &FileOptions) -> Result<Scan, CloudError> {
    let FileOptions { cell_size, crop, .. } = *options;
    let voxels = voxelize(&points.xyz, cell_size, crop).map_err(|error| match error {
        CloudError::CellOutOfRange { .. } => {
            CloudError::InScan { path: path.to_owned(), source: Box::new(error) }
        }
        // The options are at fault.
        other => other,
    })?;
    if voxels.is_empty() {
        return Err(empty(path, points.xyz.len(), points.dropped));
    }
    Ok(Scan { voxels, warnings: coarse_axes(path, points, cell_size, crop) })
}

fn empty(path: &Path, points: usize, dropped: usize) -> CloudError {
    CloudError::EmptyCloud { path: path.to_owned(), points, dropped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

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
        std::fs::write(&path, fixtures::npy_points(&[[1.0; 3]])).unwrap();
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
        let cropped = FileOptions {
            cell_size: 0.5,
            crop: Some("0,0,0,9,9,9".parse().unwrap()),
            columns: None,
        };
        let points = [[1.0, 1.0, 1.0], [2.0, 1.0, 1.1], [-1.0, 0.0, 0.0], [2.1, 1.2, 1.3]];
        for (name, bytes) in fixtures::one_of_each_format(&points) {
            let cloud = load(&name, &bytes, &cropped).unwrap();
            assert_eq!(cloud, [Voxel::new(0, 0, 0, 0), Voxel::new(0, 2, 0, 0)], "{name}");
        }
        let voxels = fixtures::npy_voxels(&[[1, 9, 9, 9], [0, 5, -6, 7]]);
        let cloud = load("v.npy", &voxels, &FileOptions::default()).unwrap();
        assert_eq!(cloud, [Voxel::new(0, 5, -6, 7), Voxel::new(1, 9, 9, 9)]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.npy");
        std::fs::write(&path, &voxels).unwrap();
        let stored = load_scan_in_order(&path, &FileOptions::default()).unwrap().voxels;
        assert_eq!(stored, [Voxel::new(1, 9, 9, 9), Voxel::new(0, 5, -6, 7)]);
    }

    #[test]
    fn clouds_without_voxels_and_with_doubtful_ones_are_refused() {
        let whole = FileOptions::default();
        let cropped = FileOptions { crop: Some("0,0,0,1,1,1".parse().unwrap()), ..whole };
        let points = fixtures::npy_points(&[[2.0; 3], [f32::NAN; 3]]);
        let twice = fixtures::npy_voxels(&[[0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3]]);
        let message =
            |bytes: &[u8], options: &FileOptions| load("a.npy", bytes, options).unwrap_err();
        insta::assert_snapshot!(message(&points, &cropped), @"FOLDER/a.npy: expected at least 1 point, found none of 1 finite points within the crop (1 others are not finite)");
        insta::assert_snapshot!(message(&fixtures::npy_points(&[]), &whole), @"FOLDER/a.npy: expected at least 1 point, found none of 0 finite points within the crop (0 others are not finite)");
        insta::assert_snapshot!(message(&fixtures::npy_voxels(&[]), &whole), @"FOLDER/a.npy: expected at least 1 point, found none of 0 finite points within the crop (0 others are not finite)");
        insta::assert_snapshot!(message(&twice, &whole), @"FOLDER/a.npy: expected distinct voxels, found batch 0, (1, 2, 3) more than once");
        insta::assert_snapshot!(message(&twice, &cropped), @"FOLDER/a.npy: a crop applies to points, but this file holds integer voxel coordinates: leave it out");
        insta::assert_snapshot!(message(&points, &FileOptions { cell_size: 0.0, ..whole }), @"a cell size must be finite and above 0, found 0");
        let far = fixtures::npy_points(&[[0.0; 3], [1e30, 1.0, 2.0]]);
        insta::assert_snapshot!(message(&far, &whole), @"FOLDER/a.npy: point 1 (1000000000000000000000000000000, 1, 2) has no 32-bit cell at a cell size of 0.1: use a larger cell size or a crop");
    }

    /// The scan of a grid of 0.1, rounded to float32 or not, `x0` from the origin.
    fn scan_at(x0: f64, type_name: &str, cell_size: f32) -> Scan {
        let value = |n: u32| x0 + f64::from(n) * 0.1 + 0.05;
        let rows = (0..50).map(|n| [value(n), 0.0, 1.0]);
        let data: Vec<u8> = match type_name {
            "<f4" => rows.flatten().flat_map(|number| (number as f32).to_le_bytes()).collect(),
            _ => rows.flatten().flat_map(f64::to_le_bytes).collect(),
        };
        let header =
            format!("{{'descr': '{type_name}', 'fortran_order': False, 'shape': (50, 3), }}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        std::fs::write(&path, fixtures::npy(1, &header, &data)).unwrap();
        load_scan(path, &FileOptions { cell_size, ..FileOptions::default() }).unwrap()
    }

    #[test]
    fn f03_coordinates_that_float32_has_lost_are_warned_of() {
        let warnings = |x0, type_name, cell_size| scan_at(x0, type_name, cell_size).warnings;
        assert_eq!(warnings(0.0, "<f4", 0.1), []);
        assert_eq!(warnings(9_000.0, "<f4", 0.1), []);
        assert_eq!(warnings(388_096.0, "<f4", 10.0), []);
        assert_eq!(warnings(3_948_996.0, "<f8", 0.1), []);
        assert_eq!(scan_at(3_948_996.0, "<f8", 0.1).voxels.len(), 50);
        let scan = scan_at(3_948_996.0, "<f4", 0.1);
        assert!(scan.voxels.len() < 50);
        let [warning] = &scan.warnings[..] else { panic!("{:?}", scan.warnings) };
        let text = warning.to_string();
        insta::assert_snapshot!(&text[text.find("a.npy").unwrap()..], @"a.npy: x reaches 3949001, where float32 has a step of 0.25, and a cell is 0.1: the file was written as float32, so that points share cells or miss them; write float64, or subtract an origin before writing float32");
    }
}
