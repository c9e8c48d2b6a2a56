//! Which entries of a cache a command means.

use voxtune::{DType, Direction};
use voxtune_cache::EntryKey;
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_types::{DeviceIdentity, ShapeKey};

use crate::texts::text;

/// Filters over entries; an absent one admits all.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Selection {
    /// Only these directions: forward, dgrad, wgrad
    #[arg(long = "direction", value_name = "DIRECTION", num_args = 1..)]
    directions: Vec<Direction>,
    /// Only these channel pairs
    #[arg(long, value_name = "C_in,C_out", num_args = 1..)]
    channels: Vec<ChannelPair>,
    /// Only these storage types: float16, bfloat16, float32
    #[arg(long = "dtype", value_name = "DTYPE", num_args = 1..)]
    dtypes: Vec<DType>,
    /// Only devices whose name or architecture contains this text, in any case
    #[arg(long, value_name = "TEXT", value_parser = text)]
    device: Option<String>,
}

impl Selection {
    /// Whether any filter was given.
    pub(crate) const fn is_everything(&self) -> bool {
        self.directions.is_empty()
            && self.channels.is_empty()
            && self.dtypes.is_empty()
            && self.device.is_none()
    }

    /// Whether an entry is meant.
    pub(crate) fn admits_entry(&self, entry: &EntryKey) -> bool {
        self.admits(&entry.device, &entry.key)
    }

    /// Whether a key on a device is meant.
    pub(crate) fn admits(&self, device: &DeviceIdentity, key: &ShapeKey) -> bool {
        fn one_of<T: PartialEq>(wanted: &[T], found: &T) -> bool {
            wanted.is_empty() || wanted.contains(found)
        }
        let operation = &key.operation;
        let channels = ChannelPair { c_in: operation.c_in, c_out: operation.c_out };
        let name = device.to_string().to_lowercase();
        one_of(&self.directions, &operation.direction)
            && one_of(&self.channels, &channels)
            && one_of(&self.dtypes, &operation.dtype)
            && self.device.as_ref().is_none_or(|wanted| name.contains(&wanted.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use voxtune::Arch;
    use voxtune_types::{KernelSize, Operation};

    use super::*;

    fn device() -> DeviceIdentity {
        DeviceIdentity { arch: Arch::sm(9, 0), name: "NVIDIA H200".to_owned(), units: 132 }
    }

    fn key(direction: Direction, c_in: u32) -> ShapeKey {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation = Operation::submanifold(direction, DType::Float16, c_in, 64, kernel);
        ShapeKey::new(operation, 1000, 1000, 9000)
    }

    #[test]
    fn values_of_one_filter_widen_and_further_filters_narrow() {
        let selection = Selection {
            directions: vec![Direction::Dgrad, Direction::Wgrad],
            channels: vec![ChannelPair { c_in: 32, c_out: 64 }],
            ..Selection::default()
        };
        let admits = |direction, c_in| selection.admits(&device(), &key(direction, c_in));
        assert!(admits(Direction::Dgrad, 32) && admits(Direction::Wgrad, 32));
        assert!(!admits(Direction::Forward, 32) && !admits(Direction::Dgrad, 64));
        let other_type = Selection { dtypes: vec![DType::Float32], ..selection.clone() };
        assert!(!other_type.admits(&device(), &key(Direction::Dgrad, 32)));
    }

    #[test]
    fn a_device_is_meant_by_part_of_its_name_or_architecture_in_any_case() {
        let admits = |text: &str| {
            let selection = Selection { device: Some(text.to_owned()), ..Selection::default() };
            assert!(!selection.is_everything());
            selection.admits(&device(), &key(Direction::Forward, 32))
        };
        assert!(admits("h200") && admits("SM_90"));
        assert!(!admits("h100") && !admits("sm_80"));
    }
}
