//! Generated clouds with exactly the voxel count that was asked for.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use voxtune_types::Voxel;

use crate::limits::MAX_VOXELS;
use crate::{CloudError, surface, thick, uniform};

/// How the voxels of a generated cloud lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generator {
    /// Independent cells of a cube at 15 % occupancy: 4.8 mean neighbours of 27 and no locality.
    Uniform,
    /// Ground, walls and objects, one cell thick as in scans: 8 to 10 mean neighbours of 27 from
    /// some thousand voxels on, and strongly local.
    Surface,
    /// What a strided layer makes of a surface: 14 to 17 mean neighbours of 27, as the deeper
    /// levels of networks have.
    Thick,
}

impl Generator {
    /// Every generator.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Surface, Self::Thick];

    /// The name on the command line and in evidence: permanent text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Surface => "surface",
            Self::Thick => "thick",
        }
    }
}

impl fmt::Display for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Generator {
    type Err = CloudError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|generator| generator.as_str() == text)
            .ok_or_else(|| CloudError::UnknownGenerator { name: text.to_owned() })
    }
}

/// A cloud of exactly `voxels` distinct voxels over a batch of `batch_size` samples.
///
/// The counts of the samples differ by at most 1, the first samples having the larger ones; with
/// more samples than voxels the last samples are empty. Each sample starts at coordinate 0 on
/// every axis. Equal arguments give equal clouds, on every platform and with any number of threads.
///
/// # Shapes
/// `[voxels]`, sorted by batch, x, y, z.
///
/// # Errors
/// [`CloudError::NoVoxels`], [`CloudError::TooManyVoxels`] past [`MAX_VOXELS`],
/// [`CloudError::NoBatch`].
pub fn generate(
    generator: Generator,
    voxels: usize,
    batch_size: usize,
    seed: u64,
) -> Result<Vec<Voxel>, CloudError> {
    if voxels == 0 {
        return Err(CloudError::NoVoxels);
    }
    if voxels > MAX_VOXELS {
        return Err(CloudError::TooManyVoxels { requested: voxels });
    }
    if batch_size == 0 {
        return Err(CloudError::NoBatch);
    }
    let (share, larger) = (voxels / batch_size, voxels % batch_size);
    let occupied = batch_size.min(voxels);
    let samples: Vec<Vec<Voxel>> = (0..occupied)
        .into_par_iter()
        .map(|batch| {
            let rows = share + usize::from(batch < larger);
            let sample = match generator {
                Generator::Uniform => uniform::sample(rows, batch, seed),
                Generator::Surface => surface::sample(rows, batch, seed),
                Generator::Thick => thick::sample(rows, batch, seed),
            };
            debug_assert_eq!(sample.len(), rows);
            sample
        })
        .collect();
    Ok(samples.concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::mean_neighbours;

    fn assert_exact(generator: Generator, voxels: usize, batch_size: usize, seed: u64) {
        let case = format!("{generator}, {voxels} voxels, batch of {batch_size}, seed {seed}");
        let cloud = generate(generator, voxels, batch_size, seed).expect(&case);
        assert_eq!(cloud.len(), voxels, "{case}");
        assert!(cloud.is_sorted_by(|a, b| a < b), "{case}: neither distinct nor sorted");
        let mut largest = 0;
        let mut smallest = voxels;
        let mut batches = 0;
        for sample in cloud.chunk_by(|a, b| a.batch == b.batch) {
            assert_eq!(sample[0].batch, batches, "{case}: a sample in between is empty");
            batches += 1;
            largest = largest.max(sample.len());
            smallest = smallest.min(sample.len());
            let minima = sample.iter().fold([i32::MAX; 3], |least, voxel| {
                [least[0].min(voxel.x), least[1].min(voxel.y), least[2].min(voxel.z)]
            });
            assert_eq!(minima, [0; 3], "{case}");
        }
        assert_eq!(batches as usize, batch_size.min(voxels), "{case}");
        assert!(largest - smallest <= 1, "{case}: samples of {smallest} to {largest} voxels");
    }

    #[test]
    fn every_small_count_is_exact() {
        for generator in Generator::ALL {
            for voxels in 1..=300 {
                assert_exact(generator, voxels, 1, voxels as u64);
            }
        }
    }

    #[test]
    fn the_largest_cloud_is_exact() {
        for generator in Generator::ALL {
            assert_exact(generator, MAX_VOXELS, 1, 7);
            assert_exact(generator, MAX_VOXELS, 3, 8);
        }
    }

    #[test]
    fn more_samples_than_voxels_leave_the_last_ones_empty() {
        for generator in Generator::ALL {
            assert_exact(generator, 5, usize::MAX, 0);
            assert_exact(generator, 10_000, 9_999, 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

        #[test]
        fn counts_are_exact(
            surface in any::<bool>(), voxels in 1_usize..60_000, batch_size in 1_usize..40, seed in any::<u64>(),
        ) {
            let generator = if surface { Generator::Surface } else { Generator::Uniform };
            assert_exact(generator, voxels, batch_size, seed);
        }
    }

    #[test]
    fn density_is_that_of_the_kind_at_every_size() {
        for (voxels, batch_size) in
            [(5_000, 1), (30_000, 1), (30_000, 4), (130_000, 1), (500_000, 4), (MAX_VOXELS, 1)]
        {
            let surface = generate(Generator::Surface, voxels, batch_size, 11).unwrap();
            let mean = mean_neighbours(&surface);
            assert!((8.0..=10.0).contains(&mean), "surface, {voxels}/{batch_size}: {mean}");
            let uniform = generate(Generator::Uniform, voxels, batch_size, 11).unwrap();
            let mean = mean_neighbours(&uniform);
            assert!((4.4..=4.95).contains(&mean), "uniform, {voxels}/{batch_size}: {mean}");
        }
    }

    #[test]
    fn a_seed_gives_one_cloud_whatever_the_threads() {
        for generator in Generator::ALL {
            let cloud = |seed| generate(generator, 40_000, 3, seed).unwrap();
            let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
            assert!(alone.install(|| cloud(5)) == many.install(|| cloud(5)), "{generator}");
            assert!(cloud(5) != cloud(6), "{generator}: the seed changes nothing");
            let samples: Vec<Vec<[i32; 3]>> = cloud(5)
                .chunk_by(|a, b| a.batch == b.batch)
                .map(|sample| sample.iter().map(|voxel| [voxel.x, voxel.y, voxel.z]).collect())
                .collect();
            assert!(samples[0] != samples[1], "{generator}: samples repeat each other");
        }
    }

    /// Evidence of earlier runs stays comparable only as long as the clouds stay what they are.
    #[test]
    fn clouds_never_change() {
        let digest = |generator| {
            let cloud = generate(generator, 20_000, 2, 1).unwrap();
            let hash = cloud.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, voxel| {
                [voxel.batch, voxel.x, voxel.y, voxel.z].iter().fold(hash, |hash, &coordinate| {
                    (hash ^ u64::from(coordinate as u32)).wrapping_mul(0x100_0000_01b3)
                })
            });
            format!("{generator} {hash:016x}")
        };
        insta::assert_snapshot!(Generator::ALL.map(digest).join("\n"), @"
uniform 4ea4cdc37c641f33
surface 66778c1a16ad8069
thick 7211f05dadb75555
");
    }

    #[test]
    fn senseless_requests_are_refused() {
        let message = |voxels, batch_size| {
            generate(Generator::Surface, voxels, batch_size, 0).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message(0, 1), @"a cloud needs at least 1 voxel, 0 were asked for");
        insta::assert_snapshot!(message(2_000_001, 1), @"a generated cloud holds at most 2000000 voxels, 2000001 were asked for");
        insta::assert_snapshot!(message(1, 0), @"a batch needs at least 1 sample, 0 were asked for");
        insta::assert_snapshot!("unifrom".parse::<Generator>().unwrap_err(), @"`unifrom` is not a generator: expected uniform, surface or thick");
        for generator in Generator::ALL {
            assert_eq!(generator.as_str().parse::<Generator>().unwrap(), generator);
        }
    }
}
