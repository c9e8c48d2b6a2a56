//! The graph of one capacity class.

use std::sync::Arc;

use voxtune_cuda::{DeviceBuffer, FrameContext, FrameGraph, PlannedBytes};
use voxtune_types::Voxel;

use super::output::FrameOutput;
use super::profile::FrameKind;
use crate::voxels::{Frame, Recipe, Room, Rooms};
use crate::{ConvError, Device, Resolution, SparseTensor, Tensor, Voxels};

/// Where the frames of a class begin: buffers that each of them overwrites.
struct Input {
    device: Device,
    kind: FrameKind,
    room: Room,
    coords: DeviceBuffer,
    count: Arc<DeviceBuffer>,
    features: DeviceBuffer,
}

impl Input {
    fn new(device: &Device, room: Room, kind: FrameKind) -> Result<Self, ConvError> {
        let FrameKind { channels, dtype, .. } = kind;
        let cuda = device.expect_cuda("graphs")?.device();
        let coords = DeviceBuffer::zeroed(cuda, room.capacity * size_of::<Voxel>())?;
        let features = DeviceBuffer::zeroed(cuda, room.capacity * channels * dtype.bytes())?;
        let count = Arc::new(DeviceBuffer::zeroed(cuda, size_of::<i32>())?);
        Ok(Self { device: device.clone(), kind, room, coords, count, features })
    }

    /// What the buffers hold, as the input of a frame of which nothing is made yet.
    fn tensor(&self, frame: Arc<Frame>) -> Result<SparseTensor, ConvError> {
        let FrameKind { channels, dtype, shape } = self.kind;
        let (coords, count) = (self.coords.share(), Arc::clone(&self.count));
        let voxels = Voxels::with_room(&self.device, coords, count, self.room, shape);
        let rows = Tensor::in_buffer(self.features.share(), dtype, self.room.capacity, channels)?;
        SparseTensor::new(voxels.in_frame(frame), rows)
    }

    /// Queues the copies of a frame's voxels and features.
    fn write(&mut self, frame: &SparseTensor, rows: usize) -> Result<(), ConvError> {
        let dense;
        let features = match frame.features().cuda() {
            Ok(features) => features,
            // Rows a pitch apart.
            Err(_) => {
                dense = frame.features().contiguous(&self.device)?;
                dense.cuda()?
            }
        };
        let elsewhere = voxtune_cuda::CudaError::NotOnDevice { what: "a frame" };
        let coords = frame.voxels().coords().ok_or(elsewhere)?;
        let len_bytes = rows * size_of::<Voxel>();
        copy(&mut self.coords, coords.as_ref(), len_bytes)?;
        let row_bytes = frame.features().channels() * frame.features().dtype().bytes();
        copy(&mut self.features, features, rows * row_bytes)?;
        let count = i32::try_from(rows).unwrap_or(i32::MAX);
        Ok(self.count.share().as_mut().fill_words(count)?)
    }
}

fn copy(
    target: &mut DeviceBuffer,
    source: voxtune_cuda::DeviceSlice<'_>,
    len_bytes: usize,
) -> Result<(), ConvError> {
    let shorter = || voxtune_cuda::CudaError::Length {
        what: "a frame",
        expected: len_bytes,
        found: source.len_bytes(),
    };
    let source = source.get(0..len_bytes).ok_or_else(shorter)?;
    let mut target = target.part_mut(0..len_bytes).ok_or_else(shorter)?;
    Ok(target.copy_from(source)?)
}

/// A network over frames of at most so many voxels: one graph, with the memory that it uses.
pub(super) struct Recorded<O> {
    graph: FrameGraph,
    frame: Arc<Frame>,
    output: O,
    input: Input,
    rooms: Arc<Rooms>,
    recipe: Recipe,
    device: Device,
}

impl<O: FrameOutput> Recorded<O> {
    /// Records a network. Algorithms are chosen for what the rooms expect. What it makes of its
    /// input is learnt in a run before, and made at once in the graph.
    pub(super) fn new(
        base: &Device,
        kind: &FrameKind,
        rooms: Rooms,
        network: &dyn Fn(&SparseTensor) -> Result<O, ConvError>,
    ) -> Result<Self, ConvError> {
        let cuda = base.expect_cuda("graphs")?;
        let context = FrameContext::new(cuda.device())?;
        let device = base.in_context(context.device().clone())?;
        // Weights may have been written there a moment ago.
        device.wait_for(base)?;
        let rooms = Arc::new(rooms);
        let input = Input::new(&device, rooms.input, *kind)?;
        let recipe = learn(&input, &rooms, network)?;
        let (graph, (frame, output)) = context.record(|| run(&input, &rooms, &recipe, network))?;
        Ok(Self { graph, frame, output, input, rooms, recipe, device })
    }

    /// Queues a frame.
    pub(super) fn launch(&mut self, frame: &SparseTensor, rows: usize) -> Result<(), ConvError> {
        self.input.write(frame, rows)?;
        self.frame.begin_again(rows);
        for tensor in self.output.tensors() {
            tensor.will_be_written()?;
        }
        Ok(self.graph.launch()?)
    }

    /// Runs the same calls one by one, with room and algorithms of the class.
    pub(super) fn eager(
        &mut self,
        frame: &SparseTensor,
        rows: usize,
        network: &dyn Fn(&SparseTensor) -> Result<O, ConvError>,
    ) -> Result<O, ConvError> {
        self.input.write(frame, rows)?;
        let (frame, output) = run(&self.input, &self.rooms, &self.recipe, network)?;
        frame.begin_again(rows);
        frame.wait()?;
        Ok(output)
    }

    pub(super) fn wait(&self) -> Result<(), ConvError> {
        self.frame.wait()
    }

    pub(super) const fn output(&self) -> &O {
        &self.output
    }

    pub(super) const fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    pub(super) fn resolutions(&self) -> Vec<Resolution> {
        self.frame.resolutions()
    }

    pub(super) const fn planned_bytes(&self) -> PlannedBytes {
        self.graph.planned_bytes()
    }
}

/// One run of the network over what the input's buffers hold, with what a recipe makes at once.
fn run<O>(
    input: &Input,
    rooms: &Arc<Rooms>,
    recipe: &Recipe,
    network: &dyn Fn(&SparseTensor) -> Result<O, ConvError>,
) -> Result<(Arc<Frame>, O), ConvError> {
    let frame = Arc::new(Frame::within(Arc::clone(rooms)));
    let tensor = input.tensor(Arc::clone(&frame))?;
    tensor.voxels().make_at_once(recipe)?;
    let output = network(&tensor)?;
    tensor.voxels().wait_for_levels()?;
    Ok((frame, output))
}

/// What the network makes of its input.
fn learn<O>(
    input: &Input,
    rooms: &Arc<Rooms>,
    network: &dyn Fn(&SparseTensor) -> Result<O, ConvError>,
) -> Result<Recipe, ConvError> {
    let tensor = input.tensor(Arc::new(Frame::within(Arc::clone(rooms))))?;
    drop(network(&tensor)?);
    Ok(tensor.voxels().recipe())
}
