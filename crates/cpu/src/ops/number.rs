//! Elements of any storage type as float32, and rows of them in parallel.

use half::{bf16, f16};
use voxtune_types::DType;

use super::error::OpError;
use crate::chunks::for_each_chunk;
use crate::elements::{Elements, ElementsMut};

/// An element of a storage type.
pub(super) trait Number: Copy + Default + PartialEq + Send + Sync + 'static {
    const DTYPE: DType;

    /// The value, widened exactly.
    fn load(self) -> f32;

    /// The nearest value of the storage type, ties to even.
    fn store(value: f32) -> Self;

    /// The elements, if they are of this type.
    fn of(elements: Elements<'_>) -> Option<&[Self]>;

    /// The elements to write to, if they are of this type.
    fn of_mut(elements: ElementsMut<'_>) -> Option<&mut [Self]>;
}

macro_rules! number {
    ($number:ty, $dtype:ident, $load:expr, $store:expr) => {
        impl Number for $number {
            const DTYPE: DType = DType::$dtype;

            fn load(self) -> f32 {
                $load(self)
            }

            fn store(value: f32) -> Self {
                $store(value)
            }

            fn of(elements: Elements<'_>) -> Option<&[Self]> {
                if let Elements::$dtype(elements) = elements { Some(elements) } else { None }
            }

            fn of_mut(elements: ElementsMut<'_>) -> Option<&mut [Self]> {
                if let ElementsMut::$dtype(elements) = elements { Some(elements) } else { None }
            }
        }
    };
}
number!(f16, Float16, f16::to_f32, f16::from_f32);
number!(bf16, BFloat16, bf16::to_f32, bf16::from_f32);
number!(f32, Float32, |value| value, |value| value);

/// Calls a function that is generic over the storage type.
macro_rules! by_dtype {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            voxtune_types::DType::Float16 => $function::<half::f16>($($argument),*),
            voxtune_types::DType::BFloat16 => $function::<half::bf16>($($argument),*),
            voxtune_types::DType::Float32 => $function::<f32>($($argument),*),
            other => $crate::elements::no_buffer(other),
        }
    };
}
pub(super) use by_dtype;

/// Compares a length with that of a matrix.
pub(super) fn check_len(
    operand: &'static str,
    found: usize,
    rows: usize,
    channels: usize,
) -> Result<(), OpError> {
    let expected = rows as u128 * channels as u128;
    if found as u128 == expected {
        return Ok(());
    }
    Err(OpError::WrongLength { operand, expected, found })
}

/// The elements of a matrix of `rows` by `channels`.
pub(super) fn matrix<'a, T: Number>(
    operand: &'static str,
    elements: Elements<'a>,
    rows: usize,
    channels: usize,
) -> Result<&'a [T], OpError> {
    check_len(operand, elements.len(), rows, channels)?;
    let found = elements.dtype();
    T::of(elements).ok_or(OpError::WrongDType { operand, expected: T::DTYPE, found })
}

/// The elements to write to of a matrix of `rows` by `channels`.
pub(super) fn matrix_mut<'a, T: Number>(
    operand: &'static str,
    elements: ElementsMut<'a>,
    rows: usize,
    channels: usize,
) -> Result<&'a mut [T], OpError> {
    check_len(operand, elements.len(), rows, channels)?;
    let found = elements.dtype();
    T::of_mut(elements).ok_or(OpError::WrongDType { operand, expected: T::DTYPE, found })
}

/// Numbers of the channels, if there are any.
pub(super) fn check_row(
    operand: &'static str,
    row: Option<&[f32]>,
    channels: usize,
) -> Result<(), OpError> {
    row.map_or(Ok(()), |row| check_len(operand, row.len(), 1, channels))
}

/// Elements of a task: enough to pay for handing it out.
const TASK_ELEMENTS: usize = 1 << 13;

/// Rows of a task, at least one.
pub(super) fn rows_a_task(channels: usize) -> usize {
    (TASK_ELEMENTS / channels.max(1)).max(1)
}

/// Hands each row of a matrix to a task that writes it.
pub(super) fn for_each_row<T: Send>(
    out: &mut [T],
    channels: usize,
    write: impl Fn(usize, &mut [T]) + Sync,
) {
    if channels == 0 {
        return;
    }
    let rows = rows_a_task(channels);
    for_each_chunk(out, rows * channels, &|task, lines| {
        for (line, row) in lines.chunks_exact_mut(channels).enumerate() {
            write(task * rows + line, row);
        }
    });
}

/// A row of a matrix.
pub(super) fn row_of<T>(matrix: &[T], row: usize, channels: usize) -> &[T] {
    &matrix[row * channels..(row + 1) * channels]
}
