//! A record of the keys that no cache held, for the tuner to measure later.
//!
//! A line is what `voxtune populate --from-misses` and `--shapes` read, such as
//!
//! ```text
//! voxels=126314 channels=32,64 kernel=3x3x3 dtype=float16 direction=forward …
//! ```
//!
//! and ` kind=sparse stride=2x2x2` behind the kernel of layers that are not submanifold.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxBuildHasher;
use voxtune_types::{DeviceIdentity, LayerKind, ShapeKey};

use crate::{GradeKind, MapCounts};

/// A file of missed keys that several processes may write at once.
///
/// A process writes each key once. A line is one append, so that lines of different processes never
/// mix, and none is written past the limit. A journal that cannot be written is given up with a
/// warning: no call fails for it. Layers of [given](LayerKind::Given) outputs are not written: a
/// line is a layer over one cloud, as populate measures it.
///
/// ```
/// use voxtune::{MissJournal, Tuner};
///
/// let path = std::env::temp_dir().join("misses-of-this-program.txt");
/// let tuner = Tuner::builder().embedded().journal(MissJournal::new(path)).build();
/// // Layers of this tuner note what no cache holds: `populate --from-misses FILE` measures that.
/// # let _ = tuner;
/// ```
#[derive(Debug)]
pub struct MissJournal {
    path: PathBuf,
    limit_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: HashSet<ShapeKey, FxBuildHasher>,
    /// Full, or not to be written.
    closed: bool,
}

/// A missed key.
pub(crate) struct Missed<'a> {
    pub(crate) device: &'a DeviceIdentity,
    pub(crate) key: &'a ShapeKey,
    /// Of the call; the key's classes say less.
    pub(crate) counts: Option<MapCounts>,
    /// What answered in its stead.
    pub(crate) grade: Option<GradeKind>,
}

impl MissJournal {
    /// The size beyond which a journal does not grow, unless told otherwise: some six thousand
    /// keys.
    pub const LIMIT_BYTES: u64 = 1 << 20;

    /// A journal in this file, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), limit_bytes: Self::LIMIT_BYTES, state: Mutex::default() }
    }

    /// Another limit for the file.
    #[must_use]
    pub const fn limit_bytes(mut self, limit_bytes: u64) -> Self {
        self.limit_bytes = limit_bytes;
        self
    }

    pub(crate) fn record(&self, missed: &Missed<'_>) {
        if missed.key.operation.kind == LayerKind::Given {
            // Its outputs are the caller's, which populate cannot make again.
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed || !state.seen.insert(*missed.key) {
            return;
        }
        match self.append(&missed.line()) {
            Ok(written) => state.closed = !written,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "misses are not recorded");
                state.closed = true;
            }
        }
    }

    /// Appends a line, unless the file would grow past the limit. Processes that look at once may
    /// pass it by a line each.
    fn append(&self, line: &str) -> io::Result<bool> {
        let mut file = voxtune_files::append(&self.path)?;
        if file.metadata()?.len() + line.len() as u64 > self.limit_bytes {
            tracing::warn!(path = %self.path.display(), "the journal of misses is full");
            return Ok(false);
        }
        // One call, since the system appends what one call writes in one piece.
        match file.write(line.as_bytes())? {
            written if written == line.len() => Ok(true),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl Missed<'_> {
    fn line(&self) -> String {
        let ShapeKey { operation, bucket_in, bucket_out, density } = *self.key;
        let (voxels, pairs) = match self.counts {
            Some(counts) if operation.kind == LayerKind::Inverse => (counts.n_out, counts.pairs),
            Some(counts) => (counts.n_in, counts.pairs),
            None => {
                let of_cloud =
                    if operation.kind == LayerKind::Inverse { bucket_out } else { bucket_in };
                // The middle of the class, or thereabouts.
                let pairs = bucket_out.max_rows().saturating_mul(3 << density.index()) / 2;
                (of_cloud.max_rows(), pairs)
            }
        };
        let grade = self.grade.map_or_else(|| "none".to_owned(), |grade| format!("{grade:?}"));
        let [x, y, z] = operation.kernel.extents();
        let groups = match operation.groups {
            1 => String::new(),
            groups => format!(" groups={groups}"),
        };
        let kind = match operation.kind {
            LayerKind::Submanifold => String::new(),
            kind => {
                let [x, y, z] = operation.stride;
                format!(" kind={kind} stride={x}x{y}x{z}")
            }
        };
        // The name may hold blanks, so it goes last; as text it has escapes for ends of line.
        let device = self.device;
        format!(
            "voxels={voxels} channels={},{}{groups} kernel={x}x{y}x{z}{kind} dtype={} direction={} \
             pairs={pairs} grade={} device={device}\n",
            operation.c_in,
            operation.c_out,
            operation.dtype,
            operation.direction,
            grade.to_lowercase(),
        )
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{Arch, DType, Direction, KernelSize, Operation};

    use super::*;

    fn key(c_in: u32) -> ShapeKey {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation =
            Operation::submanifold(Direction::Forward, DType::Float16, c_in, 64, kernel);
        ShapeKey::new(operation, 100_000, 100_000, 480_000)
    }

    fn record(journal: &MissJournal, key: &ShapeKey) {
        let device = DeviceIdentity { arch: Arch::sm(9, 0), name: "a\nGPU".to_owned(), units: 132 };
        let counts = Some(MapCounts { n_in: 100_000, n_out: 100_000, pairs: 480_000 });
        let grade = Some(GradeKind::Near);
        journal.record(&Missed { device: &device, key, counts, grade });
    }

    #[test]
    fn a_key_is_written_once_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("misses");
        let journal = MissJournal::new(&path);
        for c_in in [32, 48, 32] {
            record(&journal, &key(c_in));
        }
        let line = |c_in| {
            format!(
                "voxels=100000 channels={c_in},64 kernel=3x3x3 dtype=float16 direction=forward \
                 pairs=480000 grade=near device=a\\nGPU (sm_90, 132 SMs)\n"
            )
        };
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line(32) + &line(48));
        let of_key = key(64);
        let depthwise = ShapeKey { operation: of_key.operation.with_groups(64), ..of_key };
        record(&journal, &depthwise);
        let last = std::fs::read_to_string(&path).unwrap();
        let grouped = line(64).replace("channels=64,64", "channels=64,64 groups=64");
        assert_eq!(last.lines().last(), grouped.lines().next());
    }

    /// `voxels` is the side that a measurement begins with; layers of given outputs have none.
    #[test]
    fn layers_between_two_clouds_are_written_with_kind_and_stride() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("misses");
        let journal = MissJournal::new(&path);
        let device = DeviceIdentity { arch: Arch::sm(9, 0), name: "GPU".to_owned(), units: 132 };
        for (kind, counts) in [
            (LayerKind::Sparse, Some(MapCounts { n_in: 1_000, n_out: 400, pairs: 3_000 })),
            (LayerKind::Inverse, Some(MapCounts { n_in: 400, n_out: 1_000, pairs: 3_000 })),
            (LayerKind::Given, Some(MapCounts { n_in: 1_000, n_out: 400, pairs: 3_000 })),
            (LayerKind::Transposed, None),
        ] {
            let operation = Operation { stride: [2, 1, 2], kind, ..key(32).operation };
            let key = ShapeKey::new(operation, 1_024, 4_096, 9_000);
            journal.record(&Missed { device: &device, key: &key, counts, grade: None });
        }
        let line = |kind: &str, voxels, pairs| {
            format!(
                "voxels={voxels} channels=32,64 kernel=3x3x3 kind={kind} stride=2x1x2 dtype=float16 \
                 direction=forward pairs={pairs} grade=none device=GPU (sm_90, 132 SMs)\n"
            )
        };
        let expected = line("sparse", 1_000, 3_000)
            + &line("inverse", 1_000, 3_000)
            + &line("transposed", 1_024, 12_288);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_full_journal_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("misses");
        let journal = MissJournal::new(&path).limit_bytes(400);
        for c_in in 1..100 {
            record(&journal, &key(c_in));
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!((200..=400).contains(&bytes.len()) && bytes.ends_with(b"\n"), "{}", bytes.len());
    }

    #[test]
    fn journals_that_write_at_once_keep_lines_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("misses");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let journal = MissJournal::new(&path);
                scope.spawn(move || {
                    (1..=50).for_each(|c_in| record(&journal, &key(writer * 50 + c_in)));
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 200);
        assert!(text.lines().all(|line| line.starts_with("voxels=") && line.ends_with("SMs)")));
    }

    /// A pipe would wait for its reader, in the middle of a forward pass.
    #[test]
    #[cfg(unix)]
    fn f16_a_journal_that_is_no_file_disturbs_nobody() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for path in [at("fifo"), at("socket"), folder.path().to_owned(), "/dev/full".into()] {
            let journal = MissJournal::new(&path);
            record(&journal, &key(32));
            assert!(journal.state.lock().unwrap().closed, "{}", path.display());
        }
    }

    #[test]
    fn a_journal_without_a_folder_disturbs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let journal = MissJournal::new(folder.path().join("missing").join("misses"));
        record(&journal, &key(32));
        assert!(journal.state.lock().unwrap().closed);
    }
}
