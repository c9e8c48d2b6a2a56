//! Cells of generated clouds, kept for the configurations that share a cloud.
//!
//! The host takes tens of milliseconds to generate 100,000 voxels. A GPU races the candidates of a
//! small layer on them in less.

use std::collections::VecDeque;

use voxtune::Device;
use voxtune_pointcloud::{CloudError, Generator, generate};
use voxtune_types::Voxel;

/// What a generator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudRequest {
    /// The generator.
    pub generator: Generator,
    /// Voxels over the whole batch.
    pub voxels: usize,
    /// Samples in the batch.
    pub batch_size: usize,
    /// Another seed gives another cloud.
    pub seed: u64,
}

/// The clouds that were generated last, within a bound of memory.
#[derive(Debug, Default)]
pub struct GeneratedCells {
    /// The latest used last.
    held: VecDeque<(CloudRequest, Vec<Voxel>)>,
}

impl GeneratedCells {
    /// The most memory that is held, unless a single cloud has more: 4 million cells.
    const MOST_CELLS: usize = 4 << 20;

    /// The cells of a cloud, by the device's threads if they were not held.
    ///
    /// # Errors
    /// As [`generate()`].
    pub fn of(&mut self, device: &Device, request: CloudRequest) -> Result<&[Voxel], CloudError> {
        let found = self.held.iter().position(|(held, _)| *held == request);
        let entry = match found.and_then(|place| self.held.remove(place)) {
            Some(entry) => entry,
            None => {
                let CloudRequest { generator, voxels, batch_size, seed } = request;
                let cells = device.install(|| generate(generator, voxels, batch_size, seed))?;
                self.make_room(cells.len());
                (request, cells)
            }
        };
        self.held.push_back(entry);
        Ok(self.held.back().map_or(&[], |(_, cells)| cells))
    }

    /// Forgets clouds until so many more cells fit.
    fn make_room(&mut self, cells: usize) {
        let mut held: usize = self.held.iter().map(|(_, cells)| cells.len()).sum();
        while held + cells > Self::MOST_CELLS
            && let Some((_, forgotten)) = self.held.pop_front()
        {
            held -= forgotten.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(voxels: usize, seed: u64) -> CloudRequest {
        CloudRequest { generator: Generator::Surface, voxels, batch_size: 1, seed }
    }

    #[test]
    fn a_held_cloud_is_the_one_that_would_be_generated() {
        let device = Device::cpu_with_threads(1).unwrap();
        let mut clouds = GeneratedCells::default();
        for seed in [1, 2, 1, 2] {
            let held = clouds.of(&device, request(300, seed)).unwrap().to_vec();
            assert_eq!(held, generate(Generator::Surface, 300, 1, seed).unwrap());
        }
        assert_eq!(clouds.held.len(), 2);
        assert!(clouds.of(&device, request(0, 1)).is_err());
        assert_eq!(clouds.held.len(), 2, "what cannot be generated costs nothing that is held");
    }

    #[test]
    fn the_longest_unused_cloud_goes_first() {
        let device = Device::cpu_with_threads(1).unwrap();
        let mut clouds = GeneratedCells::default();
        let large = GeneratedCells::MOST_CELLS / 2;
        for (voxels, seed) in [(10, 1), (20, 2), (10, 1)] {
            clouds.of(&device, request(voxels, seed)).unwrap();
        }
        clouds.make_room(2 * large - 15);
        assert_eq!(clouds.held.iter().map(|(_, cells)| cells.len()).collect::<Vec<_>>(), [10]);
        clouds.make_room(3 * large);
        assert!(clouds.held.is_empty());
    }
}
