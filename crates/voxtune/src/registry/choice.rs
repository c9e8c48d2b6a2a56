//! Which algorithm a key comes to, of those that a source of answers names: each found once.

use std::sync::Arc;

use voxtune_types::{AlgoId, Operation, ShapeKey};

use super::{Algorithm, Registry};
use crate::cost::{choose, choose_named};
use crate::resolve_cache::PlaceKey;
use crate::{Basis, MapCounts};

/// Who is expected to be this much faster than all that near keys offer runs, although it is none
/// of them.
const FREE_GAIN: f64 = 1.05;

impl Registry {
    /// The first of a decision's names that can run the operation here and now. Remembered by the
    /// decision's number in a table, which has a number itself.
    #[inline]
    pub(crate) fn decided<'n, N: Iterator<Item = &'n AlgoId>>(
        &self,
        table: u64,
        decision: usize,
        operation: &Operation,
        names: impl FnOnce() -> N,
    ) -> Option<&Arc<dyn Algorithm>> {
        let usable = |id: &AlgoId| {
            let place = *self.places.get(id)?;
            self.is_usable(place, operation).then_some(place)
        };
        let asked = PlaceKey::Decided(table, decision);
        let place = self.resolve_cache.place(asked, || names().find_map(usable))?;
        self.algorithms.get(place)
    }

    /// What a key runs of which only near ones were measured. Of the names that these offer it is
    /// the first that can run here, unless what was learned finds another one faster. Who would
    /// have been faster at the near key by what was learned, too, and did not win there, counts as
    /// that much slower. Remembered by the table's number and the key.
    pub(crate) fn guessed<'n, N: Iterator<Item = &'n AlgoId>>(
        &self,
        table: u64,
        (key, near): (&ShapeKey, &ShapeKey),
        names: impl Fn() -> N,
    ) -> Option<&Arc<dyn Algorithm>> {
        let place = self.resolve_cache.place(PlaceKey::Guessed(table, *key), || {
            let operation = &key.operation;
            let usable = || {
                names().filter_map(|id| {
                    let place = *self.places.get(id)?;
                    self.is_usable(place, operation).then_some(place)
                })
            };
            let first = usable().next()?;
            let learned_ns = |place: usize, key: &ShapeKey| {
                let estimate =
                    self.algorithms[place].estimate(operation, MapCounts::typical(key))?;
                (estimate.basis == Basis::Learned).then_some(estimate.time_ns)
            };
            let Some(first_ns) = learned_ns(first, key) else { return Some(first) };
            let first_near_ns = learned_ns(first, near);
            let timed = |place: usize| {
                let both_near = first_near_ns.zip(learned_ns(place, near));
                let at_least = both_near.map_or(1.0, |(first_ns, own_ns)| first_ns / own_ns);
                Some((place, learned_ns(place, key)? * at_least.max(1.0)))
            };
            let fastest = |a: (usize, f64), b: (usize, f64)| if b.1 < a.1 { b } else { a };
            let offered = usable().filter_map(timed);
            let offered = offered.fold((first, first_ns), fastest);
            let free = self.modelled_for(key).and_then(|algorithm| {
                timed(self.algorithms.iter().position(|one| Arc::ptr_eq(one, algorithm))?)
            });
            let faster = free.filter(|free| free.1 * FREE_GAIN < offered.1);
            Some(faster.unwrap_or(offered).0)
        });
        place.map(|place| &self.algorithms[place])
    }

    /// The algorithm of this name, if it can run a key's operation here. For the name of a family,
    /// the first of these that exists, remembered by key:
    ///
    /// 1. what the model finds clearly faster than the default, among the family's usable
    ///    algorithms
    /// 2. the default, if it is one of them
    /// 3. among those whose geometry suits the operation, the fastest by the model, or the first
    /// 4. the first
    pub(crate) fn suited(&self, name: &AlgoId, key: &ShapeKey) -> Option<&Arc<dyn Algorithm>> {
        if self.places.contains_key(name) {
            return self.usable(name, &key.operation);
        }
        let of_family = |one: &Arc<dyn Algorithm>| one.id().family() == name.as_str();
        let first = self.algorithms.iter().position(of_family)?;
        let place = self.resolve_cache.place(PlaceKey::Suited(*key, first), || {
            let (operation, counts) = (&key.operation, MapCounts::typical(key));
            let usable: Vec<&Arc<dyn Algorithm>> = (first..self.algorithms.len())
                .filter(|place| of_family(&self.algorithms[*place]))
                .filter(|place| self.is_usable(*place, operation))
                .map(|place| &self.algorithms[place])
                .collect();
            let suited = choose_named(&usable, operation, counts)?;
            self.algorithms.iter().position(|algorithm| Arc::ptr_eq(algorithm, suited))
        });
        place.map(|place| &self.algorithms[place])
    }

    /// What a model finds clearly faster than the default for a key that nothing was measured for,
    /// of what the device has the code of. `None` where it does not, or says nothing. Remembered by
    /// key.
    #[must_use]
    pub fn modelled_for(&self, key: &ShapeKey) -> Option<&Arc<dyn Algorithm>> {
        let place = self.resolve_cache.place(PlaceKey::Modelled(*key), || {
            let counts = MapCounts::typical(key);
            let operation = &key.operation;
            // What stands in for a default whose code is nowhere may be far slower than others.
            let default = self.default_for(operation)?;
            let fastest = choose(self.algorithms.iter(), operation, counts, &**default)?;
            self.algorithms.iter().position(|algorithm| Arc::ptr_eq(algorithm, fastest))
        });
        place.map(|place| &self.algorithms[place])
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cache::KernelHash;
    use voxtune_types::{Arch, DType, DeviceIdentity, Direction, KernelSize};

    use super::*;
    use crate::{ConvError, Device, Estimate, Grade, KernelMap, Launch, MissPolicy, Tuner};

    /// What never runs, and is expected to take a time by the rows of its result.
    struct Expected {
        id: AlgoId,
        estimate: Box<dyn Fn(usize) -> Option<Estimate> + Send + Sync>,
        has_code: bool,
    }

    impl Expected {
        /// Always the same time, by the arithmetic of the model.
        fn modelled(name: &str, time_ns: Option<f64>, has_code: bool) -> Arc<dyn Algorithm> {
            let estimate = time_ns.map(|time_ns| Estimate { time_ns, basis: Basis::Fitted });
            let (id, estimate) = (name.parse().unwrap(), Box::new(move |_| estimate));
            Arc::new(Self { id, estimate, has_code })
        }

        fn learned(name: &str, time_ns: fn(usize) -> f64) -> Arc<dyn Algorithm> {
            let estimate =
                move |rows| Some(Estimate { time_ns: time_ns(rows), basis: Basis::Learned });
            let (id, estimate) = (name.parse().unwrap(), Box::new(estimate));
            Arc::new(Self { id, estimate, has_code: true })
        }
    }

    impl Algorithm for Expected {
        fn id(&self) -> &AlgoId {
            &self.id
        }

        fn applies(&self, _operation: &Operation) -> bool {
            self.has_code
        }

        fn in_auto_pool(&self, _operation: &Operation, _counts: MapCounts) -> bool {
            true
        }

        fn estimate(&self, _operation: &Operation, counts: MapCounts) -> Option<Estimate> {
            (self.estimate)(counts.n_out)
        }

        fn is_default(&self, _operation: &Operation) -> bool {
            self.id.as_str() == "default"
        }

        fn workspace_bytes(&self, _operation: &Operation, _map: &KernelMap) -> u64 {
            0
        }

        fn kernel_hash(&self, _: &Device, _: &Operation) -> Result<KernelHash, ConvError> {
            Ok(KernelHash::new(1))
        }

        fn run(&self, _device: &Device, _launch: Launch<'_>) -> Result<(), ConvError> {
            unreachable!("nothing is run here")
        }
    }

    /// What stands in for a default without code is the first that runs, however slow it is.
    #[test]
    fn where_the_default_has_no_code_a_model_chooses_too() {
        let of = |name: &str, time_ns: f64, has_code: bool| {
            Expected::modelled(name, Some(time_ns), has_code)
        };
        let all = [of("default", 90.0, false), of("slow", 900.0, true), of("fast", 100.0, true)];
        let registry = Registry::new(all.to_vec());
        let key = key();
        assert_eq!(registry.default_for(&key.operation).unwrap().id().as_str(), "slow");
        assert_eq!(registry.modelled_for(&key).unwrap().id().as_str(), "fast");
    }

    /// The near key has a thousand rows, the key eight thousand.
    #[test]
    fn who_lost_at_the_near_key_against_the_model_has_to_make_up_for_it() {
        let near = key();
        let far = ShapeKey::new(near.operation, 8000, 8000, 40_000);
        let is_near = |rows: usize| rows < 2000;
        assert!(
            is_near(MapCounts::typical(&near).n_out) && !is_near(MapCounts::typical(&far).n_out)
        );
        let winner: AlgoId = "winner".parse().unwrap();
        let runs = |rival: fn(usize) -> f64| {
            let all = vec![
                Expected::learned("default", |rows| rows as f64 * 10.0),
                Expected::learned("winner", |rows| rows as f64),
                Expected::learned("rival", rival),
            ];
            let registry = Registry::new(all);
            registry.guessed(0, (&far, &near), || [&winner].into_iter()).unwrap().id().to_string()
        };
        // By what was learned it takes half as long at either.
        assert_eq!(runs(|rows| rows as f64 / 2.0), "winner");
        // It loses at the near key, as it did, and wins here.
        assert_eq!(runs(|rows| if rows < 2000 { 5000.0 } else { rows as f64 / 2.0 }), "rival");
    }

    /// The default takes 100 ns by model.
    fn device(others: &[(&str, Option<f64>, bool)]) -> Device {
        let mut all = vec![("default", Some(100.0), true)];
        all.extend(others);
        let algorithms = all
            .into_iter()
            .map(|(name, time_ns, has_code)| Expected::modelled(name, time_ns, has_code));
        Device::cpu_with_registry(1, Registry::new(algorithms.collect())).unwrap()
    }

    fn key() -> ShapeKey {
        let kernel = KernelSize::submanifold(3).unwrap();
        let op = Operation::submanifold(Direction::Forward, DType::Float16, 8, 8, kernel);
        ShapeKey::new(op, 1000, 1000, 5000)
    }

    fn resolved(others: &[(&str, Option<f64>, bool)]) -> (String, Grade) {
        let device = device(others);
        let first = Tuner::empty().resolve(&device, &key()).unwrap();
        let again = Tuner::empty().resolve(&device, &key()).unwrap();
        assert_eq!(
            (first.algorithm().id(), first.grade()),
            (again.algorithm().id(), again.grade())
        );
        (first.algorithm().id().to_string(), first.grade().clone())
    }

    #[test]
    fn a_model_chooses_what_is_clearly_faster_and_there() {
        let answer = |name: &str, grade| (name.to_owned(), grade);
        assert_eq!(resolved(&[("a", Some(95.0), true)]), answer("default", Grade::Default));
        assert_eq!(resolved(&[("a", Some(50.0), true)]), answer("a", Grade::Model));
        assert_eq!(
            resolved(&[("a", Some(50.0), false), ("b", Some(60.0), true)]),
            answer("b", Grade::Model)
        );
        assert_eq!(resolved(&[("a", None, true)]), answer("default", Grade::Default));
    }

    #[test]
    fn f15_a_gpu_below_the_least_gets_a_reason_and_no_default() {
        let device = |arch| DeviceIdentity { arch, name: "Tesla V100".to_owned(), units: 80 };
        let old = device(Arch::sm(7, 0));
        let registry = Registry::of_device(&old);
        assert!(registry.algorithms().all(|one| !one.applies(&key().operation)));
        assert!(registry.default_for(&key().operation).is_none());
        let answer = Tuner::empty().explain_at(&old, &registry, &key()).answer.unwrap_err();
        assert!(answer.contains("sm_70") && answer.contains("sm_80 or later"), "{answer}");
        let least = device(Arch::sm(8, 0));
        let registry = Registry::of_device(&least);
        assert!(Tuner::empty().explain_at(&least, &registry, &key()).answer.is_ok());
    }

    #[test]
    fn a_model_is_no_cache() {
        let device = device(&[("a", Some(50.0), true)]);
        let strict = Tuner::builder().policy(MissPolicy::Fail).build();
        assert!(matches!(strict.resolve(&device, &key()), Err(ConvError::Miss { .. })));
    }
}
