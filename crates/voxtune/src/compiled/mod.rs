//! Networks as one graph a frame: from coordinates in device memory to the output, the host queues
//! a single launch.
//!
//! | step | where |
//! |---|---|
//! | frames that the caller shows are counted, level by level | [`FrameProfile`] |
//! | what was counted is kept for later runs | [`profile_bytes`] |
//! | a frame's number of voxels chooses its class | [`class`] |
//! | the class's graph is recorded, with its memory planned | [`recorded`] |
//! | a frame is copied into the class's input, and the graph launched | [`CompiledNetwork::run`] |

mod class;
mod output;
mod profile;
mod profile_bytes;
mod recorded;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

pub use output::FrameOutput;
pub use profile::FrameProfile;
pub use profile_bytes::ProfileError;
use recorded::Recorded;
use voxtune_types::Geometry;

use crate::{ConvError, Device, Resolution, SparseTensor};

type Network<O> = Box<dyn Fn(&SparseTensor) -> Result<O, ConvError> + Send + Sync>;

/// Classes above the frame's own that [`CompiledNetwork::run_or_grow`] tries: sixteen times as much
/// room.
const MOST_STEPS_UP: u32 = 8;

/// A network whose frames run as one CUDA graph each. The graph has outputs, kernel maps and
/// layers, from voxels and features in a GPU's memory to the result, with nothing that the host
/// waits for.
///
/// Frames fall into capacity classes in steps of √2 by their number of voxels. A class's graph is
/// recorded when its first frame comes, or by [`Self::record`]; its memory is planned once, and
/// [`Self::classes`] says how much it is. Each level has room for what the frames of the
/// [profile](FrameProfile) needed and its margin. A level that needs more spoils its frame: reading
/// the result is a [`ConvError::Overflow`] then, and [`Self::run_or_grow`] runs the frame in the
/// next class.
///
/// Frames run on a stream of their class. Reading an output waits for it; a tensor of the output in
/// a call of another context waits on the device. On a CPU, which has no graphs, the network runs
/// as it is.
///
/// ```
/// use voxtune::{
///     CompiledNetwork, Device, DeviceChoice, FrameProfile, Module, Sequential, SparseConv3d,
///     SparseTensor, SubmConv3d, Tensor, Voxel, Voxels,
/// };
///
/// let (device, _) = Device::open(DeviceChoice::Auto)?;
/// let network = Sequential::new()
///     .then(SubmConv3d::builder(1, 8).build(&device)?)
///     .then(SparseConv3d::builder(8, 16).stride(2).padding(1).build(&device)?);
/// let frame = |x: i32| -> Result<SparseTensor, voxtune::ConvError> {
///     let cells = (0..9).map(|y| Voxel::new(0, x, y, 0)).collect();
///     let features = Tensor::from_rows(&device, &[[1.0]; 9])?;
///     SparseTensor::new(Voxels::new(&device, cells)?, features)
/// };
///
/// let profile = FrameProfile::of([frame(0)?, frame(1)?], |input| network.forward(input))?;
/// let mut compiled =
///     CompiledNetwork::new(&device, profile, move |input| network.forward(input));
/// for x in 0..3 {
///     let output = compiled.run_or_grow(&frame(x)?)?;
///     assert_eq!(output.features().to_f32()?.len() % 16, 0);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CompiledNetwork<O = SparseTensor> {
    device: Device,
    profile: FrameProfile,
    network: Network<O>,
    classes: BTreeMap<usize, Recorded<O>>,
    /// The class of the last frame.
    last: Option<usize>,
    /// The last output where there are no graphs.
    output: Option<O>,
}

/// A capacity class that was recorded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CapacityClass {
    /// Voxels that its inputs may have.
    pub capacity: usize,
    /// Voxels that each level may have, by the layers that made it, the last one last.
    pub levels: Vec<(Vec<Geometry>, usize)>,
    /// What the layers run, in the order of their calls.
    pub resolutions: Vec<Resolution>,
    /// Memory of everything that a frame makes.
    ///
    /// # Units
    /// Bytes.
    pub planned_bytes: usize,
    /// The same, if nothing shared its place with what is gone.
    ///
    /// # Units
    /// Bytes.
    pub unshared_bytes: usize,
}

impl<O: FrameOutput> CompiledNetwork<O> {
    /// A network for frames like those of its profile. Nothing is recorded yet.
    pub fn new(
        device: &Device,
        profile: FrameProfile,
        network: impl Fn(&SparseTensor) -> Result<O, ConvError> + Send + Sync + 'static,
    ) -> Self {
        let (device, network) = (device.clone(), Box::new(network));
        Self { device, profile, network, classes: BTreeMap::new(), last: None, output: None }
    }

    /// What it makes room by.
    #[must_use]
    pub const fn profile(&self) -> &FrameProfile {
        &self.profile
    }

    /// The classes that are recorded, the smallest first.
    #[must_use]
    pub fn classes(&self) -> Vec<CapacityClass> {
        let class = |(&capacity, recorded): (&usize, &Recorded<O>)| CapacityClass {
            capacity,
            levels: recorded
                .rooms()
                .levels()
                .map(|(path, room)| (path.clone(), room.capacity))
                .collect(),
            resolutions: recorded.resolutions(),
            planned_bytes: recorded.planned_bytes().planned,
            unshared_bytes: recorded.planned_bytes().unshared,
        };
        self.classes.iter().map(class).collect()
    }

    /// Records the graph for frames of so many voxels, so that the first of them need not.
    ///
    /// # Errors
    /// If a layer cannot be recorded: one that needs a count on the host; if the device has not the
    /// memory.
    pub fn record(&mut self, rows: usize) -> Result<(), ConvError> {
        match self.device.cuda() {
            Some(_) => self.class(rows, 0).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Queues a frame, and waits for nothing but, where a GPU counts the frame's own voxels, their
    /// number. Features of a frame are those of its voxels, in device memory like them.
    ///
    /// # Errors
    /// If the frame is of another kind than the profile's, and as [`Self::record`]. What goes wrong
    /// on the device, [`ConvError::Overflow`] among it, is told when the output is read.
    pub fn run(&mut self, frame: &SparseTensor) -> Result<&O, ConvError> {
        self.launch(frame, 0)?;
        Ok(self.last_output())
    }

    /// Waits for the last frame.
    ///
    /// # Errors
    /// [`ConvError::Overflow`] if a level of it had too little room; equal voxels; whatever the
    /// device has failed with.
    pub fn wait(&self) -> Result<(), ConvError> {
        self.last_recorded().map_or(Ok(()), Recorded::wait)
    }

    /// The context that the last frame runs in, to order other work behind it; `None` before the
    /// first one, and on a CPU.
    #[must_use]
    pub fn context(&self) -> Option<&Device> {
        self.last_recorded().map(Recorded::device)
    }

    /// Runs a frame, waits for it, and runs it in the next class up if a level had too little room.
    ///
    /// # Errors
    /// As [`Self::run`], and what went wrong on the device; [`ConvError::Overflow`] if sixteen
    /// times the frame's own class has too little room still.
    pub fn run_or_grow(&mut self, frame: &SparseTensor) -> Result<&O, ConvError> {
        let mut steps_up = 0;
        loop {
            self.launch(frame, steps_up)?;
            match self.wait() {
                Err(ConvError::Overflow { .. }) if steps_up < MOST_STEPS_UP => steps_up += 1,
                waited => {
                    waited?;
                    return Ok(self.last_output());
                }
            }
        }
    }

    /// Runs a frame with the room and the algorithms of its class, call by call. A debugger, a
    /// sanitizer or a profiler then shows what a graph does. The result is the graph's to the bit.
    ///
    /// # Errors
    /// As [`Self::run_or_grow`], in the frame's own class.
    pub fn eager(&mut self, frame: &SparseTensor) -> Result<O, ConvError> {
        self.profile.kind.expect(frame)?;
        if self.device.cuda().is_none() {
            return (self.network)(frame);
        }
        let rows = frame.voxels().count()?;
        let capacity = self.class(rows, 0)?;
        let class = self.classes.get_mut(&capacity).expect("the class is recorded");
        class.eager(frame, rows, &*self.network)
    }

    /// The capacity of a class, recorded if it was not.
    fn class(&mut self, rows: usize, steps_up: u32) -> Result<usize, ConvError> {
        let room = class::room_for(rows, steps_up);
        if let Entry::Vacant(place) = self.classes.entry(room.capacity) {
            let rooms = self.profile.rooms(room);
            let kind = &self.profile.kind;
            place.insert(Recorded::new(&self.device, kind, rooms, &*self.network)?);
        }
        Ok(room.capacity)
    }

    fn launch(&mut self, frame: &SparseTensor, steps_up: u32) -> Result<(), ConvError> {
        self.profile.kind.expect(frame)?;
        if self.device.cuda().is_none() {
            self.output = Some((self.network)(frame)?);
            return Ok(());
        }
        let rows = frame.voxels().count()?;
        let capacity = self.class(rows, steps_up)?;
        let class = self.classes.get_mut(&capacity).expect("the class is recorded");
        class.launch(frame, rows)?;
        self.last = Some(capacity);
        Ok(())
    }

    fn last_recorded(&self) -> Option<&Recorded<O>> {
        self.classes.get(&self.last?)
    }

    fn last_output(&self) -> &O {
        let recorded = self.last_recorded().map(Recorded::output);
        recorded.or(self.output.as_ref()).expect("a frame that ran has an output")
    }
}

impl<O> fmt::Debug for CompiledNetwork<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self.classes.keys().collect();
        f.debug_struct("CompiledNetwork")
            .field("device", self.device.identity())
            .field("classes", &classes)
            .finish_non_exhaustive()
    }
}
