//! What candidates read beyond their kernel map is part of what populate weighs.

use voxtune::{DType, Direction};
use voxtune_cache::{Charge, decide};
use voxtune_types::AlgoMode;
use voxtune_types::mode::AlgoModes;

use crate::faulty::{Fault, Injected, spec};
use crate::injected::{Run, timing};
use crate::needs::open_gpu;
use crate::populating::evidence;

/// Two layers share an order, by default: half of what it takes to make.
#[test]
fn a_candidate_whose_order_costs_more_than_it_saves_loses() {
    let with = |milliseconds| {
        spec(&[
            Injected::new("plain", Fault::Takes(60)).default(),
            Injected::new("sorted", Fault::Sorts(milliseconds)),
        ])
    };
    let winner_of = |milliseconds| {
        let run = Run::small();
        let ended = run.here(&with(milliseconds));
        let own = timing(&ended, "sorted");
        assert!(own.median_ns < 40_000_000, "its time is its product's: {own:?}");
        let Charge { made_ns, share_ns } = own.charge.unwrap();
        assert!((1_000_000 * milliseconds..).contains(&made_ns), "{own:?}");
        assert_eq!(share_ns, made_ns / 2);
        // Who reads nothing is charged nothing.
        assert_eq!(timing(&ended, "plain").charge, Some(Charge { made_ns: 0, share_ns: 0 }));
        decide(&evidence(run.folder())).iter().next().unwrap().winner.to_string()
    };
    assert_eq!(winner_of(10), "sorted");
    assert_eq!(winner_of(400), "plain");
}

#[test]
fn where_nobody_reads_anything_nobody_is_charged() {
    let ended = Run::small().here(&spec(&[Injected::new("plain", Fault::None).default()]));
    assert_eq!(timing(&ended, "plain").charge, None);
}

/// Every candidate reads something of its map, and an order takes some microseconds.
#[test]
#[ignore = "needs a GPU"]
fn orders_cost_something_on_a_gpu() {
    for voxels in [20_000, 200_000] {
        let mut run = Run::new(voxels, "16,16", DType::Float16);
        run.request.protocol.directions = Direction::ALL.to_vec();
        run.request.protocol.modes = AlgoModes::uniform(AlgoMode::Auto);
        let ended = run.on(open_gpu().unwrap().into(), &mut |_| ());
        assert_eq!((ended.summary.measured, ended.summary.failed), (1, 0));
        for (entry, records) in evidence(run.folder()).entries() {
            let direction = entry.key.operation.direction;
            for record in records.iter() {
                let Some(timing) = record.timing() else { continue };
                let Charge { made_ns, share_ns } = timing.charge.expect("a GPU's are charged");
                println!("{voxels} {direction} {} {timing:?}", record.algo);
                let name = format!("{direction} {}: {timing:?}", record.algo);
                // No part takes as long as a millisecond, nor less than a launch.
                assert!((500..1_000_000).contains(&made_ns), "{name}");
                let at_most = if direction == Direction::Dgrad { 4 } else { 2 };
                // Nanoseconds are whole, of an order and of a plan.
                let least_ns = (made_ns / at_most).saturating_sub(2);
                assert!((least_ns..=made_ns).contains(&share_ns), "{name}");
            }
        }
    }
}
