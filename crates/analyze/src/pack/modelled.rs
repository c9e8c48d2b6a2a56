//! What a model of cost chooses for an architecture that was not measured.

use std::collections::BTreeMap;

use voxtune::{Algorithm, Arch, DeviceIdentity, Direction, MapCounts, Registry, ShapeKey};
use voxtune_cuda::{Instance, algorithm, model::Rates};
use voxtune_tune::Preset;
use voxtune_types::ComputeCapability;

/// Pairs per row of the maps that keys stand for: a surface's, and those of crowded voxels.
const PAIRS_PER_ROW: [usize; 2] = [5, 12];

/// A kernel that the model chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct Modelled {
    /// Which.
    pub instance: Instance,
    /// For how many of the default grid's keys.
    pub keys: usize,
    /// The time that it saves them, as shares of the default's and summed.
    pub gain: f64,
}

/// The kernels that the model finds clearly faster than the default, those first that save most:
/// for the default grid's keys on the usual device of an architecture.
#[must_use]
pub fn modelled(capability: ComputeCapability) -> Vec<Modelled> {
    let units = Rates::usual_sms(capability);
    let device = DeviceIdentity { arch: Arch::Cuda(capability), name: String::new(), units };
    let registry = Registry::of_device(&device);
    let mut kernels: BTreeMap<Instance, (usize, f64)> = BTreeMap::new();
    for key in grid_keys() {
        let Some((instance, gain)) = choice(&registry, &key) else { continue };
        let (keys, sum) = kernels.entry(instance).or_default();
        *keys += 1;
        *sum += gain;
    }
    let named = |(instance, (keys, gain))| Modelled { instance, keys, gain };
    let mut kernels: Vec<Modelled> = kernels.into_iter().map(named).collect();
    // Stable, so that equal ones stay in the order of their names.
    kernels.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    kernels
}

/// The kernel of a key, with the share of the default's time that it saves.
fn choice(registry: &Registry, key: &ShapeKey) -> Option<(Instance, f64)> {
    let chosen = registry.modelled_for(key)?;
    let counts = MapCounts::typical(key);
    let time_ns =
        |algorithm: &dyn Algorithm| Some(algorithm.estimate(&key.operation, counts)?.time_ns);
    let default_ns = time_ns(&**registry.default_for(&key.operation)?)?;
    let gain = 1.0 - time_ns(&**chosen)? / default_ns;
    Some((algorithm(chosen.id())?.instance(&key.operation)?, gain))
}

/// The keys of the default grid's layers over its clouds.
fn grid_keys() -> impl Iterator<Item = ShapeKey> {
    let keys = |of: voxtune_tune::plan::grid::Configuration| {
        let key = move |direction: Direction, pairs: usize| {
            ShapeKey::new(of.operation(direction), of.voxels, of.voxels, of.voxels * pairs)
        };
        Direction::ALL
            .into_iter()
            .flat_map(move |direction| PAIRS_PER_ROW.map(|pairs| key(direction, pairs)))
    };
    Preset::Default.grid().expand().configurations.into_iter().flat_map(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Contents, Role, Target};

    /// Choices are few, of the architecture, and worth their room; all of them are packed.
    #[test]
    fn every_unmeasured_architecture_has_choices() {
        for target in ["sm_80", "sm_89", "sm_120"].map(|text| text.parse::<Target>().unwrap()) {
            let choices = modelled(target.capability());
            assert!((10..=150).contains(&choices.len()), "{target}: {}", choices.len());
            assert!(choices.iter().all(|one| !one.instance.hopper && one.keys > 0));
            // The model has to find a clear gain, of a fifth at least where it was not fitted.
            assert!(choices.iter().all(|one| one.gain > 0.2 * one.keys as f64), "{choices:?}");
            assert!(choices.windows(2).all(|pair| pair[0].gain >= pair[1].gain));
            let contents = Contents::of(target, None, None);
            assert_eq!(contents.without_room, 0);
            assert!(choices.iter().all(|one| contents.instances.contains_key(&one.instance)));
            assert!(contents.count(Role::Choice) > 0);
        }
    }
}
