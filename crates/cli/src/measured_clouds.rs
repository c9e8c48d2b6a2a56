//! The clouds of `check` and `bench`.

use voxtune_bench::named_cloud::{CloudSpec, NamedCloud, VoxelOrder, load_clouds};
use voxtune_pointcloud::{Columns, Crop, FileOptions, Generator};

use crate::exit::Failure;
use crate::output;
use crate::texts::cloud;

/// Clouds, each of a size of its own.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CloudArguments {
    /// Clouds: uniform or surface, either with a count (uniform:130000), files, folders of such
    /// files, or NAME=FILE. Files are scans (.npy, .npz, .bin, .ply, .pcd) or .i32 (little-endian
    /// int32 x, y, z triples). `check` takes uniform and surface whatever else is named; `bench`
    /// where nothing is
    #[arg(long, value_name = "CLOUD", num_args = 1.., value_parser = cloud())]
    clouds: Vec<CloudSpec>,
    /// Edge of a voxel for scan files, in their unit
    #[arg(long, value_name = "SIZE", default_value_t = FileOptions::default().cell_size, value_parser = cell_size)]
    voxel_size: f32,
    /// Part of scan files of points to keep, half open
    #[arg(long, value_name = "X0,Y0,Z0,X1,Y1,Z1", allow_hyphen_values = true)]
    crop: Option<Crop>,
    /// Float32 numbers in a row of .bin scans, x, y, z first [default: 4 as in KITTI, in .pcd.bin
    /// files 5 as in nuScenes]
    #[arg(long, value_name = "N")]
    columns: Option<Columns>,
    /// Seed of generated clouds and of operands
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) seed: u64,
}

impl CloudArguments {
    /// The clouds named, or both generators.
    pub(crate) fn named_or_generated(&self, voxels: usize) -> Result<Vec<NamedCloud>, Failure> {
        if self.clouds.is_empty() {
            self.generated_and_named(voxels)
        } else {
            self.load(&self.clouds, VoxelOrder::Sorted, voxels)
        }
    }

    /// The clouds named, files of voxels in their order.
    pub(crate) fn as_stored(&self, voxels: usize) -> Result<Vec<NamedCloud>, Failure> {
        self.load(&self.clouds, VoxelOrder::AsStored, voxels)
    }

    /// Both generators and the clouds named.
    pub(crate) fn generated_and_named(&self, voxels: usize) -> Result<Vec<NamedCloud>, Failure> {
        let mut specs: Vec<CloudSpec> =
            [Generator::Uniform, Generator::Surface].map(CloudSpec::generated).to_vec();
        specs.extend(
            self.clouds.iter().filter(|spec| !specs.contains(spec)).cloned().collect::<Vec<_>>(),
        );
        self.load(&specs, VoxelOrder::Sorted, voxels)
    }

    fn load(
        &self,
        specs: &[CloudSpec],
        order: VoxelOrder,
        voxels: usize,
    ) -> Result<Vec<NamedCloud>, Failure> {
        let Self { voxel_size: cell_size, crop, columns, seed, .. } = *self;
        let options = FileOptions { cell_size, crop, columns };
        let clouds = load_clouds(specs, &options, order, voxels, seed)
            .map_err(|error| Failure::usage(error).at("--clouds"))?;
        for warning in clouds.iter().flat_map(|cloud| &cloud.warnings) {
            output::complain("warning", warning);
        }
        Ok(clouds)
    }
}

fn cell_size(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(size) if size > 0.0 && f32::is_finite(size) => Ok(size),
        _ => Err("expected a size above 0".to_owned()),
    }
}
