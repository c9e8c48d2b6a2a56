//! Random evidence from few values, so that places collide.

use proptest::prelude::*;
use voxtune_cache::{
    Charge, EntryKey, Environment, Evidence, Interval, KernelHash, Outcome, Reason, Record,
    Requirement, Timing,
};

use crate::samples::{ARCH, algo, device_of, entry_on, operation};

pub(crate) fn evidence() -> impl Strategy<Value = Evidence> {
    prop::collection::vec((entry(), record()), 0..24).prop_map(|records| {
        let mut evidence = Evidence::new();
        for (entry, record) in records {
            evidence.insert(entry, record).unwrap();
        }
        evidence
    })
}

pub(crate) fn entry() -> impl Strategy<Value = EntryKey> {
    let device = prop_oneof![
        Just(device_of(ARCH, "NVIDIA H100 80GB HBM3", 132)),
        Just(device_of(ARCH, "NVIDIA H200", 132)),
        Just(device_of(ARCH, "NVIDIA H100 PCIe", 114)),
    ];
    let cloud = prop_oneof![Just("uniform"), Just("surface"), Just("scan.npz")];
    let rows = prop_oneof![Just(1_usize), Just(90_000), Just(100_000), Just(2_000_000)];
    (device, cloud, prop_oneof![Just(3_u32), Just(64)], rows, 1_usize..12, any::<bool>()).prop_map(
        |(device, cloud, c_in, rows, mean_pairs, cold)| {
            let mut entry = entry_on(cloud, &device, operation(c_in, 64), rows, rows * mean_pairs);
            entry.workload.cold = cold;
            entry
        },
    )
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let id = prop_oneof![
        Just("explicit_gemm"),
        Just("implicit_gemm:rows=64:cols=64"),
        Just("implicit_gemm:rows=128:cols=64"),
        Just("mask_gemm:rows=128:order=morton"),
    ];
    let requires = prop_oneof![4 => Just(None), 1 => Just(Some(Requirement::Cublas))];
    let environment = (0_u8..3).prop_map(|patch| Environment {
        tool: format!("0.1.{patch}"),
        driver: "580.95".to_owned(),
        toolkit: "13.0".to_owned(),
    });
    (id, 0_u64..2, any::<[bool; 2]>(), requires, environment, outcome()).prop_map(
        |(id, hash, [default, shipped], requires, environment, outcome)| Record {
            algo: algo(id),
            kernel_hash: KernelHash::new(hash.wrapping_neg()),
            default,
            shipped,
            requires,
            environment,
            outcome,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let reason = prop_oneof![
        Just(Reason::CompileError),
        Just(Reason::LaunchFailure),
        Just(Reason::WrongResult),
        Just(Reason::OutOfMemory),
        Just(Reason::Timeout),
        Just(Reason::Crash),
    ];
    prop_oneof![
        5 => timing().prop_map(Outcome::Measured),
        1 => timing().prop_map(Outcome::Beaten),
        1 => (reason, "[a-zé\"]{0,40}")
            .prop_map(|(reason, detail)| Outcome::Quarantined { reason, detail }),
    ]
}

fn timing() -> impl Strategy<Value = Timing> {
    let ratio = (0.1..1.0_f64, 1.0..2.0_f64, 2.0..3.0_f64);
    let ratio = ratio.prop_map(|(low, median, high)| Interval { low, median, high });
    let charge = (0_u64..40, 0_u64..40)
        .prop_map(|(share_ns, rest)| Charge { made_ns: share_ns + rest, share_ns });
    (
        (1_u64..4, 0_u64..3, 1_u32..4),
        (prop::option::of(300_u32..2000), prop::option::of(ratio), 0.0..1.0_f64),
        prop::option::of(charge),
    )
        .prop_map(
            |((median, spread, samples), (clock_mhz, ratio_to_default, max_error), charge)| {
                Timing {
                    median_ns: 100 * median,
                    spread_ns: spread,
                    min_ns: 90,
                    samples,
                    clock_mhz,
                    ratio_to_default,
                    max_error,
                    charge,
                }
            },
        )
}
