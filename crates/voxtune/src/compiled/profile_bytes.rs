//! A profile as bytes, for later runs of a program.
//!
//! Two values of MessagePack, one behind the other: a name and a version, then everything else. An
//! algorithm's own parts of a map, such as row orders, are those of the device that made the
//! profile; on another one layers make what they need beside.

use std::io::Cursor;

use rmp_serde::Deserializer;
use serde::{Deserialize, Serialize};
use voxtune_types::DType;

use super::profile::{FrameKind, FrameProfile};
use crate::voxels::FrameCounts;

/// What the first value names.
const FORMAT: &str = "voxtune frame profile";
/// Of what follows.
const VERSION: u32 = 1;
/// Bounds of what is counted, beyond any device's memory.
const MOST_ROWS: usize = 1 << 30;
const MOST_PAIRS: usize = 1 << 33;

/// Bytes that are no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Something else.
    #[error(
        "this is no frame profile: expected the bytes of `FrameProfile::to_bytes`, or a file that \
         `populate --model NAME --profile FILE` has written"
    )]
    Foreign,
    /// A profile of a later release.
    #[error(
        "the frame profile is of version {found}, and this release reads {VERSION}: update \
         voxtune, or make the profile anew"
    )]
    Newer {
        /// The version that it has.
        found: u32,
    },
    /// A profile with damage.
    #[error("the frame profile is damaged: {0}; make it anew")]
    Corrupt(String),
}

/// Everything behind the name.
#[derive(Serialize, Deserialize)]
struct Body {
    channels: usize,
    dtype: DType,
    shape: Option<[u32; 3]>,
    margin: f64,
    frames: Vec<FrameCounts>,
}

impl FrameProfile {
    /// The profile as bytes, for a file of which [`Self::from_bytes`] makes it again.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let FrameKind { channels, dtype, shape } = self.kind;
        let body =
            Body { channels, dtype, shape, margin: self.margin, frames: self.counts.clone() };
        let mut bytes = rmp_serde::to_vec(&(FORMAT, VERSION)).expect("a text and a number");
        bytes.extend(rmp_serde::to_vec_named(&body).expect("memory takes what MessagePack holds"));
        bytes
    }

    /// The profile of such bytes.
    ///
    /// # Errors
    /// If they are something else, of a later release, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        let mut reader = Deserializer::new(Cursor::new(bytes));
        let (format, version) =
            <(String, u32)>::deserialize(&mut reader).map_err(|_| ProfileError::Foreign)?;
        if format != FORMAT {
            return Err(ProfileError::Foreign);
        }
        if version > VERSION {
            return Err(ProfileError::Newer { found: version });
        }
        let corrupt = |why: String| ProfileError::Corrupt(why);
        let body = Body::deserialize(&mut reader).map_err(|error| corrupt(error.to_string()))?;
        let read = reader.position();
        if read != bytes.len() as u64 {
            return Err(corrupt(format!("{} bytes behind its end", bytes.len() as u64 - read)));
        }
        body.check().map_err(|why| corrupt(why.to_owned()))?;
        let Body { channels, dtype, shape, margin, frames: counts } = body;
        let kind = FrameKind { channels, dtype, shape };
        Ok(Self { kind, counts, margin })
    }
}

impl Body {
    /// Refuses what no network can have counted.
    fn check(&self) -> Result<(), &'static str> {
        if self.frames.is_empty() {
            return Err("expected at least one frame, found none");
        }
        if !(1.0..=1e3).contains(&self.margin) {
            return Err("expected a margin of 1 or more");
        }
        let are_possible = |counts: &FrameCounts| {
            let mut rows = counts.rows.values().chain([&counts.input_rows]);
            rows.all(|&rows| rows <= MOST_ROWS)
                && counts.pairs.values().all(|&pairs| pairs <= MOST_PAIRS)
        };
        if !self.frames.iter().all(are_possible) {
            return Err("expected counts that fit a device");
        }
        let paths = |counts: &FrameCounts| {
            let of_maps = counts.pairs.keys().all(|(from, to, geometry)| {
                from.iter().chain(to).chain([geometry]).all(|layer| layer.check().is_ok())
            });
            // A level is what some layer has made.
            let is_made = |path: &Vec<_>| !path.is_empty();
            let of_levels = counts.rows.keys().all(|path| {
                is_made(path) && path.iter().all(|layer: &crate::Geometry| layer.check().is_ok())
            });
            of_maps && of_levels
        };
        if !self.frames.iter().all(paths) {
            return Err("expected layers that there can be");
        }
        if !self.frames.iter().all(|counts| counts.made.is_sound()) {
            return Err("expected levels made of others before them");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voxtune_types::{KernelSize, Voxel};

    use super::*;
    use crate::voxels::Recipe;
    use crate::{Device, Geometry, LayerKind, SparseTensor, Tensor, Voxels};

    /// Of a U-Net of two levels over so many voxels in a row.
    fn profile(rows: &[usize]) -> FrameProfile {
        let device = Device::cpu_with_threads(1).unwrap();
        let kernel = |extent| KernelSize::cubic(extent).unwrap();
        let down = Geometry::strided(kernel(2), [2; 3]);
        let frames: Vec<SparseTensor> = rows
            .iter()
            .map(|&rows| {
                let cells = (0..rows as i32).map(|x| Voxel::new(0, x, 1, 2)).collect();
                let voxels = Voxels::within(&device, [4_096, 8, 8], cells).unwrap();
                let features = vec![0.0; rows * 3];
                let rows = Tensor::from_f32(&device, DType::Float16, rows, 3, &features).unwrap();
                SparseTensor::new(voxels, rows).unwrap()
            })
            .collect();
        let network = |input: &SparseTensor| {
            let fine = input.voxels();
            fine.kernel_map(kernel(3))?;
            let coarse = fine.outputs_of(&down)?.0;
            coarse.kernel_map(kernel(3))?;
            coarse.outputs_of(&down.with_kind(LayerKind::Inverse))
        };
        FrameProfile::of(frames, network).unwrap()
    }

    #[test]
    fn a_profile_is_what_its_bytes_say() {
        let made = profile(&[10, 40]).with_margin(1.5);
        let read = FrameProfile::from_bytes(&made.to_bytes()).unwrap();
        assert_eq!(read, made);
        assert_eq!(read.counts[1].rows.values().copied().collect::<Vec<_>>(), [20]);
        // Forward pairs of three neighbours, and of the two rows of a coarse one.
        let mut pairs: Vec<usize> = read.counts[1].pairs.values().copied().collect();
        pairs.sort_unstable();
        assert_eq!(pairs, [40, 20 * 3 - 2, 40 * 3 - 2]);
        assert!(read.counts.iter().all(|counts| counts.made != Recipe::default()));
        let other = read.with_features(5, DType::Float32);
        assert_eq!((other.kind.channels, other.kind.dtype), (5, DType::Float32));
    }

    #[test]
    fn other_bytes_and_later_versions_are_told() {
        for bytes in [&b""[..], b"\x93\x01\x02\x03", b"PK\x03\x04", b"\x92\xa3abc\x01"] {
            assert_eq!(FrameProfile::from_bytes(bytes), Err(ProfileError::Foreign), "{bytes:?}");
        }
        let later = rmp_serde::to_vec(&(FORMAT, VERSION + 1)).unwrap();
        let newer = ProfileError::Newer { found: VERSION + 1 };
        assert_eq!(FrameProfile::from_bytes(&later), Err(newer));
        let mut beyond = profile(&[4]);
        beyond.counts[0].rows.values_mut().for_each(|rows| *rows = usize::MAX);
        let error = FrameProfile::from_bytes(&beyond.to_bytes()).unwrap_err().to_string();
        assert!(error.contains("counts that fit a device"), "{error}");
        let mut longer = profile(&[4]).to_bytes();
        longer.push(0);
        let error = FrameProfile::from_bytes(&longer).unwrap_err().to_string();
        assert!(error.contains("1 bytes behind its end"), "{error}");
    }

    proptest! {
        /// Whatever a disk makes of a profile, reading it fails or gives one that can be used.
        #[test]
        fn damage_never_panics(place in 0_usize..4_096, value: u8, length in 0_usize..4_096) {
            let mut bytes = profile(&[10]).to_bytes();
            let place = place % bytes.len();
            bytes[place] = value;
            if let Ok(read) = FrameProfile::from_bytes(&bytes) {
                drop(read.expected_counts());
                drop(FrameProfile::from_bytes(&read.to_bytes()).unwrap());
            }
            bytes.truncate(length.min(bytes.len() - 1));
            prop_assert!(FrameProfile::from_bytes(&bytes).is_err());
        }
    }
}
