//! The least time that a device can need: what claims to have taken less was not measured.
//!
//! The bound is that of a roofline (Williams, Waterman and Patterson 2009, "Roofline: an insightful
//! visual performance model for multicore architectures"): an operation takes at least as long as
//! its products at the device's peak, and as the bytes that must move at the peak of what moves
//! them. It errs on the low side throughout: peaks are the vendors', of the fastest board of an
//! architecture and with a quarter on top, and only bytes that no algorithm can avoid count. A
//! number below the bound is impossible; one above it proves nothing.

use serde::Serialize;
use voxtune::{Arch, DeviceIdentity, Operation};
use voxtune_cache::decide::TIMER_STEP_NS;
use voxtune_cache::{EntryKey, Workload};
use voxtune_types::{CpuIsa, Product};

/// How much faster than its vendor's figures a device may be: factory overclocking, boost beyond
/// the stated clock, rounding.
const HEADROOM: f64 = 1.25;

/// What limits an operation at the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// Its products.
    Arithmetic,
    /// Bytes between memory and the last-level cache.
    Memory,
    /// Bytes between caches and cores.
    Cores,
    /// Starting and timing anything at all.
    Launch,
}

/// The least time of an operation on a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// The time.
    ///
    /// # Units
    /// Nanoseconds.
    pub ns: f64,
    /// What sets it.
    pub limit: Limit,
    /// Where the device's figures are from.
    pub source: &'static str,
}

/// Peaks of the fastest device of an architecture, a unit being an SM or a
/// thread.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Peak {
    source: &'static str,
    clock_hz: f64,
    /// Dense, of a unit, for 16-bit types; a multiply-add counts as two.
    half_flops_per_clock: f64,
    /// The same for float32, by whatever unit rounds its inputs.
    single_flops_per_clock: f64,
    /// Into and out of a unit.
    unit_bytes_per_clock: f64,
    /// Infinite where nothing general can be said.
    memory_bytes_per_second: f64,
    last_level_bytes: f64,
    /// What no measurement is shorter than.
    least_ns: f64,
}

/// Every entry by its vendor's data sheet or white paper; the flops a clock follow from its peak
/// rate, units and boost clock, such as 312 TFLOP/s = 108 · 2048 · 1.41 GHz for an A100.
fn peak(arch: Arch) -> Peak {
    let gpu = |source, ghz: f64, half, single, terabytes: f64, last_level_mib: f64| Peak {
        source,
        clock_hz: ghz * 1e9,
        half_flops_per_clock: half,
        single_flops_per_clock: single,
        // An SM takes 64 bytes per clock from the L2 cache; twice that leaves
        // room for what it writes.
        unit_bytes_per_clock: 128.0,
        memory_bytes_per_second: terabytes * 1e12,
        last_level_bytes: last_level_mib * 1024.0 * 1024.0,
        // An event before and one after: a launch that does nothing takes two microseconds.
        least_ns: 2.0 * TIMER_STEP_NS,
    };
    match arch {
        Arch::Cuda(capability) => match (capability.major, capability.minor) {
            (8, 0) => gpu("A100 80GB data sheet", 1.41, 2048.0, 1024.0, 2.04, 40.0),
            (8, 6) => gpu("GA102 white paper, RTX 3090 Ti", 1.86, 1024.0, 512.0, 1.01, 6.0),
            (8, 9) => gpu("Ada white paper, RTX 4090, L40S", 2.52, 1024.0, 512.0, 1.01, 96.0),
            (9, 0) => gpu("H100, H200 and GH200 data sheets", 1.98, 4096.0, 2048.0, 4.9, 60.0),
            (10, _) => gpu("HGX B200 and B300 data sheets", 2.1, 8192.0, 4096.0, 8.0, 192.0),
            (12, _) => gpu("Blackwell white paper, RTX PRO 6000", 2.62, 1024.0, 512.0, 1.8, 128.0),
            _ => gpu("a guess beyond any known GPU", 5.0, 16384.0, 8192.0, 32.0, 1024.0),
        },
        Arch::Cpu(isa) => {
            // The host's kernels multiply and add in float32 whatever the storage type: two vector
            // units of a multiply-add each, four of the narrow ones.
            let (source, flops) = match isa {
                CpuIsa::X86Avx512 => ("two 512-bit units a core", 64.0),
                CpuIsa::X86Avx2 => ("two 256-bit units a core", 32.0),
                CpuIsa::X86Baseline => ("two 128-bit units a core", 16.0),
                CpuIsa::Aarch64Neon => ("four 128-bit units a core", 32.0),
                CpuIsa::Portable => ("a guess beyond any known core", 128.0),
            };
            Peak {
                source,
                clock_hz: 6.2e9,
                half_flops_per_clock: flops,
                single_flops_per_clock: flops,
                // Two vectors in and one out.
                unit_bytes_per_clock: 192.0,
                // Caches of a gigabyte exist, so nothing need come from memory.
                memory_bytes_per_second: f64::INFINITY,
                last_level_bytes: f64::INFINITY,
                // Work enters a pool of threads, which wakes one at least.
                least_ns: 100.0,
            }
        }
    }
}

/// The least time that an entry's operation can take on its device.
#[must_use]
pub fn bound(entry: &EntryKey) -> Bound {
    bound_of(&entry.device, &entry.key.operation, &entry.workload)
}

fn bound_of(device: &DeviceIdentity, operation: &Operation, workload: &Workload) -> Bound {
    let peak = peak(device.arch);
    let clocks = f64::from(device.units.max(1)) * peak.clock_hz * HEADROOM;
    let flops_per_clock = if operation.dtype.bytes() < 4 {
        peak.half_flops_per_clock
    } else {
        peak.single_flops_per_clock
    };
    let bytes = compulsory_bytes(operation, workload);
    let from_memory = (bytes - peak.last_level_bytes).max(0.0);
    let seconds = [
        (Limit::Arithmetic, flops(operation, workload) / (flops_per_clock * clocks)),
        (Limit::Memory, from_memory / (peak.memory_bytes_per_second * HEADROOM)),
        (Limit::Cores, bytes / (peak.unit_bytes_per_clock * clocks)),
    ];
    let of_work = seconds.into_iter().map(|(limit, seconds)| (limit, seconds * 1e9));
    let least = (Limit::Launch, peak.least_ns);
    let (limit, ns) = of_work.fold(least, |a, b| if b.1 > a.1 { b } else { a });
    Bound { ns, limit, source: peak.source }
}

fn flops(operation: &Operation, workload: &Workload) -> f64 {
    let channels = f64::from(operation.c_in) * f64::from(operation.c_out);
    2.0 * workload.pairs as f64 * channels / f64::from(operation.groups.max(1))
}

/// Bytes that every algorithm reads or writes: each row that meets another once, the weights of one
/// offset at least, and all of the result.
fn compulsory_bytes(operation: &Operation, workload: &Workload) -> f64 {
    let element = operation.dtype.bytes() as f64;
    let (c_in, c_out) = (f64::from(operation.c_in), f64::from(operation.c_out));
    let (rows_in, rows_out) = (workload.rows_in as f64, workload.rows_out as f64);
    let met = |rows: f64| rows.min(workload.pairs as f64);
    let one_offset = c_in * c_out / f64::from(operation.groups.max(1)) * element;
    match operation.direction.product() {
        Product::Forward => one_offset + (met(rows_in) * c_in + rows_out * c_out) * element,
        Product::Dgrad => one_offset + (rows_in * c_in + met(rows_out) * c_out) * element,
        Product::Wgrad => {
            let gradient_bytes = operation.weight_len() as f64 * size_of::<f32>() as f64;
            gradient_bytes + (met(rows_in) * c_in + met(rows_out) * c_out) * element
        }
    }
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, KernelSize, ShapeKey};

    use voxtune_types::Direction;

    use super::*;

    fn entry(arch: Arch, units: u32, dtype: DType, channels: u32, rows: u64) -> EntryKey {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation =
            Operation::submanifold(Direction::Forward, dtype, channels, channels, kernel);
        let pairs = rows * 8;
        EntryKey {
            device: DeviceIdentity { arch, name: "a device".to_owned(), units },
            key: ShapeKey::new(operation, rows as usize, rows as usize, pairs as usize),
            workload: Workload {
                cloud: "surface".to_owned(),
                rows_in: rows,
                rows_out: rows,
                pairs,
                batch: 1,
                cold: true,
            },
        }
    }

    /// 2 · 8 M · 512² flops at 989 TFLOP/s are 4.24 ms; the bound is that over headroom and the
    /// difference of boost and sustained clock, and no less than half of it.
    #[test]
    fn large_layers_are_bound_by_arithmetic() {
        let bound = bound(&entry(Arch::sm(9, 0), 132, DType::Float16, 512, 1_000_000));
        assert_eq!(bound.limit, Limit::Arithmetic);
        assert!((2.1e6..4.24e6).contains(&bound.ns), "{bound:?}");
        let single = super::bound(&entry(Arch::sm(9, 0), 132, DType::Float32, 512, 1_000_000));
        assert!((single.ns / bound.ns - 2.0).abs() < 1e-9);
    }

    /// Two float16 features of 2 M rows and 32 channels are 256 MB, of which 63 MB may stay in the
    /// L2 cache.
    #[test]
    fn wide_clouds_are_bound_by_memory() {
        let bound = bound(&entry(Arch::sm(9, 0), 132, DType::Float16, 32, 2_000_000));
        assert_eq!(bound.limit, Limit::Memory);
        let bytes = 2.0 * 2e6 * 32.0 * 2.0 + 2048.0 - 60.0 * 1024.0 * 1024.0;
        assert!((bound.ns - bytes / 4.9e12 / HEADROOM * 1e9).abs() < 1e-6, "{bound:?}");
    }

    #[test]
    fn nothing_takes_a_nanosecond_anywhere() {
        for (arch, least_ns) in [
            (Arch::sm(7, 5), 1000.0),
            (Arch::sm(9, 0), 1000.0),
            (Arch::sm(12, 0), 1000.0),
            (Arch::Cpu(CpuIsa::Portable), 100.0),
            (Arch::Cpu(CpuIsa::X86Avx512), 100.0),
        ] {
            for rows in [1, 1000] {
                let bound = bound(&entry(arch, 100, DType::Float16, 4, rows));
                assert!(bound.ns >= least_ns, "{arch}: {bound:?}");
            }
        }
    }

    #[test]
    fn more_work_takes_no_less() {
        for arch in [Arch::sm(8, 0), Arch::sm(9, 0), Arch::Cpu(CpuIsa::X86Avx2)] {
            let ns = |channels, rows| bound(&entry(arch, 64, DType::Float32, channels, rows)).ns;
            for rows in [100, 10_000, 1_000_000] {
                assert!(ns(32, rows) <= ns(64, rows) && ns(32, rows) <= ns(32, 2 * rows));
            }
        }
    }
}
