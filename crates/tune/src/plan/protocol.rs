//! How entries are measured, whatever they are.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::L2State;
use voxtune_types::Direction;
use voxtune_types::mode::AlgoModes;

/// How entries are measured: the part of a request that goes to whoever runs candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// Samples in a generated cloud.
    pub batch_size: usize,
    /// Seed of clouds and operands.
    pub seed: u64,
    /// Directions to measure.
    pub directions: Vec<Direction>,
    /// Which algorithms compete.
    pub modes: AlgoModes,
    /// Time for an entry; see [`crate::race::Policy::budget`].
    pub budget: Duration,
    /// What a GPU's L2 cache holds when a sample begins.
    #[serde(with = "is_hot")]
    pub l2_state: L2State,
    /// Least time that a candidate gets before it counts as hung; slow layers get more.
    pub time_limit: Duration,
}

/// The time that a candidate gets at least, unless told otherwise: a hundred times what the slowest
/// first use of a kernel takes, its loading included.
const TIME_LIMIT: Duration = Duration::from_secs(10);

impl Default for Protocol {
    /// Every direction, as `populate` measures it by default.
    fn default() -> Self {
        Self {
            batch_size: 1,
            seed: 0,
            directions: Direction::ALL.to_vec(),
            modes: AlgoModes::default(),
            budget: Duration::from_secs(1),
            l2_state: L2State::Cold,
            time_limit: TIME_LIMIT,
        }
    }
}

/// The runtime's own types need no serialisation but here.
mod is_hot {
    use super::{Deserialize, L2State};

    pub(super) fn serialize<S: serde::Serializer>(
        state: &L2State,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*state == L2State::Hot)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<L2State, D::Error> {
        Ok(if bool::deserialize(deserializer)? { L2State::Hot } else { L2State::Cold })
    }
}
