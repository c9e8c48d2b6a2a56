//! Products over operands whose rows lie apart.
//!
//! Every kernel of a product takes a pitch. Where all rows begin at multiples of 16 bytes it runs
//! as over dense ones, and the key has [`PitchClass::Pitched`]. Other rows would be read an element
//! at a time, which no decision was made for. So such an operand is copied to dense rows first, and
//! such a result made dense and copied behind. Inside a graph capture nothing can be allocated, so
//! there these copies are refused.

use std::borrow::Borrow;

use voxtune_types::PitchClass;

use crate::{ConvError, Device, Tensor};

/// Both operands of a product, in rows that have a class.
pub(super) struct Operands<'a>(Operand<'a>, Operand<'a>);

enum Operand<'a> {
    AsGiven(&'a Tensor),
    Copied(Tensor),
}

impl<'a> Operand<'a> {
    fn new(device: &Device, tensor: &'a Tensor) -> Result<Self, ConvError> {
        Ok(match tensor.pitch_class() {
            Some(_) => Self::AsGiven(tensor),
            None => Self::Copied(tensor.contiguous(device)?),
        })
    }
}

impl Borrow<Tensor> for Operand<'_> {
    fn borrow(&self) -> &Tensor {
        match self {
            Self::AsGiven(tensor) => tensor,
            Self::Copied(tensor) => tensor,
        }
    }
}

impl<'a> Operands<'a> {
    pub(super) fn new(device: &Device, a: &'a Tensor, b: &'a Tensor) -> Result<Self, ConvError> {
        Ok(Self(Operand::new(device, a)?, Operand::new(device, b)?))
    }

    /// Runs a product of them into a result, and tells it the class of all three.
    pub(super) fn run(
        &self,
        device: &Device,
        out: &mut Tensor,
        product: impl FnOnce((&Tensor, &Tensor), &mut Tensor, PitchClass) -> Result<(), ConvError>,
    ) -> Result<(), ConvError> {
        let (a, b): (&Tensor, &Tensor) = (self.0.borrow(), self.1.borrow());
        let class = |out: Option<PitchClass>| {
            let all = [a.pitch_class(), b.pitch_class(), out];
            all.into_iter().flatten().max().unwrap_or_default()
        };
        let of_out = out.pitch_class();
        if of_out.is_some() {
            return product((a, b), out, class(of_out));
        }
        let mut dense = Tensor::unwritten(device, out.dtype(), out.rows(), out.channels())?;
        product((a, b), &mut dense, class(Some(PitchClass::Dense)))?;
        out.copy_from(device, &dense)
    }
}
