//! What frames of a network have counted: what a compiled one makes room for.

use std::fmt;

use voxtune_types::DType;

use crate::voxels::{FrameCounts, Room, Rooms};
use crate::{ConvError, ExpectedCounts, SparseTensor};

/// Room over what the profile's frames needed, unless the caller wants another one.
const MARGIN: f64 = 1.25;

/// What the inputs of a network's frames have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameKind {
    pub(super) channels: usize,
    pub(super) dtype: DType,
    pub(super) shape: Option<[u32; 3]>,
}

impl FrameKind {
    pub(super) fn of(input: &SparseTensor) -> Self {
        let features = input.features();
        let (channels, dtype) = (features.channels(), features.dtype());
        Self { channels, dtype, shape: input.voxels().shape() }
    }

    /// Refuses a frame of another kind.
    pub(super) fn expect(&self, input: &SparseTensor) -> Result<(), ConvError> {
        let found = Self::of(input);
        if found == *self {
            return Ok(());
        }
        Err(ConvError::OtherFrame { expected: self.to_string(), found: found.to_string() })
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, dtype, shape } = self;
        write!(f, "{channels} channels of {dtype} ")?;
        match shape {
            Some([x, y, z]) => write!(f, "in a shape of {x} x {y} x {z}"),
            None => f.write_str("in no shape"),
        }
    }
}

/// How many voxels the levels of a network have had over frames that were shown to it.
///
/// A [`CompiledNetwork`](crate::CompiledNetwork) makes room by it: for each level as many voxels as
/// the frame that asked for most, in proportion to its input, and a [margin](Self::margin).
#[derive(Clone, Debug)]
pub struct FrameProfile {
    pub(super) kind: FrameKind,
    counts: Vec<FrameCounts>,
    margin: f64,
}

impl FrameProfile {
    /// Runs a network over some frames, as many and as different ones as it will see: the largest,
    /// the smallest and some in between. On a CPU, which counts by itself, one is enough.
    ///
    /// # Errors
    /// If there is no frame, they differ in channels, storage type or shape, or the network fails.
    pub fn of<O>(
        frames: impl IntoIterator<Item = SparseTensor>,
        network: impl Fn(&SparseTensor) -> Result<O, ConvError>,
    ) -> Result<Self, ConvError> {
        let mut profile: Option<Self> = None;
        for frame in frames {
            let kind = FrameKind::of(&frame);
            let profile =
                profile.get_or_insert_with(|| Self { kind, counts: Vec::new(), margin: MARGIN });
            profile.kind.expect(&frame)?;
            let expected = ExpectedCounts::new();
            let input = frame.expecting(&expected);
            drop(network(&input)?);
            profile.counts.push(expected.of_first_frame(frame.voxels().count()?)?);
        }
        profile.ok_or(ConvError::EmptyProfile)
    }

    /// The same with another margin, such as 1.5 for half as much room again.
    #[must_use]
    pub fn with_margin(self, margin: f64) -> Self {
        Self { margin: margin.max(1.0), ..self }
    }

    /// Room over what was needed: a factor.
    #[must_use]
    pub const fn margin(&self) -> f64 {
        self.margin
    }

    pub(super) fn rooms(&self, input: Room) -> Rooms {
        Rooms::new(input, &self.counts, self.margin)
    }
}
