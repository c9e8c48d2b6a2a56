//! The voxels that an example runs on.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use voxtune::Voxel;
use voxtune_pointcloud::{Crop, FileOptions, Source, generate, load_scan};

use super::outcome::Anything;

/// Which voxels.
#[derive(clap::Args)]
pub(crate) struct CloudArguments {
    /// A scan file (.npy, .npz, .bin, .ply or .pcd), or the name of a generated cloud: uniform,
    /// surface or thick
    #[arg(
        value_name = "SCAN",
        default_value = "surface",
        value_parser = OsStringValueParser::new().try_map(|text: OsString| Source::try_from(&*text))
    )]
    source: Source,
    /// How many voxels to generate
    #[arg(long, default_value_t = 20_000)]
    voxels: usize,
    /// Another seed generates another cloud
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Edge of a voxel, in the scan's unit
    #[arg(long, default_value_t = FileOptions::default().cell_size)]
    pub(crate) voxel_size: f32,
    /// Part of the scan to keep, half open
    #[arg(long, value_name = "X0,Y0,Z0,X1,Y1,Z1", allow_hyphen_values = true)]
    crop: Option<Crop>,
}

impl CloudArguments {
    /// The voxels, all of one sample; says how many there are.
    ///
    /// # Errors
    /// If the scan cannot be read or holds several samples, or nothing can be generated.
    pub(crate) fn load(&self) -> Result<Vec<Voxel>, Anything> {
        let Self { source, voxels, seed, voxel_size, crop } = self;
        let cells = match source {
            Source::Generated(generator) => generate(*generator, *voxels, 1, *seed)?,
            Source::File(path) => {
                let options = FileOptions { cell_size: *voxel_size, crop: *crop, columns: None };
                let scan = load_scan(path, &options)?;
                scan.warnings.iter().for_each(|warning| println!("{:<12}{warning}", "note"));
                scan.voxels
            }
        };
        // Sorted by sample.
        if let [first, .., last] = &*cells
            && first.batch != last.batch
        {
            let (first, last) = (first.batch, last.batch);
            return Err(format!("expected one sample, found batches {first} to {last}").into());
        }
        println!("{:<12}{} of {} voxels", "cloud", source.label(), cells.len());
        Ok(cells)
    }
}
