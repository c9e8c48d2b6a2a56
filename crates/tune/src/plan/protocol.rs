//! How entries are measured, whatever they are.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::L2State;
use voxtune_types::mode::AlgoModes;
use voxtune_types::{AlgoId, Direction};

/// How entries are measured: the part of a request that goes to workers.
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
    /// Algorithms that compete beside these, wherever they can run.
    pub also: Vec<AlgoId>,
    /// Whether candidates are charged for what they read beyond their kernel map.
    pub charges: bool,
    /// Time for an entry; see [`crate::race::Policy::budget`].
    pub budget: Duration,
    /// What a GPU's L2 cache holds when a sample begins.
    pub l2_state: L2State,
    /// Least time that a candidate gets before it counts as hung; slow layers get more.
    pub time_limit: Duration,
}

/// The time that a candidate gets at least, unless told otherwise. The slowest first use of a
/// kernel takes a hundredth of it, its loading included.
const TIME_LIMIT: Duration = Duration::from_secs(10);

impl Default for Protocol {
    /// Every direction, as `populate` measures it by default.
    fn default() -> Self {
        Self {
            batch_size: 1,
            seed: 0,
            directions: Direction::ALL.to_vec(),
            modes: AlgoModes::default(),
            also: Vec::new(),
            charges: false,
            budget: Duration::from_secs(1),
            l2_state: L2State::Cold,
            time_limit: TIME_LIMIT,
        }
    }
}
