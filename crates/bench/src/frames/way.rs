//! The ways to run a frame.
//!
//! A further way is a line of [`Way`], and a `Runs` that makes its input and runs it.

use serde::Serialize;
use voxtune::train::LossScale;
use voxtune::{ConvError, Device, ExpectedCounts, SparseTensor, Tape, Tensor, Voxels, ops};
use voxtune_models::{AnyModel, CompiledModel};

use super::FrameError;
use super::subject::Subject;

/// How a frame is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Way {
    /// Over new voxels; the host waits for the number of each level's.
    Fresh,
    /// Over new voxels, with the counts of earlier frames expected ([`ExpectedCounts`]).
    Expected,
    /// Over new voxels, as one graph of a compiled network.
    Graph,
    /// Over the same voxels again, whose levels and maps are there.
    Held,
    /// A training step over new voxels: forward and backward, without an optimizer.
    Step,
}

impl Way {
    /// Those of a network for inference, in the order in which they are measured.
    pub const OF_INFERENCE: [Self; 3] = [Self::Fresh, Self::Expected, Self::Held];
    /// Those in which every frame has new voxels.
    pub(super) const OF_NEW_VOXELS: [Self; 3] = [Self::Fresh, Self::Expected, Self::Graph];

    /// Whether frames can be run so there: a CPU has no graphs.
    pub(super) fn is_of(self, device: &Device) -> bool {
        self != Self::Graph || device.memory_use().is_some()
    }

    /// Its name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Expected => "expected",
            Self::Graph => "graph",
            Self::Held => "maps held",
            Self::Step => "step",
        }
    }
}

/// What runs frames of one way.
pub(super) trait Runs {
    /// What a frame reads, on the device.
    fn input(&mut self) -> Result<SparseTensor, FrameError>;

    /// Queues a frame.
    fn run(&mut self, input: &SparseTensor) -> Result<Kept, FrameError>;

    /// What a frame that the device has done came to.
    fn fate(&mut self, kept: &Kept) -> Result<(), ConvError> {
        kept.check()
    }
}

/// What a frame leaves: alive until the device is done.
pub(super) enum Kept {
    View(Tensor),
    Features(SparseTensor),
    Step {
        _loss: [Tensor; 2],
    },
    /// It is the compiled network's.
    Elsewhere,
}

impl Kept {
    /// Reading a result tells of a level that had too little room.
    pub(super) fn check(&self) -> Result<(), ConvError> {
        match self {
            Self::View(view) => view.count().map(drop),
            Self::Features(output) => output.features().count().map(drop),
            Self::Step { .. } | Self::Elsewhere => Ok(()),
        }
    }
}

/// A network for inference.
pub(super) struct Inference {
    model: Box<dyn AnyModel>,
    expected: ExpectedCounts,
}

impl Inference {
    pub(super) const fn new(model: Box<dyn AnyModel>, expected: ExpectedCounts) -> Self {
        Self { model, expected }
    }

    /// The network itself.
    pub(super) fn model(&self) -> &dyn AnyModel {
        &*self.model
    }

    /// Frames of a subject in one of the ways.
    pub(super) const fn as_way<'a>(
        &'a self,
        way: Way,
        subject: &'a Subject<'a>,
    ) -> InferenceWay<'a> {
        InferenceWay { of: self, subject, way, held: None }
    }
}

/// A network for inference, run in one of the ways.
pub(super) struct InferenceWay<'a> {
    of: &'a Inference,
    subject: &'a Subject<'a>,
    way: Way,
    held: Option<Voxels>,
}

impl Runs for InferenceWay<'_> {
    fn input(&mut self) -> Result<SparseTensor, FrameError> {
        let subject = self.subject;
        let voxels = match (&self.held, self.way) {
            (Some(held), Way::Held) => held.clone(),
            _ => subject.voxels()?,
        };
        if self.way == Way::Held {
            self.held = Some(voxels.clone());
        }
        subject.over(voxels)
    }

    fn run(&mut self, input: &SparseTensor) -> Result<Kept, FrameError> {
        let output = match self.way {
            Way::Expected => self.of.model.forward(&input.expecting(&self.of.expected))?,
            Way::Fresh => self.of.model.forward(&input.for_one_pass())?,
            _ => self.of.model.forward(input)?,
        };
        Ok(match self.of.model.bird_eye_view(&output, 1)? {
            Some(view) => Kept::View(view),
            None => Kept::Features(output),
        })
    }
}

/// A compiled network: a frame is one graph. The subject's context waits for it.
pub(super) struct Compiled {
    model: CompiledModel,
    /// Whether the last frame had too little room, and the next one is given more.
    grows: bool,
}

impl Compiled {
    /// The network of a subject, with room for what frames of some others need.
    pub(super) fn new(subject: &Subject<'_>, shown: &[Subject<'_>]) -> Result<Self, FrameError> {
        let model = subject.inference()?;
        let frames = shown.iter().map(|shown| shown.over(shown.voxels()?));
        let profile = model.frame_profile(frames.collect::<Result<_, _>>()?)?;
        let mut compiled = Self { model: model.compiled(subject.device, profile, 1), grows: false };
        for shown in shown {
            let rows = shown.cells.len();
            match &mut compiled.model {
                CompiledModel::View(network) => network.record(rows)?,
                CompiledModel::Features(network) => network.record(rows)?,
            }
        }
        Ok(compiled)
    }

    pub(super) const fn as_way<'a>(&'a mut self, subject: &'a Subject<'a>) -> GraphWay<'a> {
        GraphWay { of: self, subject }
    }
}

/// A compiled network, run over a subject's cells.
pub(super) struct GraphWay<'a> {
    of: &'a mut Compiled,
    subject: &'a Subject<'a>,
}

impl Runs for GraphWay<'_> {
    fn input(&mut self) -> Result<SparseTensor, FrameError> {
        self.subject.over(self.subject.voxels()?)
    }

    fn run(&mut self, input: &SparseTensor) -> Result<Kept, FrameError> {
        let context = match (&mut self.of.model, self.of.grows) {
            (CompiledModel::View(network), false) => {
                network.run(input)?;
                network.context()
            }
            (CompiledModel::View(network), true) => {
                network.run_or_grow(input)?;
                network.context()
            }
            (CompiledModel::Features(network), false) => {
                network.run(input)?;
                network.context()
            }
            (CompiledModel::Features(network), true) => {
                network.run_or_grow(input)?;
                network.context()
            }
        };
        self.of.grows = false;
        if let Some(context) = context {
            self.subject.device.wait_for(context)?;
        }
        Ok(Kept::Elsewhere)
    }

    fn fate(&mut self, _: &Kept) -> Result<(), ConvError> {
        let fate = match &self.of.model {
            CompiledModel::View(network) => network.wait(),
            CompiledModel::Features(network) => network.wait(),
        };
        self.of.grows = matches!(fate, Err(ConvError::Overflow { .. }));
        fate
    }
}

/// A network in training. The loss is the mean square of the output's features.
pub(super) struct Training<'a> {
    subject: &'a Subject<'a>,
    model: Box<dyn AnyModel>,
    tape: Tape,
}

impl<'a> Training<'a> {
    pub(super) fn new(subject: &'a Subject<'a>, model: Box<dyn AnyModel>) -> Self {
        Self { subject, model, tape: Tape::new() }
    }
}

impl Runs for Training<'_> {
    fn input(&mut self) -> Result<SparseTensor, FrameError> {
        self.subject.over(self.subject.voxels()?)
    }

    fn run(&mut self, input: &SparseTensor) -> Result<Kept, FrameError> {
        let output = self.model.forward_on_tape(input, &mut self.tape)?;
        let features = output.features();
        let (loss, gradient) = mean_square(self.subject, features)?;
        let model: &dyn voxtune::Module = &*self.model;
        drop(self.tape.backward(model, &gradient)?);
        Ok(Kept::Step { _loss: loss })
    }
}

/// Mean and variance of each channel, which the mean square follows from; and its gradient, by a
/// factor that keeps it within float16.
fn mean_square(
    subject: &Subject<'_>,
    features: &Tensor,
) -> Result<([Tensor; 2], Tensor), FrameError> {
    let (device, channels) = (subject.device, features.channels());
    let (mean, variance) = ops::column_statistics(device, features)?;
    let values = (features.rows() * channels).max(1) as f32;
    let factor = vec![LossScale::dynamic().factor() * 2.0 / values; channels];
    let scale = Tensor::from_f32(device, voxtune::DType::Float32, 1, channels, &factor)?;
    let scaled = ops::Affine { scale: Some(&scale), ..ops::Affine::default() };
    let gradient = ops::affine(device, scaled, features)?;
    Ok(([mean, variance], gradient))
}
