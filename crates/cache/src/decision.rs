//! What the runtime needs to know: one choice a key.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use voxtune_types::{AlgoId, DeviceIdentity, Operation, ShapeKey};

use crate::columns::Columns;
use crate::intern::Interner;

/// The choice for one key on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Where it was measured.
    pub device: DeviceIdentity,
    /// What it is for.
    pub key: ShapeKey,
    /// The algorithm to run.
    pub winner: AlgoId,
    /// The best other algorithm, should the winner be unavailable.
    pub runner_up: Option<AlgoId>,
    /// The best algorithm that needs no optional library; only where the winner needs one.
    pub without_libraries: Option<AlgoId>,
    /// The algorithms whose score is near the best, sorted: a guess for a neighbouring key that is
    /// in this list is a safe one.
    pub safe: Vec<AlgoId>,
}

/// A set of decisions, at most one for each device and key, in the order of the file.
///
/// Held as the file holds it: devices, operations and algorithms once, decisions as numbers into
/// those tables. So decoding a file allocates little, and [`Decision`]s are made where they are
/// asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    pub(crate) devices: Vec<DeviceIdentity>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) algorithms: Vec<AlgoId>,
    pub(crate) columns: Columns,
}

impl Decisions {
    /// All decisions, by device, then key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Decision> + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    /// The decision for a key on a device. For lookups in number, see [`Table`](crate::Table).
    #[must_use]
    pub fn get(&self, device: &DeviceIdentity, key: &ShapeKey) -> Option<Decision> {
        let device = u32::try_from(self.devices.binary_search(device).ok()?).ok()?;
        let operation = self.operations.binary_search(&key.operation).ok()?;
        let operation = u32::try_from(operation).ok()?;
        let place = (device, operation, key.bucket_in, key.bucket_out, key.density);
        Some(self.at(self.columns.find(place)?))
    }

    /// The devices with a decision, sorted.
    #[must_use]
    pub fn devices(&self) -> &[DeviceIdentity] {
        &self.devices
    }

    /// How many decisions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The decision at a place in the order.
    pub(crate) fn at(&self, index: usize) -> Decision {
        self.at_ref(index).to_decision()
    }

    /// The decision at a place in the order, where it lies.
    pub(crate) const fn at_ref(&self, index: usize) -> DecisionRef<'_> {
        DecisionRef { set: self, index }
    }
}

/// A decision where it lies in its set: reading it allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct DecisionRef<'t> {
    set: &'t Decisions,
    index: usize,
}

impl<'t> DecisionRef<'t> {
    fn algo(self, number: u32) -> &'t AlgoId {
        &self.set.algorithms[number as usize]
    }

    /// Where it was measured.
    #[must_use]
    pub fn device(self) -> &'t DeviceIdentity {
        &self.set.devices[self.set.columns.device[self.index] as usize]
    }

    /// What it is for.
    #[must_use]
    pub fn key(self) -> ShapeKey {
        self.set.columns.key(self.index, &self.set.operations)
    }

    /// The algorithm to run.
    #[must_use]
    pub fn winner(self) -> &'t AlgoId {
        self.algo(self.set.columns.winner[self.index])
    }

    /// The best other algorithm, should the winner be unavailable.
    #[must_use]
    pub fn runner_up(self) -> Option<&'t AlgoId> {
        self.set.columns.runner_up[self.index].map(|number| self.algo(number))
    }

    /// The best algorithm that needs no optional library; only where the winner needs one.
    #[must_use]
    pub fn without_libraries(self) -> Option<&'t AlgoId> {
        self.set.columns.without_libraries[self.index].map(|number| self.algo(number))
    }

    /// The algorithms whose score is near the best, sorted.
    pub fn safe(self) -> impl ExactSizeIterator<Item = &'t AlgoId> + Clone {
        self.set.columns.safe(self.index).iter().map(move |&number| self.algo(number))
    }

    /// Whether an algorithm's score is near the best.
    #[must_use]
    pub fn is_safe(self, id: &AlgoId) -> bool {
        self.safe().any(|safe| safe == id)
    }

    /// The names in the order in which to try them: a retired or unavailable winner is followed by
    /// what came next.
    pub fn preferred(self) -> impl Iterator<Item = &'t AlgoId> + Clone {
        std::iter::once(self.winner()).chain(self.runner_up()).chain(self.without_libraries())
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_decision(self) -> Decision {
        Decision {
            device: self.device().clone(),
            key: self.key(),
            winner: self.winner().clone(),
            runner_up: self.runner_up().cloned(),
            without_libraries: self.without_libraries().cloned(),
            safe: self.safe().cloned().collect(),
        }
    }
}

/// Sorts the decisions; of several for one device and key the last stays.
impl FromIterator<Decision> for Decisions {
    fn from_iter<I: IntoIterator<Item = Decision>>(decisions: I) -> Self {
        let decisions: BTreeMap<(DeviceIdentity, ShapeKey), Decision> = decisions
            .into_iter()
            .map(|decision| ((decision.device.clone(), decision.key), decision))
            .collect();
        let decisions: Vec<Decision> = decisions.into_values().collect();
        let devices = Interner::new(decisions.iter().map(|decision| &decision.device));
        let operations = Interner::new(decisions.iter().map(|decision| &decision.key.operation));
        let algorithms = Interner::new(decisions.iter().flat_map(Decision::algorithms));
        let mut columns = Columns::default();
        for decision in &decisions {
            let key = &decision.key;
            let number = |algo: &Option<AlgoId>| algo.as_ref().map(|algo| algorithms.number(algo));
            columns.device.push(devices.number(&decision.device));
            columns.operation.push(operations.number(&key.operation));
            columns.bucket_in.push(key.bucket_in);
            columns.bucket_out.push(key.bucket_out);
            columns.density.push(key.density);
            columns.winner.push(algorithms.number(&decision.winner));
            columns.runner_up.push(number(&decision.runner_up));
            columns.without_libraries.push(number(&decision.without_libraries));
            let safe: BTreeSet<u32> =
                decision.safe.iter().map(|algo| algorithms.number(algo)).collect();
            columns.safe.extend(safe);
            columns.safe_end.push(
                u32::try_from(columns.safe.len()).expect("fewer than 2^32 algorithms are named"),
            );
        }
        Self {
            columns,
            devices: devices.into_table(),
            operations: operations.into_table(),
            algorithms: algorithms.into_table(),
        }
    }
}

impl Decision {
    /// Every algorithm that is named, some repeatedly.
    fn algorithms(&self) -> impl Iterator<Item = &AlgoId> {
        [Some(&self.winner), self.runner_up.as_ref(), self.without_libraries.as_ref()]
            .into_iter()
            .flatten()
            .chain(&self.safe)
    }
}
