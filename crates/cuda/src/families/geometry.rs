//! Arithmetic that families share: copies, registers and shared memory of a block.

use voxtune_types::ComputeCapability;

use crate::model::Rates;
pub(super) use crate::model::channels;

/// Shared memory that a block may have, in bytes. From the CUDA programming guide's table of
/// compute capabilities.
pub(super) fn shared_bytes_per_block(capability: ComputeCapability) -> usize {
    let kib = match (capability.major, capability.minor) {
        (8, 0 | 7) => 163,
        (8, _) | (12, _) => 99,
        (9.., _) => 227,
        _ => 48,
    };
    kib * 1024
}

/// Whether an architecture has the warpgroup instructions, which Hopper alone has.
pub(super) const fn has_wgmma(capability: ComputeCapability) -> bool {
    capability.major == 9 && capability.minor == 0
}

/// Copy instructions that bring a tile of so many elements, by [`copy_elements`] of a tensor's
/// channels or fewer.
pub(super) fn copies(elements: u32, channels: u32, most: u32) -> u32 {
    elements / copy_elements(channels).min(most)
}

/// Blocks that fit on an SM beside each other: by registers, shared memory and threads.
pub(super) fn blocks_per_sm(
    rates: &Rates,
    by_registers: u32,
    shared_bytes: usize,
    threads: u32,
) -> u32 {
    /// What the driver keeps of each block's shared memory.
    const RESERVED_BYTES: usize = 1024;
    let by_shared = rates.shared_bytes / (shared_bytes + RESERVED_BYTES);
    by_registers.min(by_shared as u32).min(rates.threads / threads).max(1)
}

/// Elements of one copy: the most of 8, 4, 2 and 1 that divides the channels.
pub(super) const fn copy_elements(channels: u32) -> u32 {
    let power = 1 << channels.trailing_zeros();
    if power > 8 { 8 } else { power }
}

/// Bytes of shared memory that a line of a tile takes. A line that is no power of two is padded to
/// an odd number of 16-byte chunks.
pub(super) const fn line_bytes(elements: u32) -> usize {
    let chunks = elements as usize / 8;
    16 * if chunks.is_power_of_two() || chunks % 2 == 1 { chunks } else { chunks + 1 }
}

/// Blocks per SM that leave each thread the registers for these accumulators.
pub(super) const fn min_blocks(threads: u32, accumulators: u32) -> u32 {
    let registers = if accumulators >= 96 { accumulators + 80 } else { accumulators + 64 };
    let blocks = 65_536 / (threads * registers);
    if blocks == 0 { 1 } else { blocks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_divide_the_channels() {
        assert_eq!([1, 2, 3, 4, 6, 8, 20, 24, 96].map(copy_elements), [1, 2, 1, 4, 2, 8, 4, 8, 8]);
    }
}
