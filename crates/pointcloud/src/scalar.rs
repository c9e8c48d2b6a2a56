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

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endian {
    Little,
    Big,
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

    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// The number at the start of `bytes`; of 64-bit integers the nearest one that f64 holds.
    ///
    /// # Panics
    /// Where `bytes` is shorter than the type: callers have checked the length of the whole data.
    pub(crate) fn to_f64(self, bytes: &[u8], endian: Endian) -> f64 {
        match self {
            Self::F32 => f64::from(f32::from_bits(self.word(bytes, endian) as u32)),
            Self::F64 => f64::from_bits(self.word(bytes, endian)),
            Self::U64 => self.word(bytes, endian) as f64,
            _ => self.signed(bytes, endian) as f64,
        }
    }

    /// The integer at the start of `bytes`; `None` for a float type and for what only u64 holds.
    ///
    /// # Panics
    /// As [`Self::to_f64`] does.
    pub(crate) fn to_i64(self, bytes: &[u8], endian: Endian) -> Option<i64> {
        match self {
            Self::F32 | Self::F64 => None,
            Self::U64 => i64::try_from(self.word(bytes, endian)).ok(),
            _ => Some(self.signed(bytes, endian)),
        }
    }

    /// The bits, zero-extended.
    fn word(self, bytes: &[u8], endian: Endian) -> u64 {
        let mut word = [0; 8];
        let count = self.bytes();
        match endian {
            Endian::Little => {
                word[..count].copy_from_slice(&bytes[..count]);
                u64::from_le_bytes(word)
            }
            Endian::Big => {
                word[8 - count..].copy_from_slice(&bytes[..count]);
                u64::from_be_bytes(word)
            }
        }
    }

    fn signed(self, bytes: &[u8], endian: Endian) -> i64 {
        let word = self.word(bytes, endian);
        match self {
            Self::I8 => i64::from(word as i8),
            Self::I16 => i64::from(word as i16),
            Self::I32 => i64::from(word as i32),
            _ => word as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_type_and_order_are_read() {
        let both = |scalar: Scalar, little: &[u8]| {
            let big: Vec<u8> = little.iter().rev().copied().collect();
            assert_eq!(scalar.bytes(), little.len());
            let [a, b] =
                [(little, Endian::Little), (&big[..], Endian::Big)].map(|(bytes, endian)| {
                    (scalar.to_f64(bytes, endian), scalar.to_i64(bytes, endian))
                });
            assert_eq!(a, b, "{scalar:?}");
            a
        };
        assert_eq!(both(Scalar::I8, &(-3_i8).to_le_bytes()), (-3.0, Some(-3)));
        assert_eq!(both(Scalar::U8, &[253]), (253.0, Some(253)));
        assert_eq!(both(Scalar::I16, &(-300_i16).to_le_bytes()), (-300.0, Some(-300)));
        assert_eq!(both(Scalar::U16, &65_000_u16.to_le_bytes()), (65_000.0, Some(65_000)));
        assert_eq!(both(Scalar::I32, &(-70_000_i32).to_le_bytes()), (-70_000.0, Some(-70_000)));
        assert_eq!(
            both(Scalar::U32, &u32::MAX.to_le_bytes()),
            (f64::from(u32::MAX), Some(4294967295))
        );
        assert_eq!(both(Scalar::I64, &(-5_i64).to_le_bytes()), (-5.0, Some(-5)));
        assert_eq!(both(Scalar::U64, &u64::MAX.to_le_bytes()), (u64::MAX as f64, None));
        assert_eq!(both(Scalar::F32, &1.25_f32.to_le_bytes()), (1.25, None));
        assert_eq!(both(Scalar::F64, &0.1_f64.to_le_bytes()), (0.1, None));
    }
}
