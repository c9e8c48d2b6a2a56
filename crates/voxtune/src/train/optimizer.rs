//! What makes new parameters of old ones and their gradients.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ConvError, Gradients, Module};

/// How a step follows from a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Sgd { momentum: f32 },
    AdamW { betas: [f32; 2], epsilon: f32 },
}

/// Stochastic gradient descent, or AdamW (Loshchilov and Hutter, *Decoupled Weight Decay
/// Regularization*, 2019), as PyTorch has them. It keeps every parameter in float32, whatever the
/// layers store, so that steps below a storage type's rounding add up.
///
/// Steps are computed on the host.
///
/// ```
/// use voxtune::train::Optimizer;
///
/// let optimizer = Optimizer::adam_w(1e-3).weight_decay(0.01);
/// let other = Optimizer::sgd(0.1).momentum(0.9);
/// # _ = (optimizer, other);
/// ```
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Rule,
    learning_rate: f32,
    weight_decay: f32,
    parameters: BTreeMap<String, Parameter>,
}

/// A parameter and what is remembered of its gradients.
#[derive(Clone, Debug)]
struct Parameter {
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Optimizer {
    const fn new(rule: Rule, learning_rate: f32) -> Self {
        Self { rule, learning_rate, weight_decay: 0.0, parameters: BTreeMap::new() }
    }

    /// Gradient descent, without momentum unless it is given.
    #[must_use]
    pub const fn sgd(learning_rate: f32) -> Self {
        Self::new(Rule::Sgd { momentum: 0.0 }, learning_rate)
    }

    /// AdamW with betas of 0.9 and 0.999 and an epsilon of 1e-8.
    #[must_use]
    pub const fn adam_w(learning_rate: f32) -> Self {
        Self::new(Rule::AdamW { betas: [0.9, 0.999], epsilon: 1e-8 }, learning_rate)
    }

    /// The momentum of gradient descent, or the first beta of AdamW.
    #[must_use]
    pub const fn momentum(mut self, value: f32) -> Self {
        match &mut self.rule {
            Rule::Sgd { momentum } => *momentum = value,
            Rule::AdamW { betas, .. } => betas[0] = value,
        }
        self
    }

    /// How much of a parameter each step takes away: of gradient descent as a part of the gradient,
    /// of AdamW beside it.
    #[must_use]
    pub const fn weight_decay(mut self, weight_decay: f32) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Another rate from the next step on.
    pub const fn set_learning_rate(&mut self, learning_rate: f32) {
        self.learning_rate = learning_rate;
    }

    /// Gives a parameter more exact values than its layer stores, such as those of a checkpoint
    /// that a float16 layer was made of.
    pub fn set_parameter(&mut self, name: impl Into<String>, values: Vec<f32>) {
        self.parameters.insert(name.into(), Parameter::of(values));
    }

    /// The parameters that have made a step, in float32.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.parameters.iter().map(|(name, one)| (name.as_str(), one.values.as_slice()))
    }

    /// Moves the parameters of a module against their gradients.
    ///
    /// # Errors
    /// If a gradient is of no parameter of the module, or the device fails.
    pub fn step(
        &mut self,
        module: &mut dyn Module,
        gradients: &Gradients,
    ) -> Result<(), ConvError> {
        if gradients.names().any(|name| !self.parameters.contains_key(name)) {
            let trained: BTreeSet<&str> = gradients.names().collect();
            let all = module.parameters()?.into_iter();
            // Running statistics have no gradient, and are the module's own.
            for (name, values) in all.filter(|(name, _)| trained.contains(name.as_str())) {
                self.parameters.entry(name).or_insert_with(|| Parameter::of(values));
            }
        }
        let Self { rule, learning_rate, weight_decay, parameters } = self;
        for (name, gradient) in gradients.iter() {
            let gradient = gradient?;
            let parameter = parameters.get_mut(name);
            let Some(parameter) = parameter.filter(|one| one.values.len() == gradient.len()) else {
                return Err(no_parameter(module, name));
            };
            match *rule {
                Rule::Sgd { momentum } => {
                    parameter.descend(gradient, *learning_rate, momentum, *weight_decay);
                }
                Rule::AdamW { betas, epsilon } => {
                    parameter.adam_w(gradient, *learning_rate, betas, epsilon, *weight_decay);
                }
            }
            if !module.set_parameter(name, &parameter.values)? {
                return Err(no_parameter(module, name));
            }
        }
        Ok(())
    }
}

fn no_parameter(module: &dyn Module, name: &str) -> ConvError {
    let problem =
        format!("no parameter {name} of the gradient's length: give gradients of this module");
    ConvError::Layer { layer: format!("{module:?}"), problem }
}

impl Parameter {
    fn of(values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { values, first: zeros.clone(), second: zeros, steps: 0 }
    }

    fn descend(&mut self, gradient: &[f32], rate: f32, momentum: f32, decay: f32) {
        let Self { values, first, steps, .. } = self;
        // The first step has no momentum, as in PyTorch.
        let kept = if *steps == 0 { 0.0 } else { momentum };
        for ((value, velocity), gradient) in values.iter_mut().zip(first).zip(gradient) {
            *velocity = kept * *velocity + gradient + decay * *value;
            *value -= rate * *velocity;
        }
        *steps += 1;
    }

    fn adam_w(
        &mut self,
        gradient: &[f32],
        rate: f32,
        [beta, second_beta]: [f32; 2],
        epsilon: f32,
        decay: f32,
    ) {
        let Self { values, first, second, steps } = self;
        *steps = steps.saturating_add(1);
        let unbiased = 1.0 - beta.powi(*steps);
        let second_unbiased = 1.0 - second_beta.powi(*steps);
        let moments = first.iter_mut().zip(second);
        for ((value, (mean, square)), gradient) in values.iter_mut().zip(moments).zip(gradient) {
            *mean += (1.0 - beta) * (gradient - *mean);
            *square += (1.0 - second_beta) * (gradient * gradient - *square);
            let step = *mean / unbiased / ((*square / second_unbiased).sqrt() + epsilon);
            *value -= rate * (decay * *value + step);
        }
    }
}
