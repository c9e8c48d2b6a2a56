//! The layers of the network, and the sizes that they meet.

use voxtune::{DType, KernelSize, LayerKind};
use voxtune_tune::Grid;
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;

/// Every layer at every size.
pub(crate) fn grid() -> Grid {
    Grid {
        voxels: vec![1_000, 2_000],
        channels: vec![ChannelPair { c_in: 4, c_out: 8 }, ChannelPair { c_in: 8, c_out: 8 }],
        groups: vec![Groups::ONE],
        kernels: vec![KernelSize::submanifold(3).expect("3 is an extent of submanifold kernels")],
        kinds: vec![LayerKind::Submanifold],
        strides: Vec::new(),
        dtypes: vec![DType::Float32],
    }
}
