//! A network that runs.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use voxtune::train::Optimizer;
use voxtune::{
    Activation, CompiledNetwork, ConvError, DType, Device, Direction, FrameProfile, Gradients,
    Module, Resolution, Sequential, SparseTensor, Tape, Tensor,
};

use crate::checkpoint::Checkpoint;
use crate::encoder::bird_eye_view;
use crate::error::ModelError;
use crate::load::{LoadOptions, Loaded, load};

mod sealed {
    use crate::encoder::Height;
    use crate::load::Definition;

    pub trait Sealed {
        const DEFINITION: &'static Definition;
        /// Of networks that end in a bird's-eye view.
        const BIRD_EYE: Option<Height>;
    }
    pub trait SealedEncoder {
        const HEIGHT: Height;
    }
}

pub(crate) use sealed::{Sealed, SealedEncoder};

/// Which network a [`Model`] is, known when the program is compiled.
pub trait Kind: sealed::Sealed + Send + Sync + 'static {}

/// A network that ends in a bird's-eye view.
pub trait Encoder: Kind + sealed::SealedEncoder {}

/// A network with the tensors of a checkpoint. Its kinds have names, such as
/// [`CenterPointBackbone`](crate::CenterPointBackbone).
///
/// Widths, numbers of blocks, biases and the order of weights follow from the names and the shapes
/// of the tensors, whatever module's name stands before theirs.
pub struct Model<K> {
    layers: Sequential,
    channels: u32,
    /// The names that its parameters have in the checkpoint, in their order.
    names: Vec<String>,
    kind: PhantomData<K>,
}

impl<K: Kind> Model<K> {
    /// The network of a safetensors file, in float32. `docs/guide/checkpoints.md` has the line of
    /// Python that makes one of a `.pth`.
    ///
    /// # Errors
    /// If the file cannot be read, and as [`Self::from_checkpoint`].
    pub fn from_safetensors(path: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        Self::from_checkpoint(device, &Checkpoint::read(path)?, &LoadOptions::new())
    }

    /// The network of a checkpoint's tensors.
    ///
    /// # Errors
    /// If a tensor is missing, left over or of another shape, naming all such. If the checkpoint
    /// can be read in several ways that give different networks; if a layer cannot be made.
    pub fn from_checkpoint(
        device: &Device,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let Loaded { layers, channels, names } = load(K::DEFINITION, device, checkpoint, options)?;
        Ok(Self { layers, channels, names, kind: PhantomData })
    }

    /// [`Self::from_checkpoint`] with a storage type and nothing else that the checkpoint does not
    /// say.
    ///
    /// # Errors
    /// As there.
    pub fn new(device: &Device, dtype: DType, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        Self::from_checkpoint(device, checkpoint, &LoadOptions::new().dtype(dtype))
    }

    /// Channels of the output.
    #[must_use]
    pub const fn channels(&self) -> u32 {
        self.channels
    }

    /// The network's tensors under the names that they were read from: what
    /// [`Self::from_checkpoint`] reads again. Weights of convolutions are in the order of
    /// [`WeightOrder::Spconv1`](crate::WeightOrder), whosever names they have. An optimizer has
    /// more exact values than layers of 16 bits.
    ///
    /// # Errors
    /// If the network was fused, or the device fails.
    pub fn to_checkpoint(&self, optimizer: Option<&Optimizer>) -> Result<Checkpoint, ModelError> {
        let (parameters, shapes) = (self.layers.parameters()?, self.layers.parameter_shapes()?);
        if parameters.len() != self.names.len() {
            return Err(ModelError::Fused);
        }
        let mut exact: BTreeMap<&str, &[f32]> =
            optimizer.map(|one| one.parameters().collect()).unwrap_or_default();
        let mut checkpoint = Checkpoint::new();
        let named = self.names.iter().zip(parameters.iter().zip(&shapes));
        for (name, ((place, stored), (_, shape))) in named {
            let values = exact.remove(place.as_str()).unwrap_or(stored);
            checkpoint.insert(name, shape, values.to_vec())?;
        }
        Ok(checkpoint)
    }

    /// Lets the kernels of convolutions do what follows them, for inference. Says what was done, a
    /// line each.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fuse(&mut self) -> Result<Vec<String>, ModelError> {
        Ok(self.layers.fuse()?)
    }

    /// What the network's levels count over some frames: what [`Self::compile`] makes room by.
    ///
    /// # Errors
    /// As [`FrameProfile::of`].
    pub fn profile(
        &self,
        frames: impl IntoIterator<Item = SparseTensor>,
    ) -> Result<FrameProfile, ModelError> {
        Ok(FrameProfile::of(frames, |frame| self.layers.forward(frame))?)
    }

    /// The network with one graph a frame, for frames like those of the profile. To be
    /// [fused](Self::fuse) before.
    #[must_use]
    pub fn compile(self, device: &Device, profile: FrameProfile) -> CompiledNetwork {
        CompiledNetwork::new(device, profile, move |frame| self.layers.forward(frame))
    }

    /// The features of the last layer.
    ///
    /// # Errors
    /// If the input does not fit the network, or a kernel fails.
    pub fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ModelError> {
        Ok(self.layers.forward(input)?)
    }
}

impl<K: Encoder> Model<K> {
    /// The bird's-eye view of so many samples: what is left of the height lies with the channels,
    /// channels outside.
    ///
    /// # Shapes
    /// Result: `(samples · channels, heights · cells)`, row-major, which is `(samples, channels ·
    /// heights, …)` with the other two axes of the coordinates in their order.
    ///
    /// # Errors
    /// As [`Self::forward`], and if the input has no shape or the device cannot hold the result.
    pub fn forward_bev(&self, input: &SparseTensor, samples: u32) -> Result<Tensor, ModelError> {
        Ok(bird_eye_view(&self.forward(input)?, K::HEIGHT, samples)?)
    }
}

impl<K: Encoder> Model<K> {
    /// [`Self::compile`] up to the [bird's-eye view](Self::forward_bev) of so many samples.
    #[must_use]
    pub fn compile_bev(
        self,
        device: &Device,
        profile: FrameProfile,
        samples: u32,
    ) -> CompiledNetwork<Tensor> {
        CompiledNetwork::new(device, profile, move |frame| {
            bird_eye_view(&self.layers.forward(frame)?, K::HEIGHT, samples)
        })
    }
}

impl<K: Kind> Module for Model<K> {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        self.layers.forward(input)
    }

    fn forward_added(
        &self,
        input: &SparseTensor,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        self.layers.forward_added(input, residual, activation)
    }

    fn adds(&self) -> bool {
        self.layers.adds()
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        self.layers.parameters()
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        self.layers.set_parameter(name, values)
    }

    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        self.layers.parameter_shapes()
    }

    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        self.layers.resolutions(direction)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        self.layers.forward_on_tape(input, tape)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        self.layers.backward_on_tape(tape, grad_output, gradients)
    }

    fn fuse(&mut self, done: &mut Vec<String>) -> Result<(), ConvError> {
        Module::fuse(&mut self.layers, done)
    }
}

/// A [`Model`] of whichever kind, for programs that hear its name when they run
/// ([`Network::load`](crate::Network::load)).
pub trait AnyModel: Module {
    /// What becomes of an output of [`Module::forward`] in programs: the bird's-eye view of so many
    /// samples, as [`Model::forward_bev`] has it. `None` of a network that ends in features.
    ///
    /// # Errors
    /// As [`Model::forward_bev`].
    fn bird_eye_view(
        &self,
        output: &SparseTensor,
        samples: u32,
    ) -> Result<Option<Tensor>, ModelError>;

    /// What the network's levels count over some frames, as [`Model::profile`] has it.
    ///
    /// # Errors
    /// As there.
    fn frame_profile(&self, frames: Vec<SparseTensor>) -> Result<FrameProfile, ModelError>;

    /// The network with one graph a frame, up to the bird's-eye view of so many samples where it
    /// ends in one.
    fn compiled(
        self: Box<Self>,
        device: &Device,
        profile: FrameProfile,
        samples: u32,
    ) -> CompiledModel;
}

/// A compiled network of whichever kind.
#[derive(Debug)]
pub enum CompiledModel {
    /// One that ends in a bird's-eye view.
    View(CompiledNetwork<Tensor>),
    /// One that ends in features.
    Features(CompiledNetwork),
}

impl<K: Kind> AnyModel for Model<K> {
    fn bird_eye_view(
        &self,
        output: &SparseTensor,
        samples: u32,
    ) -> Result<Option<Tensor>, ModelError> {
        Ok(K::BIRD_EYE.map(|height| bird_eye_view(output, height, samples)).transpose()?)
    }

    fn frame_profile(&self, frames: Vec<SparseTensor>) -> Result<FrameProfile, ModelError> {
        self.profile(frames)
    }

    fn compiled(
        self: Box<Self>,
        device: &Device,
        profile: FrameProfile,
        samples: u32,
    ) -> CompiledModel {
        let Some(height) = K::BIRD_EYE else {
            return CompiledModel::Features(self.compile(device, profile));
        };
        CompiledModel::View(CompiledNetwork::new(device, profile, move |frame| {
            bird_eye_view(&self.layers.forward(frame)?, height, samples)
        }))
    }
}

impl<K: Kind> fmt::Debug for Model<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} output channels", K::DEFINITION.network, self.channels)
    }
}

/// The marker of a kind of network.
macro_rules! kind {
    (@bird_eye) => { None };
    (@bird_eye $height:path) => { Some($height) };
    ($(#[$doc:meta])* $marker:ident, $definition:path $(, $height:path)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $marker {}
        impl $crate::model::Sealed for $marker {
            const DEFINITION: &'static $crate::load::Definition = &$definition;
            const BIRD_EYE: Option<$crate::encoder::Height> =
                $crate::model::kind!(@bird_eye $($height)?);
        }
        impl $crate::model::Kind for $marker {}
        $(
            impl $crate::model::SealedEncoder for $marker {
                const HEIGHT: $crate::encoder::Height = $height;
            }
            impl $crate::model::Encoder for $marker {}
        )?
    };
}
pub(crate) use kind;
