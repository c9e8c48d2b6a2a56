//! Random numbers that are the same on every platform and with every release of the libraries.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random numbers.
///
/// Only the ChaCha8 block function of the library is used. The mapping of seeds and of ranges is
/// ours, because `rand` may change its own from release to release.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a purpose and of a place within the cloud of this seed and batch index.
    pub(crate) fn new(purpose: [u8; 8], seed: u64, batch: u64, place: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&purpose);
        key[8..16].copy_from_slice(&seed.to_le_bytes());
        key[16..24].copy_from_slice(&batch.to_le_bytes());
        key[24..].copy_from_slice(&place.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number from `0..bound`, by multiplication (Lemire, "Fast random integer generation in an
    /// interval", 2019) without its rejection step: the bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low..=high`.
    pub(crate) fn between(&mut self, low: i32, high: i32) -> i32 {
        debug_assert!(low <= high);
        let span = i64::from(high) - i64::from(low) + 1;
        (i64::from(low) + self.below(span as u64) as i64) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_never_change() {
        let mut random = Random::new(*b"a stream", 1, 2, 3);
        let drawn: Vec<u64> = (0..4).map(|_| random.below(1000)).collect();
        insta::assert_snapshot!(format!("{drawn:?}"), @"[918, 605, 746, 43]");
    }

    #[test]
    fn draws_cover_the_range_and_stay_in_it() {
        let mut random = Random::new(*b"a stream", 0, 0, 0);
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[(random.between(-3, 3) + 3) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
    }
}
