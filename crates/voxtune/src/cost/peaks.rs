//! What the fastest device of an architecture can do, by its vendor's figures.
//!
//! They err on the high side throughout: a time below the bound that follows from them is
//! impossible; one above it proves nothing.

use voxtune_cache::decide::TIMER_STEP_NS;
use voxtune_types::{Arch, CpuIsa, DType, DeviceIdentity};

use super::lower_bound::Ceilings;

/// How much faster than its vendor's figures a device may be: factory overclocking, boost beyond
/// the stated clock, rounding.
const HEADROOM: f64 = 1.25;

impl Ceilings {
    /// Those of any device of this architecture with so many units, for products of a storage type.
    /// They are the vendor's, of the fastest board, with a quarter on top. The second value says
    /// where they are from.
    #[must_use]
    pub fn of_vendor(device: &DeviceIdentity, dtype: DType) -> (Self, &'static str) {
        let peak = peak(device.arch);
        let clocks = f64::from(device.units.max(1)) * peak.clock_hz * HEADROOM;
        let flops_per_clock =
            if dtype.bytes() < 4 { peak.half_flops_per_clock } else { peak.single_flops_per_clock };
        let ceilings = Self {
            flops_per_second: flops_per_clock * clocks,
            memory_bytes_per_second: peak.memory_bytes_per_second * HEADROOM,
            cached_bytes: peak.last_level_bytes,
            core_bytes_per_second: peak.unit_bytes_per_clock * clocks,
            least_ns: peak.least_ns,
        };
        (ceilings, peak.source)
    }
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

/// Every entry by its vendor's data sheet or white paper. The flops a clock follow from its peak
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

#[cfg(test)]
mod tests {
    use voxtune_types::{Direction, KernelSize, Operation};

    use super::*;
    use crate::MapCounts;
    use crate::cost::{Limit, LowerBound, Work, lower_bound};

    fn bound(arch: Arch, units: u32, dtype: DType, channels: u32, rows: usize) -> LowerBound {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation =
            Operation::submanifold(Direction::Forward, dtype, channels, channels, kernel);
        let device = DeviceIdentity { arch, name: "a device".to_owned(), units };
        let counts = MapCounts { n_in: rows, n_out: rows, pairs: rows * 8 };
        let (ceilings, _) = Ceilings::of_vendor(&device, dtype);
        lower_bound(Work::compulsory(&operation, counts), &ceilings)
    }

    /// 2 · 8 M · 512² flops at 989 TFLOP/s are 4.24 ms. The bound is that over headroom and the
    /// difference of boost and sustained clock, and no less than half of it.
    #[test]
    fn large_layers_are_bound_by_arithmetic() {
        let half = bound(Arch::sm(9, 0), 132, DType::Float16, 512, 1_000_000);
        assert_eq!(half.limit, Limit::Arithmetic);
        assert!((2.1e6..4.24e6).contains(&half.ns), "{half:?}");
        let single = bound(Arch::sm(9, 0), 132, DType::Float32, 512, 1_000_000);
        assert!((single.ns / half.ns - 2.0).abs() < 1e-9);
    }

    /// Two float16 features of 2 M rows and 32 channels are 256 MB, of which 63 MB may stay in the
    /// L2 cache.
    #[test]
    fn wide_clouds_are_bound_by_memory() {
        let bound = bound(Arch::sm(9, 0), 132, DType::Float16, 32, 2_000_000);
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
                let bound = bound(arch, 100, DType::Float16, 4, rows);
                assert!(bound.ns >= least_ns, "{arch}: {bound:?}");
            }
        }
    }

    #[test]
    fn more_work_takes_no_less() {
        for arch in [Arch::sm(8, 0), Arch::sm(9, 0), Arch::Cpu(CpuIsa::X86Avx2)] {
            let ns = |channels, rows| bound(arch, 64, DType::Float32, channels, rows).ns;
            for rows in [100, 10_000, 1_000_000] {
                assert!(ns(32, rows) <= ns(64, rows) && ns(32, rows) <= ns(32, 2 * rows));
            }
        }
    }
}
