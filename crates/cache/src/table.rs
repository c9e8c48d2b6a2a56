//! Lookup of decisions at dispatch.

use std::hash::BuildHasher;
use std::sync::OnceLock;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use voxtune_shape::{Arch, DeviceIdentity, Operation, ShapeKey};

use crate::decision::{Decision, Decisions};
use crate::packed_key::PackedKey;

/// A device's number in one [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u32);

/// Decisions, arranged for lookup. Lookups take no lock and, after the first one of a key, allocate
/// nothing.
#[derive(Debug, Default)]
pub struct Table {
    sets: Vec<Decisions>,
    /// Sorted.
    devices: Vec<DeviceIdentity>,
    /// By device, then key.
    rows: Vec<Row>,
    /// Numbers of rows, by device and key.
    index: HashTable<u32>,
}

#[derive(Debug)]
struct Row {
    place: Place,
    /// Which of the sets it is from, and where in it.
    origin: (usize, usize),
    /// Made when it is first asked for.
    decision: OnceLock<Box<Decision>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    device: DeviceId,
    key: PackedKey,
}

impl Table {
    /// Arranges some sets of decisions. Where two of them decide the same key for the same device,
    /// the earlier one stands.
    #[must_use]
    pub fn new(sets: impl IntoIterator<Item = Decisions>) -> Self {
        let sets: Vec<Decisions> = sets.into_iter().collect();
        let mut devices: Vec<DeviceIdentity> =
            sets.iter().flat_map(|set| &set.devices).cloned().collect();
        devices.sort_unstable();
        devices.dedup();

        let mut rows = Vec::with_capacity(sets.iter().map(Decisions::len).sum());
        for (set_number, set) in sets.iter().enumerate() {
            let ids: Vec<DeviceId> =
                set.devices.iter().filter_map(|device| find_device(&devices, device)).collect();
            rows.extend((0..set.len()).map(|index| Row {
                place: Place {
                    device: ids[set.columns.device[index] as usize],
                    key: PackedKey::new(&set.columns.key(index, &set.operations)),
                },
                origin: (set_number, index),
                decision: OnceLock::new(),
            }));
        }
        // Stable, so that the earlier set comes first; linear for one set, which is sorted already.
        rows.sort_by_key(|row| row.place);
        rows.dedup_by_key(|row| row.place);

        let mut index = HashTable::with_capacity(rows.len());
        for (number, row) in (0_u32..).zip(&rows) {
            index.insert_unique(hash(&row.place), number, |&number| {
                hash(&rows[number as usize].place)
            });
        }
        Self { sets, devices, rows, index }
    }

    /// How many decisions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of a device, to look keys up by; `None` where nothing was measured on it.
    #[must_use]
    pub fn device_id(&self, device: &DeviceIdentity) -> Option<DeviceId> {
        find_device(&self.devices, device)
    }

    /// The decision for this key on this very device.
    #[must_use]
    pub fn exact(&self, device: &DeviceIdentity, key: &ShapeKey) -> Option<&Decision> {
        self.exact_by_id(self.device_id(device)?, key)
    }

    /// The decision for this key on this very device, the device being looked up already.
    #[must_use]
    pub fn exact_by_id(&self, device: DeviceId, key: &ShapeKey) -> Option<&Decision> {
        let place = Place { device, key: PackedKey::new(key) };
        let found = |&number: &u32| self.rows[number as usize].place == place;
        let number = self.index.find(hash(&place), found)?;
        Some(self.decision(&self.rows[*number as usize]))
    }

    /// The decision for this key on a device of the same architecture: the device itself, else the
    /// one with the closest number of units, of two equally close ones the one whose name is the
    /// lesser text.
    #[must_use]
    pub fn same_arch(&self, device: &DeviceIdentity, key: &ShapeKey) -> Option<&Decision> {
        if let Some(decision) = self.exact(device, key) {
            return Some(decision);
        }
        self.devices_of(device.arch)
            .filter_map(|(id, sibling)| Some((sibling, self.exact_by_id(id, key)?)))
            .min_by_key(|(sibling, _)| {
                (sibling.units.abs_diff(device.units), &sibling.name, sibling.units)
            })
            .map(|(_, decision)| decision)
    }

    /// All decisions for the key's operation on an architecture's devices, whatever their row
    /// counts and densities, by device, then key.
    pub fn near<'t>(
        &'t self,
        arch: Arch,
        key: &ShapeKey,
    ) -> impl Iterator<Item = &'t Decision> + use<'t> {
        let operation = key.operation;
        self.devices_of(arch)
            .flat_map(move |(device, _)| self.rows_of(device, &operation))
            .map(|row| self.decision(row))
    }

    fn devices_of(&self, arch: Arch) -> impl Iterator<Item = (DeviceId, &DeviceIdentity)> {
        (0..).map(DeviceId).zip(&self.devices).filter(move |(_, device)| device.arch == arch)
    }

    fn rows_of(&self, device: DeviceId, operation: &Operation) -> &[Row] {
        let (first, last) = PackedKey::range(operation);
        let first = Place { device, key: first };
        let last = Place { device, key: last };
        let start = self.rows.partition_point(|row| row.place < first);
        let len = self.rows[start..].partition_point(|row| row.place <= last);
        &self.rows[start..start + len]
    }

    fn decision<'t>(&'t self, row: &'t Row) -> &'t Decision {
        row.decision.get_or_init(|| {
            let (set, index) = row.origin;
            Box::new(self.sets[set].at(index))
        })
    }
}

/// Few devices ever share a table, so comparing beats hashing; the cheap fields are compared first.
fn find_device(devices: &[DeviceIdentity], device: &DeviceIdentity) -> Option<DeviceId> {
    (0..).map(DeviceId).zip(devices).find_map(|(id, known)| {
        let same =
            known.units == device.units && known.arch == device.arch && known.name == device.name;
        same.then_some(id)
    })
}

fn hash(place: &Place) -> u64 {
    FxBuildHasher.hash_one(place)
}
