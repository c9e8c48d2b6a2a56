//! What a run measures.
//!
//! | file | holds |
//! |---|---|
//! | [`grid`] | layers and voxel counts, and how they become configurations |
//! | [`groups`] | groups of channels as the command line names them |
//! | [`presets`] | grids known by name |
//! | [`expand`] | a request, expanded to configurations with their clouds |
//! | `joined` | several plans as one, such as those of several presets |
//! | [`edges`] | counts on the edge of their bucket |
//! | [`shape_file`] | shapes of a file in place of a grid |
//! | [`partition`] | the part of the plan that falls to this machine |
//! | [`protocol`] | how entries are measured, whatever they are |
//! | [`job`] | the part of plan and request that running candidates takes |
//! | [`kernels`] | the kernels that a job needs, in the order of need |

pub mod edges;
pub mod expand;
pub mod grid;
pub mod groups;
pub mod job;
mod joined;
pub mod kernels;
pub mod partition;
pub mod presets;
pub mod protocol;
pub mod shape_file;
