//! Features that go past modules and are read again behind them.

use super::tape::{Record, other_pass};
use super::{Gradients, Module, Sequential, SparseTensor, Tape};
use crate::{Activation, ConvError, Direction, Resolution, Tensor, ops};

/// What modules make of the input, and the input itself, their channels side by side: a level of a
/// U-Net (Ronneberger et al., *U-Net*, 2015). The modules end on the voxels that they begin with,
/// such as a [`SparseConv3d`](crate::SparseConv3d) and the
/// [`SparseInverseConv3d`](crate::SparseInverseConv3d) that undoes it.
///
/// ```
/// use voxtune::{
///     Device, Module, Sequential, Skip, SparseConv3d, SparseInverseConv3d, SparseTensor, Tensor,
///     Voxel, Voxels,
/// };
///
/// let device = Device::cpu()?;
/// let down = SparseConv3d::builder(4, 8).kernel(2).stride(2).build(&device)?;
/// let up = SparseInverseConv3d::builder(8, 3).kernel(2).build(&device)?;
/// let level = Skip::new(Sequential::new().then(down).then(up));
/// let voxels = Voxels::new(&device, (0..5).map(|x| Voxel::new(0, x, 0, 0)).collect())?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0; 4]; 5])?)?;
/// assert_eq!(level.forward(&input)?.features().channels(), 3 + 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Skip {
    body: Sequential,
}

impl Skip {
    /// The output of these modules, then their input.
    #[must_use]
    pub const fn new(body: Sequential) -> Self {
        Self { body }
    }
}

impl Module for Skip {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        self.body.forward(input)?.concat(input)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        self.body.parameters()
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        self.body.set_parameter(name, values)
    }

    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        self.body.parameter_shapes()
    }

    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        self.body.resolutions(direction)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let output = self.body.forward_on_tape(input, tape)?;
        tape.push(Record::Joined(input.clone(), output.features().channels()))?;
        output.concat(input)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let Record::Joined(input, channels) = tape.pop(self)? else { return Err(other_pass(self)) };
        let device = input.voxels().device();
        let whole = channels + input.features().channels();
        let found = grad_output.channels();
        if found != whole {
            return Err(ConvError::Channels { what: "gradient", expected: whole, found });
        }
        let of_output = grad_output.columns(0..channels)?;
        let of_body = self.body.backward_on_tape(tape, &of_output, gradients)?;
        let of_input = grad_output.columns(channels..whole)?;
        ops::add(device, &of_body, &of_input, Activation::Identity)
    }

    fn fuse(&mut self, done: &mut Vec<String>) -> Result<(), ConvError> {
        Module::fuse(&mut self.body, done)
    }
}
