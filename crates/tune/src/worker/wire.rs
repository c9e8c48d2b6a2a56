//! A job as it goes through the pipe.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::grid::{ChannelPair, Configuration};
use serde::{Deserialize, Serialize};
use voxtune::{DType, Direction, Geometry, KernelSize, L2State, LayerKind};
use voxtune_pointcloud::{Columns, Crop, FileOptions};
use voxtune_types::mode::AlgoModes;

use crate::inputs::planned_cloud::{FileCloud, PlannedCloud};
use crate::plan::expand::PlannedConfiguration;
use crate::plan::job::Job;

/// A job. Files go by their names: the worker reads them again.
#[derive(Serialize, Deserialize)]
pub(super) struct WireJob {
    files: Vec<WireFile>,
    configurations: Vec<WireConfiguration>,
    batch_size: usize,
    seed: u64,
    directions: Vec<Direction>,
    /// Forward, dgrad, wgrad.
    modes: [String; 3],
    budget: Duration,
    warm: bool,
    time_limit: Duration,
    flops_per_second: Option<f64>,
}

/// Floats go by their bits: JSON knows no infinities, which a crop may have.
#[derive(Serialize, Deserialize)]
struct WireFile {
    path: OsString,
    cell_size: u32,
    crop: Option<[[u64; 3]; 2]>,
    columns: Option<usize>,
    grid: Option<[u32; 3]>,
    voxels: usize,
}

#[derive(Serialize, Deserialize)]
struct WireConfiguration {
    voxels: usize,
    channels: (u32, u32),
    groups: u32,
    layer: WireGeometry,
    dtype: DType,
    clouds: Vec<WireCloud>,
}

#[derive(Serialize, Deserialize)]
struct WireGeometry {
    kind: LayerKind,
    kernel: KernelSize,
    stride: [u8; 3],
    padding: [i16; 3],
    dilation: [u8; 3],
    output_padding: [u8; 3],
}

#[derive(Serialize, Deserialize)]
enum WireCloud {
    Generated {
        generator: String,
        voxels: usize,
    },
    /// A number among the job's files.
    File(usize),
}

impl From<&Job> for WireJob {
    fn from(job: &Job) -> Self {
        let mut files: Vec<&Arc<FileCloud>> = Vec::new();
        let mut cloud = |cloud| match cloud {
            &PlannedCloud::Generated { generator, voxels } => {
                WireCloud::Generated { generator: generator.as_str().to_owned(), voxels }
            }
            PlannedCloud::File(file) => {
                let held = files.iter().position(|held| Arc::ptr_eq(held, file));
                WireCloud::File(held.unwrap_or_else(|| {
                    files.push(file);
                    files.len() - 1
                }))
            }
        };
        let configurations = job
            .configurations
            .iter()
            .map(|planned| {
                let Configuration { voxels, channels, groups, layer, dtype } =
                    planned.configuration;
                let (channels, layer) = ((channels.c_in, channels.c_out), layer.into());
                let clouds = planned.clouds.iter().map(&mut cloud).collect();
                WireConfiguration { voxels, channels, groups, layer, dtype, clouds }
            })
            .collect();
        Self {
            configurations,
            files: files.into_iter().map(|file| WireFile::from(&**file)).collect(),
            batch_size: job.batch_size,
            seed: job.seed,
            directions: job.directions.clone(),
            modes: Direction::ALL.map(|direction| job.modes.of(direction).to_string()),
            budget: job.budget,
            warm: job.l2_state == L2State::Hot,
            time_limit: job.time_limit,
            flops_per_second: job.flops_per_second,
        }
    }
}

impl From<Geometry> for WireGeometry {
    fn from(layer: Geometry) -> Self {
        let Geometry { kind, kernel, stride, padding, dilation, output_padding } = layer;
        Self { kind, kernel, stride, padding, dilation, output_padding }
    }
}

impl From<WireGeometry> for Geometry {
    fn from(wire: WireGeometry) -> Self {
        let WireGeometry { kind, kernel, stride, padding, dilation, output_padding } = wire;
        Self { kind, kernel, stride, padding, dilation, output_padding }
    }
}

impl From<&FileCloud> for WireFile {
    fn from(file: &FileCloud) -> Self {
        let FileOptions { cell_size, crop, columns } = file.options();
        Self {
            path: file.path().clone().into_os_string(),
            cell_size: cell_size.to_bits(),
            crop: crop.map(|crop| [crop.min.map(f64::to_bits), crop.max.map(f64::to_bits)]),
            columns: columns.map(Columns::get),
            grid: file.grid(),
            voxels: file.voxels(),
        }
    }
}

impl TryFrom<WireJob> for Job {
    type Error = String;

    fn try_from(wire: WireJob) -> Result<Self, String> {
        let files = wire.files.into_iter().map(WireFile::load).collect::<Result<Vec<_>, _>>()?;
        let configurations = wire
            .configurations
            .into_iter()
            .map(|configuration| configuration.planned(&files))
            .collect::<Result<_, _>>()?;
        let [forward, dgrad, wgrad] = wire.modes;
        // The one way to modes of several texts is that of the variables.
        let modes = AlgoModes::resolve(None, |variable| match variable {
            "WARPCONVNET_FWD_ALGO_MODE" => Some(forward.clone()),
            "WARPCONVNET_DGRAD_ALGO_MODE" => Some(dgrad.clone()),
            "WARPCONVNET_WGRAD_ALGO_MODE" => Some(wgrad.clone()),
            _ => None,
        });
        Ok(Self {
            configurations,
            batch_size: wire.batch_size,
            seed: wire.seed,
            directions: wire.directions,
            modes: modes.map_err(|error| error.to_string())?,
            budget: wire.budget,
            l2_state: if wire.warm { L2State::Hot } else { L2State::Cold },
            time_limit: wire.time_limit,
            flops_per_second: wire.flops_per_second,
        })
    }
}

impl WireFile {
    fn load(self) -> Result<Arc<FileCloud>, String> {
        let floats = |bits: [u64; 3]| bits.map(f64::from_bits);
        let crop = self.crop.map(|[min, max]| Crop { min: floats(min), max: floats(max) });
        let columns = self.columns.map(Columns::new).transpose();
        let columns = columns.map_err(|error| error.to_string())?;
        let options = FileOptions { cell_size: f32::from_bits(self.cell_size), crop, columns };
        let path = PathBuf::from(self.path);
        let file = FileCloud::load(path, options).map_err(|error| error.to_string())?;
        if file.voxels() != self.voxels {
            return Err(format!(
                "{}: it had {} voxels when the run began and has {} now: leave it alone meanwhile",
                file.path().display(),
                self.voxels,
                file.voxels()
            ));
        }
        Ok(Arc::new(file.within(self.grid)))
    }
}

impl WireConfiguration {
    fn planned(self, files: &[Arc<FileCloud>]) -> Result<PlannedConfiguration, String> {
        let (c_in, c_out) = self.channels;
        let clouds = self.clouds.into_iter().map(|cloud| match cloud {
            WireCloud::Generated { generator, voxels } => {
                let generator = generator.parse().map_err(|error| format!("{error}"))?;
                Ok(PlannedCloud::Generated { generator, voxels })
            }
            WireCloud::File(number) => {
                let file = files.get(number).ok_or_else(|| format!("no file {number}"))?;
                Ok(PlannedCloud::File(Arc::clone(file)))
            }
        });
        Ok(PlannedConfiguration {
            configuration: Configuration {
                voxels: self.voxels,
                channels: ChannelPair { c_in, c_out },
                groups: self.groups,
                layer: self.layer.into(),
                dtype: self.dtype,
            },
            clouds: clouds.collect::<Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::Preset;
    use voxtune_pointcloud::{Generator, Source};
    use voxtune_types::AlgoMode;

    use super::*;
    use crate::plan::expand::{Plan, Remeasure, Request, TIME_LIMIT};
    use crate::plan::grid::GridOverrides;
    use crate::plan::groups::Groups;

    fn job(path: PathBuf, crop: Option<Crop>, columns: Option<Columns>) -> Job {
        let modes = [("FWD", "all"), ("DGRAD", "explicit_gemm"), ("WGRAD", "[a,b:c=1]")];
        let variable = |name: &str| {
            let mode = modes.iter().find(|(key, _)| name.ends_with(&format!("_{key}_ALGO_MODE")));
            mode.map(|(_, text)| (*text).to_owned())
        };
        let groups = Some(vec![Groups::ONE, Groups::Depthwise]);
        let overrides = GridOverrides { groups, ..GridOverrides::default() };
        let request = Request {
            grid: Preset::Quick.grid().with(overrides),
            clouds: vec![Source::Generated(Generator::Surface), Source::File(path)],
            file_options: FileOptions { cell_size: 0.3, crop, columns },
            batch_size: 2,
            seed: u64::MAX,
            directions: vec![Direction::Wgrad, Direction::Forward],
            modes: AlgoModes::resolve(None, variable).unwrap(),
            budget: Duration::from_millis(1_234),
            l2_state: L2State::Hot,
            remeasure: Remeasure::All,
            retry_quarantined: false,
            time_limit: TIME_LIMIT,
        };
        Job::new(&Plan::new(&request).unwrap(), &request)
    }

    fn through_the_pipe(job: &Job) -> Result<Job, String> {
        let text = serde_json::to_string(&WireJob::from(job)).unwrap();
        serde_json::from_str::<WireJob>(&text).unwrap().try_into()
    }

    #[test]
    fn jobs_go_through_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.bin");
        let point = |x: f32| [x, 0.0, 0.0, 1.0, 7.0].map(f32::to_le_bytes).concat();
        let points = |count: u16| (0..count).flat_map(|x| point(f32::from(x))).collect::<Vec<u8>>();
        std::fs::write(&path, points(100)).unwrap();
        // A bound that float32 does not hold, and columns that the file's name does not tell.
        let crop: Crop = "-inf,-1,-1,49.9,inf,1".parse().unwrap();
        let mut job = job(path.clone(), Some(crop), Some(Columns::NUSCENES));
        job.flops_per_second = Some(1.0 / 3.0);
        // What acts on the map alone.
        let layer =
            Geometry::centred(LayerKind::Transposed, KernelSize::cubic(3).unwrap(), [2, 1, 2]);
        let (padding, dilation, output_padding) = ([0, -1, 300], [2, 1, 3], [0, 1, 0]);
        job.configurations[1].configuration.layer =
            Geometry { padding, dilation, output_padding, ..layer };
        let (crop, columns) = (Some(crop), Some(Columns::NUSCENES));
        let options = FileOptions { crop, columns, ..FileOptions::default() };
        let scan = FileCloud::load(path.clone(), options).unwrap();
        let clipped = Arc::new(scan.within(Some([1000, 1, 1])));
        job.configurations[1].clouds.push(PlannedCloud::File(clipped));
        let back = through_the_pipe(&job).unwrap();
        assert_eq!(back.configurations.len(), job.configurations.len());
        for (ours, theirs) in job.configurations.iter().zip(&back.configurations) {
            assert_eq!(ours.configuration, theirs.configuration);
            assert_eq!(ours.clouds.len(), theirs.clouds.len());
            for (ours, theirs) in ours.clouds.iter().zip(&theirs.clouds) {
                assert_eq!((ours.label(), ours.voxels()), (theirs.label(), theirs.voxels()));
                assert_eq!(ours.grid(), theirs.grid());
            }
        }
        let modes = |job: &Job| Direction::ALL.map(|direction| job.modes.of(direction).clone());
        assert_eq!(modes(&back), modes(&job));
        assert_eq!(*back.modes.of(Direction::Forward), AlgoMode::All);
        assert_eq!(back.directions, job.directions);
        assert_eq!((back.batch_size, back.seed), (job.batch_size, job.seed));
        assert_eq!((back.budget, back.time_limit), (job.budget, job.time_limit));
        assert_eq!(back.l2_state, L2State::Hot);
        assert_eq!(back.flops_per_second, job.flops_per_second);

        std::fs::write(&path, points(20)).unwrap();
        let changed = through_the_pipe(&job).unwrap_err();
        assert!(changed.contains("50 voxels") && changed.contains("20 now"), "{changed}");
    }
}
