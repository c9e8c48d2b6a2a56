//! Several plans as one, such as those of several presets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use voxtune_pointcloud::Generator;

use crate::inputs::planned_cloud::{FileCloud, PlannedCloud};
use crate::plan::expand::{Plan, PlannedConfiguration, place};

impl Plan {
    /// Several plans as one: each layer over each bucket once, where it comes first, on the clouds
    /// of all. Of generated clouds of one kind the first stands for the others of its bucket.
    #[must_use]
    pub fn joined(plans: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self { configurations: Vec::new(), merged: Vec::new() };
        let (mut places, mut files) = (HashMap::new(), Vec::new());
        for plan in plans {
            for count in plan.merged {
                if !all.merged.contains(&count) {
                    all.merged.push(count);
                }
            }
            for mut planned in plan.configurations {
                planned.clouds.iter_mut().for_each(|cloud| share(cloud, &mut files));
                match places.entry(place(&planned.configuration)) {
                    Entry::Vacant(first) => {
                        first.insert(all.configurations.len());
                        all.configurations.push(planned);
                    }
                    Entry::Occupied(first) => {
                        let first = &mut all.configurations[*first.get()];
                        first.readers = first.readers.fewer(planned.readers);
                        first.join(planned.clouds);
                    }
                }
            }
        }
        all
    }
}

impl PlannedConfiguration {
    /// Adds clouds of the same bucket that are not there yet.
    fn join(&mut self, clouds: Vec<PlannedCloud>) {
        let voxels = self.configuration.voxels;
        for cloud in clouds {
            let is_there = match &cloud {
                PlannedCloud::Generated { generator, .. } => self.generators().contains(generator),
                PlannedCloud::File(_) => self.clouds.iter().any(|one| one.is_same(&cloud)),
            };
            if !is_there {
                self.clouds.push(match cloud {
                    PlannedCloud::Generated { generator, .. } => {
                        PlannedCloud::Generated { generator, voxels }
                    }
                    file @ PlannedCloud::File(_) => file,
                });
            }
        }
    }

    fn generators(&self) -> Vec<Generator> {
        let generator = |cloud: &PlannedCloud| match cloud {
            PlannedCloud::Generated { generator, .. } => Some(*generator),
            PlannedCloud::File(_) => None,
        };
        self.clouds.iter().filter_map(generator).collect()
    }
}

/// Of a file that was read for several plans, the first reading stands for all.
fn share(cloud: &mut PlannedCloud, files: &mut Vec<Arc<FileCloud>>) {
    let PlannedCloud::File(file) = cloud else { return };
    let is_same = |one: &&Arc<FileCloud>| (one.path(), one.grid()) == (file.path(), file.grid());
    match files.iter().find(is_same) {
        Some(first) => *file = Arc::clone(first),
        None => files.push(Arc::clone(file)),
    }
}

#[cfg(test)]
mod tests {
    use voxtune_pointcloud::Source;
    use voxtune_types::VoxelBucket;

    use super::*;
    use crate::Preset;
    use crate::plan::expand::Request;

    fn plan(preset: Preset, more: &[Source]) -> Plan {
        let mut clouds: Vec<Source> =
            preset.clouds().iter().copied().map(Source::Generated).collect();
        clouds.extend(more.iter().cloned());
        let request = Request { clouds, ..Request::new(preset.grid()) };
        match preset.list() {
            Some(list) => Plan::of_list(&request, &list).unwrap(),
            None => Plan::new(&request).unwrap(),
        }
    }

    fn joined(presets: &[Preset]) -> Plan {
        Plan::joined(presets.iter().map(|&preset| plan(preset, &[])))
    }

    /// Of one layer and bucket: what is common to two of these presets is measured once, on the
    /// clouds of both.
    #[test]
    fn presets_share_configurations() {
        let all = joined(&[Preset::Lidar, Preset::Unet, Preset::Default]);
        let mut places: Vec<_> = all
            .configurations
            .iter()
            .map(|planned| {
                let one = planned.configuration;
                (VoxelBucket::of(one.voxels), one.channels, one.groups, one.layer, one.dtype)
            })
            .collect();
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count);
        let mut lines: Vec<String> = all
            .configurations
            .iter()
            .map(|planned| {
                let clouds: Vec<_> = planned.clouds.iter().map(PlannedCloud::label).collect();
                format!("{}  {}", planned.configuration, clouds.join(", "))
            })
            .collect();
        lines.push(format!("{count} of {} configurations", 44 + 109 + 364));
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_preset_with_itself_is_itself() {
        for preset in Preset::ALL {
            let (one, two) = (plan(preset, &[]), joined(&[preset, preset]));
            let configurations = |plan: &Plan| -> Vec<_> {
                let clouds = |one: &PlannedConfiguration| one.clouds.len();
                plan.configurations.iter().map(|one| (one.configuration, clouds(one))).collect()
            };
            assert_eq!(configurations(&one), configurations(&two), "{preset}");
        }
        let counts = |presets: &[Preset]| joined(presets).configurations.len();
        assert_eq!(counts(&[Preset::Quick, Preset::Default]), counts(&[Preset::Default]));
    }

    #[test]
    fn a_file_is_measured_once_with_every_layer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.bin");
        let point = |x: u16| [f32::from(x), 0.0, 0.0, 1.0].map(f32::to_le_bytes).concat();
        std::fs::write(&path, (0..300).flat_map(point).collect::<Vec<u8>>()).unwrap();
        let file = [Source::File(path)];
        let presets = [Preset::Quick, Preset::Lidar, Preset::Quick];
        let all = Plan::joined(presets.map(|preset| plan(preset, &file)));
        let clouds = || all.configurations.iter().flat_map(|planned| &planned.clouds);
        let files: Vec<&PlannedCloud> =
            clouds().filter(|cloud| matches!(cloud, PlannedCloud::File(_))).collect();
        assert!(files.iter().all(|one| one.is_same(files[0])), "it is in memory once");
        let of_file = |planned: &&PlannedConfiguration| {
            planned.clouds.iter().any(|cloud| matches!(cloud, PlannedCloud::File(_)))
        };
        assert_eq!(files.len(), all.configurations.iter().filter(of_file).count());
    }
}
