//! Shapes that a file names: layers over clouds of a size, to be measured instead of a grid.
//!
//! | file | recognised by |
//! |---|---|
//! | lines such as `voxels=126000 channels=32,64`, or a journal of misses | neither of the others |
//! | a JSON array of objects with these fields | `[` or `{` |
//! | the keys of WarpConvNet's `benchmark_cache_generic.msgpack` | a MessagePack map |
//!
//! | field | meaning | where it is missing |
//! |---|---|---|
//! | `voxels` | rows that the layer reads; those that an inverse one makes | refused |
//! | `channels` | `C_in,C_out`; in JSON `[C_in, C_out]` | refused |
//! | `groups` | groups of these channels, a number | 1 |
//! | `kind` | `submanifold`, `sparse`, `inverse` or `transposed` | `submanifold` |
//! | `kernel` | 1, 3 or 5, or `3x3x3`; in JSON 3 or `[3, 3, 3]`; of other kinds 1 to 5 | 3 |
//! | `stride` | of other kinds, 1 to 8, written as `kernel` is | 2 |
//! | `dtype` | `float16`, `bfloat16` or `float32` | `float16` |
//! | `direction` | `forward`, `dgrad` or `wgrad` | all three |
//! | `pairs` | pairs of the kernel map | the clouds decide |
//!
//! What a journal notes beside is passed over; `device`, which may hold blanks, ends a line. Other
//! fields are refused.

mod json;
mod text;
mod warpconvnet;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::plan::grid::{ChannelPair, Configuration};
use crate::plan::groups::Groups;
use voxtune_pointcloud::MAX_VOXELS;
use voxtune_types::text::without_mark;
use voxtune_types::{DType, Density, Direction, Geometry, KernelSize, LayerKind, VoxelBucket};

/// A layer over a cloud of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The layer and its rows.
    pub configuration: Configuration,
    /// One direction, or all.
    pub direction: Option<Direction>,
    /// Class of the kernel map's density, where the file says it.
    pub density: Option<Density>,
}

impl Shape {
    /// Whether it is to be measured in a direction.
    #[must_use]
    pub fn asks_for(&self, direction: Direction) -> bool {
        self.direction.is_none_or(|one| one == direction)
    }
}

/// The shapes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shapes {
    /// In the order of the file.
    pub shapes: Vec<Shape>,
    /// What cannot be measured or understood, in words.
    pub passed_over: Vec<String>,
}

/// A configuration with what several shapes say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The layer and the rows of the first of its shapes.
    pub configuration: Configuration,
    /// How many shapes there were.
    pub count: usize,
}

/// A file of shapes that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShapesError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither lines, nor JSON, nor a cache of WarpConvNet's.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// Nothing in it can be measured.
    #[error("{}: no shape in it can be measured{}", path.display(), first(.passed_over))]
    Empty {
        /// Which file.
        path: PathBuf,
        /// What was passed over.
        passed_over: Vec<String>,
    },
}

fn first(passed_over: &[String]) -> String {
    passed_over.first().map_or_else(String::new, |reason| format!(": {reason}"))
}

/// How a line that cannot be understood is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tolerance {
    /// It is an error: the file was written by hand.
    None,
    /// It is passed over: a program wrote the file, and may have been killed while it did.
    Lines,
}

impl Shapes {
    /// Reads a file of any of the three kinds.
    ///
    /// # Errors
    /// If it cannot be read or understood, or nothing in it can be measured.
    pub fn read(path: &Path, tolerance: Tolerance) -> Result<Self, ShapesError> {
        let bytes = voxtune_files::read_argument(path)
            .map_err(|source| ShapesError::Io { path: path.to_owned(), source })?;
        let shapes = Self::parse(&bytes, tolerance)
            .map_err(|reason| ShapesError::Malformed { path: path.to_owned(), reason })?;
        if shapes.shapes.is_empty() {
            let Self { passed_over, .. } = shapes;
            return Err(ShapesError::Empty { path: path.to_owned(), passed_over });
        }
        Ok(shapes)
    }

    fn parse(bytes: &[u8], tolerance: Tolerance) -> Result<Self, String> {
        /// What MessagePack maps begin with: fixmap, map 16 and map 32.
        const MAPS: [std::ops::RangeInclusive<u8>; 2] = [0x80..=0x8f, 0xde..=0xdf];
        let bytes = without_mark(bytes).map_err(|error| error.to_string())?;
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[' | b'{') => json::parse(bytes),
            Some(first) if MAPS.iter().any(|map| map.contains(first)) => warpconvnet::parse(bytes),
            _ => text::parse(bytes, tolerance),
        }
    }

    /// The distinct configurations: shapes whose rows share a bucket are measured as one. By bucket
    /// and kernel, so that neighbours share clouds and maps, then those first that most shapes ask
    /// for.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        let mut wanted: BTreeMap<_, Wanted> = BTreeMap::new();
        for Shape { configuration, .. } in &self.shapes {
            let Configuration { voxels, channels, groups, layer, dtype } = *configuration;
            wanted
                .entry((VoxelBucket::of(voxels), layer, channels, groups, dtype))
                .and_modify(|wanted| wanted.count += 1)
                .or_insert(Wanted { configuration: *configuration, count: 1 });
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|((bucket, layer, ..), one)| {
            (*bucket, *layer, std::cmp::Reverse(one.count))
        });
        wanted.into_iter().map(|(_, one)| one).collect()
    }

    /// The directions that any shape asks for.
    #[must_use]
    pub fn directions(&self) -> Vec<Direction> {
        let asked =
            |direction: &Direction| self.shapes.iter().any(|shape| shape.asks_for(*direction));
        Direction::ALL.into_iter().filter(asked).collect()
    }
}

/// A shape before it is checked.
#[derive(Clone, Copy, Debug)]
struct Raw {
    voxels: usize,
    channels: ChannelPair,
    groups: u32,
    kind: LayerKind,
    kernel: KernelSize,
    stride: Option<[u8; 3]>,
    dtype: DType,
    direction: Option<Direction>,
    pairs: Option<usize>,
}

impl Raw {
    /// The shape, if layers of it exist and clouds of its size can be had.
    fn check(self) -> Result<Shape, String> {
        let Self { voxels, channels, groups, dtype, direction, pairs, .. } = self;
        let layer = self.layer()?;
        if !(1..=MAX_VOXELS).contains(&voxels) {
            return Err(format!("{voxels} voxels: expected a count between 1 and {MAX_VOXELS}"));
        }
        if Groups::Number(groups).of(channels.c_in, channels.c_out).is_none() {
            return Err(format!("channels {channels} do not divide into {groups} groups"));
        }
        let configuration = Configuration { voxels, channels, groups, layer, dtype };
        // Of other kinds the class is that of the outputs, which the cloud decides.
        let pairs = pairs.filter(|_| layer.kind == LayerKind::Submanifold);
        let density = pairs.map(|pairs| Density::of(pairs, voxels));
        Ok(Shape { configuration, direction, density })
    }

    fn layer(&self) -> Result<Geometry, String> {
        let Self { kind, kernel, stride, .. } = *self;
        let extents = kernel.extents();
        let [x, y, z] = extents;
        match (kind, stride) {
            (LayerKind::Submanifold, None | Some([1, 1, 1])) => {
                if x != y || y != z || KernelSize::submanifold(u32::from(x)).is_err() {
                    return Err(format!("kernel {kernel}: expected 1, 3 or 5 along every axis"));
                }
                Ok(Geometry::submanifold(kernel, [1; 3]))
            }
            (LayerKind::Submanifold, Some(stride)) => {
                Err(format!("stride {stride:?}: expected a kind, such as sparse, that has one"))
            }
            (LayerKind::Given, _) => Err("kind given: its outputs are in no file".to_owned()),
            _ => {
                let stride = stride.unwrap_or([2; 3]);
                if extents.iter().any(|extent| *extent > 5) {
                    return Err(format!("kernel {kernel}: expected 1 to 5 along every axis"));
                }
                if stride.iter().any(|step| !(1..=8).contains(step)) {
                    return Err(format!("stride {stride:?}: expected 1 to 8 along every axis"));
                }
                Ok(Geometry::centred(kind, kernel, stride))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Shapes {
        Shapes::parse(text.as_bytes(), Tolerance::None).unwrap()
    }

    #[test]
    fn shapes_of_one_bucket_are_one_configuration() {
        let shapes = parse(
            "voxels=100000 channels=32,64\nvoxels=130000 channels=32,64 direction=forward\n\
             voxels=100000 channels=64,64 dtype=float32\nvoxels=9 channels=1,2\n\
             voxels=120000 channels=64,64 dtype=float32\nvoxels=99999 channels=64,64 dtype=float32\n",
        );
        let wanted: Vec<String> = shapes
            .wanted()
            .iter()
            .map(|one| format!("{} ×{}", one.configuration, one.count))
            .collect();
        insta::assert_snapshot!("wanted", wanted.join("\n"));
        assert_eq!(shapes.directions(), Direction::ALL);
    }

    #[test]
    fn directions_are_those_that_are_asked_for() {
        let shapes = parse("voxels=9 channels=1,2 direction=wgrad\n");
        assert_eq!(shapes.directions(), [Direction::Wgrad]);
    }

    #[test]
    fn f10_a_comment_may_be_in_any_encoding() {
        let text = b"# caf\xe9 \xff\x00\nvoxels=5 channels=3,4 # \xe9t\xe9\n";
        let shapes = Shapes::parse(text, Tolerance::None).unwrap();
        assert_eq!(shapes, parse("voxels=5 channels=3,4"));
        // So may a device's name, the last of what a journal says.
        let text = b"voxels=5 channels=3,4 groups=1 grade=near device=caf\xe9 (sm_90, 132 SMs)\n";
        assert_eq!(Shapes::parse(text, Tolerance::Lines).unwrap(), shapes);
        let error = Shapes::parse(b"voxels=5 channels=3,4 dtype=\xe9", Tolerance::None);
        assert!(error.unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn f11_marks_and_line_ends_of_any_editor_are_read() {
        let lines = "voxels=5 channels=3,4\n# more\nvoxels=900 channels=3,4\n";
        let json =
            "[{\"voxels\": 5, \"channels\": [3, 4]},\n{\"voxels\": 900, \"channels\": [3, 4]}]";
        let expected = parse(lines);
        for text in [lines, json] {
            for end in ["\n", "\r\n", "\r"] {
                for mark in ["", "\u{feff}"] {
                    let text = format!("{mark}{}", text.replace('\n', end));
                    for tolerance in [Tolerance::None, Tolerance::Lines] {
                        let shapes = Shapes::parse(text.as_bytes(), tolerance);
                        assert_eq!(shapes.as_ref(), Ok(&expected), "{text:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn files_are_told_apart() {
        let line = parse("voxels=5 channels=3,4\n");
        let json = parse(" [{\"voxels\": 5, \"channels\": [3, 4]}]");
        assert_eq!(line, json);
        for (bytes, expected) in [
            (&b"[1]"[..], "JSON"),
            (b"\xef\xbb\xbf[1]", "JSON"),
            (b"[\0{\0", "UTF-16"),
            (b"\x81\xa1a\x01", "namespaces"),
            (b"\xff\xfe", "UTF-8"),
            (b"hello", "line 1"),
        ] {
            let error = Shapes::parse(bytes, Tolerance::None).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shapes");
        for text in ["", "# nothing\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Shapes::read(&path, Tolerance::None).unwrap_err();
            assert!(matches!(error, ShapesError::Empty { .. }), "{error}");
        }
    }
}
