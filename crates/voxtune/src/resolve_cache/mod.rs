//! What a device remembers between a key and a launch: one table.
//!
//! A call asks it twice: what its decision comes to, and the launch of the algorithm that this is.
//! Everything else in it is asked on the way to such an answer, and once.

mod table;

use std::sync::Arc;

use voxtune_cuda::{Compiled, Instance, Prepared};
use voxtune_types::{Operation, ShapeKey};

use table::MemoTable;

/// What is remembered of a device. Values never change: code that a device has stays, and code
/// that it lacks is not looked for again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Place(PlaceKey),
    /// Whether an instance can be had.
    HasCode(Instance),
    /// The code of an instance.
    Code(Instance),
    /// The launch of the algorithm at a place among a GPU's, for an operation.
    Launch(Operation, usize),
}

/// A key whose value is an algorithm's place in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PlaceKey {
    /// Whether the algorithm at a place can run an operation here. Answered by its place.
    Usable(Operation, usize),
    /// What the model chooses for a key.
    Modelled(ShapeKey),
    /// What suits a key of a family whose first algorithm is at a place.
    Suited(ShapeKey, usize),
    /// What a decision of a table comes to, by the numbers of both.
    Decided(u64, usize),
    /// What a key comes to of which the table of a number has near ones.
    Guessed(u64, ShapeKey),
}

#[derive(Clone, Debug)]
enum Value {
    Place(Option<usize>),
    HasCode(bool),
    Code(Obtained),
    Launch(Arc<Prepared>),
}

/// An instance's code, or what nvcc said of it: asking again would take seconds each time.
pub(crate) type Obtained = Result<Arc<Compiled>, Arc<str>>;

/// What a device remembers. Registries of algorithms that are on no device have one of their own.
#[derive(Debug, Default)]
pub(crate) struct ResolveCache {
    values: MemoTable<Key, Value>,
}

impl ResolveCache {
    /// The place of an algorithm, found once.
    #[inline]
    pub(crate) fn place(
        &self,
        key: PlaceKey,
        find: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        match self.values.get(&Key::Place(key)) {
            Some(Value::Place(place)) => *place,
            _ => self.find_place(key, find),
        }
    }

    #[cold]
    fn find_place(&self, key: PlaceKey, find: impl FnOnce() -> Option<usize>) -> Option<usize> {
        let place = find();
        self.values.insert(Key::Place(key), Value::Place(place));
        place
    }

    /// Whether an instance can be had, looked for once.
    pub(crate) fn has_code(&self, instance: &Instance, look: impl FnOnce() -> bool) -> bool {
        let key = Key::HasCode(instance.clone());
        if let Some(Value::HasCode(found)) = self.values.get(&key) {
            return *found;
        }
        let found = look();
        self.values.insert(key, Value::HasCode(found));
        found
    }

    /// The code of an instance, if it was [kept](Self::keep_code).
    pub(crate) fn code(&self, instance: &Instance) -> Option<Obtained> {
        match self.values.get(&Key::Code(instance.clone()))? {
            Value::Code(obtained) => Some(obtained.clone()),
            _ => None,
        }
    }

    pub(crate) fn keep_code(&self, instance: &Instance, obtained: Obtained) {
        self.values.insert(Key::Code(instance.clone()), Value::Code(obtained));
    }

    /// The launch of the algorithm at a place among a GPU's, prepared once.
    ///
    /// # Errors
    /// Whatever preparing fails with, which is tried again.
    #[inline]
    pub(crate) fn launch<E>(
        &self,
        place: usize,
        operation: &Operation,
        prepare: impl FnOnce() -> Result<Prepared, E>,
    ) -> Result<Arc<Prepared>, E> {
        let key = Key::Launch(*operation, place);
        if let Some(Value::Launch(prepared)) = self.values.get(&key) {
            return Ok(Arc::clone(prepared));
        }
        let prepared = Arc::new(prepare()?);
        self.values.insert(key, Value::Launch(Arc::clone(&prepared)));
        Ok(prepared)
    }
}
