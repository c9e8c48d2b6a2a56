//! Occupied cells and the kernel maps of layers over them.

mod at_once;
mod cells;
mod expected;
mod frame;
mod last_calls;
mod levels;
mod outputs;
mod rooms;

use std::fmt;
use std::sync::Arc;

use voxtune_cuda::{Cloud, CudaError, DeviceBuffer, ForeignMemory};
use voxtune_types::Voxel;

use crate::ops::RowGroups;
use crate::{ConvError, Device};
pub(crate) use at_once::Recipe;
use cells::{Cells, CudaCells};
pub use expected::ExpectedCounts;
pub(crate) use frame::{Frame, FrameRows, Room};
use levels::{Level, Levels};
pub(crate) use rooms::{FrameCounts, Rooms};

/// The occupied cells of a sparse tensor on a device.
///
/// The voxels that layers make of them, and the kernel maps in between, are built at the first use.
/// Layers of one geometry share them, both directions of a layer, and a strided layer with the
/// [inverse](crate::LayerKind::Inverse) one that undoes it. No names are needed for that: a
/// [level](Self::outputs_of) knows what made it. Cloning shares everything; the last of a network's
/// voxels frees it.
///
/// ```
/// use voxtune::{Device, KernelSize, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1), Voxel::new(0, 5, 5, 5)];
/// let voxels = Voxels::new(&device, cells)?;
/// let map = voxels.kernel_map(KernelSize::submanifold(3)?)?;
/// // Each voxel meets itself, and the two neighbours each other.
/// assert_eq!((voxels.len(), map.counts().pairs), (3, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Voxels {
    levels: Arc<Levels>,
    level: Arc<Level>,
}

impl Voxels {
    /// Takes the cells of one or several samples. Row `i` of every tensor over them belongs to
    /// `cells[i]`. Any batch numbers and coordinates will do.
    ///
    /// # Errors
    /// If two cells are equal, or there are too many for a kernel map.
    pub fn new(device: &Device, cells: Vec<Voxel>) -> Result<Self, ConvError> {
        device.install(|| voxtune_cpu::check_distinct(&cells))?;
        Ok(Self::of(device, Cells::from_host(device, cells)?, None))
    }

    /// [`Self::new`] within a grid of so many cells along x, y and z, from 0 up. What layers make
    /// of them ends at the shape that follows for their outputs
    /// ([`Geometry::output_shape`](crate::Geometry::output_shape)), as the networks of spconv need
    /// it. It is their `spatial_shape`, in the order of the coordinates.
    ///
    /// # Errors
    /// As [`Self::new`], and if a cell lies outside.
    pub fn within(device: &Device, shape: [u32; 3], cells: Vec<Voxel>) -> Result<Self, ConvError> {
        let inside = |cell: &Voxel| {
            let at = [cell.x, cell.y, cell.z];
            at.into_iter().zip(shape).all(|(at, size)| u32::try_from(at).is_ok_and(|at| at < size))
        };
        if let Some(row) = cells.iter().position(|cell| !inside(cell)) {
            return Err(ConvError::OutsideShape { row, voxel: cells[row], shape });
        }
        device.install(|| voxtune_cpu::check_distinct(&cells))?;
        Ok(Self::of(device, Cells::from_host(device, cells)?, Some(shape)))
    }

    /// Takes cells that another library has in a GPU's memory, the first `rows` times int32
    /// `(batch, x, y, z)` of it, without a copy. They are not read back: whether two are equal, the
    /// first kernel map tells. Those outside the `shape`, if one is given, must not be there.
    ///
    /// # Errors
    /// If the device is not the GPU that has the memory, or that holds fewer.
    pub fn from_foreign(
        device: &Device,
        memory: ForeignMemory,
        rows: usize,
        shape: Option<[u32; 3]>,
    ) -> Result<Self, ConvError> {
        let Some(cuda) = device.cuda() else {
            return Err(CudaError::NotOnDevice { what: "coordinates" }.into());
        };
        Self::from_device(device, DeviceBuffer::from_foreign(cuda.device(), memory)?, rows, shape)
    }

    /// The same of a buffer of this library.
    pub(crate) fn from_device(
        device: &Device,
        coords: DeviceBuffer,
        rows: usize,
        shape: Option<[u32; 3]>,
    ) -> Result<Self, ConvError> {
        let (expected, found) = (rows.saturating_mul(size_of::<Voxel>()), coords.len_bytes());
        if found < expected {
            return Err(CudaError::Length { what: "coordinates", expected, found }.into());
        }
        Ok(Self::of(device, Cells::on_device(coords, rows), shape))
    }

    /// Cells in host memory that are distinct and lie within the shape.
    pub(crate) fn from_distinct(
        device: &Device,
        cells: Vec<Voxel>,
        shape: [u32; 3],
    ) -> Result<Self, ConvError> {
        Ok(Self::of(device, Cells::from_host(device, cells)?, Some(shape)))
    }

    fn of(device: &Device, cells: Cells, shape: Option<[u32; 3]>) -> Self {
        let levels = Arc::new(Levels::new(device));
        let level = levels.add(cells, shape, None);
        Self { levels, level }
    }

    /// Two neighbours for a warm-up launch, of which nothing is counted or waited for. Their maps
    /// are completed for no layer, since completing one may take a warm-up launch.
    pub(crate) fn of_warm_up(device: &Device) -> Result<Self, ConvError> {
        let levels = Arc::new(Levels::of_warm_up(device));
        let level = levels.add(Cells::two_neighbours(device)?, None, None);
        Ok(Self { levels, level })
    }

    /// Room for the cells of one frame after another, whose number the device reads where it is
    /// `counted`.
    pub(crate) fn with_room(
        device: &Device,
        coords: DeviceBuffer,
        counted: Arc<DeviceBuffer>,
        room: Room,
        shape: Option<[u32; 3]>,
    ) -> Self {
        let Room { expected, capacity } = room;
        Self::of(device, Cells::counted(coords, capacity, counted, expected), shape)
    }

    /// The same voxels for networks that run over them once. A [`Sequential`](crate::Sequential)
    /// gives a level's maps back when it leaves the level, unless a [`Skip`](crate::Skip) around it
    /// comes back there. So the maps of all levels need not be in memory at the same time. What a
    /// layer asks for once more is made once more.
    ///
    /// Frames that [expect](Self::expecting) their counts, and compiled networks, give maps back
    /// without this.
    ///
    /// ```
    /// use voxtune::{
    ///     Device, Module, Sequential, SparseConv3d, SparseTensor, SubmConv3d, Tensor, Voxel,
    ///     Voxels,
    /// };
    ///
    /// let device = Device::cpu()?;
    /// let backbone = Sequential::new()
    ///     .then(SubmConv3d::builder(4, 8).build(&device)?)
    ///     .then(SparseConv3d::builder(8, 16).kernel(2).stride(2).build(&device)?)
    ///     .then(SubmConv3d::builder(16, 16).build(&device)?);
    /// let voxels = Voxels::new(&device, (0..5).map(|x| Voxel::new(0, x, 0, 0)).collect())?;
    /// let features = Tensor::from_rows(&device, &[[1.0; 4]; 5])?;
    /// let input = SparseTensor::new(voxels.for_one_pass(), features)?;
    /// assert_eq!(backbone.forward(&input)?.voxels().len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn for_one_pass(&self) -> Self {
        if self.levels.frame().is_some() {
            return self.clone();
        }
        let levels = Levels::of_one_pass(self.device(), &self.level);
        Self { levels: Arc::new(levels), level: Arc::clone(&self.level) }
    }

    /// What layers have made of these voxels so far, which are the host's.
    pub(crate) fn counts_made(&self) -> FrameCounts {
        self.levels.counts(&self.level)
    }

    /// How many maps are in memory.
    #[cfg(test)]
    pub(crate) fn maps_held(&self) -> usize {
        self.levels.made().maps.len()
    }

    /// Says that a network goes on with other voxels.
    pub(crate) fn leave(&self) {
        self.levels.leave(&self.level);
    }

    /// Keeps the maps of this level while the guard lives, whichever layer leaves it.
    pub(crate) fn stay(&self) -> impl Drop + use<> {
        self.levels.stay(&self.level)
    }

    /// These voxels as the input of a frame.
    pub(crate) fn in_frame(&self, frame: Arc<Frame>) -> Self {
        let levels = Arc::new(Levels::of_frame(self.device(), frame, &self.level));
        Self { levels, level: Arc::clone(&self.level) }
    }

    /// Where the cells are in a GPU's memory; `None` if they are the host's.
    pub(crate) fn coords(&self) -> Option<&DeviceBuffer> {
        self.level.cells.cuda().map(CudaCells::coords)
    }

    /// The frame that they are of, if it is run again and again.
    pub(crate) fn repeated_frame(&self) -> Option<&Arc<Frame>> {
        self.levels.frame().filter(|frame| frame.is_repeated())
    }

    fn at(&self, level: Arc<Level>) -> Self {
        Self { levels: Arc::clone(&self.levels), level }
    }

    /// These voxels as the input of a frame whose counts are expected to be as those of earlier
    /// ones. The host then waits for nothing that layers make of them on a GPU. From the second
    /// frame on, a handful of launches makes the levels and maps of the frame before, at this call
    /// already. Call it once per frame, where a network runs on one cloud after another.
    ///
    /// ```
    /// use voxtune::{Device, ExpectedCounts, Voxel, Voxels};
    ///
    /// let (device, expected) = (Device::cpu()?, ExpectedCounts::new());
    /// for frame in 0..3 {
    ///     let cells = (0..9).map(|x| Voxel::new(0, x + frame, 0, 0)).collect();
    ///     let voxels = Voxels::new(&device, cells)?.expecting(&expected);
    ///     assert_eq!(voxels.count()?, 9);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn expecting(&self, expected: &ExpectedCounts) -> Self {
        let device = self.device();
        if device.cuda().is_none() || self.level.cells.cuda().is_some_and(CudaCells::are_counted) {
            return self.clone();
        }
        let voxels = self.in_frame(expected.begin(self.len()));
        let recipe = voxels.levels.frame().and_then(|frame| frame.recipe());
        // Layers make what cannot be made now, and meet whatever stands in the way.
        if let Some(recipe) = recipe
            && let Err(error) = voxels.make_at_once(&recipe)
        {
            tracing::debug!(%error, "levels and maps are left to layers");
        }
        voxels
    }

    /// Rows that tensors over these voxels have. That is the number of voxels, but where a frame
    /// [expects](Self::expecting) it and a GPU counts: there it is the room for them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.level.cells.capacity()
    }

    /// Whether there is room for no voxel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of voxels. Waits where a GPU counts them.
    ///
    /// # Errors
    /// [`ConvError::Overflow`] if a level of the frame had too little room; whatever the device has
    /// failed with.
    pub fn count(&self) -> Result<usize, ConvError> {
        self.levels.count_rows(&self.level)
    }

    /// The cells, in row order. A GPU's are read back by the first call.
    ///
    /// # Errors
    /// As [`Self::count`]; [`ConvError::Repeated`] of those that a
    /// [compiled network](crate::CompiledNetwork) makes anew in each frame, which
    /// [`Self::read_cells`] reads.
    pub fn cells(&self) -> Result<&[Voxel], ConvError> {
        match self.repeated_frame() {
            Some(_) => Err(ConvError::Repeated),
            None => self.level.cells.host(|| self.count()),
        }
    }

    /// The cells as they are now, in row order. A GPU's are read back by every call.
    ///
    /// # Errors
    /// As [`Self::count`].
    pub fn read_cells(&self) -> Result<Vec<Voxel>, ConvError> {
        match self.coords() {
            Some(coords) if self.repeated_frame().is_some() => {
                Ok(coords.download(0, self.count()?)?)
            }
            _ => Ok(self.cells()?.to_vec()),
        }
    }

    /// The sample of each row of tensors over these voxels, -1 for a row without a voxel. It is the
    /// row's batch, which has to be one of so many.
    pub(crate) fn samples(&self, samples: usize) -> Result<Arc<RowGroups>, ConvError> {
        self.levels.samples(&self.level, samples)
    }

    /// What a tensor over these voxels has to wait for before it is read.
    pub(crate) fn frame_rows(&self) -> Option<FrameRows> {
        self.levels.rows_of(&self.level)
    }

    /// What a tensor of known rows has to wait for that was made of these voxels.
    pub(crate) fn frame_fate(&self) -> Option<FrameRows> {
        self.frame_rows().map(FrameRows::of_known_rows)
    }

    /// As kernels that move rows take them; `None` if they are the host's.
    pub(crate) fn cloud(&self) -> Option<Cloud<'_>> {
        self.level.cells.cuda().map(CudaCells::cloud)
    }

    /// Where the cells are in a GPU's memory, int32 `(batch, x, y, z)` each, for kernels of others
    /// that are queued behind this library's. `None` if they are the host's. Valid while the voxels
    /// live.
    #[must_use]
    pub fn device_address(&self) -> Option<u64> {
        self.level.cells.cuda().map(|cells| cells.coords().device_address())
    }

    /// Cells along x, y and z; `None` where coordinates are unbounded.
    #[must_use]
    pub fn shape(&self) -> Option<[u32; 3]> {
        self.level.shape
    }

    /// The device that holds them.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.levels.device
    }

    /// Whether two are the same voxels in the same rows: clones, or what equal layers made of the
    /// same ones. What is added or concatenated must be.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.levels, &other.levels) && self.level.number == other.level.number
    }
}

impl fmt::Debug for Voxels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.levels.device.identity();
        write!(f, "Voxels({} cells, {device})", self.len())
    }
}
