//! What tests of families are about: layers on a GPU that was measured.

use voxtune_types::{ComputeCapability, DType, Direction, KernelSize, Operation};

use crate::model::Rates;

pub(super) fn h100() -> Rates {
    Rates::of(ComputeCapability { major: 9, minor: 0 }, 132)
}

/// Shared memory of an SM of Hopper's, of which each block costs some that it does not ask for.
const BYTES_PER_SM: usize = 228 * 1024;
const BYTES_A_BLOCK_COSTS: usize = 1024;

/// Whether an SM has shared memory for so many blocks.
pub(super) fn fit_on_an_sm(blocks: u32, shared_bytes: usize) -> bool {
    blocks as usize * (shared_bytes + BYTES_A_BLOCK_COSTS) <= BYTES_PER_SM
}

pub(super) fn forward(c_in: u32, c_out: u32) -> Operation {
    layer(Direction::Forward, c_in, c_out)
}

pub(super) fn wgrad(c_in: u32, c_out: u32) -> Operation {
    layer(Direction::Wgrad, c_in, c_out)
}

fn layer(direction: Direction, c_in: u32, c_out: u32) -> Operation {
    let kernel = KernelSize::submanifold(3).expect("3 is odd");
    Operation::submanifold(direction, DType::Float16, c_in, c_out, kernel)
}
