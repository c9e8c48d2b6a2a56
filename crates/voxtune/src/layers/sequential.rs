//! Modules one behind the other, and beside each other.

use super::batch_norm::bend_backward;
use super::module::resolutions_of;
use super::tape::{Record, other_pass};
use super::{Gradients, Module, SparseTensor, Tape};
use crate::{Activation, ConvError, Direction, Resolution, Tensor, ops};

/// Modules, each of which reads what the one before wrote.
///
/// ```
/// use voxtune::{
///     Activation, BatchNorm, Device, Module, Sequential, SparseTensor, SubmConv3d, Tensor, Voxel,
///     Voxels,
/// };
///
/// let device = Device::cpu()?;
/// let norm = BatchNorm::new(&device, &[1.0; 8], &[0.5; 8], &[0.0; 8], &[1.0; 8], 1e-3)?;
/// let mut stage = Sequential::new()
///     .then(SubmConv3d::builder(4, 8).build(&device)?)
///     .then(norm)
///     .then(Activation::Relu);
///
/// // In inference the convolution's kernel does the rest as well.
/// let fused = stage.fuse()?;
/// assert_eq!(fused.len(), 2);
///
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 1, 2, 3)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0; 4]])?)?;
/// assert_eq!(stage.forward(&input)?.features().channels(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Sequential {
    modules: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// None yet: the output is the input.
    #[must_use]
    pub const fn new() -> Self {
        Self { modules: Vec::new() }
    }

    /// The same with a module at the end.
    #[must_use]
    pub fn then(mut self, module: impl Module + 'static) -> Self {
        self.modules.push(Box::new(module));
        self
    }

    /// Number of modules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Lets the kernels of convolutions do the normalisations, activations and additions that
    /// follow them. Says what was done, a line each.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fuse(&mut self) -> Result<Vec<String>, ConvError> {
        let mut done = Vec::new();
        Module::fuse(self, &mut done)?;
        Ok(done)
    }
}

/// What a module makes of a tensor, whose voxels are left behind where it makes others.
fn step(module: &dyn Module, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
    let output = module.forward(input)?;
    if !output.voxels().is_same(input.voxels()) {
        input.voxels().leave();
    }
    Ok(output)
}

impl Module for Sequential {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let mut modules = self.modules.iter();
        let Some(first) = modules.next() else { return Ok(input.clone()) };
        modules.try_fold(step(&**first, input)?, |output, module| step(&**module, &output))
    }

    fn forward_added(
        &self,
        input: &SparseTensor,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        let Some((last, before)) = self.modules.split_last() else {
            return input.add(residual, activation);
        };
        let mut output = None;
        for module in before {
            output = Some(step(&**module, output.as_ref().unwrap_or(input))?);
        }
        last.forward_added(output.as_ref().unwrap_or(input), residual, activation)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let mut all = Vec::new();
        for (number, module) in self.modules.iter().enumerate() {
            let inner = module.parameters()?.into_iter();
            all.extend(inner.map(|(name, values)| (format!("{number}.{name}"), values)));
        }
        Ok(all)
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        let place = name.split_once('.').and_then(|(number, rest)| {
            let number: usize = number.parse().ok()?;
            Some((self.modules.get_mut(number)?, rest))
        });
        match place {
            Some((module, rest)) => module.set_parameter(rest, values),
            None => Ok(false),
        }
    }

    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        let mut all = Vec::new();
        for (number, module) in self.modules.iter().enumerate() {
            let inner = module.parameter_shapes()?.into_iter();
            all.extend(inner.map(|(name, shape)| (format!("{number}.{name}"), shape)));
        }
        Ok(all)
    }

    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        let numbered = self
            .modules
            .iter()
            .enumerate()
            .map(|(number, module)| resolutions_of(&number.to_string(), &**module, direction));
        numbered.flatten().collect()
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        if self.modules.is_empty() {
            tape.push(Record::Input(input.clone()))?;
        }
        let mut modules = self.modules.iter_mut();
        modules.try_fold(input.clone(), |output, module| module.forward_on_tape(&output, tape))
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let mut gradient: Option<Tensor> = None;
        for (number, module) in self.modules.iter().enumerate().rev() {
            let of_output = gradient.as_ref().unwrap_or(grad_output);
            gradient = Some(gradients.within(&number.to_string(), |gradients| {
                module.backward_on_tape(tape, of_output, gradients)
            })?);
        }
        if let Some(gradient) = gradient {
            return Ok(gradient);
        }
        let input = tape.pop_input(self)?;
        ops::cast(input.voxels().device(), grad_output, grad_output.dtype())
    }

    fn adds(&self) -> bool {
        self.modules.last().is_some_and(|last| last.adds())
    }

    fn fuse(&mut self, done: &mut Vec<String>) -> Result<(), ConvError> {
        let mut kept: Vec<Box<dyn Module>> = Vec::with_capacity(self.modules.len());
        for mut module in std::mem::take(&mut self.modules) {
            module.fuse(done)?;
            let follows = module.as_pointwise();
            let fused = match (kept.last(), &follows) {
                (Some(last), Some(next)) => last.with_following(next)?,
                _ => None,
            };
            match (fused, kept.last_mut()) {
                (Some(fused), Some(last)) => {
                    done.push(format!("{module:?} into {last:?}"));
                    *last = fused;
                }
                _ => kept.push(module),
            }
        }
        self.modules = kept;
        Ok(())
    }
}

/// A residual block: `activation(body(x) + shortcut(x))`, where the shortcut is `x` itself if there
/// is none (He et al., *Deep Residual Learning*, 2015).
///
/// ```
/// use voxtune::{
///     Activation, Device, Module, Residual, Sequential, SparseTensor, SubmConv3d, Tensor, Voxel,
///     Voxels, WeightLayout,
/// };
///
/// let device = Device::cpu()?;
/// // A body of weights 0: what goes in comes out.
/// let (layout, weights) = (WeightLayout::Rsck, [0.0; 27 * 2 * 2]);
/// let conv = SubmConv3d::builder(2, 2).weights(layout, &weights).build(&device)?;
/// let body = Sequential::new().then(conv);
/// let block = Residual::new(body, Activation::Relu);
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[3.0, 1.0]])?)?;
/// assert_eq!(block.forward(&input)?.features().to_f32()?, [3.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Residual {
    body: Sequential,
    shortcut: Option<Sequential>,
    activation: Activation,
}

impl Residual {
    /// A block whose shortcut is its input.
    #[must_use]
    pub const fn new(body: Sequential, activation: Activation) -> Self {
        Self { body, shortcut: None, activation }
    }

    /// The same with a shortcut of its own, such as a convolution to other channels.
    #[must_use]
    pub fn with_shortcut(self, shortcut: Sequential) -> Self {
        Self { shortcut: Some(shortcut), ..self }
    }
}

impl Module for Residual {
    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let parts =
            [Some(("body", &self.body)), self.shortcut.as_ref().map(|own| ("shortcut", own))];
        let mut all = Vec::new();
        for (part, modules) in parts.into_iter().flatten() {
            let inner = modules.parameters()?.into_iter();
            all.extend(inner.map(|(name, values)| (format!("{part}.{name}"), values)));
        }
        Ok(all)
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        match (name.split_once('.'), &mut self.shortcut) {
            (Some(("body", rest)), _) => self.body.set_parameter(rest, values),
            (Some(("shortcut", rest)), Some(shortcut)) => shortcut.set_parameter(rest, values),
            _ => Ok(false),
        }
    }

    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        let parts =
            [Some(("body", &self.body)), self.shortcut.as_ref().map(|own| ("shortcut", own))];
        let mut all = Vec::new();
        for (part, modules) in parts.into_iter().flatten() {
            let inner = modules.parameter_shapes()?.into_iter();
            all.extend(inner.map(|(name, shape)| (format!("{part}.{name}"), shape)));
        }
        Ok(all)
    }

    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        let body = resolutions_of("body", &self.body, direction);
        let shortcut = self.shortcut.iter();
        body.chain(shortcut.flat_map(|own| resolutions_of("shortcut", own, direction))).collect()
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let body = self.body.forward_on_tape(input, tape)?;
        let shortcut = match &mut self.shortcut {
            Some(shortcut) => shortcut.forward_on_tape(input, tape)?,
            None => input.clone(),
        };
        let output = body.add(&shortcut, self.activation)?;
        tape.push(match self.activation.has_slope_of_value() {
            true => Record::Input(output.clone()),
            false => Record::Sum(body, shortcut),
        })?;
        Ok(output)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let (voxels, of_sum) = match tape.pop(self)? {
            Record::Input(output) => {
                let of_sum = bend_backward(self.activation, &output, grad_output)?;
                (output.voxels().clone(), of_sum)
            }
            Record::Sum(body, shortcut) => {
                let (first, second) = (body.features(), shortcut.features());
                let device = body.voxels().device();
                let of_sum =
                    ops::add_backward(device, first, second, self.activation, grad_output)?;
                (body.voxels().clone(), of_sum)
            }
            _ => return Err(other_pass(self)),
        };
        let device = voxels.device();
        let of_shortcut =
            match &self.shortcut {
                None => None,
                Some(own) => Some(gradients.within("shortcut", |gradients| {
                    own.backward_on_tape(tape, &of_sum, gradients)
                })?),
            };
        let of_body = gradients
            .within("body", |gradients| self.body.backward_on_tape(tape, &of_sum, gradients))?;
        let of_shortcut = of_shortcut.as_ref().unwrap_or(&of_sum);
        ops::add(device, &of_body, of_shortcut, Activation::Identity)
    }

    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let shortcut =
            self.shortcut.as_ref().map(|shortcut| shortcut.forward(input)).transpose()?;
        self.body.forward_added(input, shortcut.as_ref().unwrap_or(input), self.activation)
    }

    fn fuse(&mut self, done: &mut Vec<String>) -> Result<(), ConvError> {
        Module::fuse(&mut self.body, done)?;
        if let Some(shortcut) = &mut self.shortcut {
            Module::fuse(shortcut, done)?;
        }
        if let Some(last) = self.body.modules.last().filter(|last| last.adds()) {
            done.push(format!("the addition of a residual block into {last:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::Voxel;

    use super::*;
    use crate::{BatchNorm, Device, SubmConv3d, Tensor, Tuner, Voxels};

    fn block(device: &Device) -> Sequential {
        let conv = |c_in, c_out| {
            let builder = SubmConv3d::builder(c_in, c_out).kernel(1).tuner(Tuner::empty());
            builder.bias(&vec![0.25; c_out as usize]).build(device).unwrap()
        };
        let norm = BatchNorm::new(device, &[2.0; 3], &[0.5; 3], &[1.0; 3], &[4.0; 3], 0.0).unwrap();
        let body = Sequential::new().then(conv(2, 3)).then(norm);
        let shortcut = Sequential::new().then(conv(2, 3));
        let block = Residual::new(body, Activation::Relu).with_shortcut(shortcut);
        Sequential::new().then(block).then(Activation::Silu)
    }

    #[test]
    fn parameters_are_read_and_set_by_name() {
        let device = Device::cpu_with_threads(1).unwrap();
        let mut from = block(&device);
        let names: Vec<String> =
            from.parameters().unwrap().into_iter().map(|(name, _)| name).collect();
        let expected = [
            "0.body.0.weight",
            "0.body.0.bias",
            "0.body.1.weight",
            "0.body.1.bias",
            "0.body.1.running_mean",
            "0.body.1.running_var",
            "0.shortcut.0.weight",
            "0.shortcut.0.bias",
        ];
        assert_eq!(names, expected);
        for (place, name) in names.iter().enumerate() {
            let len = from.parameters().unwrap()[place].1.len();
            let values: Vec<f32> = (0..len).map(|i| 1.0 + (place + i) as f32).collect();
            assert!(from.set_parameter(name, &values).unwrap());
            assert_eq!(from.parameters().unwrap()[place].1, values);
            assert!(from.set_parameter(name, &values[1..]).is_err(), "{name}");
        }
        for name in ["1.weight", "0.weight", "0.body.7.weight", "0.body.1.gamma", "x", ""] {
            assert!(!from.set_parameter(name, &[]).unwrap(), "{name}");
        }
        // What is read from one and set in another makes it compute the same.
        let mut to = block(&device);
        for (name, values) in from.parameters().unwrap() {
            assert!(to.set_parameter(&name, &values).unwrap());
        }
        let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)]).unwrap();
        let features = Tensor::from_rows(&device, &[[0.5, -1.5]]).unwrap();
        let input = SparseTensor::new(voxels, features).unwrap();
        let output = |of: &Sequential| of.forward(&input).unwrap().features().to_f32().unwrap();
        assert_eq!(output(&from), output(&to));
        assert_ne!(output(&to), output(&block(&device)));
    }

    #[test]
    fn what_is_fused_computes_the_same() {
        let device = Device::cpu_with_threads(1).unwrap();
        let (plain, mut fused) = (block(&device), block(&device));
        let done = fused.fuse().unwrap();
        assert_eq!(done.len(), 2, "{done:?}");
        let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)]).unwrap();
        let features = Tensor::from_rows(&device, &[[0.5, -1.5]]).unwrap();
        let input = SparseTensor::new(voxels, features).unwrap();
        let output = |of: &Sequential| of.forward(&input).unwrap().features().to_f32().unwrap();
        for (plain, fused) in output(&plain).iter().zip(output(&fused)) {
            assert!((plain - fused).abs() < 1e-6, "{plain} and {fused}");
        }
    }
}
