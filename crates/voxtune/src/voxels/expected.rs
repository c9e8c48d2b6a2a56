//! What the levels and maps of a network are expected to hold, learnt from frame to frame.
//!
//! On a GPU the numbers of rows and pairs lie in device memory. Waiting for them costs as much as a
//! layer, so the host goes by what it expects. Launches and buffers are sized by a capacity,
//! algorithms are resolved for the expected counts, and kernels read the true ones where they lie.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::at_once::Recipe;
use super::frame::{Frame, MapPath, Path, Room};
use super::rooms::{FrameCounts, Proportions};
use crate::ConvError;

/// How many levels and maps a network's frames have had, so that the next frame need not wait for
/// its own counts.
///
/// A network that sees one cloud after another keeps one of these and gives it to the voxels of
/// each ([`Voxels::expecting`](crate::Voxels::expecting)). In the first frame the host waits once
/// for each level's number of voxels, unless a profile has it from [earlier
/// runs](crate::FrameProfile::expected_counts). In later ones it waits for nothing until a result
/// is read. A level has room for half as many voxels again as the last frames had for a voxel of
/// their input.
/// Should one need more, reading a result is a [`ConvError::Overflow`]; the frame run again has the
/// room.
///
/// Cloning shares them. The host's own layers know their counts and expect nothing.
#[derive(Clone, Default)]
pub struct ExpectedCounts {
    book: Arc<Mutex<Book>>,
}

/// What the frames so far have taught.
#[derive(Default)]
struct Book {
    of_input: Proportions,
    /// What frames before the first one had, until that begins.
    seen: Vec<FrameCounts>,
    /// What the last frame has made of its input.
    recipe: Option<Arc<Recipe>>,
    /// Frames whose counts were not there yet when they were asked for.
    unsettled: Vec<Arc<Frame>>,
}

/// Room for a level over what it is expected to need: half as much again. Rows that are not there
/// cost memory and no time, since blocks without rows end at once.
const MARGIN: f64 = 1.5;
/// Room beyond that, for small levels, and what capacities are multiples of.
pub(super) const SPARE_ROWS: usize = 256;

/// So many rows with a margin.
pub(super) fn with_margin(rows: usize, margin: f64) -> usize {
    ((rows as f64 * margin) as usize).saturating_add(SPARE_ROWS).next_multiple_of(SPARE_ROWS)
}

/// The frame whose input differs by the least factor from one of so many voxels.
fn most_like(seen: &[FrameCounts], input_rows: usize) -> Option<&FrameCounts> {
    let log = |rows: usize| (rows.max(1) as f64).ln();
    let distance = |counts: &FrameCounts| (log(counts.input_rows) - log(input_rows)).abs();
    seen.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)))
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

    /// Expects of the first frame what frames like it had that were seen, the most for each voxel
    /// of the input, and that layers make what they made of the one most like it.
    pub(crate) fn of_seen(seen: &[FrameCounts]) -> Self {
        let book = Book { seen: seen.to_vec(), ..Book::default() };
        Self { book: Arc::new(Mutex::new(book)) }
    }

    /// Begins a frame of so many voxels, and learns what earlier ones have counted by now.
    pub(super) fn begin(&self, input_rows: usize) -> Arc<Frame> {
        let earlier = {
            let mut book = locked(&self.book);
            let seen = std::mem::take(&mut book.seen);
            if let Some(like) = most_like(&seen, input_rows) {
                book.of_input = Proportions::most(&seen, input_rows);
                book.recipe = Some(Arc::new(like.made.clone()));
            }
            std::mem::take(&mut book.unsettled)
        };
        let unsettled = earlier.into_iter().filter(|frame| {
            // What went wrong in a frame is told when its results are read.
            frame.settle(false).is_ok_and(|settled| !settled)
        });
        let unsettled: Vec<_> = unsettled.collect();
        let learnt = Learnt { book: Arc::downgrade(&self.book), input_rows };
        let frame = Arc::new(Frame::expecting(learnt));
        let mut book = locked(&self.book);
        book.unsettled.extend(unsettled);
        book.unsettled.push(Arc::clone(&frame));
        frame
    }

    /// Everything that a frame has counted which was the first to expect anything, after waiting.
    ///
    /// # Errors
    /// As those of reading the frame's results.
    pub(crate) fn of_first_frame(&self, input_rows: usize) -> Result<FrameCounts, ConvError> {
        let frames = locked(&self.book).unsettled.clone();
        frames.iter().try_for_each(|frame| frame.wait())?;
        let book = locked(&self.book);
        let of_input = |ratio: f64| (ratio * input_rows.max(1) as f64).round() as usize;
        let rows = book.of_input.rows.iter().map(|(path, ratio)| (path.clone(), of_input(*ratio)));
        let pairs =
            book.of_input.pairs.iter().map(|(path, ratio)| (path.clone(), of_input(*ratio)));
        let made = book.recipe.as_deref().cloned().unwrap_or_default();
        Ok(FrameCounts { input_rows, rows: rows.collect(), pairs: pairs.collect(), made })
    }
}

impl fmt::Debug for ExpectedCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let book = locked(&self.book);
        let (levels, maps) = (book.of_input.rows.len(), book.of_input.pairs.len());
        write!(f, "ExpectedCounts({levels} levels, {maps} maps)")
    }
}

/// What a frame of so many voxels learns from earlier ones, and later ones from it.
pub(super) struct Learnt {
    /// It holds frames itself. Gone once no [`ExpectedCounts`] is left.
    book: Weak<Mutex<Book>>,
    input_rows: usize,
}

impl Learnt {
    fn read<R>(&self, read: impl FnOnce(&Book) -> Option<R>) -> Option<R> {
        read(&locked(&*self.book.upgrade()?))
    }

    /// Changes what later frames expect, if any are to come.
    fn write<R>(&self, change: impl FnOnce(&mut Book) -> R) {
        if let Some(book) = self.book.upgrade() {
            change(&mut locked(&book));
        }
    }

    fn per_input_row(&self, count: usize) -> f64 {
        count as f64 / self.input_rows.max(1) as f64
    }

    fn of_input(&self, ratio: f64) -> usize {
        (ratio * self.input_rows as f64).round() as usize
    }

    /// How many rows a level is expected to have, and the room that it gets.
    pub(super) fn room(&self, path: &Path) -> Option<Room> {
        let expected = self.of_input(self.read(|book| book.of_input.rows.get(path).copied())?);
        Some(Room { expected, capacity: with_margin(expected, MARGIN) })
    }

    /// How many pairs a map is expected to have.
    pub(super) fn pairs(&self, path: &MapPath) -> Option<usize> {
        Some(self.of_input(self.read(|book| book.of_input.pairs.get(path).copied())?))
    }

    pub(super) fn learn_rows(&self, path: Path, rows: usize) {
        self.write(|book| book.of_input.rows.insert(path, self.per_input_row(rows)));
    }

    pub(super) fn learn_pairs(&self, path: MapPath, pairs: usize) {
        self.write(|book| book.of_input.pairs.insert(path, self.per_input_row(pairs)));
    }

    /// What the last frame has made of its input.
    pub(super) fn recipe(&self) -> Option<Arc<Recipe>> {
        self.read(|book| book.recipe.clone())
    }

    pub(super) fn learn_recipe(&self, recipe: impl FnOnce() -> Recipe) {
        let recipe = recipe();
        if !recipe.is_empty() {
            self.write(|book| book.recipe = Some(Arc::new(recipe)));
        }
    }

    /// Forgets what is expected of a level, so that the next frame waits for it.
    pub(super) fn forget(&self, path: &Path) {
        self.write(|book| book.of_input.rows.remove(path));
    }

    /// Forgets what is expected of levels that were made of one: too few of its rows were there.
    pub(super) fn forget_beyond(&self, path: &Path) {
        let beyond = |other: &Path| other.len() > path.len() && other.starts_with(path);
        self.write(|book| {
            let Proportions { rows, pairs } = &mut book.of_input;
            rows.retain(|level, _| !beyond(level));
            pairs.retain(|(from, to, _), _| !beyond(from) && !beyond(to));
        });
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::OutputCounts;
    use voxtune_types::{Geometry, KernelSize};

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
        assert_eq!(first.room(&path(&[2])).unwrap(), None);
        first.settle_outputs(&path(&[2]), 5_000, counted(600));
        let later = expected.begin(10_000);
        let Room { expected, capacity: room } = later.room(&path(&[2])).unwrap().unwrap();
        assert_eq!(expected, 6_000);
        assert!((9_000..9_600).contains(&room) && room.is_multiple_of(SPARE_ROWS), "{room}");
        assert!(later.wait().is_ok());
        // Nothing is known of layers behind, nor of other layers.
        assert_eq!(later.room(&path(&[2, 2])).unwrap(), None);
        assert_eq!(later.room(&path(&[3])).unwrap(), None);
    }

    #[test]
    fn a_first_frame_expects_what_frames_like_it_had() {
        let seen = [(10, 80), (1_000, 900), (100_000, 20_000)].map(|(input_rows, rows)| {
            let counts = FrameCounts { input_rows, ..FrameCounts::default() };
            FrameCounts { rows: [(path(&[2]), rows)].into(), ..counts }
        });
        for (input, expected) in [(8, 64), (2_000, 1_800), (50_000, 10_000)] {
            let counts = ExpectedCounts::of_seen(&seen);
            let room = |frame: &Frame| frame.room(&path(&[2])).unwrap().unwrap().expected;
            let first = counts.begin(input);
            assert_eq!(room(&first), expected, "{input}");
            // Later ones go by the frame before.
            first.settle_outputs(&path(&[2]), 1 << 20, counted(input / 2));
            assert_eq!(room(&counts.begin(10 * input)), 5 * input);
        }
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
        let expected = |of: &[u8]| again.room(&path(of)).unwrap().map(|room| room.expected);
        assert_eq!(expected(&[2]), Some(900));
        assert_eq!(expected(&[2, 2]), None);
        assert_eq!(expected(&[3]), Some(100));
    }

    #[test]
    fn frames_end_with_whoever_expected_them() {
        let expected = ExpectedCounts::new();
        let frame = Arc::downgrade(&expected.begin(100));
        assert!(frame.upgrade().is_some(), "its counts are to be learnt by the next frame");
        let kept = frame.upgrade().unwrap();
        drop(expected);
        kept.settle_outputs(&path(&[2]), 500, counted(100));
        assert_eq!(kept.room(&path(&[2])).unwrap(), None);
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
        assert_eq!(expected.begin(100).room(&path(&[2])).unwrap(), None);
    }
}
