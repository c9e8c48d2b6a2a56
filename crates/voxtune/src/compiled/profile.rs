//! What frames of a network have counted: what a compiled one makes room for.

use std::fmt;

use voxtune_types::DType;

use crate::voxels::{FrameCounts, Room, Rooms};
use crate::{ConvError, Device, ExpectedCounts, Prepared, SparseTensor};

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
/// the frame that asked for most, in proportion to its input, and a [margin](Self::margin). Where
/// calls are made one by one, a program's first frame can [expect](Self::expected_counts) what the
/// profile's had.
///
/// Bytes of a profile serve later runs of a program, also on other devices. `populate --model NAME
/// --profile FILE` makes one of a known network over scans.
///
/// ```
/// use voxtune::{
///     Device, FrameProfile, Module, Sequential, SparseConv3d, SparseTensor, Tensor, Voxel, Voxels,
/// };
///
/// let device = Device::cpu()?;
/// let network =
///     Sequential::new().then(SparseConv3d::builder(1, 16).kernel(2).stride(2).build(&device)?);
/// let frame = |x: i32| -> Result<SparseTensor, voxtune::ConvError> {
///     let cells = (0..9).map(|y| Voxel::new(0, x, y, 0)).collect();
///     let features = Tensor::from_rows(&device, &[[1.0]; 9])?;
///     SparseTensor::new(Voxels::new(&device, cells)?, features)
/// };
///
/// let profile = FrameProfile::of([frame(0)?, frame(1)?], |input| network.forward(input))?;
/// let bytes = profile.to_bytes(); // to a file
///
/// let profile = FrameProfile::from_bytes(&bytes)?; // or `include_bytes!` of the file
/// println!("{} algorithms are ready", profile.prepare(&device).algorithms);
/// let expected = profile.expected_counts();
/// for x in 2..5 {
///     // Not even the first frame waits for counts.
///     let output = network.forward(&frame(x)?.expecting(&expected))?;
///     assert_eq!(output.voxels().count()?, 5);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FrameProfile {
    pub(super) kind: FrameKind,
    pub(super) counts: Vec<FrameCounts>,
    pub(super) margin: f64,
}

impl FrameProfile {
    /// Runs a network over some frames, as many and as different ones as it will see: the largest,
    /// the smallest and some in between.
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
            let profile = profile.get_or_insert_with(|| Self::new(kind));
            profile.kind.expect(&frame)?;
            let voxels = frame.voxels();
            if voxels.device().cuda().is_none() {
                drop(network(&frame)?);
                profile.counts.push(voxels.counts_made());
                continue;
            }
            let expected = ExpectedCounts::new();
            let input = frame.expecting(&expected);
            drop(network(&input)?);
            // What it made is known when nothing is left of it.
            drop(input);
            profile.counts.push(expected.of_first_frame(voxels.count()?)?);
        }
        profile.ok_or(ConvError::EmptyProfile)
    }

    fn new(kind: FrameKind) -> Self {
        Self { kind, counts: Vec::new(), margin: MARGIN }
    }

    /// What a program's first frame may expect, so that it need not wait: the most that the frames
    /// of the profile had, in proportion to their inputs. On a CPU nothing is expected.
    #[must_use]
    pub fn expected_counts(&self) -> ExpectedCounts {
        ExpectedCounts::of_seen(&self.counts)
    }

    /// Finds out what the layers that are alive on a device will run over frames like those of the
    /// profile, and gets it ready. So a first frame need not. Call it once the network is built.
    pub fn prepare(&self, device: &Device) -> Prepared {
        device.prepare_for(&self.counts)
    }

    /// The same profile for frames of other features. What levels have does not depend on them.
    #[must_use]
    pub fn with_features(mut self, channels: usize, dtype: DType) -> Self {
        (self.kind.channels, self.kind.dtype) = (channels, dtype);
        self
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
