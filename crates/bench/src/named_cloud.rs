//! Clouds that a command line names one by one, each of a size of its own.
//!
//! | text | cloud |
//! |---|---|
//! | `uniform`, `surface` | a generated cloud of the default count |
//! | `uniform:130000` | a generated cloud of this count |
//! | `scan.npz` | a scan file, or a `.i32` file |
//! | `folder` | every cloud file in it, by name |
//! | `street=scan.npz` | the same under another name |
//!
//! Scan files are those that [`voxtune_pointcloud::load_file`] reads. A `.i32` file is nothing but
//! little-endian int32 triples (x, y, z), one a voxel, taken in their order.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use voxtune_pointcloud::{
    CloudError, FileOptions, Generator, MAX_VOXELS, Scan, ScanWarning, generate, load_scan,
    load_scan_in_order,
};
use voxtune_types::Voxel;

/// Extensions that are looked for in a folder.
const EXTENSIONS: [&str; 6] = ["bin", "i32", "npy", "npz", "pcd", "ply"];

/// Bytes of a voxel in a `.i32` file.
const RAW_VOXEL_BYTES: usize = 12;

/// A cloud as a command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudSpec {
    label: Option<String>,
    place: CloudSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum CloudSource {
    Generated { generator: Generator, voxels: Option<usize> },
    Path(PathBuf),
}

/// The order in which a cloud has its voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoxelOrder {
    /// By batch, x, y, z; `.i32` files in theirs.
    Sorted,
    /// That of files which hold voxels. Others are sorted.
    AsStored,
}

/// A cloud with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCloud {
    /// What tables call it.
    pub label: String,
    /// Its voxels, distinct.
    pub cells: Vec<Voxel>,
    /// What is doubtful about its file.
    pub warnings: Vec<ScanWarning>,
}

/// A cloud that cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedCloudError {
    /// A text that names none.
    #[error(
        "`{0}` names no cloud: expected uniform, surface, either with a count such as \
         uniform:130000, a file, a folder, or NAME=FILE"
    )]
    Malformed(String),
    /// A count that no generator makes.
    #[error("`{text}`: expected a voxel count between 1 and {MAX_VOXELS}")]
    Count {
        /// The whole text.
        text: String,
    },
    /// A generator or a scan file failed.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A `.i32` file that is no list of triples.
    #[error(
        "{}: expected int32 triples, {RAW_VOXEL_BYTES} bytes a voxel and at least one, found {len_bytes} bytes",
        path.display()
    )]
    Raw {
        /// Which file.
        path: PathBuf,
        /// Its length.
        len_bytes: usize,
    },
    /// A `.i32` file of numbers that no cell has.
    #[error(
        "{}: expected cells as int32 triples, found {found}, as float32 numbers look when they are \
         taken for int32: name a scan of points .bin",
        path.display()
    )]
    NoCells {
        /// Which file.
        path: PathBuf,
        /// One of its numbers.
        found: i32,
    },
    /// A folder without a cloud.
    #[error("{}: expected cloud files (.{}), found none", path.display(), EXTENSIONS.join(", ."))]
    EmptyFolder {
        /// Which folder.
        path: PathBuf,
    },
    /// Two clouds of one name.
    #[error("two clouds are called {0}: name one of them otherwise, as in NAME=FILE")]
    SameLabel(String),
}

impl TryFrom<&OsStr> for CloudSpec {
    type Error = NamedCloudError;

    /// Reads a text as [`Self::from_str`] does. What is not Unicode can only be a path, under a
    /// name or not.
    fn try_from(text: &OsStr) -> Result<Self, NamedCloudError> {
        if let Some(text) = text.to_str() {
            return text.parse();
        }
        let (label, path) = split_label(text);
        if path.is_empty() || label.is_some_and(str::is_empty) {
            return Err(NamedCloudError::Malformed(text.to_string_lossy().into_owned()));
        }
        Ok(Self { label: label.map(str::to_owned), place: CloudSource::Path(path.into()) })
    }
}

/// The name before the first `=` of a text that is not Unicode, where that can be one, and the
/// rest.
#[cfg(unix)]
fn split_label(text: &OsStr) -> (Option<&str>, &OsStr) {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = text.as_bytes();
    let split = bytes.iter().position(|byte| *byte == b'=').and_then(|at| {
        let label = std::str::from_utf8(&bytes[..at]).ok()?;
        (!label.contains('/')).then(|| (Some(label), OsStr::from_bytes(&bytes[at + 1..])))
    });
    split.unwrap_or((None, text))
}

#[cfg(not(unix))]
const fn split_label(text: &OsStr) -> (Option<&str>, &OsStr) {
    (None, text)
}

impl FromStr for CloudSpec {
    type Err = NamedCloudError;

    fn from_str(text: &str) -> Result<Self, NamedCloudError> {
        let malformed = || NamedCloudError::Malformed(text.to_owned());
        // A name holds no separator, so that any path can be written: `./a=b.npy`.
        let (label, place) = match text.split_once('=') {
            Some((label, place)) if !label.contains('/') => (Some(label), place),
            _ => (None, text),
        };
        if place.is_empty() || label.is_some_and(str::is_empty) {
            return Err(malformed());
        }
        let (name, count) = match place.split_once(':') {
            Some((name, count)) => (name, Some(count)),
            None => (place, None),
        };
        let place = match name.parse::<Generator>() {
            Ok(generator) => {
                CloudSource::Generated { generator, voxels: parse_count(text, count)? }
            }
            Err(_) => CloudSource::Path(place.into()),
        };
        Ok(Self { label: label.map(str::to_owned), place })
    }
}

fn parse_count(text: &str, count: Option<&str>) -> Result<Option<usize>, NamedCloudError> {
    let Some(count) = count else { return Ok(None) };
    match count.parse() {
        Ok(voxels) if (1..=MAX_VOXELS).contains(&voxels) => Ok(Some(voxels)),
        _ => Err(NamedCloudError::Count { text: text.to_owned() }),
    }
}

impl CloudSpec {
    /// A generated cloud of the default count.
    #[must_use]
    pub const fn generated(generator: Generator) -> Self {
        Self { label: None, place: CloudSource::Generated { generator, voxels: None } }
    }

    fn load(
        &self,
        options: &FileOptions,
        order: VoxelOrder,
        default_voxels: usize,
        seed: u64,
    ) -> Result<Vec<NamedCloud>, NamedCloudError> {
        let named = |own: String, cells, warnings| {
            vec![NamedCloud { label: self.label.clone().unwrap_or(own), cells, warnings }]
        };
        let loaded = |file: &Path| {
            let (cells, warnings) = load_one(file, options, order)?;
            Ok::<_, NamedCloudError>(named(stem(file), cells, warnings))
        };
        match &self.place {
            CloudSource::Generated { generator, voxels } => {
                let count = voxels.unwrap_or(default_voxels);
                let label =
                    voxels.map_or_else(|| generator.to_string(), |n| format!("{generator}:{n}"));
                Ok(named(label, generate(*generator, count, 1, seed)?, Vec::new()))
            }
            CloudSource::Path(path) if path.is_dir() => {
                let files = files_of(path)?;
                if self.label.is_some() && files.len() > 1 {
                    return Err(NamedCloudError::SameLabel(self.label.clone().unwrap_or_default()));
                }
                let clouds = files.iter().map(|file| loaded(file));
                Ok(clouds.collect::<Result<Vec<_>, _>>()?.concat())
            }
            CloudSource::Path(path) => loaded(path),
        }
    }
}

/// Loads clouds in their order. The crop of the options applies to scans of points; files of voxels
/// are taken whole.
///
/// # Errors
/// If one of them cannot be had, or two have one name.
pub fn load_clouds(
    specs: &[CloudSpec],
    options: &FileOptions,
    order: VoxelOrder,
    default_voxels: usize,
    seed: u64,
) -> Result<Vec<NamedCloud>, NamedCloudError> {
    let mut clouds: Vec<NamedCloud> = Vec::new();
    for spec in specs {
        for cloud in spec.load(options, order, default_voxels, seed)? {
            if clouds.iter().any(|held| held.label == cloud.label) {
                return Err(NamedCloudError::SameLabel(cloud.label));
            }
            clouds.push(cloud);
        }
    }
    Ok(clouds)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    wanted.contains(&&*extension)
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, NamedCloudError> {
    let io = |source| NamedCloudError::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_file() && has_extension(&path, &EXTENSIONS) {
            files.push(path);
        }
    }
    files.sort_unstable();
    if files.is_empty() {
        return Err(NamedCloudError::EmptyFolder { path: folder.to_owned() });
    }
    Ok(files)
}

fn load_one(
    path: &Path,
    options: &FileOptions,
    order: VoxelOrder,
) -> Result<(Vec<Voxel>, Vec<ScanWarning>), NamedCloudError> {
    if has_extension(path, &["i32"]) {
        return Ok((read_raw(path)?, Vec::new()));
    }
    let load = |options: &FileOptions| match order {
        VoxelOrder::Sorted => load_scan(path, options),
        VoxelOrder::AsStored => load_scan_in_order(path, options),
    };
    let loaded = match load(options) {
        Err(CloudError::CropOfVoxels { .. }) => load(&FileOptions { crop: None, ..*options }),
        other => other,
    };
    let Scan { voxels, warnings, .. } = loaded?;
    Ok((voxels, warnings))
}

fn read_raw(path: &Path) -> Result<Vec<Voxel>, NamedCloudError> {
    let bytes = voxtune_files::read(path)
        .map_err(|source| NamedCloudError::Io { path: path.to_owned(), source })?;
    let (words, rest) = bytes.as_chunks::<4>();
    let values: Vec<i32> = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
    let (triples, left) = values.as_chunks::<3>();
    if triples.is_empty() || !left.is_empty() || !rest.is_empty() {
        return Err(NamedCloudError::Raw { path: path.to_owned(), len_bytes: bytes.len() });
    }
    // Cells of a millimetre reach so far over 60 km; float32 numbers of usual scans lie beyond.
    const FAR: u32 = 1 << 26;
    let is_far = |value: &&i32| value.unsigned_abs() > FAR;
    if 4 * values.iter().filter(is_far).count() > values.len() {
        let found = values.iter().find(is_far).copied().unwrap_or_default();
        return Err(NamedCloudError::NoCells { path: path.to_owned(), found });
    }
    Ok(triples.iter().map(|&[x, y, z]| Voxel::new(0, x, y, z)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(texts: &[&str]) -> Result<Vec<NamedCloud>, String> {
        let specs = texts.iter().map(|text| text.parse()).collect::<Result<Vec<CloudSpec>, _>>();
        let specs = specs.map_err(|error| error.to_string())?;
        let order = VoxelOrder::Sorted;
        load_clouds(&specs, &FileOptions::default(), order, 50, 1)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn generators_take_counts_and_names() {
        let clouds = load(&["uniform", "surface:70", "mine=uniform:60"]).unwrap();
        let found: Vec<(&str, usize)> =
            clouds.iter().map(|cloud| (&*cloud.label, cloud.cells.len())).collect();
        assert_eq!(found, [("uniform", 50), ("surface:70", 70), ("mine", 60)]);
    }

    #[test]
    fn texts_that_name_nothing_are_refused() {
        for text in ["", "=a.npy", "name=", "uniform:", "uniform:0", "surface:9999999", "uniform:x"]
        {
            assert!(text.parse::<CloudSpec>().is_err(), "{text:?}");
        }
        let path = "./a=b.npy".parse::<CloudSpec>().unwrap();
        assert_eq!(path, CloudSpec { label: None, place: CloudSource::Path("./a=b.npy".into()) });
    }

    #[test]
    #[cfg(unix)]
    fn f19_paths_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt as _;
        let spec = |bytes: &[u8]| CloudSpec::try_from(OsStr::from_bytes(bytes));
        let path = |bytes: &[u8]| CloudSource::Path(OsStr::from_bytes(bytes).into());
        let unnamed = CloudSpec { label: None, place: path(b"a\xff.npy") };
        assert_eq!(spec(b"a\xff.npy").unwrap(), unnamed);
        let named = CloudSpec { label: Some("street".to_owned()), ..unnamed };
        assert_eq!(spec(b"street=a\xff.npy").unwrap(), named);
        assert_eq!(spec(b"./b=\xff").unwrap(), CloudSpec { label: None, place: path(b"./b=\xff") });
        assert_eq!(spec(b"\xff=b").unwrap(), CloudSpec { label: None, place: path(b"\xff=b") });
        assert!(matches!(spec(b"=\xff"), Err(NamedCloudError::Malformed(_))));
        assert_eq!(spec(b"uniform:9").unwrap(), "uniform:9".parse().unwrap());
    }

    #[test]
    fn raw_voxels_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let cells = [[5, -6, 7], [1, 2, 3]];
        let bytes: Vec<u8> =
            cells.iter().flatten().flat_map(|cell: &i32| cell.to_le_bytes()).collect();
        let path = folder.path().join("street.i32");
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no cloud").unwrap();
        let expected = vec![Voxel::new(0, 5, -6, 7), Voxel::new(0, 1, 2, 3)];
        for text in [path.to_str().unwrap(), folder.path().to_str().unwrap()] {
            let clouds = load(&[text]).unwrap();
            let street = NamedCloud {
                label: "street".to_owned(),
                cells: expected.clone(),
                warnings: Vec::new(),
            };
            assert_eq!(clouds, [street], "{text}");
        }
        std::fs::write(&path, &bytes[..23]).unwrap();
        let error = load(&[path.to_str().unwrap()]).unwrap_err();
        assert!(error.contains("found 23 bytes"), "{error}");
    }

    #[test]
    fn f14_points_are_not_taken_for_cells() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("street.i32");
        let points = [[10.5_f32, -3.25, 0.0], [0.1, 2.0, -1.5]];
        let bytes: Vec<u8> = points.as_flattened().iter().flat_map(|n| n.to_le_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        let error = load(&[path.to_str().unwrap()]).unwrap_err();
        assert!(error.contains("int32 triples") && error.contains("float32"), "{error}");
    }

    #[test]
    fn f03_what_is_doubtful_about_a_file_comes_with_its_cloud() {
        let folder = tempfile::tempdir().unwrap();
        let row = |x: f32| [x, 0.0, 0.0, 1.0].map(f32::to_le_bytes).concat();
        for (name, x) in [("near.bin", 0.0), ("utm.bin", 388_096.0)] {
            let rows: Vec<u8> = (0..9_u8).flat_map(|n| row(x + f32::from(n))).collect();
            std::fs::write(folder.path().join(name), rows).unwrap();
        }
        let clouds = load(&[folder.path().to_str().unwrap()]).unwrap();
        let doubts: Vec<usize> = clouds.iter().map(|cloud| cloud.warnings.len()).collect();
        assert_eq!(doubts, [0, 1]);
        assert!(clouds[1].warnings[0].to_string().contains("utm.bin: x reaches 388104"));
    }

    #[test]
    fn two_clouds_of_one_name_are_refused() {
        let error = load(&["a=uniform:5", "a=surface:5"]).unwrap_err();
        assert!(error.contains("two clouds are called a"), "{error}");
    }

    #[test]
    fn a_folder_without_clouds_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(&[folder.path().to_str().unwrap()]).unwrap_err();
        assert!(error.contains("expected cloud files"), "{error}");
    }
}
