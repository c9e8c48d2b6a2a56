//! Finding decisions.

use proptest::prelude::*;
use voxtune_cache::{Decision, DecisionRef, Decisions, Table, decide};
use voxtune_types::{Arch, DeviceIdentity, ShapeKey};

use crate::samples::{ARCH, algo, device_of, operation};
use crate::strategies::evidence;

fn key(c_in: u32, rows: usize) -> ShapeKey {
    ShapeKey::new(operation(c_in, 64), rows, rows, rows * 5)
}

fn decision(device: &DeviceIdentity, key: ShapeKey, winner: &str) -> Decision {
    Decision {
        device: device.clone(),
        key,
        winner: algo(winner),
        runner_up: None,
        without_libraries: None,
        safe: vec![algo(winner)],
    }
}

#[test]
fn exact_means_device_and_key() {
    let device = device_of(ARCH, "A", 132);
    let table = Table::new([Decisions::from_iter([decision(&device, key(32, 1000), "a")])]);
    assert_eq!(table.exact(&device, &key(32, 1000)).unwrap().winner(), &algo("a"));
    assert!(table.exact(&device, &key(64, 1000)).is_none());
    assert!(table.exact(&device_of(ARCH, "A", 131), &key(32, 1000)).is_none());
    assert!(table.exact(&device_of(ARCH, "B", 132), &key(32, 1000)).is_none());
    assert!(table.exact(&device_of(Arch::sm(8, 0), "A", 132), &key(32, 1000)).is_none());
    assert!(Table::default().exact(&device, &key(32, 1000)).is_none());
}

#[test]
fn earlier_sets_go_first() {
    let device = device_of(ARCH, "A", 132);
    let set = |winner, rows| Decisions::from_iter([decision(&device, key(32, rows), winner)]);
    let table = Table::new([set("user", 1000), set("embedded", 1000), set("embedded", 9000)]);
    assert_eq!(table.len(), 2);
    assert_eq!(table.exact(&device, &key(32, 1000)).unwrap().winner(), &algo("user"));
    assert_eq!(table.exact(&device, &key(32, 9000)).unwrap().winner(), &algo("embedded"));
}

#[test]
fn a_sibling_is_the_closest_in_units_then_in_name() {
    let all = [("big", 144), ("small", 114), ("b", 130), ("a", 130), ("a2", 134)]
        .map(|(name, units)| device_of(ARCH, name, units));
    let other_arch = device_of(Arch::sm(8, 0), "other", 132);
    let decisions: Vec<Decision> = all
        .iter()
        .chain([&other_arch])
        .map(|device| decision(device, key(32, 1000), &device.name))
        .collect();
    let of = |units| {
        let table = Table::new([decisions.iter().cloned().collect()]);
        let found = table.same_arch(&device_of(ARCH, "absent", units), &key(32, 1000));
        let (device, decision) = found.unwrap();
        assert_eq!(**device, *decision.device());
        decision.winner().to_string()
    };
    assert_eq!(of(132), "a");
    assert_eq!(of(131), "a");
    assert_eq!(of(200), "big");
    assert_eq!(of(1), "small");
    let table = Table::new([decisions.iter().cloned().collect()]);
    assert_eq!(table.same_arch(&all[0], &key(32, 1000)).unwrap().1.winner(), &algo("big"));
    assert!(table.same_arch(&all[0], &key(64, 1000)).is_none());
    assert!(table.same_arch(&device_of(Arch::sm(12, 0), "x", 1), &key(32, 1000)).is_none());
}

#[test]
fn near_keys_share_the_operation_and_the_architecture() {
    let device = device_of(ARCH, "A", 132);
    let sibling = device_of(ARCH, "B", 132);
    let other_arch = device_of(Arch::sm(8, 0), "A", 132);
    let decisions = Decisions::from_iter([
        decision(&device, key(32, 1000), "a"),
        decision(&device, key(32, 9000), "b"),
        decision(&sibling, key(32, 9000), "c"),
        decision(&device, key(31, 1000), "x"),
        decision(&device, key(33, 1000), "y"),
        decision(&other_arch, key(32, 1000), "z"),
    ]);
    let table = Table::new([decisions]);
    let near = |key: ShapeKey| {
        table.near(ARCH, &key).map(|near| near.winner().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(near(key(32, 500_000)), ["a", "b", "c"]);
    assert!(near(key(99, 1000)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_gives_what_the_sets_hold(left in evidence(), right in evidence()) {
        let sets = [decide(&left), decide(&right)];
        let table = Table::new(sets.clone());
        for set in &sets {
            for decision in set.iter() {
                let first = sets.iter().find_map(|set| set.get(&decision.device, &decision.key));
                let found = table.exact(&decision.device, &decision.key);
                let found = found.map(DecisionRef::to_decision);
                prop_assert_eq!(&found, &first);
                let near = table.near(ARCH, &decision.key);
                prop_assert!(near.map(DecisionRef::to_decision).any(|near| Some(near) == first));
            }
        }
    }
}
