//! Elements in another storage type.

use super::error::OpError;
use super::number::{Number, for_each_row, matrix, matrix_mut};
use crate::elements::{Elements, ElementsMut};

/// Rounds each element to the nearest of the storage type of `to`, ties to even.
///
/// # Shapes
/// Both alike.
///
/// # Errors
/// If lengths differ.
pub fn cast(from: Elements<'_>, to: ElementsMut<'_>) -> Result<(), OpError> {
    use half::{bf16, f16};
    match from {
        Elements::Float16(_) => cast_from::<f16>(from, to),
        Elements::BFloat16(_) => cast_from::<bf16>(from, to),
        Elements::Float32(_) => cast_from::<f32>(from, to),
    }
}

fn cast_from<From: Number>(from: Elements<'_>, to: ElementsMut<'_>) -> Result<(), OpError> {
    let from = matrix::<From>("the source", from, to.len(), 1)?;
    match to {
        ElementsMut::Float16(_) => cast_typed::<From, half::f16>(from, to),
        ElementsMut::BFloat16(_) => cast_typed::<From, half::bf16>(from, to),
        ElementsMut::Float32(_) => cast_typed::<From, f32>(from, to),
    }
}

fn cast_typed<From: Number, To: Number>(from: &[From], to: ElementsMut<'_>) -> Result<(), OpError> {
    for_each_row(matrix_mut::<To>("the target", to, from.len(), 1)?, 1, |place, out| {
        out[0] = To::store(from[place].load());
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use voxtune_types::DType;

    use super::*;
    use crate::elements::HostBuffer;
    use crate::ops::testing::{noise, zeros};

    #[test]
    fn values_are_rounded_once() {
        for from in DType::ALL {
            for to in DType::ALL {
                let source = noise(from, 20_003, 4);
                let mut target = zeros(to, 20_003);
                cast(source.as_elements(), target.as_elements_mut()).unwrap();
                assert!(target == HostBuffer::from_f32(to, &source.to_f32()), "{from} {to}");
            }
        }
        let mut short = zeros(DType::Float16, 3);
        assert!(cast(zeros(DType::Float32, 4).as_elements(), short.as_elements_mut()).is_err());
    }
}
