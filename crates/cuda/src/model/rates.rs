//! What a device delivers.

use voxtune_types::ComputeCapability;

/// Rates of a device, per SM unless something else is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Streaming multiprocessors (SMs).
    pub sms: f64,
    /// Clock under load, in cycles a nanosecond.
    pub clock_ghz: f64,
    /// What the whole device reads and writes in its memory. Bytes per nanosecond.
    pub memory_bytes_ns: f64,
    /// What an SM gets from L2 while all others read too. Bytes per nanosecond.
    pub cache_bytes_ns: f64,
    /// Working set that L2 holds without losing rate. Bytes.
    pub cache_bytes: f64,
    /// Shared memory's bytes per cycle.
    pub shared_bytes_clock: f64,
    /// Shared memory for resident blocks. Bytes.
    pub shared_bytes: usize,
    /// Resident threads.
    pub threads: u32,
    /// 16-bit products with float32 sums by `mma.sync`, a multiply-add counted as two. A cycle.
    pub mma_flops_clock: f64,
    /// The same by warpgroup instructions.
    pub wgmma_flops_clock: f64,
    /// float32 products outside tensor cores, a multiply-add counted as two. A cycle.
    pub fma_flops_clock: f64,
    /// Whether rates and constants were measured on this architecture. Elsewhere rates are those
    /// of the data sheets, and a model that uses them deserves less trust.
    pub is_measured: bool,
}

impl Rates {
    /// SMs of the part of a compute capability that rates are those of, for where no device is at
    /// hand: A100, A40, L40, H100 (SXM), B200, RTX PRO 6000. From NVIDIA's data sheets.
    #[must_use]
    pub const fn usual_sms(capability: ComputeCapability) -> u32 {
        match (capability.major, capability.minor) {
            (8, 0) => 108,
            (8, 9) => 142,
            (8, _) => 84,
            (10, _) => 148,
            (12, _) => 188,
            _ => 132,
        }
    }

    /// The rates of a compute capability with so many SMs.
    ///
    /// Those of 9.0 were measured on an H100 (SXM, 132 SMs). Copies run at 3.01 TB/s, and reads of
    /// L2 at 7.4 TB/s until 40 MB. An SM has 2,600 operations per cycle by `mma.sync` with operands
    /// from shared memory, 4,096 by `wgmma`, and 128 bytes per cycle of shared memory. Others:
    /// NVIDIA's architecture whitepapers, of the largest part of each.
    #[must_use]
    pub fn of(capability: ComputeCapability, sms: u32) -> Self {
        let h100 = Self {
            sms: f64::from(sms.max(1)),
            clock_ghz: 1.9,
            memory_bytes_ns: 3000.0,
            cache_bytes_ns: 56.0,
            cache_bytes: 40e6,
            shared_bytes_clock: 128.0,
            shared_bytes: 228 * 1024,
            threads: 2048,
            mma_flops_clock: 2600.0,
            wgmma_flops_clock: 4096.0,
            fma_flops_clock: 256.0,
            is_measured: false,
        };
        match (capability.major, capability.minor) {
            (9, 0) => Self { is_measured: true, ..h100 },
            (8, 0) => Self {
                clock_ghz: 1.4,
                memory_bytes_ns: 1800.0,
                cache_bytes_ns: 40.0,
                cache_bytes: 20e6,
                shared_bytes: 164 * 1024,
                mma_flops_clock: 2048.0,
                fma_flops_clock: 128.0,
                ..h100
            },
            (8, minor) => Self {
                clock_ghz: if minor == 9 { 2.4 } else { 1.7 },
                memory_bytes_ns: 900.0,
                cache_bytes_ns: 35.0,
                cache_bytes: if minor == 9 { 50e6 } else { 5e6 },
                shared_bytes: 100 * 1024,
                threads: 1536,
                mma_flops_clock: 512.0,
                ..h100
            },
            (12, _) => Self {
                clock_ghz: 2.4,
                memory_bytes_ns: 1600.0,
                cache_bytes_ns: 40.0,
                cache_bytes: 70e6,
                shared_bytes: 100 * 1024,
                threads: 1536,
                mma_flops_clock: 1024.0,
                ..h100
            },
            (10.., _) => Self { memory_bytes_ns: 7000.0, cache_bytes: 80e6, ..h100 },
            _ => h100,
        }
    }
}
