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
        let stay = input.voxels().stay();
        let output = self.body.forward(input)?;
        drop(stay);
        output.concat(input)
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

#[cfg(test)]
mod tests {
    use voxtune_types::Voxel;

    use super::*;
    use crate::{Device, SparseConv3d, SparseInverseConv3d, SubmConv3d, Tensor, Tuner, Voxels};

    /// Two levels of a U-Net between submanifold layers, and a detector's way down.
    fn networks(device: &Device) -> [Sequential; 2] {
        let within = |c_in| {
            SubmConv3d::builder(c_in, 2).tuner(Tuner::empty()).seed(1).build(device).unwrap()
        };
        let down = || {
            let builder = SparseConv3d::builder(2, 2).kernel(2).stride(2).tuner(Tuner::empty());
            builder.seed(2).build(device).unwrap()
        };
        let up = || {
            let builder = SparseInverseConv3d::builder(2, 2).kernel(2).tuner(Tuner::empty());
            builder.seed(3).build(device).unwrap()
        };
        let deep = Sequential::new().then(down()).then(within(2)).then(up());
        let level = Sequential::new().then(down()).then(Skip::new(deep)).then(within(4)).then(up());
        let there_and_back =
            Sequential::new().then(within(2)).then(Skip::new(level)).then(within(4));
        let only_down = Sequential::new()
            .then(within(2))
            .then(down())
            .then(within(2))
            .then(down())
            .then(within(2));
        [there_and_back, only_down]
    }

    #[test]
    fn in_one_pass_maps_go_with_their_level_and_results_stay() {
        let device = Device::cpu_with_threads(1).unwrap();
        // Of the U-Net's five maps and the inverse ones of two, the finest level's stays; of the
        // way down, the last level's.
        for (network, (all, left)) in networks(&device).into_iter().zip([(7, 1), (5, 1)]) {
            let cells = (0..40).map(|i| Voxel::new(0, i % 7, i / 7, i % 3)).collect();
            let voxels = Voxels::new(&device, cells).unwrap();
            let features = (0..40).map(|i| [i as f32, 1.0]).collect::<Vec<_>>();
            let features = Tensor::from_rows(&device, &features).unwrap();
            let input = SparseTensor::new(voxels, features).unwrap();
            let values = |output: &SparseTensor| output.features().to_f32().unwrap();
            let whole = network.forward(&input).unwrap();
            let held = whole.voxels().maps_held();
            let passing = input.for_one_pass();
            let output = network.forward(&passing).unwrap();
            assert_eq!(values(&output), values(&whole));
            assert_eq!((held, output.voxels().maps_held()), (all, left));
            // A second pass makes its maps once more.
            assert_eq!(values(&network.forward(&passing).unwrap()), values(&whole));
        }
    }
}
