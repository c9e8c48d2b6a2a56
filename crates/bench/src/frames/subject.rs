//! A network with a cloud for it.

use voxtune::{DType, Device, SparseTensor, Tensor, Voxel, Voxels};
use voxtune_models::{AnyModel, LoadOptions, Network};

use super::FrameError;
use super::options::{FrameOptions, ModelSpec, grid_of};
use super::report::NetworkReport;
use super::way::Way;
use crate::named_cloud::NamedCloud;

/// A network, and a cloud in the order of its axes.
pub(super) struct Subject<'a> {
    pub(super) device: &'a Device,
    pub(super) network: Network,
    pub(super) shape: [u32; 3],
    pub(super) cells: Vec<Voxel>,
    cloud: &'a str,
    pub(super) c_in: u32,
    pub(super) dtype: DType,
    features: Vec<f32>,
    pub(super) seed: u64,
}

impl<'a> Subject<'a> {
    pub(super) fn new(
        device: &'a Device,
        spec: &ModelSpec,
        cloud: &'a NamedCloud,
        dtype: DType,
        options: &FrameOptions,
    ) -> Self {
        let network = spec.network;
        let cells = from_zero(&cloud.cells);
        let shape = options.grid.unwrap_or_else(|| grid_of(network, &cells));
        let c_in = spec.c_in.unwrap_or_else(|| network.c_in());
        Self {
            device,
            network,
            shape: network.turned_shape(shape),
            features: values(cells.len() * c_in as usize),
            cells: cells.into_iter().map(|cell| network.turned(cell)).collect(),
            cloud: &cloud.label,
            c_in,
            dtype,
            seed: options.seed,
        }
    }

    /// The same network with other cells, which are in the order of its axes and within its grid.
    pub(super) fn with_cells(&self, cells: Vec<Voxel>) -> Self {
        let features = values(cells.len() * self.c_in as usize);
        Self { cells, features, ..*self }
    }

    /// What is known before anything is measured.
    pub(super) fn describe(&self) -> NetworkReport {
        NetworkReport {
            network: self.network.to_string(),
            cloud: self.cloud.to_owned(),
            dtype: self.dtype,
            voxels: self.cells.len(),
            c_in: self.c_in,
            shape: self.shape,
            weights_bytes: None,
            first_ms: 0.0,
            first_way: Way::Fresh,
            first_step_ms: None,
            view_ms: None,
            floor: None,
            layers: Vec::new(),
            ways: Vec::new(),
            many: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The voxels anew, on the device, without levels or maps.
    pub(super) fn voxels(&self) -> Result<Voxels, FrameError> {
        Ok(Voxels::within(self.device, self.shape, self.cells.clone())?)
    }

    /// Features over them.
    pub(super) fn over(&self, voxels: Voxels) -> Result<SparseTensor, FrameError> {
        let (rows, channels) = (self.cells.len(), self.c_in as usize);
        let features = Tensor::from_f32(self.device, self.dtype, rows, channels, &self.features)?;
        Ok(SparseTensor::new(voxels, features)?)
    }

    /// The network as it was trained.
    pub(super) fn trainable(&self) -> Result<Box<dyn AnyModel>, FrameError> {
        let checkpoint = self.network.random_checkpoint(Some(self.c_in), self.seed)?;
        let options = LoadOptions::new().dtype(self.dtype);
        Ok(self.network.load(self.device, &checkpoint, &options)?)
    }

    /// The network for inference, its normalisations folded.
    pub(super) fn inference(&self) -> Result<Box<dyn AnyModel>, FrameError> {
        let mut model = self.trainable()?;
        model.fuse(&mut Vec::new())?;
        self.device.synchronize()?;
        Ok(model)
    }
}

/// Numbers between -1 and 1, without a pattern along rows or channels.
fn values(len: usize) -> Vec<f32> {
    let value = |index: usize| (index.wrapping_mul(2_654_435_761) % 2_001) as f32 / 1_000.0 - 1.0;
    (0..len).map(value).collect()
}

/// Cells moved so that none is below 0; grids begin there. Others stay where they are in the grid.
fn from_zero(cells: &[Voxel]) -> Vec<Voxel> {
    let least = cells.iter().fold([0; 3], |least: [i32; 3], cell| {
        [least[0].min(cell.x), least[1].min(cell.y), least[2].min(cell.z)]
    });
    let [x, y, z] = least;
    let moved = |cell: &Voxel| Voxel::new(cell.batch, cell.x - x, cell.y - y, cell.z - z);
    cells.iter().map(moved).collect()
}
