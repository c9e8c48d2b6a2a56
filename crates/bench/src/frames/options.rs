//! Which networks are measured on which clouds, and how often.

use std::fmt;
use std::str::FromStr;

use voxtune::{DType, FrameProfile, Voxel};
use voxtune_models::Network;

use super::peers::FramePeers;
use crate::named_cloud::NamedCloud;

/// Cells beyond the largest coordinate that a grid has where none is known: as the U-Nets of
/// Pointcept have it.
const ROOM: u32 = 96;

/// The grid of nuScenes at 0.075 m, one cell more along z than the range holds: x, y, z.
const NUSCENES: [u32; 3] = [1440, 1440, 41];

/// A network as a command line names it: `NAME`, or `NAME:CLOUD,CLOUD` for some of the clouds, and
/// `NAME/N` for other channels of a voxel than its authors'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Which network.
    pub network: Network,
    /// Channels of a voxel, if they are not those of its authors.
    pub c_in: Option<u32>,
    /// Names of the clouds that it runs on; all of them if there are none.
    pub clouds: Vec<String>,
}

impl FromStr for ModelSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, clouds) = match text.split_once(':') {
            Some((name, clouds)) => (name, clouds.split(',').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        if clouds.iter().any(String::is_empty) {
            return Err(format!("`{text}`: expected names of clouds behind `:`, as in NAME:A,B"));
        }
        let (name, c_in) = match name.split_once('/') {
            Some((name, channels)) => {
                let channels =
                    channels.parse().ok().filter(|channels| (1..=4096).contains(channels));
                let channels = channels.ok_or_else(|| {
                    format!("`{text}`: expected 1 to 4096 channels behind `/`, as in second/5")
                })?;
                (name, Some(channels))
            }
            None => (name, None),
        };
        let network: Network = name.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { network, c_in, clouds })
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        if let Some(c_in) = self.c_in {
            write!(f, "/{c_in}")?;
        }
        if !self.clouds.is_empty() {
            write!(f, ":{}", self.clouds.join(","))?;
        }
        Ok(())
    }
}

/// What a run measures.
#[derive(Clone, Debug)]
pub struct FrameOptions {
    /// The networks.
    pub models: Vec<ModelSpec>,
    /// The clouds, x, y, z, their rows in the order in which a network gets them.
    pub clouds: Vec<NamedCloud>,
    /// Storage types.
    pub dtypes: Vec<DType>,
    /// Frames that each median is of.
    pub frames: usize,
    /// Frames before, of each way.
    pub warm_ups: usize,
    /// Whether training steps are measured, too.
    pub training: bool,
    /// How many different frames of each cloud are measured beside the cloud itself, if any.
    pub many: Option<usize>,
    /// Cells along x, y, z, in place of those that follow from network and cloud.
    pub grid: Option<[u32; 3]>,
    /// What first frames may expect, of one network or of all.
    pub profiles: Vec<(Option<Network>, FrameProfile)>,
    /// Of weights and features.
    pub seed: u64,
    /// Times of other libraries.
    pub peers: Option<FramePeers>,
}

impl FrameOptions {
    /// Each network with each of its clouds.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&ModelSpec, &NamedCloud)> {
        let of = |spec: &ModelSpec, cloud: &NamedCloud| {
            spec.clouds.is_empty() || spec.clouds.contains(&cloud.label)
        };
        self.models.iter().flat_map(move |spec| {
            self.clouds.iter().filter(move |cloud| of(spec, cloud)).map(move |cloud| (spec, cloud))
        })
    }

    /// What the first frame of a network may expect: its own profile, or else one of all.
    pub(super) fn profile_of(&self, network: Network) -> Option<&FrameProfile> {
        let of = |whose| self.profiles.iter().find(|(of, _)| *of == whose);
        of(Some(network)).or_else(|| of(None)).map(|(_, profile)| profile)
    }

    /// A cloud that a network names and that is not loaded, if there is one.
    #[must_use]
    pub fn missing_cloud(&self) -> Option<&str> {
        let is_there = |name: &&String| self.clouds.iter().any(|cloud| cloud.label == **name);
        let mut named = self.models.iter().flat_map(|spec| &spec.clouds);
        named.find(|name| !is_there(name)).map(String::as_str)
    }
}

/// The grid of a network for cells of x, y, z from 0 up. Detectors whose cells fit have that of
/// nuScenes, others some room beyond the largest coordinates.
pub(super) fn grid_of(network: Network, cells: &[Voxel]) -> [u32; 3] {
    let mut most = [0; 3];
    for cell in cells {
        for (most, at) in most.iter_mut().zip([cell.x, cell.y, cell.z]) {
            *most = (*most).max(u32::try_from(at).unwrap_or(0));
        }
    }
    let is_detector =
        matches!(network, Network::CenterPoint | Network::Second | Network::BevFusion);
    if is_detector && most.iter().zip(NUSCENES).all(|(most, size)| *most < size) {
        return NUSCENES;
    }
    most.map(|most| most + ROOM)
}
