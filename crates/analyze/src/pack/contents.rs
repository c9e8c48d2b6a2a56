//! Which kernels a pack holds.

use std::collections::{BTreeMap, BTreeSet};

use voxtune::{DType, Direction, KernelSize, Operation};
use voxtune_cache::Decisions;
use voxtune_cuda::model::LearnedModel;
use voxtune_cuda::{Instance, algorithm, default_algorithm, fallback_algorithm};
use voxtune_tune::Preset;
use voxtune_types::ComputeCapability;

use super::modelled::modelled;
use super::target::Target;
use super::unmeasured::unmeasured;

/// Why a kernel is in a pack. The least of several reasons counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Kernel maps, clocks and comparisons need it.
    Utility,
    /// It runs where nothing better does.
    Default,
    /// It won a measurement, or is what the model expects to.
    Choice,
    /// It is what a model chooses for channels that were not measured where others were.
    Unmeasured,
}

/// The kernels of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Each with the reason.
    pub instances: BTreeMap<Instance, Role>,
    /// How many kernels that a model chose found no room.
    pub without_room: usize,
}

/// How many kernels the pack of an architecture has at most because of a model. What may be wrong
/// is not to make a pack larger than 1 MiB, at the 4 KiB that a kernel takes on average.
const MODELLED_ROOM: usize = (1 << 20) / (4 << 10);

/// How many kernels for channels that were not measured join at most, some 6 KiB each.
const UNMEASURED_ROOM: usize = 72;

impl Contents {
    /// The kernels of a target. With decisions these are their winners, and what was `learned` to
    /// save most for other channels. Without any they are the choices for an architecture that was
    /// not measured.
    #[must_use]
    pub fn of(
        target: Target,
        decisions: Option<&Decisions>,
        learned: Option<&LearnedModel>,
    ) -> Self {
        let mut contents = Self { instances: BTreeMap::new(), without_room: 0 };
        contents.add_utilities();
        contents.add_defaults();
        match (target, decisions) {
            (Target::Cubin(capability), Some(decisions)) => {
                contents.add_winners(capability, decisions);
                if let Some(learned) = learned {
                    contents.add_unmeasured(capability, learned);
                }
            }
            (Target::Cubin(capability), None) => contents.add_modelled(capability),
            (Target::Ptx, _) => {}
        }
        contents
    }

    /// The winners of decisions, and nothing else.
    #[must_use]
    pub fn winners(target: Target, decisions: Option<&Decisions>) -> Self {
        let mut contents = Self { instances: BTreeMap::new(), without_room: 0 };
        if let (Target::Cubin(capability), Some(decisions)) = (target, decisions) {
            contents.add_winners(capability, decisions);
        }
        contents
    }

    /// How many kernels have a role.
    #[must_use]
    pub fn count(&self, role: Role) -> usize {
        self.instances.values().filter(|one| **one == role).count()
    }

    fn add(&mut self, instance: Option<Instance>, role: Role) {
        if let Some(instance) = instance {
            let held = self.instances.entry(instance).or_insert(role);
            *held = role.min(*held);
        }
    }

    fn add_utilities(&mut self) {
        for instance in Instance::utilities() {
            self.add(Some(instance), Role::Utility);
        }
    }

    /// For each direction, dtype and width of masks one kernel that takes any channels, and one
    /// that takes any groups of them. Then the defaults of the shipped layers, and of depthwise
    /// ones of 3×3×3 offsets and whole copies of channels.
    fn add_defaults(&mut self) {
        for direction in Direction::ALL {
            for dtype in DType::ALL {
                for extent in [[3, 3, 3], [4, 4, 4], [5, 5, 5]] {
                    let kernel = KernelSize::try_from(extent).expect("a kernel of known extents");
                    let operation = Operation::submanifold(direction, dtype, 1, 1, kernel);
                    self.add(fallback_algorithm().instance(&operation), Role::Default);
                    let grouped = Operation { c_in: 8, c_out: 8, groups: 8, ..operation };
                    let own = default_algorithm(&grouped).instance(&grouped);
                    let any = own.as_ref().and_then(Instance::for_any_channels);
                    self.add(any, Role::Default);
                    if extent == [3, 3, 3] {
                        self.add(own, Role::Default);
                    }
                }
            }
        }
        for operation in shipped_operations() {
            self.add(default_algorithm(&operation).instance(&operation), Role::Default);
        }
    }

    /// What a model chooses for an architecture without measurements, what saves most first.
    fn add_modelled(&mut self, capability: ComputeCapability) {
        for choice in modelled(capability) {
            if self.instances.len() < MODELLED_ROOM {
                self.add(Some(choice.instance), Role::Choice);
            } else {
                self.without_room += usize::from(!self.instances.contains_key(&choice.instance));
            }
        }
    }

    /// What a model chooses for channels beside those that were measured.
    fn add_unmeasured(&mut self, capability: ComputeCapability, learned: &LearnedModel) {
        let there: BTreeSet<&Instance> = self.instances.keys().collect();
        for instance in unmeasured(capability, learned, &there, UNMEASURED_ROOM) {
            self.add(Some(instance), Role::Unmeasured);
        }
    }

    fn add_winners(&mut self, capability: ComputeCapability, decisions: &Decisions) {
        for decision in decisions.iter() {
            let operation = &decision.key.operation;
            let named = [Some(&decision.winner), decision.without_libraries.as_ref()];
            let known = named.into_iter().flatten().filter_map(algorithm);
            for choice in known.filter(|choice| choice.fits(operation, capability)) {
                self.add(choice.instance(operation), Role::Choice);
            }
        }
    }
}

/// The operations for which every pack has a default: those of the layers that are measured, in
/// their storage types.
pub fn shipped_operations() -> impl Iterator<Item = Operation> {
    let grid = Preset::Default.grid();
    let mut operations = Vec::new();
    for direction in Direction::ALL {
        for &dtype in &grid.dtypes {
            for &kernel in &grid.kernels {
                let layer = |pair: &voxtune_tune::plan::grid::ChannelPair| {
                    Operation::submanifold(direction, dtype, pair.c_in, pair.c_out, kernel)
                };
                operations.extend(grid.channels.iter().map(layer));
            }
        }
    }
    operations.into_iter()
}

#[cfg(test)]
mod tests {
    use voxtune::{Arch, Density, DeviceIdentity, ShapeKey, VoxelBucket};
    use voxtune_cache::Decision;

    use super::*;

    fn decision(operation: Operation, winner: &str) -> Decision {
        Decision {
            device: DeviceIdentity { arch: Arch::sm(9, 0), name: "H100".into(), units: 132 },
            key: ShapeKey {
                operation,
                bucket_in: VoxelBucket::of(100_000),
                bucket_out: VoxelBucket::of(100_000),
                density: Density::of(800_000, 100_000),
            },
            winner: winner.parse().unwrap(),
            runner_up: None,
            without_libraries: None,
            safe: Vec::new(),
        }
    }

    #[test]
    fn every_target_has_maps_and_a_default_for_every_operation() {
        for target in Target::ALL {
            let contents = Contents::of(target, None, None);
            assert!(contents.instances.contains_key(&Instance::kernel_map()));
            assert!(contents.instances.contains_key(&Instance::strided_map()));
            assert!(contents.instances.contains_key(&Instance::network_maps()));
            for operation in shipped_operations() {
                let default = default_algorithm(&operation).instance(&operation).unwrap();
                assert!(contents.instances.contains_key(&default), "{operation}");
            }
            assert_eq!(contents.count(Role::Utility), 12);
            for (c_in, c_out, groups) in [(7, 7, 7), (12, 20, 4), (256, 256, 2)] {
                for operation in shipped_operations().filter(|one| one.c_in == 64) {
                    let grouped = Operation { c_in, c_out, groups, ..operation };
                    let own = default_algorithm(&grouped).instance(&grouped).unwrap();
                    let any = own.for_any_channels().unwrap();
                    assert!(contents.instances.contains_key(&any), "{grouped}");
                }
            }
            let depthwise = Operation::submanifold(
                Direction::Forward,
                DType::BFloat16,
                64,
                64,
                KernelSize::submanifold(3).unwrap(),
            );
            let depthwise = depthwise.with_groups(64);
            let own = default_algorithm(&depthwise).instance(&depthwise).unwrap();
            assert!(contents.instances.contains_key(&own));
        }
    }

    #[test]
    fn winners_join_unless_the_architecture_lacks_them() {
        let kernel = KernelSize::submanifold(3).unwrap();
        let layer = Operation::submanifold(Direction::Forward, DType::Float16, 64, 64, kernel);
        let wgmma = voxtune_cuda::algorithms()
            .iter()
            .find(|one| one.id().family() == "wgmma_gemm" && one.applies(&layer))
            .unwrap();
        let decisions: Decisions = [
            decision(layer, wgmma.id().as_str()),
            decision(Operation { c_in: 128, ..layer }, "retired:rows=1"),
        ]
        .into_iter()
        .collect();
        let winner = wgmma.instance(&layer).unwrap();
        let hopper = Contents::of("sm_90".parse().unwrap(), Some(&decisions), None);
        assert_eq!(hopper.instances.get(&winner), Some(&Role::Choice));
        assert_eq!(hopper.count(Role::Choice), 1);
        let alone = Contents::winners("sm_90".parse().unwrap(), Some(&decisions));
        assert_eq!(alone.instances, BTreeMap::from([(winner, Role::Choice)]));
        let other = Contents::of("sm_100".parse().unwrap(), Some(&decisions), None);
        assert_eq!(other.count(Role::Choice), 0);
    }
}
