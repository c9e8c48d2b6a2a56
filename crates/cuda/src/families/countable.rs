//! What kernels can count.

use voxtune_types::Operation;

use crate::map::MapBuilder;

/// Most channels of a side. Kernels count them, and bytes of a row, in signed 32 bits.
const MAX_CHANNELS: u32 = 1 << 20;
/// Most weights of an offset, which kernels count likewise. Padded to whole tiles and times five,
/// as pools compare tiles, they stay below 2^32 too.
const MAX_OFFSET_WEIGHTS: u64 = 1 << 26;

/// Whether kernels can count the channels and offsets of an operation.
pub(super) fn is_countable(op: &Operation) -> bool {
    let channels = 1..=MAX_CHANNELS;
    channels.contains(&op.c_in)
        && channels.contains(&op.c_out)
        && u64::from(op.c_in) * u64::from(op.c_out) / u64::from(op.groups.max(1))
            <= MAX_OFFSET_WEIGHTS
        && op.kernel.volume() <= MapBuilder::MAX_VOLUME
}

#[cfg(test)]
mod tests {
    use voxtune_types::{ComputeCapability, DType, Direction, KernelSize};

    use super::super::{algorithms, fallback_algorithm};
    use super::*;
    use crate::map::MapCounts;
    use crate::model::{MapSize, Rates};

    /// Kernels count in signed 32 bits: what they cannot count is refused before it wraps.
    #[test]
    fn n07_channels_that_kernels_cannot_count_are_refused() {
        let op = |c_in, c_out, extent| {
            let kernel = KernelSize::cubic(extent).unwrap();
            Operation::submanifold(Direction::Wgrad, DType::Float32, c_in, c_out, kernel)
        };
        let fallback = fallback_algorithm();
        for fits in [op(1 << 20, 1, 1), op(1 << 13, 1 << 13, 5), op(1 << 6, 1 << 20, 3)] {
            assert!(fallback.applies(&fits), "{fits}");
        }
        let counts = MapCounts { n_in: 1 << 30, n_out: 1 << 30, pairs: vec![1 << 30; 1] };
        let size = MapSize { n_in: 1 << 30, n_out: 1 << 30, pairs: 1 << 30 };
        let rates = Rates::of(ComputeCapability { major: 9, minor: 0 }, 132);
        for absurd in [
            op(0, 8, 3),
            op(8, 0, 3),
            op((1 << 20) + 1, 1, 1),
            op(1, u32::MAX, 1),
            op(u32::MAX, u32::MAX, 1),
            op(1 << 14, 1 << 13, 1),
            op(8, 8, 6),
        ] {
            for algorithm in algorithms() {
                assert!(!algorithm.applies(&absurd), "{algorithm}: {absurd}");
                assert_eq!(algorithm.workspace_bytes(&absurd, &counts), usize::MAX);
                assert!(algorithm.work(&absurd, size, &rates).is_none());
            }
        }
    }

    /// What is past 32 bits without the groups is not with them.
    #[test]
    fn channels_of_groups_are_counted_by_group() {
        let kernel = KernelSize::submanifold(3).unwrap();
        let op =
            Operation::submanifold(Direction::Forward, DType::Float16, 1 << 20, 1 << 20, kernel);
        let applies = |op: Operation| algorithms().iter().any(|algorithm| algorithm.applies(&op));
        assert!(!applies(op) && applies(op.with_groups(1 << 20)));
        for broken in [op.with_groups(0), op.with_groups(3), op.with_groups(2)] {
            assert!(!applies(broken), "{broken}");
        }
    }
}
