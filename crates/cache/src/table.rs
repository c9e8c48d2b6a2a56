//! Lookup of decisions, for resolution.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use voxtune_types::{Arch, DeviceIdentity, Operation, ShapeKey};

use crate::decision::{DecisionRef, Decisions};
use crate::packed_key::PackedKey;

/// A device's number in one [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(u32);

/// A decision's number in one [`Table`], less than its [length](Table::len).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DecisionId(u32);

impl DecisionId {
    /// The number.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Decisions, arranged for lookup. Lookups take no lock and allocate nothing.
#[derive(Debug, Default)]
pub struct Table {
    sets: Vec<Decisions>,
    /// Sorted; shared, so that an answer can name one without a copy.
    devices: Vec<Arc<DeviceIdentity>>,
    /// By device, then key.
    rows: Vec<Row>,
    /// Numbers of rows, by device and key.
    index: HashTable<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: TableKey,
    /// Which of the sets it is from, and where in it.
    origin: (u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TableKey {
    device: DeviceId,
    key: PackedKey,
}

impl Table {
    /// Arranges some sets of decisions. Where two of them decide the same key for the same device,
    /// the earlier one stands.
    #[must_use]
    pub fn new(sets: impl IntoIterator<Item = Decisions>) -> Self {
        let sets: Vec<Decisions> = sets.into_iter().collect();
        let mut devices: Vec<Arc<DeviceIdentity>> =
            sets.iter().flat_map(|set| &set.devices).cloned().map(Arc::new).collect();
        devices.sort_unstable();
        devices.dedup();

        let mut rows = Vec::with_capacity(sets.iter().map(Decisions::len).sum());
        for (set_number, set) in (0..).zip(&sets) {
            let ids: Vec<DeviceId> =
                set.devices.iter().filter_map(|device| find_device(&devices, device)).collect();
            rows.extend((0..).zip(0..set.len()).map(|(number, index)| Row {
                key: TableKey {
                    device: ids[set.columns.device[index] as usize],
                    key: PackedKey::new(&set.columns.key(index, &set.operations)),
                },
                origin: (set_number, number),
            }));
        }
        // Stable, so that the earlier set comes first; linear for one set, which is sorted already.
        rows.sort_by_key(|row| row.key);
        rows.dedup_by_key(|row| row.key);

        let mut index = HashTable::with_capacity(rows.len());
        for (number, row) in (0_u32..).zip(&rows) {
            index.insert_unique(hash(&row.key), number, |&number| hash(&rows[number as usize].key));
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

    /// The devices with a decision, sorted.
    #[must_use]
    pub fn devices(&self) -> &[Arc<DeviceIdentity>] {
        &self.devices
    }

    /// The decision for this key on this very device.
    #[must_use]
    pub fn exact(&self, device: &DeviceIdentity, key: &ShapeKey) -> Option<DecisionRef<'_>> {
        self.exact_by_id(self.device_id(device)?, key)
    }

    /// The decision for this key on this very device, the device being looked up already.
    #[must_use]
    pub fn exact_by_id(&self, device: DeviceId, key: &ShapeKey) -> Option<DecisionRef<'_>> {
        Some(self.decision(self.find(device, key)?))
    }

    /// The number of the decision for this key on this very device.
    #[must_use]
    #[inline]
    pub fn find(&self, device: DeviceId, key: &ShapeKey) -> Option<DecisionId> {
        let wanted = TableKey { device, key: PackedKey::new(key) };
        let found = |&number: &u32| self.rows[number as usize].key == wanted;
        self.index.find(hash(&wanted), found).copied().map(DecisionId)
    }

    /// The decision of a number.
    ///
    /// # Panics
    /// If the number is another table's, and greater than any of this one's.
    #[must_use]
    pub fn decision(&self, id: DecisionId) -> DecisionRef<'_> {
        self.row(&self.rows[id.index()])
    }

    /// The decision for this key on a device of the same architecture, with that device. It is the
    /// device itself, else the one with the closest number of units; of two equally close ones the
    /// one whose name is the lesser text.
    #[must_use]
    pub fn same_arch(
        &self,
        device: &DeviceIdentity,
        key: &ShapeKey,
    ) -> Option<(&Arc<DeviceIdentity>, DecisionRef<'_>)> {
        if let Some(id) = self.device_id(device)
            && let Some(decision) = self.exact_by_id(id, key)
        {
            return Some((&self.devices[id.0 as usize], decision));
        }
        self.devices_of(device.arch)
            .filter_map(|(id, sibling)| Some((sibling, self.exact_by_id(id, key)?)))
            .min_by_key(|(sibling, _)| {
                (sibling.units.abs_diff(device.units), &sibling.name, sibling.units)
            })
    }

    /// All decisions for the key's operation on an architecture's devices, whatever their row
    /// counts and densities, by device, then key.
    pub fn near<'t>(
        &'t self,
        arch: Arch,
        key: &ShapeKey,
    ) -> impl Iterator<Item = DecisionRef<'t>> + use<'t> {
        let operation = key.operation;
        self.devices_of(arch)
            .flat_map(move |(device, _)| self.rows_of(device, &operation))
            .map(|row| self.row(row))
    }

    fn devices_of(&self, arch: Arch) -> impl Iterator<Item = (DeviceId, &Arc<DeviceIdentity>)> {
        (0..).map(DeviceId).zip(&self.devices).filter(move |(_, device)| device.arch == arch)
    }

    fn rows_of(&self, device: DeviceId, operation: &Operation) -> &[Row] {
        let (first, last) = PackedKey::range(operation);
        let first = TableKey { device, key: first };
        let last = TableKey { device, key: last };
        let start = self.rows.partition_point(|row| row.key < first);
        let len = self.rows[start..].partition_point(|row| row.key <= last);
        &self.rows[start..start + len]
    }

    fn row(&self, row: &Row) -> DecisionRef<'_> {
        let (set, index) = row.origin;
        self.sets[set as usize].at_ref(index as usize)
    }
}

/// Few devices ever share a table, so comparing beats hashing; the cheap fields are compared first.
fn find_device(devices: &[Arc<DeviceIdentity>], device: &DeviceIdentity) -> Option<DeviceId> {
    (0..).map(DeviceId).zip(devices).find_map(|(id, known)| {
        let same =
            known.units == device.units && known.arch == device.arch && known.name == device.name;
        same.then_some(id)
    })
}

fn hash(key: &TableKey) -> u64 {
    FxBuildHasher.hash_one(key)
}
