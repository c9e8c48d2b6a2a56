//! What a run asks of an executor.

use serde::{Deserialize, Serialize};

use crate::inputs::cloud_reference::CloudReference;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::plan::expand::{Plan, PlannedConfiguration, Request};
use crate::plan::protocol::Protocol;

/// The part of a plan and its request that running candidates takes. What is done with stored
/// evidence is not in it: executors know no files. One of [references](CloudReference) goes to a
/// worker process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job<C = PlannedCloud> {
    /// What is measured, in this order.
    pub configurations: Vec<PlannedConfiguration<C>>,
    /// How it is measured.
    pub protocol: Protocol,
    /// Speed of the device, if it is known already: the calibration of [`crate::measure::estimate`]
    /// is left out where a worker starts anew.
    pub flops_per_second: Option<f64>,
}

impl Job {
    /// The job of a planned request.
    #[must_use]
    pub fn new(plan: &Plan, request: &Request) -> Self {
        Self {
            configurations: plan.configurations.clone(),
            protocol: request.protocol.clone(),
            flops_per_second: None,
        }
    }

    /// The job as it goes to another process, which reads the files again.
    pub(crate) fn to_references(&self) -> Job<CloudReference> {
        let reference = |cloud: &PlannedCloud| Ok::<_, std::convert::Infallible>(cloud.into());
        let Ok(job) = self.with_clouds(reference);
        job
    }
}

impl Job<CloudReference> {
    /// Reads the files of a job that came from another process, each once.
    ///
    /// # Errors
    /// If a file cannot be read, or has another number of voxels than when the run began.
    pub(crate) fn read_files(&self) -> Result<Job, String> {
        let mut files = Vec::new();
        self.with_clouds(|reference| reference.read(&mut files))
    }
}

impl<C> Job<C> {
    /// The same with other clouds.
    fn with_clouds<D, E>(&self, mut cloud: impl FnMut(&C) -> Result<D, E>) -> Result<Job<D>, E> {
        let mut configuration = |planned: &PlannedConfiguration<C>| {
            let clouds = planned.clouds.iter().map(&mut cloud).collect::<Result<_, E>>()?;
            let PlannedConfiguration { configuration, readers, .. } = *planned;
            Ok(PlannedConfiguration { configuration, clouds, readers })
        };
        Ok(Job {
            configurations: self
                .configurations
                .iter()
                .map(&mut configuration)
                .collect::<Result<_, E>>()?,
            protocol: self.protocol.clone(),
            flops_per_second: self.flops_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use voxtune::{Direction, Geometry, KernelSize, L2State, LayerKind};
    use voxtune_pointcloud::{Columns, Crop, FileOptions, Generator, Source};
    use voxtune_types::AlgoMode;
    use voxtune_types::mode::AlgoModes;

    use super::*;
    use crate::Preset;
    use crate::inputs::planned_cloud::FileCloud;
    use crate::inputs::readers::Readers;
    use crate::plan::grid::GridOverrides;
    use crate::plan::groups::Groups;

    fn job(path: PathBuf, crop: Option<Crop>, columns: Option<Columns>) -> Job {
        let groups = Some(vec![Groups::ONE, Groups::Depthwise]);
        let overrides = GridOverrides { groups, ..GridOverrides::default() };
        let mode = |text: &str| text.parse::<AlgoMode>().unwrap();
        let request = Request {
            clouds: vec![Source::Generated(Generator::Surface), Source::File(path)],
            file_options: FileOptions { cell_size: 0.3, crop, columns },
            protocol: Protocol {
                batch_size: 2,
                seed: u64::MAX,
                directions: vec![Direction::Wgrad, Direction::Forward],
                modes: AlgoModes::uniform(AlgoMode::All)
                    .with(Direction::Dgrad, mode("explicit_gemm"))
                    .with(Direction::Wgrad, mode("[a,b:c=1]")),
                charges: true,
                budget: Duration::from_millis(1_234),
                l2_state: L2State::Hot,
                ..Protocol::default()
            },
            ..Request::new(Preset::Quick.grid().with(overrides))
        };
        Job::new(&Plan::new(&request).unwrap(), &request)
    }

    fn through_the_pipe(job: &Job) -> Result<Job, String> {
        let text = serde_json::to_string(&job.to_references()).unwrap();
        serde_json::from_str::<Job<CloudReference>>(&text).unwrap().read_files()
    }

    #[test]
    fn jobs_go_through_a_pipe_and_files_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.bin");
        let point = |x: f32| [x, 0.0, 0.0, 1.0, 7.0].map(f32::to_le_bytes).concat();
        let points = |count: u16| (0..count).flat_map(|x| point(f32::from(x))).collect::<Vec<u8>>();
        std::fs::write(&path, points(100)).unwrap();
        // A bound that float32 does not hold, and columns that the file's name does not tell.
        let crop: Crop = "-inf,-1,-1,49.9,inf,1".parse().unwrap();
        let mut job = job(path.clone(), Some(crop), Some(Columns::NUSCENES));
        job.flops_per_second = Some(1.0 / 3.0);
        job.configurations[0].readers = Readers { layers: 7, alike: 3 };
        // What acts on the map alone.
        let layer =
            Geometry::centred(LayerKind::Transposed, KernelSize::cubic(3).unwrap(), [2, 1, 2]);
        let (padding, dilation, output_padding) = ([0, -1, 300], [2, 1, 3], [0, 1, 0]);
        job.configurations[1].configuration.layer =
            Geometry { padding, dilation, output_padding, ..layer };
        let back = through_the_pipe(&job).unwrap();
        assert_eq!(back.configurations.len(), job.configurations.len());
        let mut files: Vec<&Arc<_>> = Vec::new();
        for (ours, theirs) in job.configurations.iter().zip(&back.configurations) {
            assert_eq!(ours.configuration, theirs.configuration);
            assert_eq!(ours.readers, theirs.readers);
            assert_eq!(ours.clouds.len(), theirs.clouds.len());
            for (ours, theirs) in ours.clouds.iter().zip(&theirs.clouds) {
                assert_eq!((ours.label(), ours.voxels()), (theirs.label(), theirs.voxels()));
                assert_eq!(ours.grid(), theirs.grid());
                if let PlannedCloud::File(file) = theirs {
                    files.push(file);
                }
            }
        }
        assert!(files.len() > 1 && files.windows(2).all(|two| Arc::ptr_eq(two[0], two[1])));
        assert_eq!(back.protocol, job.protocol);
        assert_eq!(back.flops_per_second, job.flops_per_second);
        // The same file within a grid is another cloud.
        let (crop, columns) = (Some(crop), Some(Columns::NUSCENES));
        let options = FileOptions { crop, columns, ..FileOptions::default() };
        let clipped = FileCloud::load(path.clone(), options).unwrap().within(Some([1000, 1, 1]));
        job.configurations[1].clouds.push(PlannedCloud::File(Arc::new(clipped)));
        let back = through_the_pipe(&job).unwrap();
        let last = back.configurations[1].clouds.last().unwrap();
        assert_eq!(last.grid(), Some([1000, 1, 1]));

        std::fs::write(&path, points(20)).unwrap();
        let changed = through_the_pipe(&job).unwrap_err();
        assert!(changed.contains("50 voxels") && changed.contains("20 now"), "{changed}");
    }
}
