//! The number types of scan files.

/// A number type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Scalar {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The little-endian number at the start of `bytes`; of 64-bit integers the nearest one that
    /// f64 holds.
    ///
    /// # Panics
    /// Where `bytes` is shorter than the type: callers have checked the length of the whole data.
    pub(crate) fn to_f64(self, bytes: &[u8]) -> f64 {
        let mut word = [0; 8];
        let count = self.bytes();
        word[..count].copy_from_slice(&bytes[..count]);
        let word = u64::from_le_bytes(word);
        match self {
            Self::I8 => f64::from(word as i8),
            Self::I16 => f64::from(word as i16),
            Self::I32 => f64::from(word as i32),
            Self::I64 => word as i64 as f64,
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => word as f64,
            Self::F32 => f64::from(f32::from_bits(word as u32)),
            Self::F64 => f64::from_bits(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_type_are_read() {
        for (scalar, bytes, expected) in [
            (Scalar::I8, &(-3_i8).to_le_bytes()[..], -3.0),
            (Scalar::U8, &[253], 253.0),
            (Scalar::I16, &(-300_i16).to_le_bytes(), -300.0),
            (Scalar::U16, &65_000_u16.to_le_bytes(), 65_000.0),
            (Scalar::I32, &(-70_000_i32).to_le_bytes(), -70_000.0),
            (Scalar::U32, &u32::MAX.to_le_bytes(), f64::from(u32::MAX)),
            (Scalar::I64, &(-5_i64).to_le_bytes(), -5.0),
            (Scalar::U64, &u64::MAX.to_le_bytes(), u64::MAX as f64),
            (Scalar::F32, &1.25_f32.to_le_bytes(), 1.25),
            (Scalar::F64, &0.1_f64.to_le_bytes(), 0.1),
        ] {
            assert_eq!(scalar.bytes(), bytes.len());
            let followed = [bytes, &[0xFF; 8]].concat();
            assert_eq!(scalar.to_f64(&followed), expected, "{scalar:?}");
        }
    }
}
