//! What the levels and maps of a network are expected to hold, learnt from frame to frame.
//!
//! On a GPU the numbers of rows and pairs lie in device memory. Waiting for them costs as much as a
//! layer, so the host goes by what it expects: launches and buffers are sized by a capacity,
//! algorithms are resolved for the expected counts, and kernels read the true ones where they lie.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use voxtune_cuda::{MapReport, OutputsReport};
use voxtune_types::Geometry;

use crate::ConvError;

/// How many levels and maps a network's frames have had, so that the next frame need not wait for
/// its own counts.
///
/// A network that sees one cloud after another keeps one of these and gives it to the voxels of
/// each ([`Voxels::expecting`](crate::Voxels::expecting)). In the first frame the host waits once
/// for each level's number of voxels. In later ones it waits for nothing until a result is read: a
/// level has room for half as many voxels again as the last frames had for a voxel of their input.
/// Should one need more, reading a result is a [`ConvError::Overflow`]; the frame run again has the
/// room.
///
/// Cloning shares them. The host's own layers know their counts and expect nothing.
#[derive(Clone, Default)]
pub struct ExpectedCounts {
    book: Arc<Mutex<Book>>,
}

/// The layers that made a level, from the input on.
pub(super) type Path = Vec<Geometry>;
/// From a level to another, for layers of a geometry.
pub(super) type MapPath = (Path, Path, Geometry);

/// Numbers for each voxel of the input.
#[derive(Default)]
struct Book {
    rows: BTreeMap<Path, f64>,
    pairs: BTreeMap<MapPath, f64>,
    /// Frames whose counts were not there yet when they were asked for.
    unsettled: Vec<Arc<Frame>>,
}

/// Room for a level over what it is expected to need: half as much again. Rows that are not there
/// cost memory and no time, since blocks without rows end at once.
const MARGIN: f64 = 1.5;
/// Room beyond that, for small levels, and what capacities are multiples of.
const SPARE_ROWS: usize = 256;

/// So many rows with the margin.
fn with_margin(rows: usize) -> usize {
    ((rows as f64 * MARGIN) as usize).saturating_add(SPARE_ROWS).next_multiple_of(SPARE_ROWS)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ExpectedCounts {
    /// Expects nothing: the first frame waits for its levels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a frame of so many voxels, and learns what earlier ones have counted by now.
    pub(super) fn begin(&self, input_rows: usize) -> Arc<Frame> {
        let earlier = std::mem::take(&mut locked(&self.book).unsettled);
        let unsettled = earlier.into_iter().filter(|frame| {
            // What went wrong in a frame is told to whoever reads its results.
            frame.settle(false).is_ok_and(|settled| !settled)
        });
        let unsettled: Vec<_> = unsettled.collect();
        let frame = Arc::new(Frame {
            book: Arc::downgrade(&self.book),
            input_rows,
            facts: Mutex::default(),
            state: Mutex::default(),
        });
        let mut book = locked(&self.book);
        book.unsettled.extend(unsettled);
        book.unsettled.push(Arc::clone(&frame));
        frame
    }
}

impl fmt::Debug for ExpectedCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let book = locked(&self.book);
        let (levels, maps) = (book.rows.len(), book.pairs.len());
        write!(f, "ExpectedCounts({levels} levels, {maps} maps)")
    }
}

/// A level's number of rows, or a map's number of pairs, that the device has been asked to count.
enum Fact {
    Outputs { path: Path, capacity: usize, report: OutputsReport },
    Map { path: MapPath, report: MapReport },
}

/// A level that had too little room: everything that was made of it is wrong.
#[derive(Clone, Debug)]
struct Overflow {
    level: Geometry,
    needed: usize,
    capacity: usize,
}

/// What is known of a frame.
#[derive(Default)]
struct FrameState {
    rows: BTreeMap<Path, usize>,
    overflow: Option<Overflow>,
}

/// One input on its way through a network.
pub(crate) struct Frame {
    /// What it learns from and writes to, which holds frames itself; nothing once nobody expects
    /// anything any more.
    book: Weak<Mutex<Book>>,
    input_rows: usize,
    /// What the device has not reported yet.
    facts: Mutex<Vec<Fact>>,
    state: Mutex<FrameState>,
}

impl Frame {
    /// How many rows a level is expected to have, with the room that it gets; `None` if no frame
    /// had it.
    pub(super) fn rows(&self, path: &Path) -> Option<(usize, usize)> {
        let ratio = *locked(&*self.book.upgrade()?).rows.get(path)?;
        let rows = (ratio * self.input_rows as f64).round() as usize;
        Some((rows, with_margin(rows)))
    }

    /// How many pairs a map is expected to have; `None` if no frame had it.
    pub(super) fn pairs(&self, path: &MapPath) -> Option<usize> {
        let ratio = *locked(&*self.book.upgrade()?).pairs.get(path)?;
        Some((ratio * self.input_rows as f64).round() as usize)
    }

    /// Remembers a level that the device counts.
    pub(super) fn expects_outputs(&self, path: Path, capacity: usize, report: OutputsReport) {
        locked(&self.facts).push(Fact::Outputs { path, capacity, report });
    }

    /// Remembers a level whose rows were waited for.
    pub(super) fn knows_outputs(&self, path: Path, rows: usize) {
        self.learn_rows(path, rows);
    }

    /// Remembers a map that the device counts.
    pub(super) fn expects_pairs(&self, path: MapPath, report: MapReport) {
        locked(&self.facts).push(Fact::Map { path, report });
    }

    /// Changes what later frames expect, if anybody does.
    fn write<R>(&self, change: impl FnOnce(&mut Book) -> R) {
        if let Some(book) = self.book.upgrade() {
            change(&mut locked(&book));
        }
    }

    fn per_input_row(&self, count: usize) -> f64 {
        count as f64 / self.input_rows.max(1) as f64
    }

    fn learn_rows(&self, path: Path, rows: usize) {
        self.write(|book| book.rows.insert(path.clone(), self.per_input_row(rows)));
        locked(&self.state).rows.insert(path, rows);
    }

    fn learn_pairs(&self, path: MapPath, counts: &voxtune_cuda::MapCounts) {
        let pairs = self.per_input_row(counts.total_pairs());
        self.write(|book| book.pairs.insert(path, pairs));
    }

    /// Forgets what is expected of levels that were made of one: too few of its rows were there.
    fn forget_beyond(&self, path: &Path) {
        let beyond = |other: &Path| other.len() > path.len() && other.starts_with(path);
        self.write(|book| {
            book.rows.retain(|level, _| !beyond(level));
            book.pairs.retain(|(from, to, _), _| !beyond(from) && !beyond(to));
        });
    }

    /// Learns what the device has counted, all of it if it `waits`. Whether that was everything.
    ///
    /// # Errors
    /// [`ConvError::Overflow`] of a level that had too little room, equal voxels, and whatever work
    /// queued before has failed with.
    fn settle(&self, waits: bool) -> Result<bool, ConvError> {
        let mut facts = locked(&self.facts);
        let mut failure = None;
        facts.retain(|fact| {
            // What fails stays, so that whoever asks again hears of it again.
            self.learn(fact, waits).map_or_else(
                |error| {
                    failure.get_or_insert(error);
                    true
                },
                |learnt| !learnt,
            )
        });
        let settled = facts.is_empty();
        drop(facts);
        if let Some(error) = failure {
            return Err(error);
        }
        match &locked(&self.state).overflow {
            Some(Overflow { level, needed, capacity }) => {
                Err(ConvError::Overflow { level: *level, needed: *needed, capacity: *capacity })
            }
            None => Ok(settled),
        }
    }

    /// Learns one thing that the device has counted, if it has or the call `waits`. Whether it had.
    fn learn(&self, fact: &Fact, waits: bool) -> Result<bool, ConvError> {
        match fact {
            Fact::Outputs { path, capacity, report } => {
                let counts = if waits { Some(report.wait()?) } else { report.try_read()? };
                if let Some(counts) = counts {
                    self.settle_outputs(path, *capacity, counts);
                }
                Ok(counts.is_some())
            }
            Fact::Map { path, report } => {
                let counts = if waits { Some(report.wait()?) } else { report.try_read()? };
                // Pairs of a frame that overflowed are too few.
                if let Some(counts) = &counts
                    && locked(&self.state).overflow.is_none()
                {
                    self.learn_pairs(path.clone(), counts);
                }
                Ok(counts.is_some())
            }
        }
    }

    fn settle_outputs(&self, path: &Path, capacity: usize, counts: voxtune_cuda::OutputCounts) {
        if locked(&self.state).overflow.is_some() {
            return;
        }
        // A table that was full has missed some: there are more than it knows.
        let needed = if counts.incomplete { counts.rows.max(2 * capacity) } else { counts.rows };
        if !counts.incomplete && needed <= capacity {
            self.learn_rows(path.clone(), needed);
            return;
        }
        let level = *path.last().expect("a level that a layer made has that layer");
        locked(&self.state).overflow = Some(Overflow { level, needed, capacity });
        if counts.incomplete {
            // The next frame waits for this level, and so takes a table that is large enough.
            self.write(|book| book.rows.remove(path));
        } else {
            self.learn_rows(path.clone(), needed);
        }
        self.forget_beyond(path);
    }

    /// Waits for everything that the frame was to count.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(crate) fn wait(&self) -> Result<(), ConvError> {
        self.settle(true).map(|_| ())
    }

    /// A level's number of rows, after waiting for the frame; `None` if the frame has no such
    /// level.
    fn rows_after_wait(&self, path: &Path) -> Result<Option<usize>, ConvError> {
        self.wait()?;
        Ok(locked(&self.state).rows.get(path).copied())
    }
}

/// The rows of a tensor that a frame counts on the device.
#[derive(Clone)]
pub(crate) struct FrameRows {
    frame: Arc<Frame>,
    /// `None` where the host knows how many there are.
    level: Option<Path>,
}

impl FrameRows {
    pub(super) const fn new(frame: Arc<Frame>, level: Option<Path>) -> Self {
        Self { frame, level }
    }

    /// Those of a tensor whose rows are known, in the same frame.
    pub(crate) fn of_known_rows(self) -> Self {
        Self { level: None, ..self }
    }

    /// Whether the host knows how many there are, so that only the frame's fate is open.
    pub(crate) const fn are_known(&self) -> bool {
        self.level.is_none()
    }

    /// How many of `capacity` rows there are, after waiting for the frame.
    ///
    /// # Errors
    /// As [`Frame::wait`].
    pub(crate) fn wait(&self, capacity: usize) -> Result<usize, ConvError> {
        let Some(level) = &self.level else { return self.frame.wait().map(|()| capacity) };
        Ok(self.frame.rows_after_wait(level)?.unwrap_or(capacity))
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::OutputCounts;
    use voxtune_types::KernelSize;

    use super::*;

    fn path(strides: &[u8]) -> Path {
        let kernel = KernelSize::cubic(3).unwrap();
        strides.iter().map(|&stride| Geometry::strided(kernel, [stride; 3])).collect()
    }

    fn counted(rows: usize) -> OutputCounts {
        let mut counts = OutputCounts::default();
        counts.rows = rows;
        counts
    }

    #[test]
    fn a_level_is_expected_in_proportion_to_its_input_with_room_to_spare() {
        let expected = ExpectedCounts::new();
        let first = expected.begin(1_000);
        assert_eq!(first.rows(&path(&[2])), None);
        first.settle_outputs(&path(&[2]), 5_000, counted(600));
        let later = expected.begin(10_000);
        let (rows, room) = later.rows(&path(&[2])).unwrap();
        assert_eq!(rows, 6_000);
        assert!((9_000..9_600).contains(&room) && room.is_multiple_of(SPARE_ROWS), "{room}");
        assert!(later.wait().is_ok());
        // Nothing is known of layers behind, nor of other layers.
        assert_eq!((later.rows(&path(&[2, 2])), later.rows(&path(&[3]))), (None, None));
    }

    #[test]
    fn a_level_without_room_spoils_its_frame_and_what_was_learnt_behind_it() {
        let expected = ExpectedCounts::new();
        let first = expected.begin(1_000);
        for (level, rows) in [(path(&[2]), 500), (path(&[2, 2]), 200), (path(&[3]), 100)] {
            first.settle_outputs(&level, 5_000, counted(rows));
        }
        let failed = expected.begin(1_000);
        failed.settle_outputs(&path(&[2]), 700, counted(900));
        // What is counted behind it is of too few rows.
        failed.settle_outputs(&path(&[2, 2]), 300, counted(10));
        for _ in 0..2 {
            match failed.wait() {
                Err(ConvError::Overflow { needed: 900, capacity: 700, level }) => {
                    assert_eq!(level, path(&[2])[0]);
                }
                other => panic!("{other:?}"),
            }
        }
        let again = expected.begin(1_000);
        assert_eq!(again.rows(&path(&[2])).unwrap().0, 900);
        assert_eq!(again.rows(&path(&[2, 2])), None);
        assert_eq!(again.rows(&path(&[3])).unwrap().0, 100);
    }

    #[test]
    fn frames_end_with_whoever_expected_them() {
        let expected = ExpectedCounts::new();
        let frame = Arc::downgrade(&expected.begin(100));
        assert!(frame.upgrade().is_some(), "its counts are to be learnt by the next frame");
        let kept = frame.upgrade().unwrap();
        drop(expected);
        kept.settle_outputs(&path(&[2]), 500, counted(100));
        assert_eq!(kept.rows(&path(&[2])), None);
        drop(kept);
        assert!(frame.upgrade().is_none());
    }

    #[test]
    fn a_table_that_was_too_small_is_waited_for_in_the_next_frame() {
        let expected = ExpectedCounts::new();
        expected.begin(100).settle_outputs(&path(&[2]), 5_000, counted(100));
        let mut incomplete = counted(90);
        incomplete.incomplete = true;
        let failed = expected.begin(100);
        failed.settle_outputs(&path(&[2]), 500, incomplete);
        assert!(failed.wait().is_err());
        assert_eq!(expected.begin(100).rows(&path(&[2])), None);
    }
}
