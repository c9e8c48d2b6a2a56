//! Buffers in host memory and their storage types.

use std::fmt;

use half::{bf16, f16};
use voxtune_types::DType;

use crate::zeroed::zeroed;

/// Elements of one storage type, borrowed.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// IEEE 754 binary16.
    Float16(&'a [f16]),
    /// The upper half of a binary32.
    BFloat16(&'a [bf16]),
    /// IEEE 754 binary32.
    Float32(&'a [f32]),
}

/// Elements of one storage type, to be written.
pub enum ElementsMut<'a> {
    /// IEEE 754 binary16.
    Float16(&'a mut [f16]),
    /// The upper half of a binary32.
    BFloat16(&'a mut [bf16]),
    /// IEEE 754 binary32.
    Float32(&'a mut [f32]),
}

/// Ends a match over storage types, all of which have a buffer.
pub(crate) fn no_buffer(dtype: DType) -> ! {
    unreachable!("host memory holds no {dtype}")
}

/// A buffer of one storage type in host memory.
#[derive(Clone, PartialEq)]
pub enum HostBuffer {
    /// IEEE 754 binary16.
    Float16(Vec<f16>),
    /// The upper half of a binary32.
    BFloat16(Vec<bf16>),
    /// IEEE 754 binary32.
    Float32(Vec<f32>),
}

/// The host has no memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has no memory for {len} elements of {dtype}")]
pub struct NoMemory {
    /// Storage type.
    pub dtype: DType,
    /// Elements asked for.
    pub len: usize,
}

/// The same expression for each storage type: `$elements` is bound within.
macro_rules! each_dtype {
    ($kind:ident, $value:expr, $elements:ident => $body:expr) => {
        match $value {
            $kind::Float16($elements) => $body,
            $kind::BFloat16($elements) => $body,
            $kind::Float32($elements) => $body,
        }
    };
}

macro_rules! dtype_and_len {
    ($kind:ident) => {
        /// The storage type.
        #[must_use]
        pub const fn dtype(&self) -> DType {
            match self {
                Self::Float16(_) => DType::Float16,
                Self::BFloat16(_) => DType::BFloat16,
                Self::Float32(_) => DType::Float32,
            }
        }

        /// Number of elements.
        #[must_use]
        pub fn len(&self) -> usize {
            each_dtype!($kind, self, elements => elements.len())
        }

        /// Whether there is no element.
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
    };
}

/// Type and length: values would fill the screen.
macro_rules! short_debug {
    ($kind:ty) => {
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} of {}", self.len(), self.dtype())
            }
        }
    };
}
short_debug!(Elements<'_>);
short_debug!(ElementsMut<'_>);
short_debug!(HostBuffer);

impl Elements<'_> {
    dtype_and_len!(Elements);

    /// The values, widened exactly.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::Float16(elements) => elements.iter().map(|value| value.to_f64()).collect(),
            Self::BFloat16(elements) => elements.iter().map(|value| value.to_f64()).collect(),
            Self::Float32(elements) => elements.iter().map(|&value| value.into()).collect(),
        }
    }
}

impl ElementsMut<'_> {
    dtype_and_len!(ElementsMut);
}

impl HostBuffer {
    dtype_and_len!(HostBuffer);

    /// Zeros.
    ///
    /// # Errors
    /// If the host has no memory for them.
    pub fn try_zeros(dtype: DType, len: usize) -> Result<Self, NoMemory> {
        let zeros = match dtype {
            DType::Float16 => zeroed(len).map(Self::Float16),
            DType::BFloat16 => zeroed(len).map(Self::BFloat16),
            DType::Float32 => zeroed(len).map(Self::Float32),
            _ => no_buffer(dtype),
        };
        zeros.ok_or(NoMemory { dtype, len })
    }

    /// Zeros, of a length that the host has memory for.
    #[must_use]
    pub fn zeros(dtype: DType, len: usize) -> Self {
        match dtype {
            DType::Float16 => Self::Float16(vec![f16::ZERO; len]),
            DType::BFloat16 => Self::BFloat16(vec![bf16::ZERO; len]),
            DType::Float32 => Self::Float32(vec![0.0; len]),
            _ => no_buffer(dtype),
        }
    }

    /// The values, each rounded to the nearest of the storage type, ties to even.
    #[must_use]
    pub fn from_f32(dtype: DType, values: &[f32]) -> Self {
        match dtype {
            DType::Float16 => {
                Self::Float16(values.iter().map(|&value| f16::from_f32(value)).collect())
            }
            DType::BFloat16 => {
                Self::BFloat16(values.iter().map(|&value| bf16::from_f32(value)).collect())
            }
            DType::Float32 => Self::Float32(values.to_vec()),
            _ => no_buffer(dtype),
        }
    }

    /// The values, widened exactly.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        self.as_elements().to_f64()
    }

    /// The values, widened exactly.
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Float16(elements) => elements.iter().map(|value| value.to_f32()).collect(),
            Self::BFloat16(elements) => elements.iter().map(|value| value.to_f32()).collect(),
            Self::Float32(elements) => elements.clone(),
        }
    }

    /// The elements, borrowed.
    #[must_use]
    pub fn as_elements(&self) -> Elements<'_> {
        match self {
            Self::Float16(elements) => Elements::Float16(elements),
            Self::BFloat16(elements) => Elements::BFloat16(elements),
            Self::Float32(elements) => Elements::Float32(elements),
        }
    }

    /// The elements, to be written.
    #[must_use]
    pub fn as_elements_mut(&mut self) -> ElementsMut<'_> {
        match self {
            Self::Float16(elements) => ElementsMut::Float16(elements),
            Self::BFloat16(elements) => ElementsMut::BFloat16(elements),
            Self::Float32(elements) => ElementsMut::Float32(elements),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        // 1 + 2^-11 lies half-way between two binary16 values, 1 + 2^-8 between two bfloat16
        // values.
        for (dtype, half_way) in
            [(DType::Float16, 2_f32.powi(-11)), (DType::BFloat16, 2_f32.powi(-8))]
        {
            let buffer = HostBuffer::from_f32(dtype, &[1.0 + half_way, 1.0 + 3.0 * half_way, -2.5]);
            assert_eq!(buffer.to_f32(), [1.0, 1.0 + 4.0 * half_way, -2.5]);
            assert_eq!(buffer.dtype(), dtype);
        }
    }

    #[test]
    fn n07_debug_tells_type_and_length() {
        let mut buffer = HostBuffer::zeros(DType::BFloat16, 100_000);
        let text = "100000 of bfloat16";
        assert_eq!(format!("{buffer:?}"), text);
        assert_eq!(format!("{:?}", buffer.as_elements()), text);
        assert_eq!(format!("{:?}", buffer.as_elements_mut()), text);
    }

    #[test]
    fn views_agree_with_their_buffer() {
        for dtype in DType::ALL {
            let mut buffer = HostBuffer::zeros(dtype, 5);
            assert_eq!((buffer.len(), buffer.is_empty()), (5, false));
            assert_eq!(buffer.as_elements().dtype(), dtype);
            assert_eq!(buffer.as_elements_mut().len(), 5);
            assert_eq!(buffer.to_f64(), [0.0; 5]);
        }
    }
}
