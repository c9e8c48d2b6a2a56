//! One input on its way through a network, whose counts the device makes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use voxtune_cpu::ops::OpError;
use voxtune_cuda::{MapReport, OutputCounts, OutputsReport, SamplesReport, StrayRow};
use voxtune_types::Geometry;

use super::at_once::Recipe;
use super::expected::Learnt;
use super::rooms::Rooms;
use crate::{ConvError, Resolution};

/// The layers that made a level, from the input on.
pub(crate) type Path = Vec<Geometry>;
/// From a level to another, for layers of a geometry.
pub(crate) type MapPath = (Path, Path, Geometry);

/// What a level is expected to need, and what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Rows that algorithms are chosen for.
    pub(crate) expected: usize,
    /// Rows that buffers and launches are sized by.
    pub(crate) capacity: usize,
}

/// Where a frame's expectations come from.
enum Expectations {
    /// From earlier frames.
    Learnt(Learnt),
    /// From the capacity class that its graph was recorded for.
    Fixed(Arc<Rooms>),
}

/// A level's number of rows, or a map's number of pairs, that the device has been asked to count,
/// or whether all rows are of a sample.
enum Fact {
    Outputs { path: Path, capacity: usize, report: OutputsReport },
    Map { path: MapPath, report: MapReport },
    Samples { samples: usize, report: SamplesReport },
}

/// A fact, and whether it is known by now.
struct Asked {
    fact: Fact,
    is_known: bool,
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
struct State {
    rows: BTreeMap<Path, usize>,
    overflow: Option<Overflow>,
}

/// One input on its way through a network. That of a graph is run again and again.
pub(crate) struct Frame {
    expectations: Expectations,
    /// What the device reports: in every run of a graph, otherwise once.
    asked: Mutex<Vec<Asked>>,
    state: Mutex<State>,
    /// What its graph launches, in order.
    ran: Mutex<Vec<Resolution>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A voxel's batch is none of so many samples.
pub(super) fn no_such_sample(stray: StrayRow, samples: usize) -> ConvError {
    let StrayRow { row, batch } = stray;
    OpError::NoSuchGroup { row, found: batch, groups: samples }.into()
}

impl Frame {
    pub(super) fn expecting(learnt: Learnt) -> Self {
        Self::of(Expectations::Learnt(learnt))
    }

    /// A frame with room for what a capacity class has room for.
    pub(crate) fn within(rooms: Arc<Rooms>) -> Self {
        Self::of(Expectations::Fixed(rooms))
    }

    fn of(expectations: Expectations) -> Self {
        let (asked, state, ran) = <_>::default();
        Self { expectations, asked, state, ran }
    }

    /// Remembers what a layer has resolved to.
    pub(crate) fn ran(&self, resolution: &Resolution) {
        locked(&self.ran).push(resolution.clone());
    }

    /// What layers have resolved to, in the order of their calls.
    pub(crate) fn resolutions(&self) -> Vec<Resolution> {
        locked(&self.ran).clone()
    }

    /// Begins a run of its graph over so many voxels: nothing is known yet.
    pub(crate) fn begin_again(&self, input_rows: usize) {
        locked(&self.asked).iter_mut().for_each(|asked| asked.is_known = false);
        let rows = BTreeMap::from([(Path::new(), input_rows)]);
        *locked(&self.state) = State { rows, overflow: None };
    }

    /// Whether other counts than the last come without another frame.
    pub(super) const fn is_repeated(&self) -> bool {
        matches!(self.expectations, Expectations::Fixed(_))
    }

    /// What a level is expected to need; `None` if it has to be waited for.
    ///
    /// # Errors
    /// [`ConvError::NotInProfile`] if waiting is not possible.
    pub(super) fn room(&self, path: &Path) -> Result<Option<Room>, ConvError> {
        match &self.expectations {
            Expectations::Learnt(learnt) => Ok(learnt.room(path)),
            Expectations::Fixed(rooms) => rooms.room(path).map(Some).ok_or_else(|| {
                let level = *path.last().expect("a level that a layer made has that layer");
                ConvError::NotInProfile { level }
            }),
        }
    }

    /// How many pairs a map is expected to have; `None` if no frame had it.
    pub(super) fn pairs(&self, path: &MapPath) -> Option<usize> {
        match &self.expectations {
            Expectations::Learnt(learnt) => learnt.pairs(path),
            Expectations::Fixed(rooms) => rooms.pairs(path),
        }
    }

    fn learnt(&self) -> Option<&Learnt> {
        match &self.expectations {
            Expectations::Learnt(learnt) => Some(learnt),
            Expectations::Fixed(_) => None,
        }
    }

    /// What an earlier frame has made; `None` if there was none, and of a frame that is recorded.
    pub(super) fn recipe(&self) -> Option<Arc<Recipe>> {
        self.learnt()?.recipe()
    }

    /// Learns what the frame has made.
    pub(super) fn learn_recipe(&self, recipe: impl FnOnce() -> Recipe) {
        if let Some(learnt) = self.learnt() {
            learnt.learn_recipe(recipe);
        }
    }

    fn ask(&self, fact: Fact) {
        locked(&self.asked).push(Asked { fact, is_known: false });
    }

    /// Remembers a level that the device counts.
    pub(super) fn expects_outputs(&self, path: Path, capacity: usize, report: OutputsReport) {
        self.ask(Fact::Outputs { path, capacity, report });
    }

    /// Remembers a level whose rows were waited for.
    pub(super) fn knows_outputs(&self, path: Path, rows: usize) {
        self.learn_rows(path, rows);
    }

    /// Remembers a map that the device counts.
    pub(super) fn expects_pairs(&self, path: MapPath, report: MapReport) {
        self.ask(Fact::Map { path, report });
    }

    /// Remembers that rows were sorted by sample.
    pub(super) fn expects_samples(&self, samples: usize, report: SamplesReport) {
        self.ask(Fact::Samples { samples, report });
    }

    fn learn_rows(&self, path: Path, rows: usize) {
        if let Some(learnt) = self.learnt() {
            learnt.learn_rows(path.clone(), rows);
        }
        locked(&self.state).rows.insert(path, rows);
    }

    /// Learns what the device has counted, all of it if it `waits`. Whether that was everything.
    ///
    /// # Errors
    /// [`ConvError::Overflow`] of a level that had too little room, equal voxels, and whatever work
    /// queued before has failed with.
    pub(super) fn settle(&self, waits: bool) -> Result<bool, ConvError> {
        let mut asked = locked(&self.asked);
        let mut failure = None;
        let mut is_settled = true;
        asked.retain_mut(|asked| {
            if !asked.is_known {
                // What fails stays, so that the next to ask is told, too.
                match self.learn(&asked.fact, waits) {
                    Ok(is_known) => asked.is_known = is_known,
                    Err(error) => drop(failure.get_or_insert(error)),
                }
                is_settled &= asked.is_known;
            }
            self.is_repeated() || !asked.is_known
        });
        drop(asked);
        if let Some(error) = failure {
            return Err(error);
        }
        match &locked(&self.state).overflow {
            Some(Overflow { level, needed, capacity }) => {
                Err(ConvError::Overflow { level: *level, needed: *needed, capacity: *capacity })
            }
            None => Ok(is_settled),
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
                if let (Some(counts), Some(learnt)) = (&counts, self.learnt())
                    && locked(&self.state).overflow.is_none()
                {
                    learnt.learn_pairs(path.clone(), counts.total_pairs());
                }
                Ok(counts.is_some())
            }
            Fact::Samples { samples, report } => {
                let stray = if waits { Some(report.wait()?) } else { report.try_read()? };
                let is_known = stray.is_some();
                stray.flatten().map_or(Ok(is_known), |stray| Err(no_such_sample(stray, *samples)))
            }
        }
    }

    pub(super) fn settle_outputs(&self, path: &Path, capacity: usize, counts: OutputCounts) {
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
        if !counts.incomplete {
            self.learn_rows(path.clone(), needed);
        }
        if let Some(learnt) = self.learnt() {
            if counts.incomplete {
                // The next frame waits for this level, and so takes a table that is large enough.
                learnt.forget(path);
            }
            learnt.forget_beyond(path);
        }
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
