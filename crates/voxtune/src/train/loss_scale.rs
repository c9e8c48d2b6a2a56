//! Keeping small gradients within float16.

use crate::{ConvError, Gradients};

/// A factor on the loss that keeps gradients of float16 from vanishing (Micikevicius et al., *Mixed
/// Precision Training*, 2018). It is halved when they overflow, and doubled when they have not for
/// a while.
///
/// ```
/// use voxtune::train::{LossScale, cross_entropy};
/// use voxtune::{Device, Tensor};
///
/// let device = Device::cpu()?;
/// let scale = LossScale::dynamic();
/// let scores = Tensor::from_rows(&device, &[[0.0, 0.0]])?;
/// let (_, gradient) = cross_entropy(&device, &scores, &[Some(0)], scale.factor())?;
/// assert_eq!(gradient.to_f32()?, [-32_768.0, 32_768.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LossScale {
    factor: f32,
    /// Steps without overflow until the factor doubles.
    patience: u32,
    good: u32,
}

impl LossScale {
    /// From 65,536, doubled after 2,000 steps without overflow, as PyTorch's `GradScaler`.
    #[must_use]
    pub const fn dynamic() -> Self {
        Self { factor: 65_536.0, patience: 2_000, good: 0 }
    }

    /// From another factor, doubled after so many steps.
    #[must_use]
    pub const fn from(factor: f32, patience: u32) -> Self {
        Self { factor, patience, good: 0 }
    }

    /// What to multiply the gradient of the loss by.
    #[must_use]
    pub const fn factor(&self) -> f32 {
        self.factor
    }

    /// Takes the factor off gradients again, and moves it. Whether they are finite: a step is made
    /// only with such.
    ///
    /// # Errors
    /// If the device fails to hand the gradients over.
    pub fn unscale(&mut self, gradients: &mut Gradients) -> Result<bool, ConvError> {
        if self.factor != 1.0 {
            gradients.scale(1.0 / self.factor)?;
        }
        if !gradients.are_finite()? {
            (self.factor, self.good) = ((self.factor / 2.0).max(f32::MIN_POSITIVE), 0);
            return Ok(false);
        }
        self.good += 1;
        if self.good >= self.patience {
            (self.factor, self.good) = ((self.factor * 2.0).min(f32::MAX / 4.0), 0);
        }
        Ok(true)
    }
}
