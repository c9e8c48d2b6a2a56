//! Which configurations are measured, over which clouds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use crate::plan::grid::{ChannelPair, Configuration, Expansion, MergedCount};
use serde::{Deserialize, Serialize};
use voxtune_pointcloud::{CloudError, FileOptions, Generator, ScanWarning, Source};
use voxtune_types::{DType, Geometry, VoxelBucket};

use crate::inputs::planned_cloud::{FileCloud, PlannedCloud};
use crate::inputs::readers::Readers;
use crate::plan::grid::Grid;
use crate::plan::protocol::Protocol;

/// What to populate.
#[derive(Clone, Debug)]
pub struct Request {
    /// The grid of layers and voxel counts.
    pub grid: Grid,
    /// The clouds to measure every configuration on.
    pub clouds: Vec<Source>,
    /// How files become voxels.
    pub file_options: FileOptions,
    /// How entries are measured.
    pub protocol: Protocol,
    /// How much is measured where there is evidence already.
    pub remeasure: Remeasure,
    /// Whether quarantined candidates get another chance.
    pub retry_quarantined: bool,
}

/// How much of an entry is measured where there is evidence of it already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Remeasure {
    /// Every candidate.
    #[default]
    All,
    /// Nothing if there is valid evidence for every candidate, else every candidate.
    Incomplete,
    /// Only candidates without valid evidence, in one race with the stored leaders.
    New,
}

/// A configuration with its clouds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedConfiguration<C = PlannedCloud> {
    /// The layer and the size of its clouds.
    pub configuration: Configuration,
    /// The clouds, all of one bucket.
    pub clouds: Vec<C>,
    /// How many layers share what algorithms read beyond a map of it. Of several networks' the
    /// fewest.
    pub readers: Readers,
}

/// A layer over the voxels of a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanLayer {
    /// The layer.
    pub configuration: Configuration,
    /// The file of its voxels.
    pub path: PathBuf,
    /// Cells along x, y and z from 0 up, where the rows that the layer makes end, if anywhere.
    pub grid: Option<[u32; 3]>,
    /// How many layers of its network share what it reads beyond its map.
    pub readers: Readers,
}

/// Everything that a run will measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which they are measured: neighbours share clouds and kernel maps.
    pub configurations: Vec<PlannedConfiguration>,
    /// Voxel counts that an earlier one stands for.
    pub merged: Vec<MergedCount>,
}

/// A request that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A cloud cannot be had.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// Evidence could not tell two files apart.
    #[error("two files are called {label}: rename one, since evidence is stored under that name")]
    SameLabel {
        /// The name.
        label: String,
    },
    /// An axis of the grid is empty.
    #[error("nothing to measure: every axis of the grid needs a value, and there must be a cloud")]
    Empty,
}

impl Request {
    /// A request for a grid on generated uniform clouds, in every direction: everything else as
    /// `populate` has it by default.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        Self {
            grid,
            clouds: vec![Source::Generated(Generator::Uniform)],
            file_options: FileOptions::default(),
            protocol: Protocol::default(),
            remeasure: Remeasure::All,
            retry_quarantined: false,
        }
    }
}

/// What configurations share that are entries of the same keys.
pub(super) const fn place(one: &Configuration) -> (VoxelBucket, ChannelPair, u32, Geometry, DType) {
    (VoxelBucket::of(one.voxels), one.channels, one.groups, one.layer, one.dtype)
}

/// Adds clouds to the configuration of their layer and bucket, or the first of it.
fn join(configurations: &mut Vec<PlannedConfiguration>, added: PlannedConfiguration) {
    let same =
        |one: &&mut PlannedConfiguration| place(&one.configuration) == place(&added.configuration);
    match configurations.iter_mut().find(same) {
        Some(planned) => {
            planned.clouds.extend(added.clouds);
            planned.readers = planned.readers.fewer(added.readers);
        }
        None => configurations.push(added),
    }
}

impl<C> PlannedConfiguration<C> {
    /// A layer of a network that nobody has named.
    #[must_use]
    pub fn usual(configuration: Configuration, clouds: Vec<C>) -> Self {
        Self { configuration, clouds, readers: Readers::usual(&configuration.layer) }
    }
}

impl Plan {
    /// The configurations of a list in place of a grid's, in its order. Files of the request are
    /// measured with every layer of the list.
    ///
    /// # Errors
    /// If a file cannot be used, or nothing is to be measured.
    pub fn of_list(request: &Request, list: &[Configuration]) -> Result<Self, PlanError> {
        let files = read_files(request)?;
        let generators = generators(request);
        let mut configurations: Vec<PlannedConfiguration> = Vec::new();
        if !generators.is_empty() {
            for &configuration in list {
                let Configuration { voxels, .. } = configuration;
                let cloud = |&generator| PlannedCloud::Generated { generator, voxels };
                let clouds = generators.iter().map(cloud).collect();
                join(&mut configurations, PlannedConfiguration::usual(configuration, clouds));
            }
        }
        for file in &files {
            let mut layers: Vec<Configuration> = Vec::new();
            for &layer in list {
                let layer = Configuration { voxels: file.voxels(), ..layer };
                if !layers.contains(&layer) {
                    layers.push(layer);
                    let clouds = vec![PlannedCloud::File(Arc::clone(file))];
                    join(&mut configurations, PlannedConfiguration::usual(layer, clouds));
                }
            }
        }
        if configurations.is_empty() {
            return Err(PlanError::Empty);
        }
        Ok(Self { configurations, merged: Vec::new() })
    }

    /// Layers, each over the voxels of a file of its own, in their order; those of one layer and
    /// bucket are entries of one configuration.
    ///
    /// Layers that differ in padding or dilation alone are configurations of their own, each with
    /// its own map. They share a key, and their evidence differs by the rows and pairs of the maps,
    /// as that of several clouds does.
    ///
    /// # Errors
    /// If a file cannot be used, or nothing is to be measured.
    pub fn of_scans(request: &Request, list: &[ScanLayer]) -> Result<Self, PlanError> {
        let mut files: HashMap<_, Arc<FileCloud>> = HashMap::new();
        let mut configurations: Vec<PlannedConfiguration> = Vec::new();
        for ScanLayer { configuration, path, grid, readers } in list {
            let file = match files.entry((path, *grid)) {
                Entry::Occupied(held) => Arc::clone(held.get()),
                Entry::Vacant(place) => {
                    let file = FileCloud::load(path.clone(), FileOptions::default())?;
                    Arc::clone(place.insert(Arc::new(file.within(*grid))))
                }
            };
            let (configuration, readers) = (*configuration, *readers);
            let clouds = vec![PlannedCloud::File(file)];
            join(&mut configurations, PlannedConfiguration { configuration, clouds, readers });
        }
        if configurations.is_empty() || request.protocol.directions.is_empty() {
            return Err(PlanError::Empty);
        }
        Ok(Self { configurations, merged: Vec::new() })
    }

    /// Expands a request. Files are read now: their voxel counts take the place of the grid's, so
    /// that a scan is measured whole. A file in the bucket of a generated cloud is another entry of
    /// the same configuration.
    ///
    /// # Errors
    /// If a file cannot be used, or nothing is to be measured.
    pub fn new(request: &Request) -> Result<Self, PlanError> {
        let files = read_files(request)?;
        let generators = generators(request);
        let mut voxels =
            if generators.is_empty() { Vec::new() } else { request.grid.voxels.clone() };
        voxels.extend(files.iter().map(|file| file.voxels()));
        let grid = Grid { voxels, ..request.grid.clone() };
        let Expansion { configurations, mut merged } = grid.expand();
        if configurations.is_empty() || request.clouds.is_empty() {
            return Err(PlanError::Empty);
        }
        // A file that joins a bucket is measured as it is: nothing was merged away.
        merged.retain(|count| files.iter().all(|file| file.voxels() != count.voxels));
        let requested =
            |bucket| request.grid.voxels.iter().any(|&count| VoxelBucket::of(count) == bucket);
        let configurations = configurations
            .into_iter()
            .map(|configuration| {
                let bucket = VoxelBucket::of(configuration.voxels);
                let mut clouds = Vec::new();
                if requested(bucket) {
                    clouds.extend(generators.iter().map(|&generator| PlannedCloud::Generated {
                        generator,
                        voxels: configuration.voxels,
                    }));
                }
                let joins = |file: &&Arc<FileCloud>| VoxelBucket::of(file.voxels()) == bucket;
                clouds.extend(files.iter().filter(joins).cloned().map(PlannedCloud::File));
                PlannedConfiguration::usual(configuration, clouds)
            })
            .collect();
        Ok(Self { configurations, merged })
    }

    /// What is doubtful about the files of the plan, each time once.
    #[must_use]
    pub fn warnings(&self) -> Vec<&ScanWarning> {
        let clouds = self.configurations.iter().flat_map(|planned| &planned.clouds);
        let mut warnings = Vec::new();
        for cloud in clouds {
            let PlannedCloud::File(file) = cloud else { continue };
            warnings.extend(
                file.warnings().iter().filter(|one| !warnings.contains(one)).collect::<Vec<_>>(),
            );
        }
        warnings
    }

    /// Number of keys that will be measured.
    #[must_use]
    pub fn entries(&self, directions: usize) -> usize {
        self.configurations.iter().map(|planned| planned.clouds.len() * directions).sum()
    }
}

/// The generators that a request asks for.
fn generators(request: &Request) -> Vec<Generator> {
    let asked = |one: &Generator| request.clouds.contains(&Source::Generated(*one));
    Generator::ALL.into_iter().filter(asked).collect()
}

fn read_files(request: &Request) -> Result<Vec<Arc<FileCloud>>, PlanError> {
    let mut files = Vec::new();
    let mut seen: Vec<&PathBuf> = Vec::new();
    for source in &request.clouds {
        let Source::File(path) = source else { continue };
        if seen.contains(&path) {
            continue;
        }
        seen.push(path);
        let label = source.label();
        if files.iter().any(|file: &Arc<FileCloud>| file.label() == label) {
            return Err(PlanError::SameLabel { label });
        }
        files.push(Arc::new(FileCloud::load(path.clone(), request.file_options)?));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use crate::Preset;

    use super::*;

    fn request(preset: Preset, clouds: Vec<Source>) -> Request {
        Request { clouds, ..Request::new(preset.grid()) }
    }

    fn generated(generators: &[Generator]) -> Vec<Source> {
        generators.iter().copied().map(Source::Generated).collect()
    }

    #[test]
    fn two_clouds_are_two_entries_of_one_configuration() {
        let clouds = generated(&[Generator::Uniform, Generator::Surface]);
        let plan = Plan::new(&request(Preset::Default, clouds)).unwrap();
        assert_eq!(plan.configurations.len(), 364);
        assert_eq!(plan.entries(3), 364 * 3 * 2);
    }

    #[test]
    fn a_file_replaces_the_counts_and_joins_its_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.bin");
        let point = |x: u16| [f32::from(x), 0.0, 0.0, 1.0].map(f32::to_le_bytes).concat();
        let bytes: Vec<u8> = (0..70_000_u32).flat_map(|x| point((x % 65_000) as u16)).collect();
        std::fs::write(&path, bytes).unwrap();

        let file_only = request(Preset::Quick, vec![Source::File(path.clone())]);
        let plan = Plan::new(&file_only).unwrap();
        assert_eq!(plan.configurations.len(), 3);
        assert_eq!(plan.configurations[0].clouds[0].voxels(), 65_000);
        assert_eq!(plan.configurations[0].clouds[0].label(), "scan");

        let mut mixed = generated(&[Generator::Uniform]);
        mixed.push(Source::File(path));
        let mut request = request(Preset::Quick, mixed);
        request.grid.voxels = vec![60_000, 500_000];
        let plan = Plan::new(&request).unwrap();
        let clouds: Vec<usize> = plan.configurations.iter().map(|c| c.clouds.len()).collect();
        assert_eq!(clouds, [2, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn no_cloud_is_an_error() {
        assert!(matches!(Plan::new(&request(Preset::Quick, Vec::new())), Err(PlanError::Empty)));
    }
}
