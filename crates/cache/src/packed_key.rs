//! A key in three machine words.

use voxtune_types::{Density, LayerKind, Operation, PitchClass, ShapeKey, VoxelBucket};

/// A [`ShapeKey`] without loss in 192 bits, quick to compare and to hash, in the same order:
///
/// ```text
/// word 0   direction 8 | dtype 8 | c_in 32 | c_out, upper 16
/// word 1   c_out, lower 16 | kernel 3 × 8 | stride 3 × 8
/// word 2   kind 4 | pitch 4 | groups 32 | bucket_in 8 | bucket_out 8 | density 8
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackedKey([u64; 3]);

/// Bits of a key that are not its operation's.
const ROW_BITS: u32 = 24;

impl PackedKey {
    #[inline]
    pub(crate) fn new(key: &ShapeKey) -> Self {
        // Taken apart by name, so that a new field cannot be forgotten here.
        let ShapeKey { operation, bucket_in, bucket_out, density } = *key;
        let rows = u64::from(bucket_in.index()) << 16
            | u64::from(bucket_out.index()) << 8
            | u64::from(density.index());
        let [first, second, third] = operation_words(&operation);
        Self([first, second, third | rows])
    }

    /// The least and the greatest key of an operation.
    pub(crate) fn range(operation: &Operation) -> (Self, Self) {
        let [first, second, third] = operation_words(operation);
        let all_rows = (1 << ROW_BITS) - 1;
        (Self([first, second, third]), Self([first, second, third | all_rows]))
    }
}

#[inline]
fn operation_words(operation: &Operation) -> [u64; 3] {
    let Operation { direction, dtype, c_in, c_out, kernel, stride, kind, pitch, groups } =
        *operation;
    let c_out = u64::from(c_out);
    let bytes = |[x, y, z]: [u8; 3]| u64::from(x) << 16 | u64::from(y) << 8 | u64::from(z);
    [
        (direction as u64) << 56 | (dtype as u64) << 48 | u64::from(c_in) << 16 | c_out >> 16,
        (c_out & 0xFFFF) << 48 | bytes(kernel.extents()) << 24 | bytes(stride),
        (kind as u64) << 60 | (pitch as u64) << 56 | u64::from(groups) << ROW_BITS,
    ]
}

// The words have room for no more.
const _: () = assert!(size_of::<VoxelBucket>() == 1 && size_of::<Density>() == 1);
const _: () = assert!(LayerKind::ALL.len() <= 16 && PitchClass::ALL.len() <= 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voxtune_types::{DType, Direction, KernelSize};

    use super::*;

    /// Keys from few values in each field, extremes among them, so that pairs differ in any one.
    fn key() -> impl Strategy<Value = ShapeKey> {
        let channels = || prop_oneof![Just(1_u32), Just(0xFFFF), Just(0x1_0000), Just(u32::MAX)];
        let class = |last: u8| prop_oneof![Just(0_u8), Just(1), Just(last)];
        let layer = (0_usize..3, 0_usize..3, channels(), channels(), channels());
        let extents = || prop::array::uniform3(prop_oneof![Just(1_u8), Just(7)]);
        let kinds = (0_usize..LayerKind::ALL.len(), 0_usize..PitchClass::ALL.len());
        let strides = || prop::array::uniform3(prop_oneof![Just(1_u8), Just(255)]);
        (layer, extents(), strides(), kinds, class(63), class(63), class(15)).prop_map(
            |(
                (direction, dtype, c_in, c_out, groups),
                kernel,
                stride,
                (kind, pitch),
                rows_in,
                rows_out,
                density,
            )| {
                ShapeKey {
                    operation: Operation {
                        direction: Direction::ALL[direction],
                        dtype: DType::ALL[dtype],
                        c_in,
                        c_out,
                        kernel: KernelSize::try_from(kernel).unwrap(),
                        stride,
                        kind: LayerKind::ALL[kind],
                        pitch: PitchClass::ALL[pitch],
                        groups,
                    },
                    bucket_in: VoxelBucket::from_index(rows_in).unwrap(),
                    bucket_out: VoxelBucket::from_index(rows_out).unwrap(),
                    density: Density::from_index(density).unwrap(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn packing_keeps_the_order(left in key(), right in key()) {
            prop_assert_eq!(PackedKey::new(&left).cmp(&PackedKey::new(&right)), left.cmp(&right));
        }

        /// Of two keys that differ in one field at most, which random pairs hardly ever do.
        #[test]
        fn packing_loses_no_field(left in key(), right in key(), field in 0_u8..12) {
            let mut mixed = left;
            let (to, from) = (&mut mixed.operation, &right.operation);
            match field {
                0 => to.direction = from.direction,
                1 => to.dtype = from.dtype,
                2 => to.c_in = from.c_in,
                3 => to.c_out = from.c_out,
                4 => to.kernel = from.kernel,
                5 => to.stride = from.stride,
                6 => to.kind = from.kind,
                7 => to.pitch = from.pitch,
                8 => to.groups = from.groups,
                9 => mixed.bucket_in = right.bucket_in,
                10 => mixed.bucket_out = right.bucket_out,
                _ => mixed.density = right.density,
            }
            prop_assert_eq!(PackedKey::new(&left).cmp(&PackedKey::new(&mixed)), left.cmp(&mixed));
        }

        #[test]
        fn a_key_is_in_the_range_of_its_operation_alone(left in key(), right in key()) {
            let (first, last) = PackedKey::range(&left.operation);
            let inside = |key: &ShapeKey| (first..=last).contains(&PackedKey::new(key));
            prop_assert!(inside(&left));
            prop_assert_eq!(inside(&right), left.operation == right.operation);
        }
    }
}
