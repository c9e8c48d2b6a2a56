//! What kernels of several groups are told about them.

use voxtune_types::{Operation, Product};

/// `GroupParams` of the kernels: channels of a group that are summed over, and of the result; in
/// wgrad inputs and outputs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupParams {
    gathered: i32,
    result: i32,
}

impl GroupParams {
    /// The groups of an operation.
    pub(super) const fn of(op: &Operation) -> Self {
        let (gathered, result) = group_channels(op);
        Self { gathered: gathered as i32, result: result as i32 }
    }
}

/// Gathered and result channels of a group.
pub(super) const fn group_channels(op: &Operation) -> (u32, u32) {
    let (own_in, own_out) = op.group_channels();
    match op.direction.product() {
        Product::Dgrad => (own_out, own_in),
        Product::Forward | Product::Wgrad => (own_in, own_out),
    }
}
