//! What a forward pass of training leaves for the backward pass.

use super::{BatchStatistics, Gradients, Module, SparseTensor};
use crate::{ConvError, Tensor};

/// What modules note in a forward pass of training, the last on top: the backward pass takes it
/// down again in the opposite order.
///
/// ```
/// use voxtune::{Device, Module, SparseTensor, SubmConv3d, Tape, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let mut layer = SubmConv3d::builder(1, 1).kernel(1).bias(&[0.0]).build(&device)?;
/// let voxels = Voxels::new(&device, (0..2).map(|x| Voxel::new(0, x, 0, 0)).collect())?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[2.0], [3.0]])?)?;
/// let mut tape = Tape::new();
/// layer.forward_on_tape(&input, &mut tape)?;
/// // Of the sum of both outputs:
/// let gradients = tape.backward(&layer, &Tensor::from_rows(&device, &[[1.0], [1.0]])?)?;
/// assert_eq!(gradients.get("weight")?, Some(&[5.0][..]));
/// assert_eq!(gradients.get("bias")?, Some(&[2.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tape {
    records: Vec<Record>,
    momentum: f32,
}

/// What one module notes.
#[derive(Debug)]
pub(super) enum Record {
    /// What it read.
    Input(SparseTensor),
    /// What a batch normalisation read, and what that was like.
    Normalised(SparseTensor, BatchStatistics),
    /// Two summands.
    Sum(SparseTensor, SparseTensor),
    /// What a pooling read, and what it made of it.
    Pooled(SparseTensor, SparseTensor),
    /// What was put behind so many channels.
    Joined(SparseTensor, usize),
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// Nothing noted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { records: Vec::new(), momentum: 0.1 }
    }

    /// By how much the running statistics of batch normalisations move towards those of a batch:
    /// 0.1 if not given, as in PyTorch. OpenPCDet's networks have 0.01.
    #[must_use]
    pub const fn momentum(mut self, momentum: f32) -> Self {
        self.momentum = momentum;
        self
    }

    /// That momentum.
    #[must_use]
    pub const fn norm_momentum(&self) -> f32 {
        self.momentum
    }

    /// The gradients of all parameters of the module whose forward pass was noted, given that of
    /// its output. Nothing is noted afterwards, so the tape can take the next pass. A GPU is not
    /// waited for: it computes them in its own time.
    ///
    /// # Shapes
    /// `grad_output`: that of the output's features.
    ///
    /// # Errors
    /// If what was noted is not of one pass of this module, or a kernel fails.
    pub fn backward(
        &mut self,
        module: &dyn Module,
        grad_output: &Tensor,
    ) -> Result<Gradients, ConvError> {
        let mut gradients = Gradients::default();
        let result = module.backward_on_tape(self, grad_output, &mut gradients);
        let left = std::mem::take(&mut self.records).len();
        gradients.set_input(result?);
        match left {
            0 => Ok(gradients),
            _ => Err(other_pass(module)),
        }
    }

    /// Notes what a module did.
    ///
    /// # Errors
    /// If a frame counts its voxels on the device: rows past them would count as gradients.
    pub(super) fn push(&mut self, record: Record) -> Result<(), ConvError> {
        let (Record::Input(x)
        | Record::Normalised(x, _)
        | Record::Sum(x, _)
        | Record::Pooled(x, _)
        | Record::Joined(x, _)) = &record;
        if x.voxels().frame_rows().is_some() {
            let problem = "a training step needs voxels that are counted: make them by \
                           `Voxels::new` or `Voxels::within`, without expected counts";
            let layer = "training".to_owned();
            return Err(ConvError::Layer { layer, problem: problem.to_owned() });
        }
        self.records.push(record);
        Ok(())
    }

    pub(super) fn pop(&mut self, module: &dyn Module) -> Result<Record, ConvError> {
        self.records.pop().ok_or_else(|| other_pass(module))
    }

    /// What a module that noted only its input read.
    pub(super) fn pop_input(&mut self, module: &dyn Module) -> Result<SparseTensor, ConvError> {
        match self.pop(module)? {
            Record::Input(input) => Ok(input),
            _ => Err(other_pass(module)),
        }
    }
}

/// What was noted is another module's.
pub(super) fn other_pass(module: &dyn Module) -> ConvError {
    let problem = "the tape holds another pass than one of this module: call `forward_on_tape` \
                   of the module with the tape first, and then `backward` once";
    ConvError::Layer { layer: format!("{module:?}"), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Device, Residual, Sequential, SubmConv3d, Voxel, Voxels};

    /// Features that records hold, each once.
    fn held(tape: &Tape) -> usize {
        let mut held: Vec<*const Tensor> = Vec::new();
        for record in &tape.records {
            let (Record::Input(x)
            | Record::Normalised(x, _)
            | Record::Sum(x, _)
            | Record::Pooled(x, _)
            | Record::Joined(x, _)) = record;
            held.push(x.features());
            if let Record::Sum(_, other) = record {
                held.push(other.features());
            }
        }
        held.sort_unstable();
        held.dedup();
        held.len()
    }

    /// Two convolutions read the block's input and the first activation's value. A ReLU is undone
    /// by its value, others by what went into them.
    #[test]
    fn a_block_keeps_what_its_backward_pass_reads() {
        let device = Device::cpu_with_threads(1).unwrap();
        let voxels = Voxels::new(&device, (0..5).map(|x| Voxel::new(0, x, 0, 0)).collect());
        let features = Tensor::from_rows(&device, &[[0.5, -1.0]; 5]).unwrap();
        let input = SparseTensor::new(voxels.unwrap(), features).unwrap();
        let conv = |seed| SubmConv3d::builder(2, 2).seed(seed).build(&device).unwrap();
        for (activation, tensors) in [(Activation::Relu, 3), (Activation::Gelu, 4)] {
            let body = Sequential::new().then(conv(1)).then(activation).then(conv(2));
            let mut block = Residual::new(body, activation);
            let mut tape = Tape::new();
            block.forward_on_tape(&input, &mut tape).unwrap();
            let gradient = Tensor::from_rows(&device, &[[1.0, 1.0]; 5]).unwrap();
            assert_eq!(held(&tape), tensors, "{activation:?}");
            let gradients = tape.backward(&block, &gradient).unwrap();
            assert!(gradients.get("body.0.weight").unwrap().is_some());
        }
    }
}
