//! What a backward pass gives.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::weights::transposed;
use crate::{ConvError, Tensor};

/// The gradients of a module's parameters, by their names in [`Module::parameters`], in float32 and
/// in the same order of values.
///
/// They stay where they were computed until they are asked for. A GPU's are read back then, and
/// only then does the host wait for it.
///
/// [`Module::parameters`]: super::Module::parameters
#[derive(Debug, Default)]
pub struct Gradients {
    named: BTreeMap<String, Gradient>,
    input: Option<Tensor>,
    /// Where the module that adds gradients is.
    place: String,
}

impl Gradients {
    /// The gradient of a parameter; `None` if there is none of this name.
    ///
    /// # Errors
    /// If the device fails to hand it over.
    pub fn get(&self, name: &str) -> Result<Option<&[f32]>, ConvError> {
        self.named.get(name).map(Gradient::values).transpose()
    }

    /// The names of all of them, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// All of them, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<&[f32], ConvError>)> {
        self.named.iter().map(|(name, gradient)| (name.as_str(), gradient.values()))
    }

    /// The gradient of the module's input.
    #[must_use]
    pub const fn input(&self) -> Option<&Tensor> {
        self.input.as_ref()
    }

    /// Whether all of them are finite.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn are_finite(&self) -> Result<bool, ConvError> {
        for gradient in self.named.values() {
            // Without a way out between neighbours, they are looked at side by side.
            let all_finite =
                |values: &[f32]| values.iter().fold(true, |all, value| all & value.is_finite());
            if !gradient.values()?.chunks(1024).all(all_finite) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Every parameter's multiplied by a factor.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn scale(&mut self, factor: f32) -> Result<(), ConvError> {
        for gradient in self.named.values_mut() {
            gradient.values_mut()?.iter_mut().for_each(|value| *value *= factor);
        }
        Ok(())
    }

    /// Adds those of another pass, such as of the next part of a batch.
    ///
    /// # Errors
    /// If a parameter has other values there, or the device fails to hand them over.
    pub fn accumulate(&mut self, other: &Self) -> Result<(), ConvError> {
        for (name, values) in other.iter() {
            let values = values?;
            match self.named.get_mut(name) {
                Some(sum) => sum.add(values)?,
                None => {
                    self.named.insert(name.to_owned(), Gradient::of_values(values.to_vec()));
                }
            }
        }
        Ok(())
    }

    pub(super) fn set_input(&mut self, gradient: Tensor) {
        self.input = Some(gradient);
    }

    /// Adds to the gradient of a parameter of the module at work: values in the order of the
    /// parameter's.
    pub(super) fn add(&mut self, name: &str, values: Tensor) -> Result<(), ConvError> {
        self.add_gradient(name, Gradient::of_tensor(values, false))
    }

    /// [`Self::add`] for the transposed matrix of a parameter.
    pub(super) fn add_transposed(&mut self, name: &str, values: Tensor) -> Result<(), ConvError> {
        self.add_gradient(name, Gradient::of_tensor(values, true))
    }

    fn add_gradient(&mut self, name: &str, gradient: Gradient) -> Result<(), ConvError> {
        let name = format!("{}{name}", self.place);
        match self.named.get_mut(&name) {
            Some(sum) => sum.add(gradient.values()?),
            None => {
                self.named.insert(name, gradient);
                Ok(())
            }
        }
    }

    /// Lets a part of a module add its own.
    pub(super) fn within<T>(&mut self, part: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let len = self.place.len();
        self.place.push_str(part);
        self.place.push('.');
        let result = work(self);
        self.place.truncate(len);
        result
    }
}

/// The gradient of a parameter.
#[derive(Debug)]
struct Gradient {
    /// As it was computed; nothing once the values have changed.
    computed: Option<Tensor>,
    /// Whether the parameter is the transposed matrix.
    is_transposed: bool,
    /// In host memory, once they were asked for.
    values: OnceLock<Vec<f32>>,
}

impl Gradient {
    const fn of_tensor(computed: Tensor, is_transposed: bool) -> Self {
        Self { computed: Some(computed), is_transposed, values: OnceLock::new() }
    }

    fn of_values(values: Vec<f32>) -> Self {
        Self { computed: None, is_transposed: false, values: OnceLock::from(values) }
    }

    fn values(&self) -> Result<&[f32], ConvError> {
        if let (None, Some(computed)) = (self.values.get(), &self.computed) {
            let read = computed.to_f32()?;
            let read = if self.is_transposed { transposed(&read, computed.rows()) } else { read };
            // A thread that read them at the same time has read the same.
            _ = self.values.set(read);
        }
        Ok(self.values.get().map_or(&[], Vec::as_slice))
    }

    fn values_mut(&mut self) -> Result<&mut [f32], ConvError> {
        self.values()?;
        self.computed = None;
        Ok(self.values.get_mut().map_or(&mut [], Vec::as_mut_slice))
    }

    fn add(&mut self, other: &[f32]) -> Result<(), ConvError> {
        let sums = self.values_mut()?;
        let (expected, found) = (sums.len(), other.len());
        if found != expected {
            return Err(ConvError::Length { what: "gradient", expected, found });
        }
        sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        Ok(())
    }
}
