//! What the model of cost spares a run of the default preset.

use std::collections::BTreeSet;

use voxtune::{Algorithm, MapCounts, Registry};
use voxtune_tune::Preset;
use voxtune_types::{AlgoMode, Arch, ComputeCapability, DeviceIdentity, Direction, Operation};

/// Each mode's candidates are among those of the next: what a model of cost expects to matter, what
/// suits the layer, and all.
#[test]
fn trimmed_lies_between_auto_and_all() {
    let mut counts = [0; 3];
    for arch in [(8, 0), (9, 0)] {
        let arch = Arch::Cuda(ComputeCapability { major: arch.0, minor: arch.1 });
        let device = DeviceIdentity { arch, name: "a GPU".to_owned(), units: 132 };
        let registry = Registry::of_device(&device);
        for configuration in Preset::Script.configurations() {
            for direction in Direction::ALL {
                let (operation, n) = (configuration.operation(direction), configuration.voxels);
                let counts_of = MapCounts { n_in: n, n_out: n, pairs: 5 * n };
                let pools = [AlgoMode::Auto, AlgoMode::Trimmed, AlgoMode::All].map(|mode| {
                    let pool = registry.pool(&mode, &operation, counts_of);
                    pool.iter().map(|one| one.id().clone()).collect::<BTreeSet<_>>()
                });
                let [auto, trimmed, all] = &pools;
                assert!(auto.is_subset(trimmed) && trimmed.is_subset(all), "{operation}");
                for (count, pool) in counts.iter_mut().zip(&pools) {
                    *count += pool.len();
                }
            }
        }
    }
    let [auto, trimmed, all] = counts;
    assert!(auto * 3 < trimmed * 2 && trimmed * 2 < all, "{counts:?}");
}

/// What the default preset compiles, over clouds of 5 and 12 pairs per row.
#[test]
fn pruning_spares_instances() {
    let arch = Arch::Cuda(ComputeCapability { major: 9, minor: 0 });
    let h100 = DeviceIdentity { arch, name: "NVIDIA H100".to_owned(), units: 132 };
    let registry = Registry::of_device(&h100);
    let grid = Preset::Default.grid();
    let instance = |algorithm: &dyn Algorithm, operation: &Operation| {
        voxtune_cuda::algorithm(algorithm.id()).and_then(|cuda| cuda.instance(operation))
    };
    let (mut suited, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let (mut pools, mut candidates, mut most) = (0, 0, 0);
    for configuration in grid.expand().configurations {
        let (c_in, c_out) = (configuration.channels.c_in, configuration.channels.c_out);
        for (direction, pairs_a_row) in
            Direction::ALL.into_iter().flat_map(|direction| [(direction, 5), (direction, 12)])
        {
            let dtype = configuration.dtype;
            let operation =
                Operation::submanifold(direction, dtype, c_in, c_out, configuration.layer.kernel);
            let n = configuration.voxels;
            let counts = MapCounts { n_in: n, n_out: n, pairs: pairs_a_row * n };
            let fits = registry.algorithms().filter(|algorithm| {
                algorithm.applies(&operation) && algorithm.in_auto_pool(&operation, counts)
            });
            suited.extend(fits.filter_map(|algorithm| instance(&**algorithm, &operation)));
            let pool = registry.pool(&AlgoMode::Auto, &operation, counts);
            pools += 1;
            candidates += pool.len();
            most = most.max(pool.len());
            kept.extend(pool.iter().filter_map(|algorithm| instance(&**algorithm, &operation)));
        }
    }
    let summary = format!(
        "{} of {} instances; {:.1} candidates of {pools} pools, at most {most}",
        kept.len(),
        suited.len(),
        candidates as f64 / f64::from(pools),
    );
    assert!(kept.len() * 100 <= suited.len() * 95, "{summary}");
    assert!(most <= 16 && candidates <= pools as usize * 10, "{summary}");
}
